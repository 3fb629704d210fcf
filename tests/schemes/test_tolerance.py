"""The error of the time integration stays below the tolerance."""

import functools
import itertools

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.schemes import RKL2, Midpoint

#: Shape and voxel size of each geometry, with the image that is filtered in it.
GEOMETRIES = {
    "2-D, step edges": ((40, 36), (1.0, 1.0)),
    "3-D, texture": ((16, 18, 16), (1.0, 1.0, 1.0)),
    "thick slices, noise": ((8, 20, 18), (5.0, 1.0, 1.0)),
}
DIFFUSIVITIES = ("rational", "charbonnier", "exponential", "tukey", "weickert")
MODELS = {
    **{name: nd.PeronaMalik(kappa=0.05, sigma=1.0, diffusivity=name) for name in DIFFUSIVITIES},
    "Rician": nd.Rician(sigma_noise=0.1),
    "speckle": nd.SpeckleReducing(q0=0.1),
    "total variation": nd.TotalVariation(kappa=0.05),
    **{
        f"fourth order, {name}": nd.FourthOrder(kappa=0.1, diffusivity=name)
        for name in ("rational", "weickert")
    },
    "edge-enhancing": nd.EdgeEnhancing(kappa=0.05),
    "coherence-enhancing": nd.CoherenceEnhancing(kappa=0.05),
    "hybrid": nd.Hybrid(kappa=0.05, contrast=0.05, coherence=0.1),
    "vessel-enhancing": nd.VesselEnhancing(gamma=0.3),
    "membrane-enhancing": nd.MembraneEnhancing(gamma=0.3),
}
#: Models whose live supersteps would compute a tensor per stage; their limit is one of cycles.
TENSORS = [name for name, model in MODELS.items() if name.endswith("enhancing") or name == "hybrid"]
#: How far the error may exceed the tolerance. The texture has gradients near kappa: sharpening
#: amplifies differences between its waves, and thus errors, up to ten times (measured).
AMPLIFICATION = {"3-D, texture": 10.0}
TIMES = (2.5, 10.0, 50.0, 200.0)
#: Times of total variation: later, most of these images are flat.
EARLY = (0.5, 2.5, 10.0)
TOLERANCES = (1e-2, 1e-3, 1e-4)


def image(geometry):
    shape, _ = GEOMETRIES[geometry]
    rng = np.random.default_rng(5)
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = 0.6 * (sum(c * c for c in x) < 0.4)
    if geometry == "2-D, step edges":
        return 1 + ball + 0.3 * (np.sin(8 * x[0]) > 0) + rng.normal(0, 0.03, shape)
    if geometry == "3-D, texture":
        waves = 0.5 * np.sin(9 * x[-1] + 4 * x[0] ** 2) * np.cos(7 * x[-2])
        return 1.5 + waves + rng.normal(0, 0.05, shape)
    return 1 + ball + rng.normal(0, 0.15, shape)


@functools.cache
def converged(name, geometry, time):
    """Return Richardson's limit of many steps, and how far the finer run is from it."""
    options = {"time": time, "spacing": GEOMETRIES[geometry][1], "tolerance": 1e-6}
    kind = Midpoint if name in TENSORS else RKL2
    coarse, fine = (
        nd.diffuse(image(geometry), MODELS[name], scheme=kind(n), **options) for n in (60, 120)
    )
    return fine + (fine - coarse) / 3, np.sqrt(np.mean((fine - coarse) ** 2)) / 3


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", MODELS)
def test_error_against_the_converged_run_stays_below_the_tolerance(name, geometry):
    noisy, spacing = image(geometry), GEOMETRIES[geometry][1]
    scale = np.ptp(noisy)
    missed = []
    times = EARLY if name == "total variation" else TIMES
    for time, tolerance in itertools.product(times, TOLERANCES):
        limit, doubt = converged(name, geometry, time)
        options = {"time": time, "spacing": spacing, "tolerance": tolerance}
        result = nd.diffuse(noisy, MODELS[name], **options)
        error = np.sqrt(np.mean((result - limit) ** 2))
        if error > AMPLIFICATION.get(geometry, 1.0) * tolerance * scale + doubt:
            missed.append((time, tolerance, float(error / scale), float(doubt / scale)))
    assert not missed
