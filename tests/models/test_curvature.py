"""Curvature flows against mathematics.

Order of the discretisation, shrinking circles and spheres, contrast invariance, straight edges.
"""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import DIFFUSIVITIES, max_explicit_step, noise, step_and_ramp
from napari_diffusion.schemes import Explicit


def coordinates(lengths, spacing):
    """Voxel centres of a box around the origin [length]."""
    counts = [round(length / h) for length, h in zip(lengths, spacing, strict=True)]
    axes = [h * (np.arange(n) - (n - 1) / 2) for n, h in zip(counts, spacing, strict=True)]
    return np.meshgrid(*axes, indexing="ij")


def order(errors):
    return np.log2(np.divide(errors[:-1], errors[1:]))


def wave(x):
    """An image without flat parts, its gradient and its Hessian."""
    k = np.array([0.31, -0.23, 0.17])[: len(x)]
    phase = np.tensordot(k, x, 1) + 0.4
    value = 5 * x[0] + 3 * x[-1] + 8 * np.sin(phase)
    slope = 8 * np.cos(phase)[None] * k.reshape(-1, *[1] * len(x))
    slope[0] += 5
    slope[-1] += 3
    outer = np.multiply.outer(k, k).reshape(len(k), len(k), *[1] * len(x))
    return value, slope, -8 * np.sin(phase)[None, None] * outer


def middle(shape):
    """The middle half of an image along every axis."""
    return tuple(slice(n // 4, n - n // 4) for n in shape)


def rms(values):
    return np.sqrt(np.mean(values**2))


KAPPA = 4.0
#: phi(s) and its derivative in u_t = m div(phi grad u), with m = |grad u| for motion of level sets.
MODELS = {
    nd.MeanCurvature(): (lambda s: 1 / s, lambda s: -1 / s**2),
    nd.ModifiedCurvature(kappa=KAPPA): (
        lambda s: np.exp(-(s**2) / (2 * KAPPA**2)) / s,
        lambda s: -np.exp(-(s**2) / (2 * KAPPA**2)) * (1 / s**2 + 1 / KAPPA**2),
    ),
    nd.ModifiedCurvature(kappa=KAPPA, diffusivity="rational"): (
        lambda s: 1 / (s + s**3 / KAPPA**2),
        lambda s: -(1 + 3 * s**2 / KAPPA**2) / (s + s**3 / KAPPA**2) ** 2,
    ),
    nd.TotalVariation(kappa=KAPPA, epsilon=0.5): (
        lambda s: KAPPA / np.sqrt(s**2 + KAPPA**2 / 4),
        lambda s: -KAPPA * s / np.sqrt(s**2 + KAPPA**2 / 4) ** 3,
    ),
}


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize(
    ("lengths", "spacing"),
    [((24.0, 16.0), (2.0, 1.0)), ((16.0, 16.0), (1.0, 1.0)), ((16.0, 12.0, 8.0), (4.0, 1.0, 1.0))],
)
@pytest.mark.parametrize(
    "model", MODELS, ids=lambda model: f"{model.name}-{getattr(model, 'diffusivity', '')}"
)
def test_operator_converges_to_the_equation_at_order_two(model, lengths, spacing, backend):
    phi, derivative = MODELS[model]
    errors = []
    for refine in (2, 4, 8) if len(lengths) == 2 else (1, 2, 4):
        h = tuple(s / refine for s in spacing)
        x = coordinates(lengths, h)
        u, slope, hessian = wave(x)
        s = np.sqrt((slope**2).sum(0))
        full = np.broadcast_to(hessian, (len(x), len(x), *u.shape))
        along = np.einsum("i...,ij...,j...->...", slope, full, slope)
        exact = phi(s) * sum(hessian[i, i] for i in range(len(x))) + derivative(s) * along / s
        exact *= 1 if model.conservative else s
        step = 1e-3 * max_explicit_step(h)
        scheme = Explicit(step=step)
        result = nd.diffuse(u, model, time=step, spacing=h, scheme=scheme, backend=backend)
        errors.append(rms(((result - u) / step - exact)[middle(u.shape)]))
    np.testing.assert_allclose(order(errors)[-1], 2, atol=0.1)  # the next term is of h^4
    assert errors[-1] < 0.05 * np.sqrt(np.mean(exact**2))


@pytest.mark.parametrize(
    "model",
    [
        nd.MeanCurvature(),
        nd.ModifiedCurvature(kappa=20.0),
        nd.TotalVariation(kappa=KAPPA, epsilon=0.5),
    ],
    ids=lambda model: model.name,
)
def test_explicit_steps_are_of_order_one_in_time(model):
    """For modified curvature all gradients are below kappa; above, the model is ill posed."""
    spacing = (1.5, 1.0)
    image, time = wave(coordinates((36.0, 24.0), spacing))[0], 8 * max_explicit_step(spacing)

    def run(count):
        scheme = Explicit(step=time / count)
        result = nd.diffuse(image, model, time=time, spacing=spacing, scheme=scheme)
        return result[middle(image.shape)]

    truth = 2 * run(1024) - run(512)  # extrapolated: the error is of second order
    errors = [rms(run(count) - truth) for count in (32, 64, 128)]
    # The second-order term is a few per cent at 32 steps.
    np.testing.assert_allclose(order(errors), 1, atol=0.05)
    assert errors[0] > 1e-5


@pytest.mark.parametrize(
    ("lengths", "spacing", "backend"),
    [
        ((60.0, 60.0), (1.0, 1.0), "compiled"),
        ((60.0, 60.0), (2.0, 1.0), "compiled"),
        ((60.0, 60.0), (0.5, 2.0), "reference"),
    ],
)
def test_circles_shrink_by_twice_the_time_in_squared_radius(lengths, spacing, backend):
    """Every level set moves by r² = r0² - 2T, so that exp(-r²/2s²) decreases by exp(-T/s²)."""
    check_spheres(lengths, spacing, time=30.0, width=12.0, backend=backend)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.5)])
def test_spheres_shrink_twice_as_fast_as_circles(spacing):
    check_spheres((36.0, 36.0, 36.0), spacing, time=6.0, width=10.0, backend="compiled")


def check_spheres(lengths, spacing, time, width, backend):
    x = coordinates(lengths, spacing)
    r2 = sum(c**2 for c in x)
    image = 100 * np.exp(-r2 / (2 * width**2))
    result = nd.diffuse(image, nd.MeanCurvature(), time=time, spacing=spacing, backend=backend)
    # Change of the squared radius of the level set through each voxel.
    change = 2 * width**2 * np.log(result / image)
    # The centre has no direction, and the border deflects the level sets. Between them the error of
    # the gradient is h²/r².
    ring = (r2 > (3 * max(spacing)) ** 2) & (r2 < (0.3 * min(lengths)) ** 2)
    assert ring.sum() > 100
    np.testing.assert_allclose(change[ring].mean(), -2 * (len(lengths) - 1) * time, rtol=0.01)
    assert np.abs(image - result)[ring].max() > 3


def test_mean_curvature_commutes_with_changes_of_contrast():
    """It does so exactly for u -> a u + b, also with a < 0, and to order two for nonlinear maps."""
    model, image = nd.MeanCurvature(), step_and_ramp((24, 21)) + noise((24, 21))
    run = lambda u: nd.diffuse(u, model, time=3.0, spacing=(2.0, 1.0))  # noqa: E731
    # Up to rounding.
    np.testing.assert_allclose(run(7 - 3 * image), 7 - 3 * run(image), rtol=0, atol=1e-11)
    errors = []
    for refine in (1, 2, 4):
        h = (1.0 / refine, 0.5 / refine)
        u = wave(coordinates((24.0, 16.0), h))[0]
        bend = lambda u: np.exp(u / 60) + (u / 100) ** 3  # noqa: E731
        step = 0.2 * max_explicit_step(h)
        options = {"time": 1.0, "spacing": h, "scheme": Explicit(step=step)}
        difference = nd.diffuse(bend(u), model, **options) - bend(nd.diffuse(u, model, **options))
        errors.append(rms(difference[middle(u.shape)]))
    np.testing.assert_allclose(order(errors), 2, atol=0.2)
    # Linear diffusion, which is not invariant, for comparison.
    blur = lambda u: nd.diffuse(u, nd.Linear(), time=1.0, spacing=h)  # noqa: E731
    linear = blur(bend(u)) - bend(blur(u))
    assert rms(linear[8:-8]) > 20 * errors[-1]


def test_signature_mean_curvature_keeps_straight_edges_and_removes_small_discs():
    """At the time r²/2 = 18 a disc of radius 6 has vanished, and a straight edge is unchanged."""
    height, time = 80.0, 20.0
    edge = np.repeat(height / (1 + 2.5 ** -np.arange(-19.5, 20)), 40).reshape(40, 40)
    result = nd.diffuse(edge, nd.MeanCurvature(), time=time)
    np.testing.assert_allclose(result, edge, rtol=0, atol=1e-3)  # the profile ends at 1e-6
    x = coordinates((40.0, 40.0), (1.0, 1.0))
    disc = height * (x[0] ** 2 + x[1] ** 2 <= 36)
    # The grid spreads the outline over some voxels, and their level sets vanish at different times.
    # The middle level set vanishes at the predicted time.
    top = [nd.diffuse(disc, nd.MeanCurvature(), time=t).max() for t in (0.85 * 18, 1.15 * 18)]
    assert top[0] > height / 2 > top[1]
    # An edge of one voxel widens until neighbouring slopes have the ratio of the limiter.
    step = height * (x[0] > 0)
    early, late = (nd.diffuse(step, nd.MeanCurvature(), time=t) for t in (time, 2 * time))
    np.testing.assert_allclose(late, early, rtol=0, atol=1e-3 * height)
    assert np.diff(late, axis=0).max() > 0.3 * height


def test_signature_modified_curvature_keeps_steep_edges():
    """The disc that curvature alone removes is kept if its edge is far above kappa."""
    x = coordinates((40.0, 40.0), (1.0, 1.0))
    disc = 80.0 * (x[0] ** 2 + x[1] ** 2 <= 36)

    def run(kappa):
        return nd.diffuse(disc, nd.ModifiedCurvature(kappa=kappa), time=1.15 * 18)

    np.testing.assert_allclose(run(8.0), disc, rtol=0, atol=1e-6)  # g = exp(-50)
    assert run(8000.0).max() < 80 / 2


@pytest.mark.parametrize("name", DIFFUSIVITIES)
def test_modified_curvature_with_g_of_one_is_mean_curvature(name):
    """At gradients of a millionth of kappa every g is 1 to 1e-12, charbonnier's to 5e-13."""
    image = step_and_ramp((24, 21))
    options = {"time": 2.0, "spacing": (1.0, 0.7), "backend": "reference"}
    modified = nd.diffuse(image, nd.ModifiedCurvature(kappa=1e8, diffusivity=name), **options)
    mean = nd.diffuse(image, nd.MeanCurvature(), **options)
    np.testing.assert_allclose(modified, mean, rtol=0, atol=1e-9)


def test_channels_share_one_geometry_but_no_values():
    """With a constant second channel, the first one moves as alone, and the constant is kept."""
    image = np.stack([step_and_ramp((20, 22)), np.full((20, 22), 4.0)])
    result = nd.diffuse(image, nd.MeanCurvature(), time=2.0, channel_axis=0)
    np.testing.assert_array_equal(result[1], image[1])
    alone = nd.diffuse(image[0], nd.MeanCurvature(), time=2.0)
    np.testing.assert_allclose(result[0], alone, rtol=0, atol=1e-11)  # the weights cancel
