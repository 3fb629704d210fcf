"""An image that is noise alone has no detail to spare: the suggestion smooths it."""

import numpy as np
import pytest

import napari_diffusion as nd

NOISES = {
    "uniform": lambda rng, shape: rng.random(shape, np.float32),
    "uniform grey levels": lambda rng, shape: rng.integers(0, 256, shape, np.uint8),
    "two values": lambda rng, shape: rng.choice(np.array([0.0, 1.0]), shape),
    "normal": lambda rng, shape: rng.normal(100, 10, shape),
    "counts": lambda rng, shape: rng.poisson(5, shape).astype(np.uint16),
    "magnitudes": lambda rng, shape: rng.rayleigh(20, shape),
}


@pytest.mark.parametrize("shape", [(10, 150), (200,), (30, 30), (6, 14, 15)], ids=str)
@pytest.mark.parametrize("name", list(NOISES))
def test_noise_alone_is_smoothed(name, shape):
    """Nine tenths of the variance are removed from images of some hundred voxels."""
    image = NOISES[name](np.random.default_rng(0), shape)
    result = nd.suggest(image, nd.PeronaMalik())
    smooth = nd.diffuse(image, result.model, time=result.time)
    assert smooth.var() < 0.1 * image.var()
