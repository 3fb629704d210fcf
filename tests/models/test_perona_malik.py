"""Perona-Malik diffusion against mathematics.

Fluxes, the textbook step, steady states, energy, orders of convergence, signatures.
"""

import functools
import itertools
import math

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import (
    DIFFUSIVITIES,
    max_explicit_step,
    noise,
    smooth_picture,
    spectral_solution,
    step_and_ramp,
    textbook_step,
)
from napari_diffusion.operators import smoothing
from napari_diffusion.schemes import FSI, RKL2, Explicit


def measured_flux(name, gradients, kappa, spacing, backend):
    """Flux between two voxels, for an array of isolated pairs with one label each."""
    image = np.stack([np.zeros_like(gradients), gradients * spacing], -1).ravel()
    labels = np.repeat(np.arange(1, gradients.size + 1), 2)
    step = 0.5 * max_explicit_step([spacing])
    model = nd.PeronaMalik(kappa=kappa, diffusivity=name)
    result = nd.diffuse(
        image,
        model,
        time=step,
        spacing=spacing,
        labels=labels,
        scheme=Explicit(step=step),
        backend=backend,
    )
    return (result - image)[::2] * spacing / step


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize(
    ("name", "at_kappa"),
    # From the formulas: 1/2, e^(-1/2), (4/5)^2, 1 - e^-3.31488, 1/sqrt(2).
    [
        ("rational", 0.5),
        ("exponential", 0.60653),
        ("tukey", 0.64),
        ("weickert", 0.96366),
        ("charbonnier", 0.70711),
    ],
)
def test_kappa_is_the_gradient_of_the_largest_flux(name, at_kappa, backend):
    kappa, spacing = 2.5, 0.7
    gradients = kappa * np.linspace(0.001, 12, 12000)
    flux = measured_flux(name, gradients, kappa, spacing, backend)
    if name == "charbonnier":
        assert (np.diff(flux) > 0).all()
        assert flux[-1] < kappa
    else:
        # The flux is flat at its maximum (curvature about 1). Rounding of 1e-15 moves the maximum
        # by 3e-8, the sampling by 1e-3.
        assert gradients[flux.argmax()] == pytest.approx(kappa, abs=1.5e-3 * kappa)
    nearest = np.abs(gradients - kappa).argmin()
    # The nearest sample is within 1e-3 kappa.
    assert flux[nearest] / gradients[nearest] == pytest.approx(at_kappa, abs=1e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.8])
@pytest.mark.parametrize("name", DIFFUSIVITIES)
@pytest.mark.parametrize(
    ("shape", "spacing"), [((31,), (0.5,)), ((19, 22), (2.0, 0.7)), ((8, 11, 9), (3.0, 1.0, 0.5))]
)
def test_one_step_is_the_textbook_step(shape, spacing, name, sigma):
    image, step = step_and_ramp(shape), 0.9 * max_explicit_step(spacing)
    model = nd.PeronaMalik(kappa=15.0, diffusivity=name, sigma=sigma)
    result = nd.diffuse(image, model, time=step, spacing=spacing, scheme=Explicit(step=step))
    expected = textbook_step(image, model, step, spacing)
    # The classic step differs by rounding. The kernel of u_sigma is truncated at 1e-3 of its
    # weight. This changes g by about 1e-3, and the change of the image by at most 2 %.
    tolerance = 1e-12 * 130 if sigma == 0 else 0.02 * np.abs(expected - image).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("name", DIFFUSIVITIES)
def test_linear_ramp_is_steady_away_from_the_border(name, sigma):
    x, y = np.meshgrid(2.0 * np.arange(50), 0.5 * np.arange(110), indexing="ij")
    image, spacing = 3 * x - 5 * y, (2.0, 0.5)
    model = nd.PeronaMalik(kappa=4.0, diffusivity=name, sigma=sigma)
    options = {
        "time": 4 * max_explicit_step(spacing),
        "spacing": spacing,
        "scheme": Explicit(step=max_explicit_step(spacing)),
    }
    halo = nd.plan(image, model, **options).halo
    inside = tuple(slice(h, n - h) for h, n in zip(halo, image.shape, strict=True))
    result = nd.diffuse(image, model, **options)
    assert image[inside].size > 100
    # Rounding of values up to 500.
    np.testing.assert_allclose(result[inside], image[inside], rtol=0, atol=1e-11)
    # The corners of the ramp change, unless g is 0 at this gradient (tukey and weickert).
    assert np.abs(result - image).max() > 1e-6 or name in ("tukey", "weickert")


@pytest.mark.parametrize("name", DIFFUSIVITIES)
def test_step_far_above_kappa_is_kept(name):
    """The change is the flux s g(s), at most 1e-6 of the height; linear diffusion moves a third."""
    height, kappa, time = 1000.0, 1.0, 4.0
    image = np.zeros((5, 40))
    image[:, 20:] = height
    result = nd.diffuse(
        image, nd.PeronaMalik(kappa=kappa, diffusivity=name), time=time, scheme="explicit"
    )
    crossed = result[:, :20].sum(1)
    # The height of 1000 kappa decreases by some kappa only, and the flux by at most 1 %.
    flux = height * DIFFUSIVITIES[name](height / kappa)
    np.testing.assert_allclose(crossed, time * flux, rtol=0.01, atol=1e-9)
    assert np.abs(result - image).max() <= (5e-3 if name == "charbonnier" else 5e-6) * height
    blurred = nd.diffuse(image, nd.Linear(), time=time)
    assert np.abs(blurred - image).max() > 0.3 * height


@pytest.mark.parametrize(
    ("shape", "spacing"), [((25, 22), (1.0, 0.6)), ((9, 12, 11), (2.0, 1.0, 0.8))]
)
def test_charbonnier_descends_its_convex_energy(shape, spacing):
    """The energy is the sum of kappa^2 (sqrt(1 + s^2/kappa^2) - 1) over faces.

    Every stable explicit step decreases it.
    """
    image, kappa = step_and_ramp(shape), 6.0
    model = nd.PeronaMalik(kappa=kappa, diffusivity="charbonnier")

    def energy(u):
        return sum(
            (kappa**2 * (np.sqrt(1 + (np.diff(u, axis=axis) / h / kappa) ** 2) - 1)).sum()
            for axis, h in enumerate(spacing)
        )

    states = nd.evolve(
        image,
        model,
        time=30 * max_explicit_step(spacing),
        spacing=spacing,
        scheme=Explicit(step=max_explicit_step(spacing)),
    )
    energies = [energy(image), *(energy(state.image) for state in states)]
    assert (np.diff(energies) < 0).all()
    assert len(energies) == 31


@pytest.mark.parametrize("name", ["rational", "exponential", "charbonnier"])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((24, 30), (2.0, 1.0)), ((10, 14, 12), (3.0, 1.0, 0.8))]
)
def test_explicit_steps_are_of_order_one_in_time(shape, spacing, name):
    image = smooth_picture(shape)
    model = nd.PeronaMalik(kappa=3.0, diffusivity=name, sigma=1.0)
    time = 8 * max_explicit_step(spacing)

    def run(count):
        return nd.diffuse(
            image, model, time=time, spacing=spacing, scheme=Explicit(step=time / count)
        )

    # Extrapolated: the error is of second order, 1e-3 of the smallest error below.
    truth = 2 * run(512) - run(256)
    errors = [np.sqrt(np.mean((run(count) - truth) ** 2)) for count in (16, 32, 64)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    # The second-order term is a few per cent at 16 steps.
    np.testing.assert_allclose(orders, 1, atol=0.05)


@pytest.mark.parametrize("name", ["rational", "exponential", "charbonnier"])
@pytest.mark.parametrize(("sizes", "lengths"), [((12,), (20.0,)), ((10, 12), (20.0, 12.0))])
def test_regularised_model_converges_to_the_continuous_solution_at_order_two(
    sizes, lengths, name, monkeypatch
):
    """The step is proportional to h^2, so that the error in time has the same order."""
    # The truncation of u_sigma would be an error that does not decrease with h.
    monkeypatch.setattr(smoothing, "TAIL", 1e-12)
    model, time = nd.PeronaMalik(kappa=9.0, diffusivity=name, sigma=1.5), 1.5
    truth = spectral_solution(lengths, smooth_picture, model, time)
    errors = []
    for refine in (2, 4, 8):
        shape = tuple(n * refine for n in sizes)
        spacing = tuple(length / n for length, n in zip(lengths, shape, strict=True))
        coarse = tuple(length / n for length, n in zip(lengths, sizes, strict=True))
        count = math.ceil(time / (0.5 * max_explicit_step(coarse)))
        scheme = Explicit(step=time / (count * refine**2))
        image = smooth_picture(shape)
        result = nd.diffuse(image, model, time=time, spacing=spacing, scheme=scheme)
        errors.append(np.sqrt(np.mean((result - truth(shape)) ** 2)))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.abs(truth(shape) - image).max() > 3  # the image has changed
    # The next term, h^4, contributes at 20 voxels per axis.
    np.testing.assert_allclose(orders, 2, atol=0.1)


# Sixteen points per axis solve the 3-D box to 2e-6 (compared with twenty).
BOXES = {"2-D": ((10, 12), (20.0, 12.0), 32), "3-D": ((8, 9, 6), (16.0, 12.0, 9.0), 16)}


@functools.cache
def charbonnier_in(box):
    _, lengths, points = BOXES[box]
    model, time = nd.PeronaMalik(kappa=9.0, diffusivity="charbonnier", sigma=1.5), 1.5
    return model, time, spectral_solution(lengths, smooth_picture, model, time, points)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("cls", [Explicit, FSI, RKL2])
def test_every_scheme_converges_to_the_continuous_solution_at_order_two_in_space(
    cls, box, monkeypatch
):
    """Voxels are anisotropic. The number of steps gives the error in time the same order."""
    monkeypatch.setattr(smoothing, "TAIL", 1e-12)
    (sizes, lengths, _), (model, time, truth) = BOXES[box], charbonnier_in(box)
    errors = []
    for refine in (2, 4):
        shape = tuple(n * refine for n in sizes)
        spacing = tuple(length / n for length, n in zip(lengths, shape, strict=True))
        scheme = {
            Explicit: Explicit(step=time / (8 * refine**2)),
            FSI: FSI(cycles=4 * refine**2),
            RKL2: RKL2(supersteps=8 * refine),
        }[cls]
        result = nd.diffuse(smooth_picture(shape), model, time=time, spacing=spacing, scheme=scheme)
        errors.append(np.sqrt(np.mean((result - truth(shape)) ** 2)))
    # The next term, h^4, contributes at 20 voxels per axis.
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "sigma"),
    [
        *itertools.product(["rational", "exponential", "tukey", "weickert"], [0.0]),
        ("exponential", 1.0),
    ],
)
def test_signature_edges_stay_and_noise_is_removed(name, sigma):
    """A step stays sharp, and noise in flat parts decreases nearly as by linear diffusion."""
    image = np.zeros((60, 64))
    image[:, 32:] = 300.0
    image += 2 * noise(image.shape)
    time = 3.0
    model = nd.PeronaMalik(kappa=25.0, diffusivity=name, sigma=sigma)
    result = nd.diffuse(image, model, time=time, scheme="explicit")
    blurred = nd.diffuse(image, nd.Linear(), time=time)
    jump = lambda u: (u[:, 32] - u[:, 31]).mean()  # noqa: E731
    assert jump(result) > 0.95 * 300
    # An edge blurred by sigma = 2.4 voxels rises by 1/(2.4 sqrt(2 pi)) of its height per voxel.
    assert jump(blurred) < 0.25 * 300
    flat = (slice(6, -6), slice(6, 20))
    assert blurred[flat].std() < 0.3 * 2
    # With kappa = 25, g >= 0.97 at three times the gradient of the noise. The noise therefore
    # decreases as by linear diffusion, up to a tenth.
    assert result[flat].std() < 1.1 * blurred[flat].std()


def test_signature_regularised_model_removes_isolated_spikes():
    """The classic model treats single bright voxels as edges; the regularised one does not."""
    image = np.zeros((48, 48))
    image[:, 24:] = 100.0
    spikes = [(10, 8), (30, 10), (20, 15)]
    for at in spikes:
        image[at] = 100.0

    def run(sigma):
        model = nd.PeronaMalik(kappa=10.0, diffusivity="exponential", sigma=sigma)
        return nd.diffuse(image, model, time=3.0, scheme="explicit")

    classic, regularised = run(0.0), run(1.5)
    for at in spikes:
        assert classic[at] > 99  # s = 10 kappa: g = exp(-50)
        assert regularised[at] < 10  # u_sigma of a spike has a gradient of 2.9 at most, below kappa
    # The gradient of u_sigma at the edge is 27: g = exp(-3.5).
    assert (regularised[:, 24] - regularised[:, 23]).min() > 75
