"""Min/max curvature flow: the condition that keeps changes of one sign at each voxel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.reference.face_sums import part_along
from napari_diffusion.backends.reference.stages import MIN_GRADIENT
from napari_diffusion.core.arrays import Field, OpenFaces

#: Width of the continuous switch between both signs, as a share of radius times slope.
SOFTNESS = 0.01
#: Shortest projection of an axis, squared; the direction of a shorter one is lost in rounding.
MIN_PROJECTION = 1e-12


def min_max(
    u: Field,
    out: Field,
    previous: Field | None,
    lo: int,
    hi: int,
    momentum: float,
    ball: NDArray[np.int64],
    radius: float,
    spacing: Sequence[float],
    faces: OpenFaces | None,
) -> None:
    r"""Keep the changes of one sign on planes ``lo:hi``, and add the momentum.

    .. math:: out = u + m\,(u - u_{prev}) + (1 - q + q\,p) \max(d, 0) + (1 - q\,p) \min(d, 0),
       \qquad d = out - u

    .. math:: p = \tfrac12 + \frac{u_\perp - \bar u}{2\,\delta} \text{ in } [0, 1], \qquad
       \delta = 0.01\,R\,\sqrt{S}, \qquad
       S = \tfrac12 \sum_i \bigl((D_i^+ u)^2 + (D_i^- u)^2\bigr)

    :math:`q = \min(2 |\nabla u|^2/S, 1)`, with central differences, is 1 at an edge, and 0 where
    the direction of the gradient is not defined, as at the voxel of an impulse.
    :math:`\bar u` is the mean over the ``ball``. The mean across the gradient is

    .. math:: u_\perp = \frac{\sum_i |t_i|^2\,\bigl(u(x + R\,\hat t_i) + u(x - R\,\hat t_i)\bigr)}
       {2 \sum_i |t_i|^2}, \qquad t_i = e_i - n\,n_i, \qquad n = \nabla u / |\nabla u|

    with the projections :math:`t_i` of the axes :math:`e_i` on the plane across the gradient, and
    linear interpolation. No axis is preferred. Up to third derivatives, the sum is the mean over
    the circle, or in 2-D the pair of points, across the gradient.

    A voxel at an offset is reached by steps from voxel to voxel along the axes. A step through the
    border or a closed face is not made. Where the way depends on the order of the axes, the mean
    over all orders is taken.

    Parameters
    ----------
    u, out
        Field before the stage, and after the stage without momentum; ``out`` is changed.
    previous
        Planes ``lo:hi`` of the field of the stage before ``u``; ``None`` without momentum.
    lo, hi
        Range of planes.
    momentum
        Factor m.
    ball
        Offsets of the voxels of the ball, shape (n, axes).
    radius
        Radius R [length].
    spacing
        Voxel size [length], infinite along axes of one voxel.
    faces
        Open faces, ``None`` where all are open.
    """
    reach = [math.ceil(radius / h) for h in spacing]
    first, last = max(lo - max(reach[0], 1), 0), min(hi + max(reach[0], 1), u.shape[1])
    inner = slice(lo - first, hi - first)
    part_faces = None if faces is None else faces[first:last]
    in_ball = set(map(tuple, ball.tolist()))
    for channel, result in zip(u[:, first:last], out[:, lo:hi], strict=True):
        centre = channel[inner]
        points, weights, slope, edge = _points(channel, inner, radius, spacing, part_faces)
        difference = np.zeros_like(centre)
        ways = [axis for axis, r in enumerate(reach) if r]
        for offset, rise in _rises(channel, inner, ways, reach, part_faces).items():
            share = np.zeros_like(centre)
            for point, weight in zip(points, weights, strict=True):
                hat = weight
                for axis in ways:
                    hat = hat * np.maximum(1 - np.abs(point[axis] - offset[axis]), 0)
                share += hat
            share -= u.dtype.type((offset in in_ball) / len(ball))
            difference += share * rise
        width = np.maximum(u.dtype.type(2 * SOFTNESS * radius) * slope, u.dtype.type(MIN_GRADIENT))
        with np.errstate(over="ignore"):
            upward = np.clip(difference / width + u.dtype.type(0.5), 0, 1)
        change = result - centre
        change *= 1 - edge * np.where(change > 0, 1 - upward, upward)
        if previous is not None:
            change += u.dtype.type(momentum) * (centre - previous[0])
            previous = previous[1:]
        np.add(centre, change, out=result)


def _points(
    channel: Field,
    inner: slice,
    radius: float,
    spacing: Sequence[float],
    faces: OpenFaces | None,
) -> tuple[list[list[Field]], list[Field], Field, Field]:
    """Return points across the gradient in voxels, their weights of sum one, the slope, and q."""
    t = channel.dtype.type
    axes = [axis for axis, h in enumerate(spacing) if h < math.inf]
    gradient, squares = [], np.zeros_like(channel[inner])
    for axis in axes:
        up = (_moved(channel, axis, 1, faces) - channel)[inner] * t(1 / spacing[axis])
        down = (channel - _moved(channel, axis, -1, faces))[inner] * t(1 / spacing[axis])
        gradient.append(t(0.5) * (up + down))
        squares += t(0.5) * (np.square(up) + np.square(down))
    length = np.sqrt(sum(map(np.square, gradient), np.zeros_like(squares)))
    longest = np.maximum(length, t(MIN_GRADIENT))
    for g in gradient:  # whose squares may underflow
        longest = np.maximum(longest, np.abs(g))
    normal = [g / longest for g in gradient]
    points, weights = [], []
    for i in range(len(axes)):
        projection = [t(i == j) - n * normal[i] for j, n in enumerate(normal)]
        weight = sum(map(np.square, projection[1:]), np.square(projection[0]))
        scale = t(radius) / np.sqrt(np.maximum(weight, t(MIN_PROJECTION)))
        for sign in (1, -1):
            point = [np.zeros_like(squares)] * len(spacing)
            for axis, entry in zip(axes, projection, strict=True):
                bound = t(radius / spacing[axis])
                point[axis] = np.clip(entry * scale * t(sign / spacing[axis]), -bound, bound)
            points.append(point)
            weights.append(weight)
    total = np.maximum(sum(weights[1:], weights[0]) if weights else squares, t(MIN_PROJECTION))
    slope = np.sqrt(squares)
    edge = np.minimum(t(2) * np.square(length / np.maximum(slope, t(MIN_GRADIENT))), t(1))
    return points, [weight / total for weight in weights], slope, edge


def _rises(
    channel: Field, inner: slice, ways: list[int], reach: Sequence[int], faces: OpenFaces | None
) -> dict[tuple[int, ...], Field]:
    """Return the values at all offsets minus those at the voxels, as means over orders of axes."""
    centre = channel[inner]
    orders = list(itertools.permutations(ways)) if faces is not None else [tuple(ways)]
    rises: dict[tuple[int, ...], Field] = {}
    for order in orders:
        for offset, values in _walks(channel, order, reach, faces):
            rise = (values[inner] - centre) / len(orders)
            rises[offset] = rises[offset] + rise if offset in rises else rise
    return rises


def _walks(
    channel: Field, order: tuple[int, ...], reach: Sequence[int], faces: OpenFaces | None
) -> Iterator[tuple[tuple[int, ...], Field]]:
    """Yield all offsets, and the values there, reached along the axes in this order."""
    if not order:
        yield (0,) * len(reach), channel
        return
    # The way ends with the last axis, so that the field is moved along this axis first.
    axis = order[-1]
    for sign in (1, -1):
        moved = channel
        for distance in range(0 if sign > 0 else 1, reach[axis] + 1):
            if distance:
                moved = _moved(moved, axis, sign, faces)
            for offset, values in _walks(moved, order[:-1], reach, faces):
                yield (*offset[:axis], sign * distance, *offset[axis + 1 :]), values


def _moved(values: Field, axis: int, sign: int, faces: OpenFaces | None) -> Field:
    """Return the values of the neighbours along an axis, or of the voxel itself behind a wall."""
    moved, ndim = values.copy(), values.ndim
    near, far = part_along(axis, ndim, slice(None, -1)), part_along(axis, ndim, slice(1, None))
    to, source = (near, far) if sign > 0 else (far, near)
    if faces is None:
        moved[to] = values[source]
    else:
        is_open = (faces[near] & (1 << axis)) != 0
        moved[to] = np.where(is_open, values[source], values[to])
    return moved
