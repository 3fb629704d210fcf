"""The tensor models against mathematics, and what only each of them does."""

from dataclasses import dataclass

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import contrast_lost, directions
from napari_diffusion import models
from napari_diffusion.models.base import Model
from napari_diffusion.operators.tensor import DiffusionTensor
from napari_diffusion.schemes import FSI, RKL2, Explicit, Midpoint

TENSOR = [nd.EdgeEnhancing(), nd.CoherenceEnhancing(), nd.Hybrid(), nd.VesselEnhancing()]
tensor = pytest.mark.parametrize("model", TENSOR, ids=lambda model: model.name)


@dataclass(frozen=True, kw_only=True)
class Given(Model):
    """One and the same tensor everywhere, given by its entries."""

    name, title, summary = "given", "Given", "A constant tensor."
    entries = np.zeros(6)

    def operator(self, f):
        matrix = f.structure(0.0, 0.0)
        matrix[...] = self.entries.reshape(-1, *[1] * (matrix.ndim - 1))
        return DiffusionTensor(matrix, list)


def given(full):
    n = len(full)
    entries = np.array(
        [full[i, i] for i in range(n)] + [full[i, j] for i in range(n) for j in range(i + 1, n)]
    )
    return type("Turned", (Given,), {"entries": entries})()


def turned(lam, seed):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(lam),) * 2))[0]
    return q @ np.diag(lam) @ q.T


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": Explicit()},
        {"scheme": FSI(cycles=2)},
        {"scheme": Midpoint(cycles=2)},
        {"strict": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0), (2.0, 1.0), (1.0, 1.0, 1.0), (2.0, 1.0, 0.8)], ids=str
)
def test_covariance_of_a_blob_grows_by_2TD(spacing, options):
    """Exactly, on the grid, for every scheme and both stencils, until the blob reaches the border."""
    n = len(spacing)
    full = turned([1.0, 0.2, 0.05][:n], n)
    size = 61 if n == 2 else 25
    image = np.zeros((size,) * n)
    image[(size // 2,) * n] = 1
    time = 1.5 if n == 2 else 0.6
    result = nd.diffuse(image, given(full), time=time, spacing=spacing, **options)
    x = np.stack(
        np.meshgrid(*[(np.arange(size) - size // 2) * h for h in spacing], indexing="ij")
    ).reshape(n, -1)
    covariance = (x * result.ravel()) @ x.T
    assert result.sum() == pytest.approx(1, abs=1e-12)
    # Stored entries are rounded to 2e-6 of the largest; Selling's diagonal is up to 25e-6 larger, so that it stays positive.
    np.testing.assert_allclose(covariance, 2 * time * full, rtol=0, atol=2 * time * 6e-5)


def wave_error(points, full, length, time):
    """Largest error of a decaying plane wave in the middle of a box of ``length``, where the border has not been heard of."""
    n = len(full)
    spacing = [length / points] * (n - 1) + [0.7 * length / points]
    wave = np.array([1.3, -0.8, 0.6][:n])
    shape = [points] * (n - 1) + [round(points / 0.7)]
    x = np.stack(
        np.meshgrid(
            *[(np.arange(s) - s // 2) * h for s, h in zip(shape, spacing, strict=True)],
            indexing="ij",
        )
    )
    u = np.cos(np.tensordot(wave, x, 1))
    result = nd.diffuse(u, given(full), time=time, spacing=spacing, scheme=RKL2(supersteps=30))
    return abs(result[tuple(s // 2 for s in shape)] - np.exp(-time * wave @ full @ wave))


@pytest.mark.parametrize("n", [2, 3])
def test_second_order_in_space(n):
    full = turned([1.0, 0.4, 0.2][:n], 1)
    errors = [
        wave_error(points, full, 10.0, 0.4) for points in ((20, 40, 80) if n == 2 else (14, 20, 28))
    ]
    ratio = 2.0 if n == 2 else np.sqrt(2)
    orders = np.log(np.array(errors[:-1]) / errors[1:]) / np.log(ratio)
    assert orders[-1] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    "model",
    [nd.EdgeEnhancing(kappa=12.0, sigma=1.5), nd.CoherenceEnhancing(kappa=5.0, sigma=1.0, rho=3.0)],
    ids=lambda m: m.name,
)
@pytest.mark.parametrize("shape", [(40, 36), (16, 18, 14)], ids=str)
def test_order_in_time(model, shape):
    """First for Euler's steps, second for RKL2, which makes new tensors for every stage."""
    x = np.meshgrid(*[np.linspace(0, 2 * np.pi, n) for n in shape], indexing="ij")
    u = 40 * np.cos(x[0]) * np.cos(2 * x[-1]) + 20 * np.cos(x[0] + x[1])
    spacing = (1.3, *[1.0] * (len(shape) - 1))
    for order, schemes in (
        (1, [Explicit(step=4.0 / n) for n in (48, 96, 192)]),
        (2, [RKL2(supersteps=n) for n in (24, 48, 96)]),
    ):
        coarse, middle, fine = (
            nd.diffuse(u, model, time=4.0, spacing=spacing, scheme=scheme) for scheme in schemes
        )
        assert (
            np.log2(np.abs(coarse - middle).mean() / np.abs(middle - fine).mean())
            == pytest.approx(
                order,
                abs=0.05
                * order,  # finer steps reach the rounding of the stored tensors, coarser ones are not there yet
            )
        )


@pytest.mark.parametrize(
    ("model", "time", "shape"),
    [
        (nd.EdgeEnhancing(kappa=6.0, sigma=1.5), 8.0, (40, 36)),
        (nd.CoherenceEnhancing(kappa=3.0, sigma=1.0, rho=3.0), 16.0, (40, 36)),
        (nd.CoherenceEnhancing(kappa=5.0, sigma=1.0, rho=3.0), 4.0, (16, 18, 14)),
    ],
    ids=str,
)
def test_one_tensor_per_cycle_is_enough_for_second_order(model, time, shape):
    """With a tensor at the start of each cycle it would be the first."""
    x = np.meshgrid(*[np.linspace(0, 2 * np.pi, n) for n in shape], indexing="ij")
    u = 40 * np.cos(x[0]) * np.cos(2 * x[-1]) + 20 * np.cos(x[0] + x[1])
    options = {
        "time": time,
        "spacing": (1.3, *[1.0] * (len(shape) - 1)),
        "tolerance": 1e-9,
    }  # the exponential itself is exact
    coarse, middle, fine = (
        nd.diffuse(u, model, scheme=Midpoint(cycles=n), **options) for n in (48, 96, 192)
    )
    order = np.log2(np.abs(coarse - middle).mean() / np.abs(middle - fine).mean())
    assert order == pytest.approx(2, abs=0.05)  # from below: the first cycle knows no cycle before


@pytest.mark.parametrize(
    "model", [nd.EdgeEnhancing(kappa=15.0), nd.CoherenceEnhancing(kappa=8.0)], ids=lambda m: m.name
)
@pytest.mark.parametrize(("time", "shape"), [(2.0, (24, 26, 22)), (10.0, (70, 80))], ids=str)
def test_auto_keeps_its_tolerance_on_an_image_with_much_noise(model, time, shape):
    """A bright ball with noise of a sixth of its height: at most 1e-3 of the range from the converged solution, root mean square."""
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    u = 60.0 * ((x**2).sum(0) < 0.5) + np.random.default_rng(3).normal(0, 10, shape)
    limit = nd.diffuse(u, model, time=time, scheme=Midpoint(cycles=60), tolerance=1e-5)
    extent = np.subtract(*np.percentile(u, [99.9, 0.1]))
    for tolerance in (1e-3, 1e-4):
        apart = nd.diffuse(u, model, time=time, tolerance=tolerance) - limit
        assert np.sqrt(np.mean(apart**2)) <= tolerance * extent


@pytest.mark.parametrize(
    "model",
    [nd.CoherenceEnhancing(kappa=3.0, rho=3.0), nd.EdgeEnhancing(kappa=3.0, sigma=1.0, rho=1.0)],
    ids=lambda m: m.name,
)
@pytest.mark.parametrize("shape", [(72, 72), (40, 40, 40)], ids=str)
def test_structures_fare_alike_at_all_angles(model, shape):
    """Stripes and tubes at 24 angles: the loss of contrast along them varies by less than 10 %."""
    lost = [
        contrast_lost(lambda u: nd.diffuse(u, model, time=4.0), v, shape)
        for v in directions(len(shape))
    ]
    assert min(lost) > 0.1  # there is something to compare
    assert max(lost) - min(lost) < 0.1 * np.mean(lost)


def broken_line(model, angle):
    """How full the gap of a line is, and how much lies beside it, as shares of the line."""
    x = np.stack(np.meshgrid(*[np.arange(64) - 32.0] * 2, indexing="ij"))
    along, across = (
        x[0] * np.cos(angle) + x[1] * np.sin(angle),
        x[1] * np.cos(angle) - x[0] * np.sin(angle),
    )
    line = 100 * np.exp(-(across**2) / 8) * (1 - np.exp(-(along**2) / 8))
    result = nd.diffuse(line, model, time=20.0)
    on = np.abs(across) < 0.6
    full = result[on & (np.abs(along) > 10) & (np.abs(along) < 16)].mean()
    beside = result[(np.abs(np.abs(across) - 6) < 0.6) & (np.abs(along) < 12)].mean()
    return result[on & (np.abs(along) < 0.6)].mean() / full, beside / full


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_only_coherence_enhancing_closes_the_gap_of_a_line(angle):
    gap, beside = broken_line(nd.CoherenceEnhancing(kappa=1.0, rho=4.0), angle)
    assert gap > 2 / 3
    assert beside < 0.05
    for other in (
        nd.EdgeEnhancing(kappa=1.0),
        nd.PeronaMalik(kappa=1.0, sigma=1.0),
        nd.Linear(),
        nd.Hybrid(kappa=1.0, contrast=1.0),
    ):
        gap, beside = broken_line(other, angle)
        assert gap < 1 / 3 or beside > 0.5


def noisy_edge(model):
    """Steepest rise over the height of a noisy step, and the noise left right beside it."""
    step = 100.0 * (np.arange(64) >= 32)[:, None] + 10 * np.random.default_rng(0).normal(
        size=(64, 64)
    )
    result = nd.diffuse(step, model, time=10.0)
    height = result[36:40].mean() - result[24:28].mean()
    return np.diff(result[28:36].mean(1)).max() / height, (result[31].std() + result[32].std()) / 2


def test_edge_enhancing_keeps_a_step_and_smooths_along_it():
    sharp, noise = noisy_edge(nd.EdgeEnhancing(kappa=6.0))
    assert sharp > 0.9
    # A row that only smooths along itself for T = 10 keeps 10 / (8 pi T)^(1/4) of white noise.
    assert noise < 1.5 * 10 / (8 * np.pi * 10) ** 0.25
    assert (
        noisy_edge(nd.PeronaMalik(kappa=6.0, sigma=1.0))[0] < 0.75
    )  # which takes the noise off the edge by blurring it


def scene(kind):
    x = np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij"))
    r2 = x[1] ** 2 + x[2] ** 2
    shape = 100 * np.exp(-r2 / 4.5) if kind == "tube" else 100.0 * (np.abs(x[2]) < 2)
    return x, r2, shape, 8 * np.random.default_rng(0).normal(size=shape.shape)


def test_hybrid_keeps_a_thin_tube_and_clears_the_background():
    """The tube as by coherence-, the background as by edge-enhancing diffusion: neither of the two does both."""

    def left(model):
        _, r2, tube, noise = scene("tube")
        result = nd.diffuse(tube + noise, model, time=3.0)
        return result[r2 < 1].mean() / tube[r2 < 1].mean(), result[r2 > 64].std() / 8

    height, background = left(nd.Hybrid(kappa=6.0, contrast=6.0))
    assert height > 0.9
    assert background < 0.1
    assert left(nd.EdgeEnhancing(kappa=6.0, rho=0.0))[0] < 0.8
    assert left(nd.CoherenceEnhancing(kappa=6.0))[1] > 0.5


@pytest.mark.parametrize("polarity", ["bright", "dark"])
def test_vessel_enhancing_connects_a_vessel_and_only_of_its_polarity(polarity):
    sign = 1 if polarity == "bright" else -1
    x, r2, tube, noise = scene("tube")
    gap = sign * tube * (1 - 0.8 * np.exp(-(x[0] ** 2) / 4.5)) + noise

    def ratio(model):
        result = sign * nd.diffuse(gap, model, time=3.0)
        return result[(r2 < 1) & (np.abs(x[0]) < 1)].mean() / result[
            (r2 < 1) & (np.abs(x[0]) > 5)
        ].mean(), result[r2 > 64].std()

    model = nd.VesselEnhancing(gamma=10.0, thickest=2.0, polarity=polarity)
    connected, background = ratio(model)
    assert connected > 0.75  # it was 0.2 to 0.3
    assert (
        background < 0.8
    )  # and what is around is smoothed like by the heat equation: 8 / (8 pi T)^(3/4) = 0.32 of white noise
    other = nd.VesselEnhancing(
        gamma=10.0, thickest=2.0, polarity="dark" if polarity == "bright" else "bright"
    )
    assert ratio(other)[0] < 0.7


@tensor
@pytest.mark.parametrize("kind", ["flat", "plate", "point", "step", "isotropic"])
def test_degenerate_tensors_are_finite_and_keep_symmetry(model, kind):
    x = np.stack(np.meshgrid(*[np.arange(11) - 5.0] * 3, indexing="ij"))
    image = {
        "flat": np.full((11,) * 3, 7.0),
        "plate": 50.0 * (x[0] == 0),
        "point": 50.0 * ((x**2).sum(0) == 0),
        "step": 50.0 * (x[0] > 0.5),
        "isotropic": (x**2).sum(0),
    }[kind]
    for options in ({}, {"strict": True}):
        result = nd.diffuse(image, model, time=0.5, **options)
        assert np.isfinite(result).all()
        swapped = nd.diffuse(image.transpose(0, 2, 1), model, time=0.5, **options)
        np.testing.assert_allclose(
            swapped, result.transpose(0, 2, 1), rtol=0, atol=1e-3 * 50 * model.rounding_gain
        )
        if kind == "flat":
            np.testing.assert_array_equal(result, image)


@tensor
def test_four_axes_diffuse_too_but_not_strictly(model):
    image = np.random.default_rng(0).normal(size=(4, 5, 4, 5)) * 20
    if isinstance(model, nd.VesselEnhancing):
        model = nd.VesselEnhancing(thickest=1.0)
    result = nd.diffuse(image, model, time=0.05)
    assert result.mean() == pytest.approx(image.mean(), abs=1e-12)
    assert np.square(result).sum() < np.square(image).sum()
    with pytest.raises(ValueError, match="at most 3 diffusing axes"):
        nd.diffuse(image, model, time=0.05, strict=True)


def test_a_volume_of_equal_planes_gives_the_planes():
    """Edge-enhancing in 3-D as in 2-D where nothing depends on the third axis; to coherence models it is one to follow."""
    model = nd.EdgeEnhancing()
    plane = 50.0 * (np.add.outer(np.arange(24), np.arange(20)) > 20) + np.random.default_rng(
        0
    ).normal(size=(24, 20))
    flat = nd.diffuse(plane, model, time=1.0, scheme=Explicit(step=0.05))
    volume = nd.diffuse(np.stack([plane] * 5), model, time=1.0, scheme=Explicit(step=0.05))
    np.testing.assert_allclose(
        volume, np.stack([flat] * 5), rtol=0, atol=1e-4 * 50
    )  # entries are stored to 2e-6


def test_listed():
    assert {type(model) for model in TENSOR} <= set(models.BUILTIN)
