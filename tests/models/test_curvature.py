"""What curvature flows must do by mathematics: shrinking spheres, contrast invariance, straight edges, and the operator itself."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import DIFFUSIVITIES, bound, noise, scene
from napari_diffusion.schemes import Explicit


def coordinates(lengths, spacing):
    """Voxel centres of a box around the origin [length]."""
    axes = [
        h * (np.arange(round(length / h)) - (round(length / h) - 1) / 2)
        for length, h in zip(lengths, spacing, strict=True)
    ]
    return np.meshgrid(*axes, indexing="ij")


def order(errors):
    return np.log2(np.divide(errors[:-1], errors[1:]))


def wave(x):
    """A picture without flat parts, its gradient and its Hessian."""
    k = np.array([0.31, -0.23, 0.17])[: len(x)]
    phase = np.tensordot(k, x, 1) + 0.4
    value = 5 * x[0] + 3 * x[-1] + 8 * np.sin(phase)
    slope = 8 * np.cos(phase)[None] * k.reshape(-1, *[1] * len(x))
    slope[0] += 5
    slope[-1] += 3
    return (
        value,
        slope,
        -8
        * np.sin(phase)[None, None]
        * np.multiply.outer(k, k).reshape(len(k), len(k), *[1] * len(x)),
    )


KAPPA = 4.0
MODELS = {  # phi(s) and its derivative in u_t = m div(phi grad u), m = |grad u| for motion of level sets
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
def test_the_operator_is_the_equations_to_order_two(model, lengths, spacing, backend):
    phi, derivative = MODELS[model]
    errors = []
    for refine in (2, 4, 8) if len(lengths) == 2 else (1, 2, 4):
        h = tuple(s / refine for s in spacing)
        x = coordinates(lengths, h)
        u, slope, hessian = wave(x)
        s = np.sqrt((slope**2).sum(0))
        along = np.einsum(
            "i...,ij...,j...->...",
            slope,
            np.broadcast_to(hessian, (len(x), len(x), *u.shape)),
            slope,
        )
        exact = phi(s) * sum(hessian[i, i] for i in range(len(x))) + derivative(s) * along / s
        exact *= 1 if model.conservative else s
        step = 1e-3 * bound(h)
        found = (
            nd.diffuse(u, model, time=step, spacing=h, scheme=Explicit(step=step), backend=backend)
            - u
        ) / step
        inside = tuple(slice(n // 4, n - n // 4) for n in u.shape)
        errors.append(np.sqrt(np.mean((found - exact)[inside] ** 2)))
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
    """Of modified curvature where all gradients are below kappa: beyond, it is ill posed, as every model that sharpens."""
    spacing = (1.5, 1.0)
    image, time = wave(coordinates((36.0, 24.0), spacing))[0], 8 * bound(spacing)
    inside = tuple(slice(n // 4, n - n // 4) for n in image.shape)
    run = lambda count: nd.diffuse(
        image, model, time=time, spacing=spacing, scheme=Explicit(step=time / count)
    )[inside]
    truth = 2 * run(1024) - run(512)  # extrapolated: its own error is of second order
    errors = [np.sqrt(np.mean((run(count) - truth) ** 2)) for count in (32, 64, 128)]
    np.testing.assert_allclose(
        order(errors), 1, atol=0.05
    )  # the second-order term is a few per cent at 32 steps
    assert errors[0] > 1e-5


@pytest.mark.parametrize(
    ("lengths", "spacing", "backend"),
    [
        ((60.0, 60.0), (1.0, 1.0), "compiled"),
        ((60.0, 60.0), (2.0, 1.0), "compiled"),
        ((60.0, 60.0), (0.5, 2.0), "reference"),
    ],
)
def test_circles_shrink_as_the_square_of_their_radius(lengths, spacing, backend):
    """r² = r0² - 2T for every level set: exp(-r²/2s²) falls by the factor exp(-T/s²) wherever the border has not been felt."""
    check_spheres(lengths, spacing, time=30.0, width=12.0, backend=backend)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.5)])
def test_spheres_shrink_twice_as_fast(spacing):
    check_spheres((36.0, 36.0, 36.0), spacing, time=6.0, width=10.0, backend="compiled")


def check_spheres(lengths, spacing, time, width, backend):
    x = coordinates(lengths, spacing)
    r2 = sum(c**2 for c in x)
    image = 100 * np.exp(-r2 / (2 * width**2))
    result = nd.diffuse(image, nd.MeanCurvature(), time=time, spacing=spacing, backend=backend)
    shrunk = (
        r2 + 2 * width**2 * np.log(result / image) - r2
    )  # change of the squared radius of the level set through each voxel
    # At the centre there is no direction, and the border turns the level sets; between them h²/r² is the error of the gradient.
    seen = (r2 > (3 * max(spacing)) ** 2) & (r2 < (0.3 * min(lengths)) ** 2)
    assert seen.sum() > 100
    np.testing.assert_allclose(shrunk[seen].mean(), -2 * (len(lengths) - 1) * time, rtol=0.01)
    assert np.abs(image - result)[seen].max() > 3


def test_any_change_of_contrast_commutes_with_mean_curvature():
    """Exactly for u -> a u + b, the negative included; for a bent scale as the grid resolves it, to order two."""
    model, picture = nd.MeanCurvature(), scene((24, 21)) + noise((24, 21))
    run = lambda u: nd.diffuse(u, model, time=3.0, spacing=(2.0, 1.0))  # noqa: E731
    np.testing.assert_allclose(
        run(7 - 3 * picture), 7 - 3 * run(picture), rtol=0, atol=1e-11
    )  # rounding
    errors = []
    for refine in (1, 2, 4):
        h = (1.0 / refine, 0.5 / refine)
        u = wave(coordinates((24.0, 16.0), h))[0]
        bend = lambda u: np.exp(u / 60) + (u / 100) ** 3  # noqa: E731
        step = 0.2 * bound(h)
        options = {"time": 1.0, "spacing": h, "scheme": Explicit(step=step)}
        apart = nd.diffuse(bend(u), model, **options) - bend(nd.diffuse(u, model, **options))
        errors.append(
            np.sqrt(np.mean(apart[tuple(slice(n // 4, n - n // 4) for n in u.shape)] ** 2))
        )
    np.testing.assert_allclose(order(errors), 2, atol=0.2)
    linear = nd.diffuse(bend(u), nd.Linear(), time=1.0, spacing=h) - bend(
        nd.diffuse(u, nd.Linear(), time=1.0, spacing=h)
    )
    assert (
        np.sqrt(np.mean(linear[8:-8] ** 2)) > 20 * errors[-1]
    )  # what linear diffusion, which is not invariant, does


def test_signature_straight_edges_stay_and_small_things_of_the_same_contrast_go():
    """At the time r²/2 = 18 a disc of radius 6 is gone; a straight edge of its height has moved nowhere and is as steep as at first."""
    height, time = 80.0, 20.0
    edge = np.repeat(height / (1 + 2.5 ** -np.arange(-19.5, 20)), 40).reshape(40, 40)
    np.testing.assert_allclose(
        nd.diffuse(edge, nd.MeanCurvature(), time=time), edge, rtol=0, atol=1e-3
    )  # its ends, cut off at 1e-6
    x = coordinates((40.0, 40.0), (1.0, 1.0))
    disc = height * (x[0] ** 2 + x[1] ** 2 <= 36)
    # The grid spreads its outline over some voxels, whose levels go at different times; the middle one goes at its own.
    left = [nd.diffuse(disc, nd.MeanCurvature(), time=t).max() for t in (0.85 * 18, 1.15 * 18)]
    assert left[0] > height / 2 > left[1]
    step = height * (
        x[0] > 0
    )  # an edge of one voxel widens to slopes in the ratio of the limiter, and no further
    early, late = (nd.diffuse(step, nd.MeanCurvature(), time=t) for t in (time, 2 * time))
    np.testing.assert_allclose(late, early, rtol=0, atol=1e-3 * height)
    assert np.diff(late, axis=0).max() > 0.3 * height


def test_signature_modified_curvature_keeps_what_is_steep():
    """The disc that curvature alone removes stays where its edge is far above kappa, and goes where it is below."""
    x = coordinates((40.0, 40.0), (1.0, 1.0))
    disc = 80.0 * (x[0] ** 2 + x[1] ** 2 <= 36)
    run = lambda kappa: nd.diffuse(disc, nd.ModifiedCurvature(kappa=kappa), time=1.15 * 18)  # noqa: E731
    np.testing.assert_allclose(run(8.0), disc, rtol=0, atol=1e-6)  # g = exp(-50)
    assert run(8000.0).max() < 80 / 2


@pytest.mark.parametrize("name", DIFFUSIVITIES)
def test_a_diffusivity_of_one_is_mean_curvature(name):
    """At gradients of a millionth of kappa every g is 1 to 1e-12, charbonnier's to 5e-13."""
    image = scene((24, 21))
    run = lambda model: nd.diffuse(image, model, time=2.0, spacing=(1.0, 0.7), backend="reference")  # noqa: E731
    np.testing.assert_allclose(
        run(nd.ModifiedCurvature(kappa=1e8, diffusivity=name)),
        run(nd.MeanCurvature()),
        rtol=0,
        atol=1e-9,
    )


def test_channels_move_by_their_common_geometry():
    """Two channels with one edge between them: the constant one has no geometry of its own, and takes none of the other's values."""
    image = np.stack([scene((20, 22)), np.full((20, 22), 4.0)])
    result = nd.diffuse(image, nd.MeanCurvature(), time=2.0, channel_axis=0)
    np.testing.assert_array_equal(result[1], image[1])
    np.testing.assert_allclose(
        result[0], nd.diffuse(image[0], nd.MeanCurvature(), time=2.0), rtol=0, atol=1e-11
    )  # weights cancel
