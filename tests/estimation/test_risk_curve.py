"""Risk curves: the risk of every patch, and that of all patches together."""

from dataclasses import replace

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.noisy import blocks, noise_probe, white
from helpers.problems import problem_of
from napari_diffusion.engine.in_memory import run
from napari_diffusion.estimation import risk_curve
from napari_diffusion.estimation.patches import Patch, sample_patches
from napari_diffusion.estimation.risk import Probe, Sums, total
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


def sums_alone(patch: Patch, probe: Probe, model: nd.Linear) -> list[Sums]:
    """`Sums` of a patch with one probe."""
    return RiskCurve([patch], [probe], np.ones(1)).sums_of_patches(model, 0.8)


@pytest.mark.parametrize("has_regions", [False, True])
def test_probes_of_one_patch_share_the_run_of_its_image(monkeypatch, has_regions):
    """A patch of the same voxels has a run of its own where its regions differ."""
    image = (blocks((30, 40)) + LEVEL * white((30, 40))).astype("f4")
    _, (patch,), _ = curve_of(image)
    regions = np.indices(patch.valid.shape)[-1] // 20
    patches = [patch, replace(patch, regions=regions) if has_regions else patch]
    deviation = np.full_like(patch.field, LEVEL)
    probes = [noise_probe(patch.field, deviation, seed) for seed in (0, 1)]
    pairs = zip(patches, probes, strict=True)
    alone = [sums_alone(each, probe, nd.Linear())[0] for each, probe in pairs]
    runs = []
    monkeypatch.setattr(risk_curve, "run", lambda *a, **k: runs.append(a) or run(*a, **k))
    curve = RiskCurve(patches, probes, np.ones(1))
    assert curve.sums_of_patches(nd.Linear(), 0.8) == alone
    assert len(runs) == (4 if has_regions else 3)
