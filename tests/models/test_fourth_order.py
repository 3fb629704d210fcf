"""Diffusion of fourth order against mathematics: its equation, its bound, slopes and moments."""

import itertools

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import noise
from napari_diffusion.schemes import Explicit

KAPPA, LENGTH = 6.0, 1.5
each_backend = pytest.mark.parametrize("backend", ["compiled", "reference"])


def places(shape, spacing):
    return np.meshgrid(
        *(h * np.arange(n) for n, h in zip(shape, spacing, strict=True)), indexing="ij"
    )


@each_backend
@pytest.mark.parametrize(
    ("shape", "spacing", "k"),
    [((20, 24), (1.0, 0.7), (0.5, 0.9)), ((10, 12, 14), (1.2, 1.0, 0.8), (0.3, -0.5, 0.6))],
)
def test_operator_converges_to_the_equation_at_order_two(shape, spacing, k, backend):
    r"""For a plane wave, all second derivatives are functions of its phase.

    .. math:: \sum_{ij} \partial_{ij}(g\,\partial_{ij} u) = |k|^4\,
       \frac{d^2}{d\varphi^2}\bigl(-g(|k|^2 A \sin\varphi)\,A \sin\varphi\bigr)
    """
    amplitude, square = 4.0, np.sum(np.square(k))

    def flux(phase):
        wave = amplitude * np.sin(phase)
        return -wave / (1 + np.square(square * wave / KAPPA))

    errors = []
    for refine in (2, 4, 8)[: 4 - len(shape) + 1]:
        h = tuple(s / refine for s in spacing)
        phase = sum(a * x for a, x in zip(k, places([n * refine for n in shape], h), strict=True))
        u, d = amplitude * np.sin(phase + 0.3), 1e-3
        exact = flux(phase + 0.3 + d) - 2 * flux(phase + 0.3) + flux(phase + 0.3 - d)
        exact *= -(LENGTH**2) * square**2 / d**2
        model = nd.FourthOrder(kappa=KAPPA, sigma=0.0, length=LENGTH)
        step = 1e-3 * nd.plan(u, model, time=1e-9, spacing=h).max_step
        options = {"time": step, "spacing": h, "scheme": Explicit(step=step), "backend": backend}
        rate = (nd.diffuse(u, model, **options) - u) / step
        middle = tuple(slice(n // 4, n - n // 4) for n in u.shape)
        errors.append(np.sqrt(np.mean(np.square((rate - exact)[middle]))))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert orders[-1] == pytest.approx(2, abs=0.15)
    assert errors[-1] < 0.05 * np.sqrt(np.mean(np.square(exact)))


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (2.0, 1.0, 0.7)])
def test_signature_ramp_stays_a_ramp(spacing, sigma):
    """To 1e-6 of its range, up to the border and to the border of a mask; Perona-Malik bends it."""
    x = places((14, 18, 12)[: len(spacing)], spacing)
    ramp = 50 + sum(slope * c for slope, c in zip((3.0, -2.0, 1.5), x, strict=False))
    mask = sum(x) < 0.7 * np.max(sum(x))
    for options in ({}, {"mask": mask}):
        model = nd.FourthOrder(kappa=0.5, sigma=sigma)
        result = nd.diffuse(ramp, model, time=2.0, spacing=spacing, **options)
        np.testing.assert_allclose(result, ramp, rtol=0, atol=1e-6 * np.ptp(ramp))
    bent = nd.diffuse(ramp, nd.PeronaMalik(kappa=5.0, sigma=sigma), time=2.0, spacing=spacing)
    assert np.abs(bent - ramp).max() > 0.01 * np.ptp(ramp)


def test_signature_noisy_ramp_has_no_stairs():
    """Perona-Malik diffusion makes terraces with steep steps between them."""
    x = places((24, 96), (1.0, 1.0))
    image = 2.0 * x[1] + noise(x[1].shape)
    inside = (slice(2, -2), slice(8, -8))
    smooth = nd.diffuse(image, nd.FourthOrder(kappa=3.0), time=6.0)
    stairs = nd.diffuse(image, nd.PeronaMalik(kappa=1.0), time=100.0)
    slopes = [np.diff(u[inside], axis=1) for u in (smooth, stairs)]
    assert slopes[0].std() < 0.1 * 2.0
    assert slopes[0].min() > 1.0
    assert (slopes[1] < 0.5).mean() > 0.6
    assert slopes[1].max() > 5 * 2.0


def test_mean_and_mean_slope_are_kept():
    """Sums of u, and of u times each coordinate, up to rounding."""
    image = noise((13, 11, 9)) + 5
    result = nd.diffuse(image, nd.FourthOrder(kappa=2.0), time=3.0, spacing=(1.0, 2.0, 0.7))
    assert np.abs(result - image).max() > 1
    for weight in (np.ones(image.shape), *np.indices(image.shape)):
        change = np.sum((result - image) * weight)
        assert abs(change) < 1e-10 * np.sum(np.abs(image) * weight)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (2.0, 1.0, 0.7)])
def test_largest_step_is_the_sharp_bound(spacing):
    """A checkerboard is at the bound where g is 1: no growth with the largest step, then growth."""
    board = (-1.0) ** np.indices((16, 14, 12)[: len(spacing)]).sum(0)
    model = nd.FourthOrder(kappa=1e9, length=2.0)
    largest = nd.plan(board, model, time=1e-9, spacing=spacing).max_step
    assert largest == pytest.approx(1 / (8 * 4 * sum(h**-2 for h in spacing) ** 2))
    sizes = []
    for share in (1.0, 1.1):
        stage = Explicit(step=largest)
        result = nd.diffuse(board, model, time=50 * largest, spacing=spacing, scheme=stage)
        if share > 1:
            result = amplified(board, model, spacing, share * largest)
        sizes.append(np.abs(result).max())
    assert sizes[0] <= 1 + 1e-9
    assert sizes[1] > 100


def amplified(u, model, spacing, step):
    """Euler steps of a length that no scheme allows, from the change in a short step."""
    short = 1e-3 * nd.plan(u, model, time=1e-9, spacing=spacing).max_step
    for _ in range(40):
        one = nd.diffuse(u, model, time=short, spacing=spacing, scheme=Explicit(step=short))
        u = u + (one - u) * (step / short)
    return u


def test_length_sets_the_speed():
    """Waves of the wavelength 2 pi length are smoothed as by linear diffusion; half as long, 4x."""
    x = np.arange(400) * 0.1
    model = nd.FourthOrder(kappa=1e9, length=1.0)
    for wavenumber in (1.0, 2.0):
        wave = np.sin(wavenumber * x)
        middle = slice(150, 250)
        rates = [
            np.log(np.dot(u[middle], wave[middle]) / np.dot(wave[middle], wave[middle])) / -0.01
            for u in (nd.diffuse(wave, m, time=0.01, spacing=0.1) for m in (model, nd.Linear()))
        ]
        assert rates[0] / rates[1] == pytest.approx(wavenumber**2, rel=0.02)


def test_values_beside_an_edge_leave_the_range_by_a_few_per_cent():
    step = 100.0 * (np.arange(40) > 19) * np.ones((8, 1))
    result = nd.diffuse(step, nd.FourthOrder(kappa=5.0, sigma=0.5), time=2.0)
    beyond = max(result.max() - 100, -result.min())
    assert 0 < beyond < 5


def test_strict_is_refused():
    for action, strict in itertools.product((nd.diffuse, nd.plan), (True, False)):
        if not strict:
            action(np.ones((5, 6)), nd.FourthOrder(), time=0.1)
            continue
        with pytest.raises(ValueError, match="no extremum principle"):
            action(np.ones((5, 6)), nd.FourthOrder(), time=0.1, strict=True)
