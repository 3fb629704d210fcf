"""Risk curves: the risk of every patch, and that of all patches together."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.noisy import blocks, noise_probe, white
from helpers.problems import problem_of
from napari_diffusion.estimation.patches import Patch, sample_patches
from napari_diffusion.estimation.risk import Probe, total
from napari_diffusion.estimation.risk_curve import RiskCurve

LEVEL = 9.0


def curve_of(image: np.ndarray) -> tuple[RiskCurve, list[Patch], list[Probe]]:
    """Risk curve over the patches of an image with noise of `LEVEL`."""
    problem, _ = problem_of(image, nd.Linear(), time=0.0)
    patches = sample_patches([problem])
    probes = [
        noise_probe(patch.field, (LEVEL * patch.valid[None]).astype("f4"), seed)
        for seed, patch in enumerate(patches)
    ]
    return RiskCurve(patches, probes, np.ones(1)), patches, probes


@pytest.mark.parametrize("model", [nd.Linear(), nd.PeronaMalik(kappa=6.0)], ids=str)
@pytest.mark.parametrize("time", [0.0, 0.8], ids=["without filter", "filtered"])
def test_risk_of_every_patch_is_that_of_the_patch_alone(model, time):
    image = (blocks((500, 300)) + LEVEL * white((500, 300))).astype("f4")
    curve, patches, probes = curve_of(image)
    parts = curve.sums_of_patches(model, time)
    assert len(parts) == len(patches) > 2
    for part, patch, probe in zip(parts, patches, probes, strict=True):
        alone = RiskCurve([patch], [probe], np.ones(1))
        assert [part] == alone.sums_of_patches(model, time)
    assert len({part.result_squared for part in parts}) == len(parts)


def test_patches_add_up_to_the_risk_curve():
    image = (blocks((500, 300)) + LEVEL * white((500, 300))).astype("f4")
    curve, *_ = curve_of(image)
    times = []
    both = zip(curve.points(nd.Linear(), 1.0, 0.5), curve.parts(nd.Linear(), 1.0, 0.5), strict=True)
    for (time, sums), (same_time, parts) in both:
        times.append(time)
        assert (time, sums) == (same_time, total(parts))
    assert times[0] == 0
    assert times[-1] == 1.0
