"""Min/max curvature flow: the condition against brute force, and where the flow stops."""

import itertools

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import noise
from napari_diffusion.backends import get_backend
from napari_diffusion.operators.curvature import ball, effective_spacing

HEIGHT = 80.0
#: Curvatures across a gradient, with which the flow goes up, down, and, in between, both ways.
CURVATURES = [(0.5, 0.2), (-0.5, -0.2), (0.05, 0.02), (-0.05, 0.02)]


def discs(radius, shape=(64, 64)):
    """A bright ball in the middle."""
    x = [np.arange(n) - (n - 1) / 2 for n in shape]
    square = sum(np.square(c) for c in np.meshgrid(*x, indexing="ij"))
    return HEIGHT * (square <= radius**2)


def area(image):
    return (image > HEIGHT / 2).sum()


def conditions(u, radius, spacing, backend):
    """Shares of an increase and of a decrease that are kept at every voxel."""
    space = effective_spacing(u.shape, spacing)
    shares = []
    for sign in (1, -1):
        out = u[None] + sign
        options = ball(radius, space), radius, space, None
        get_backend(backend, 3).min_max(u[None], out, None, 0, len(u), 0.0, *options)
        shares.append(sign * (out[0] - u))
    return shares


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.7)])
def test_condition_is_that_of_the_flow(spacing, backend):
    """On an image with a constant slope along one axis, and curvatures across it.

    The gradient has the direction of the axis where the other two coordinates are 0. Across it, the
    mean over the circle is known, and over the ball it is a sum.
    """
    radius, slope, shares = 2.0, 3.0, []
    x = np.meshgrid(*(h * (np.arange(9) - 4.0) for h in spacing), indexing="ij")
    for across, curvatures in itertools.product(range(3), CURVATURES):
        others = [i for i in range(3) if i != across]
        u = slope * x[across] + sum(c * x[i] ** 2 for c, i in zip(curvatures, others, strict=True))
        up, down = (s[4, 4, 4] for s in conditions(u, radius, spacing, backend))
        # Each coordinate is interpolated between two voxels, at a distance of up to one radius.
        places = [radius / spacing[i] for i in others]
        squares = [
            (np.floor(p) ** 2 + (p - np.floor(p)) * (2 * np.floor(p) + 1)) * spacing[i] ** 2
            for p, i in zip(places, others, strict=True)
        ]
        mean_across = np.dot(curvatures, squares) / 2
        inside = [
            np.dot(curvatures, [(k[i] * spacing[i]) ** 2 for i in others])
            for k in itertools.product(range(-4, 5), repeat=3)
            if sum((j * h) ** 2 for j, h in zip(k, spacing, strict=True)) <= radius**2
        ]
        steepness = slope**2 + sum(
            (c * spacing[i]) ** 2 for c, i in zip(curvatures, others, strict=True)
        )
        width = 0.01 * radius * np.sqrt(steepness)
        share = np.clip(0.5 + (mean_across - np.mean(inside)) / (2 * width), 0, 1)
        assert (up, down) == pytest.approx((share, 1 - share), abs=1e-9)
        shares.append(share)
    assert min(shares) == 0
    assert max(shares) == 1
    assert any(0.1 < share < 0.9 for share in shares)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_change_is_kept_whole_at_an_impulse(backend):
    """There the direction of the gradient is not defined."""
    u = np.zeros((9, 1, 9))
    u[4, 0, 4] = 1
    up, down = conditions(u, 2.0, (1.0, 1.0, 1.0), backend)
    assert (up[4, 0, 4], down[4, 0, 4]) == (1, 1)


@pytest.mark.parametrize("radius", [1.5, 4.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_signature_small_things_vanish_and_large_ones_stay(radius, sign):
    """At a time at which mean curvature removes a third of the large disc."""
    small, large = discs(radius), discs(15)
    model = nd.MinMaxCurvature(radius=2.0)
    assert sign * nd.diffuse(sign * small, model, time=40.0).max() < 0.01 * HEIGHT
    kept = area(sign * nd.diffuse(sign * large, model, time=40.0))
    assert kept > 0.9 * area(large)
    assert area(nd.diffuse(large, nd.MeanCurvature(), time=40.0)) < 0.7 * area(large)


def test_flow_stops():
    """Noise is removed within a time of 1 length²; forty times longer changes little more."""
    clean = discs(15)
    image = clean + 10 * noise(clean.shape)
    error = {
        (kind.name, time): np.sqrt(np.mean(np.square(nd.diffuse(image, kind(), time=time) - clean)))
        for kind in (nd.MinMaxCurvature, nd.MeanCurvature)
        for time in (1.0, 40.0)
    }
    before = np.sqrt(np.mean(np.square(image - clean)))
    assert error["min-max-curvature", 1.0] < 0.5 * before
    assert error["min-max-curvature", 40.0] < 0.5 * before
    assert error["mean-curvature", 40.0] > 1.5 * before


def test_balls_of_any_voxel_shape():
    """In 3-D, with voxels of 2:1:1, a small ball vanishes and a large one stays."""
    x = np.meshgrid(2 * (np.arange(18) - 8.5), *(np.arange(36) - 17.5,) * 2, indexing="ij")
    square = sum(np.square(c) for c in x)
    options = {"time": 40.0, "spacing": (2.0, 1.0, 1.0)}
    model = nd.MinMaxCurvature(radius=2.0)
    small, large = (HEIGHT * (square <= r**2) for r in (3, 14))
    assert nd.diffuse(small, model, **options).max() < 0.01 * HEIGHT
    assert area(nd.diffuse(large, model, **options)) > 0.75 * area(large)
    assert area(nd.diffuse(large, nd.MeanCurvature(), **options)) < 0.1 * area(large)


@pytest.mark.parametrize("radius", [0.09, 17.0])
def test_a_radius_far_from_the_voxel_size_is_refused(radius):
    """Below a tenth of a voxel, rounding errors would decide about the sign."""
    with pytest.raises(ValueError, match="check the units of radius and spacing"):
        nd.plan(np.zeros((8, 8)), nd.MinMaxCurvature(radius=2 * radius), time=1.0, spacing=2.0)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_gradients_whose_squares_underflow_keep_the_flow_finite(backend):
    image = (np.indices((8, 9)).sum(0) % 3 * 3e-23).astype(np.float32)
    image[0, 0] = 1  # the values of the image differ enough
    result = nd.diffuse(image, nd.MinMaxCurvature(), time=1.0, backend=backend)
    assert np.isfinite(result).all()
