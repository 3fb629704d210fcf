"""Sums of Hessians over several scales, weighted by their vesselness."""

import numpy as np
import pytest

from napari_diffusion import backends
from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.hessians import vessels

BACKENDS = [backends.get_backend(name, 3) for name in ("compiled", "reference")]


@pytest.mark.parametrize(
    "shape", [(7, 24, 31), (1, 20, 17), (1, 1, 9), (3, 2, 2), (2, 3, 1), (3, 1, 4)], ids=str
)
def test_vessels_of_any_planes_agree_with_the_reference(shape):
    """Vessels of several scales; the largest image has more voxels than a block."""
    rng = np.random.default_rng(7)
    for sigmas, channels, polarity in (((1.0, 2.0), 1, "bright"), ((0.7, 0.0), 2, "dark")):
        u, weights = rng.normal(size=(channels, *shape)), rng.uniform(1, 2, channels)
        for lo, hi in ((0, shape[0]), (shape[0] // 3, shape[0] // 3 + max(1, shape[0] // 2))):
            compiled, reference = (
                vessels(
                    Features(u, lo, hi, Grid(shape, (2.0, 1.0, 0.7)), kernels, weights),
                    sigmas,
                    0.1,
                    polarity,
                )
                for kernels in BACKENDS
            )
            for result, expected in zip(compiled, reference, strict=True):
                np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)
            assert (reference[1].max() > 0.1) == (sum(n > 1 for n in shape) > 1)
