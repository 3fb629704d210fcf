"""Compiled diffusivities along the eigenvectors agree with the `spectrum` of their model."""

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import backends
from napari_diffusion.backends import spectra
from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.features import Features

COMPILED = backends.get_backend("compiled", 3)
MODELS = [
    nd.EdgeEnhancing(kappa=2.0),
    nd.CoherenceEnhancing(kappa=0.5),
    nd.CoherenceEnhancing(kappa=0.5, selectivity=0.0),
    nd.Hybrid(kappa=1.0, contrast=0.4),
    nd.Hybrid(kappa=1e-3, contrast=50.0, coherence=1e13),
    nd.VesselEnhancing(),
    nd.VesselEnhancing(polarity="dark", sensitivity=1.0, clear=1.0),
    nd.VesselEnhancing(omega=1.0, epsilon=1e-4, sensitivity=100.0, clear=0.001),
]
#: Largest difference: the exponential of the kernels has six digits in float32.
ROUNDING = {np.float32: 2e-6, np.float64: 1e-14}


def operator(model, dtype, axes):
    """The operator of a model, whose kernel holds the parameters."""
    shape = (1, 1, 1)[axes:] + (3,) * axes
    u = np.random.default_rng(0).normal(size=(1, *shape)).astype(dtype)
    return model.operator(Features(u, 0, shape[0], Grid(shape, (1.0,) * 3), COMPILED, np.ones(1)))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("model", MODELS, ids=range(len(MODELS)))
def test_kernels_agree_with_the_models(model, dtype, axes):
    """Eigenvalues over 30 decades; zeros, equal ones, and ones that differ by rounding."""
    rng = np.random.default_rng(axes)
    mu = np.sort(10 ** rng.uniform(-15, 15, (axes, 1, 40, 50)), 0)[::-1]
    mu[-1, 0, :10], mu[-1, 0, 10:20] = 0, mu[0, 0, 10:20]
    mu[:, 0, 20:22] = 0
    mu[-1, 0, 30:40] = mu[0, 0, 30:40] * (1 - 1e-6)
    if isinstance(model, nd.VesselEnhancing):
        mu[..., 25:] = -mu[::-1, ..., 25:]  # a Hessian has eigenvalues of both signs
    mu, made = np.ascontiguousarray(mu, dtype), operator(model, dtype, axes)
    extra = [np.abs(mu[0]) for _ in made.extra]
    compiled = COMPILED.spectrum(*made.kernel, mu, extra)
    expected = np.stack(np.broadcast_arrays(*made.spectrum(mu, *extra)))
    np.testing.assert_allclose(compiled, expected, rtol=0, atol=ROUNDING[dtype])


def test_runs_with_other_kernels_have_other_keys():
    """A run whose key is known is not compiled before the preview."""
    image, models = np.zeros((3, 4, 5), np.float32), (MODELS[0], MODELS[1], MODELS[3], MODELS[5])
    keys = {nd.plan(image, model, time=0.1).kernel_key() for model in models}
    assert len(keys) == len(models)


def test_squares_beyond_float32_leave_the_kernel_to_the_model():
    mu = np.ones((3, 1, 1, 2), np.float32)
    assert COMPILED.spectrum("edge", (spectra.LARGEST_PARAMETER,), mu, []) is not None
    assert COMPILED.spectrum("edge", (1.001 * spectra.LARGEST_PARAMETER,), mu, []) is None
    assert COMPILED.spectrum("unknown", (1.0,), mu, []) is None
