"""The tensor models at their limits: equal eigenvalues, extreme parameters, voxels and intensities.

Nothing may hang, warn, or turn finite values into NaN, and both backends agree.
"""

import dataclasses
import threading
import warnings

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import backends
from napari_diffusion.backends.reference.selling import REACH, decompose
from napari_diffusion.backends.reference.tensor import symmetric
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.models import parameters
from napari_diffusion.operators.tensor import DiffusionTensor

SHAPE = (8, 9, 10)
MODELS = [nd.EdgeEnhancing, nd.CoherenceEnhancing, nd.Hybrid]
MODELS += [nd.VesselEnhancing, nd.MembraneEnhancing]
tensor = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
each_backend = pytest.mark.parametrize("name", ["compiled", "reference"])
#: Largest difference of the backends, as a share of the range.
LAW = {"float32": 1e-6, "float64": 1e-12}


def images():
    """Images with equal eigenvalues, or with none: planes, symmetric and sparse images."""
    rng = np.random.default_rng(11)
    z, y, x = np.indices(SHAPE) - 4.0
    return {
        "ramp": 7 * x,
        "other-ramp": 7 * z,
        "diagonal": 5 * (z + y + x),
        "half-diagonal": 5 * (y - x),
        "sphere": 200 * np.exp(-(z**2 + y**2 + x**2) / 8),
        "ball": 200.0 * (z**2 + y**2 + x**2 < 9),
        "sparse": 1.0 * (rng.random(SHAPE) < 0.1),
        "noise": np.round(rng.uniform(0, 255, SHAPE)),
    }


def with_intensity(model, factor):
    """Model for intensities that are this factor larger."""
    changed = {
        p.name: getattr(model, p.name) * factor**p.dimension.intensity
        for p in parameters(model)
        if p.dimension.intensity
    }
    return dataclasses.replace(model, **changed)


@pytest.mark.parametrize("dtype", LAW)
@pytest.mark.parametrize("image", images())
def test_backends_agree_where_eigenvalues_are_equal(image, dtype):
    u = images()[image].astype(dtype)
    cases = [nd.Hybrid(contrast=h) for h in (10.0, 0.1, 0.001)]
    cases += [nd.Hybrid(contrast=1.0, sigma=0, rho=0), nd.EdgeEnhancing(), nd.VesselEnhancing()]
    cases += [nd.EdgeEnhancing(sigma=0, rho=0), nd.CoherenceEnhancing(), nd.MembraneEnhancing()]
    # Vesselness in noise, and the tensor of a single gradient, are not continuous. In 21 images
    # that differ by up to 10 % in their intensity, rounding grows up to 30 times more than here.
    sensitive = {nd.Hybrid(contrast=1.0, sigma=0, rho=0), nd.VesselEnhancing()}
    for field in (u, u[4]):
        for model in cases:
            compiled, reference = (
                nd.diffuse(field, model, time=0.5, backend=name)
                for name in ("compiled", "reference")
            )
            limit = LAW[dtype] * model.rounding_gain * max(np.ptp(field), 1)
            if model in sensitive and dtype == "float32":
                limit *= 30 if isinstance(model, nd.Hybrid) else 3
            np.testing.assert_allclose(compiled, reference, rtol=0, atol=limit)


@tensor
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-80, 2.0**-40, 2.0**50])
def test_result_is_proportional_to_the_image_at_any_scale(model, scale):
    """Powers of two change no bit, except of denormal numbers."""
    for image in ("ball", "sparse", "noise"):
        u = images()[image].astype(np.float32)
        factor = u.dtype.type(scale)
        for options in ({"sigma": 1.0}, {"sigma": 0.0, "rho": 0.0}):
            if model in (nd.VesselEnhancing, nd.MembraneEnhancing):
                options = {"sigma": 1.0}
            small = with_intensity(model(**options), scale)
            expected = nd.diffuse(u, model(**options), time=0.5) * factor
            result = nd.diffuse(u * factor, small, time=0.5)
            limit = 1e-6 * np.ptp(u) * factor if scale < 2.0**-50 else 0
            np.testing.assert_allclose(result, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**50])
def test_diagnostics_are_those_of_the_image_at_any_scale(scale):
    u = images()["noise"].astype(np.float32)
    factor, model = u.dtype.type(scale), nd.Hybrid()
    scaled, same = u * factor, with_intensity(model, scale)
    for diagnostic in (nd.conductance, nd.coherence):
        np.testing.assert_array_equal(diagnostic(scaled, same), diagnostic(u, model))
    left, right = nd.directions(scaled, same), nd.directions(u, model)
    np.testing.assert_array_equal(left.positions, right.positions)
    np.testing.assert_allclose(left.vectors, right.vectors, rtol=0, atol=1e-12)
    magnitudes = nd.gradients(scaled).magnitudes
    assert magnitudes.max() > 0
    np.testing.assert_array_equal(magnitudes, nd.gradients(u).magnitudes * scale)


@tensor
def test_run_with_extreme_parameters_ends_with_finite_values(model):
    """No warning, and in strict mode no value beyond the range; or one sentence that refuses."""
    rng = np.random.default_rng(12)
    finished = 0
    for _ in range(60):
        shape = [(5, 6, 7), (9, 8), (1, 6, 7), (3, 1, 8), (11,), (2, 2, 2)][rng.integers(6)]
        dtype = [np.float32, np.float64, np.uint8][rng.integers(3)]
        spacing = tuple(10.0 ** rng.choice([0, 0, -6, 6], len(shape)))
        scale = 1.0 if dtype is np.uint8 else 10.0 ** rng.choice([-30, -24, 0, 15])
        image = rng.uniform(0, 200, shape) * (rng.random(shape) < rng.choice([0.1, 1.0]))
        image = (image * scale).astype(dtype)
        strict = bool(rng.integers(2))
        extreme = model(**drawn(rng, model, scale, min(spacing)))
        step = nd.plan(image, extreme, time=1e-300, spacing=spacing).max_step
        time = 2.5 * step if np.isfinite(step) else 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                result = nd.diffuse(image, extreme, time=time, spacing=spacing, strict=strict)
            except ValueError as error:
                assert "thresholds of the model" in str(error)  # noqa: PT017
                continue
        finished += 1
        assert np.isfinite(result).all()
        slack = 4 * np.finfo(result.dtype).eps * float(image.max())
        if strict:
            assert result.min() >= image.min() - slack
            assert result.max() <= image.max() + slack
    assert finished > 20


def drawn(rng, model, scale, length):
    """Parameters from 1e-30 to 1e30 of their usual size, within the declared bounds."""
    values = {}
    for p in parameters(model):
        if p.dimension.intensity:
            values[p.name] = scale * 10.0 ** rng.choice([-30, -9, -3, 0, 1, 3, 30])
        elif p.dimension.length:
            values[p.name] = length * rng.choice([1e-6, 0.5, 2.0])
        elif p.choices is None and not p.is_map:
            low = max(p.gt or p.ge or 0.0, 1e-30)
            values[p.name] = float(rng.choice([low, 1.0, p.le or 1e30]))
    return values


def test_thresholds_far_below_the_image_are_refused_by_name():
    noise = np.random.default_rng(0).normal(size=SHAPE)
    model = nd.Hybrid(kappa=1e-25, contrast=1e-25, sigma=0, rho=0)
    for strict in (False, True):
        with pytest.raises(ValueError, match=r"too large in float32 for the thresholds.*float64"):
            nd.diffuse(noise.astype(np.float32), model, time=1.0, strict=strict)
        result = nd.diffuse(noise, model, time=1.0, strict=strict)
        assert np.isfinite(result).all()
    with pytest.raises(ValueError, match="thresholds"):
        nd.diffuse(np.full(SHAPE, 200, np.uint8), model, time=1.0)
    with pytest.raises(ValueError, match="thresholds"):
        nd.coherence(noise.astype(np.float32), model)


@each_backend
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_tensor_that_is_not_finite_or_not_positive_keeps_the_range(name, broken):
    """Both stencils end, and the values stay finite; a NaN tensor smooths nothing."""
    kernels = backends.get_backend(name, 3)
    rng = np.random.default_rng(13)
    u = rng.random((1, 4, 5, 6))
    matrix = rng.normal(size=(6, 4, 5, 6))
    mu = kernels.eigenvalues(matrix)
    lam = [np.full(mu[0].shape, value) for value in (broken, 0.5, -0.5)]
    with np.errstate(all="ignore"):
        d = kernels.tensors((4, 5, 6))
        kernels.compose(matrix, mu, lam, 1.0, range(3), d, 0)
    weight, out = np.empty((4, 5, 6), np.uint8), u.copy()
    kernels.incident(d, 0, 4, 0.1, (1.0, 1e6, 1.0), None, weight)
    kernels.selling_step(u, out, d, weight, 0, 4, 0.1, (1.0, 1e6, 1.0), None)
    assert out.min() >= u.min() - 1e-15
    assert out.max() <= u.max() + 1e-15
    cells = kernels.cell_tensors((4, 5, 6))
    kernels.average(None, d, cells, 4, 0)
    kernels.tensor_step(u, out, cells, 0, 4, 0.1, (1.0, 1.0, 1.0), 0.0, None)
    assert np.isfinite(out).all()
    if np.isnan(broken):
        np.testing.assert_array_equal(out, u)


def test_decomposition_of_any_matrix_ends_with_short_offsets():
    """A positive matrix is kept up to an isotropic part; the limit of others is their diagonal."""
    rng = np.random.default_rng(14)
    spacing = 10.0 ** rng.uniform(-3, 3, (400, 3))
    q = np.linalg.qr(rng.normal(size=(400, 3, 3)))[0]
    needles = np.einsum("nij,nj,nkj->nik", q, 10.0 ** rng.uniform(-12, 0, (400, 3)), q)
    m = needles / spacing[:, :, None] / spacing[:, None, :]
    rho, e = decompose(m)
    assert (rho >= 0).all()
    assert np.abs(e).max(where=(rho > 0)[..., None], initial=0) <= REACH
    added = np.einsum("nk,nki,nkj->nij", rho, e, e) - m
    diagonal = np.einsum("nii->ni", added)
    trace = np.trace(m, axis1=1, axis2=2)
    off_diagonal = added - np.einsum("ni,ij->nij", diagonal, np.eye(3))
    assert (np.abs(off_diagonal) <= 1e-7 * trace[:, None, None]).all()
    assert (diagonal <= 1.29 * trace[:, None] + 1e-7 * trace[:, None]).all()
    # Its off-diagonal entries outweigh any isotropic part that the algorithm adds.
    indefinite = np.diag([1.0, 2.0, 3.0]) + 1e6 * (1 - np.eye(3))
    rho, e = decompose(indefinite[None])
    np.testing.assert_array_equal(np.einsum("nk,nki,nkj->nij", rho, e, e)[0], np.diag([1, 2, 3]))


def composed(name, matrix, lam):
    """The tensor of one voxel, unpacked."""
    kernels = backends.get_backend(name, 3)
    rows = np.ascontiguousarray(np.reshape(matrix, (6, 1, 1, 1)))
    d = kernels.tensors((1, 1, 1))
    mu = kernels.eigenvalues(rows)
    kernels.compose(rows, mu, [np.full(mu[0].shape, v) for v in lam], 1.0, range(3), d, 0)
    if name == "reference":
        return symmetric(d / (2.0**18 - 1))[0, 0, 0]
    fields = [(d[k // 3] >> np.uint64(21 * (k % 3))) & np.uint64((1 << 21) - 1) for k in range(6)]
    return symmetric((np.array(fields, float) - (1 << 18)) / (2.0**18 - 1))[0, 0, 0]


@each_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_eigenvalues_have_the_diffusivity_of_the_first(name, dtype):
    rng = np.random.default_rng(15)
    lam = (0.1, 0.5, 0.9)
    limits = {(2.0, 2.0, 1.0): (0.1, 0.1, 0.9), (2.0, 1.0, 1.0): (0.1, 0.5, 0.5)}
    limits |= {(3.0, 3.0, 3.0): (0.1,) * 3, (0.0, 0.0, 0.0): (0.1,) * 3}
    for mu, expected in limits.items():
        for scale in (1e-30, 1.0, 1e15):
            q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            full = (q @ np.diag(mu) @ q.T * scale).astype(dtype)
            entries = [full[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
            result = composed(name, entries, lam)
            np.testing.assert_allclose(result, q @ np.diag(expected) @ q.T, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sensitivity", [1.0, 5.0, 100.0])
def test_vessel_enhancing_reaches_its_diffusivities_and_no_others(sensitivity):
    """At vesselness 1 they are omega and epsilon; none is beyond them or negative."""
    model = nd.VesselEnhancing(omega=10.0, epsilon=1e-6, sensitivity=sensitivity)
    mu = np.array([[0.0, 0.0], [-1.0, -1.0], [-1.0, -1.0]])
    lam = np.array(model.spectrum(mu, np.array([0.0, 1.0])))
    np.testing.assert_allclose(lam[:, 0], 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(lam[:, 1], [10, 1e-6, 1e-6], rtol=0, atol=1e-13)


@tensor
@pytest.mark.parametrize("strict", [False, True])
def test_run_is_cancelled_between_slabs(model, strict):
    image = np.random.default_rng(16).normal(100, 20, (96, 64, 64)).astype(np.float32)
    cancel, reports = threading.Event(), []

    def progress(state):
        reports.append(state)
        cancel.set()

    with pytest.raises(Cancelled):
        nd.diffuse(
            image, model(), time=50.0, strict=strict, cancel=cancel, progress=progress, threads=2
        )
    # Each of the two threads may have finished the slab that it was computing.
    assert 1 <= len(reports) <= 3


def test_spectra_are_finite_for_any_eigenvalues():
    """Also where a threshold is far from the eigenvalues."""
    values = np.array([0.0, 1e-45, 1e-30, 1e-10, 1.0, 1e10, 1e30, 1e36], np.float32)
    grid = np.array(np.meshgrid(values, values, values)).reshape(3, -1)
    mu = -np.sort(-grid, axis=0)
    for thresholds in ((1.0, 1.0), (1e-30, 1e30), (1e30, 1e-30), (1e-300, 1e300)):
        kappa, contrast = thresholds
        for model in (
            nd.Hybrid(kappa=kappa, contrast=contrast, alpha=1e-300),
            nd.Hybrid(kappa=kappa, contrast=contrast, coherence=1e300),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                lam = np.array(model.spectrum(mu, mu.sum(0) / 3))
            assert ((lam >= 0) & (lam <= 1)).all()
    assert DiffusionTensor.unit == np.inf
