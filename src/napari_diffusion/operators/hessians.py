"""Vessels and sheets over several scales, from which two models build their tensors.

Slopes at borders and walls are no sheets: the mirror makes a ridge or a valley of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field, OpenFaces
from napari_diffusion.operators.features import Features, gradient_unit
from napari_diffusion.operators.smoothing import TAIL, gaussian_taps

#: Voxels whose slopes are computed at once; they stay in the cache.
SLOPE_VOXELS = 1 << 14


def three_scales(thinnest: float, thickest: float) -> tuple[float, float, float]:
    """Return two scales, and their geometric mean between them; the first is the least."""
    thickest = max(thinnest, thickest)
    mean = math.sqrt(thinnest) * math.sqrt(thickest)  # the product may overflow
    return thinnest, min(max(mean, thinnest), thickest), thickest


def vessels(
    f: Features, sigmas: Sequence[float], gamma: float, polarity: str
) -> tuple[Field, Field]:
    r"""Return the weighted sum of Hessians and the largest vesselness over all scales.

    The sum is :math:`\sum_\sigma V_\sigma^4 H_\sigma`, with entries as in `Features.structure`, in
    units of `gradient_unit` (gamma). :math:`H_\sigma` is the scale-normalised Hessian,
    :math:`\sigma^2` times `Features.hessian`, and :math:`V_\sigma` its vesselness
    (`backends.reference.tensor.vesselness`).

    Parameters
    ----------
    f
        Features of the slab.
    sigmas
        Scales [length].
    gamma
        Contrast of a faint vessel [intensity].
    polarity
        ``"bright"`` or ``"dark"`` vessels.
    """
    shape, axes = (f.hi - f.lo, *f.u.shape[2:]), f.axes
    best = f.scratch.take("best", shape, f.u.dtype)
    total = f.scratch.take("total", (len(axes) * (len(axes) + 1) // 2, *shape), f.u.dtype)
    unit, first, smooth = gradient_unit(gamma), max(f.lo - 2, 0), []
    height, bright = gamma / unit, polarity == "bright"
    if f.grid.open_faces is None:
        smooth = [f.smoothed_average(s, number)[0] for number, s in enumerate(sigmas)]
        ways = axes, f.grid.spacing, [sigma**2 / unit for sigma in sigmas]
        if f.kernels.open_vessels(smooth, first, f.lo, f.hi, *ways, height, bright, total, best):
            return total, best
    total[...], best[...] = 0, 0
    for number, sigma in enumerate(sigmas):
        own = smooth[number] if smooth else f.smoothed_average(sigma)[0]
        hessian, scale = f.hessian_of(own, first), sigma**2 / unit
        f.kernels.vessels(hessian, scale, height, bright, total, best)
    return total, best


def sheets(
    f: Features, sigmas: Sequence[float], gamma: float, polarity: str
) -> tuple[Field, Field]:
    r"""Return the weighted sum of Hessians and the largest sheetness over all scales.

    The sum is :math:`\sum_\sigma P_\sigma^4 H_\sigma` as in `vessels`, with the sheetness
    :math:`P_\sigma` (`backends.reference.sheets.sheetness`) instead of the vesselness. Beside a
    border or a wall, the Hessian is without the ridge of the mirrored slope, see `MirroredSlopes`.

    Parameters
    ----------
    f
        Features of the slab.
    sigmas
        Scales [length].
    gamma
        Contrast of a faint sheet [intensity].
    polarity
        ``"bright"`` or ``"dark"`` sheets.
    """
    shape = (f.hi - f.lo, *f.u.shape[2:])
    best = f.scratch.take("best", shape, f.u.dtype)
    batch = max(1, min(SLOPE_VOXELS // max(1, math.prod(shape[1:])), len(best)))
    if f.kernels.takes_whole_fields:
        batch = max(1, len(best))
    unit, bright = gradient_unit(gamma), polarity == "bright"
    ridges = MirroredSlopes(f, max(sigmas))
    for number, sigma in enumerate(sigmas):
        smooth, first = f.smoothed_average(sigma)
        hessian = f.hessian_of(smooth, first)
        if not number:
            total = f.scratch.take("total", hessian.shape, f.u.dtype)
            total[...], best[...] = 0, 0
        for k in range(0, len(best), batch):
            planes = min(batch, len(best) - k)
            slopes = f.kernels.empty((len(f.axes), planes, *shape[1:]), f.u.dtype)
            for row, axis in enumerate(f.axes):
                lo = f.lo + k
                f.derive(smooth, first, lo, lo + planes, axis, 1, slopes[row : row + 1])
                ridges.remove(sigma, axis, k, hessian[row, k : k + planes], slopes[row])
            scales = sigma**2 / unit, sigma / unit
            f.kernels.sheets(hessian, slopes, k, *scales, gamma / unit, bright, total, best)
    return total, best


class MirroredSlopes:
    r"""Removes the ridges of mirrored slopes from second derivatives.

    .. math:: D^2 v - c\,D v, \qquad c = D^2 w / D w

    with the smoothed image v. The smoothed w is a slope of one per voxel between the border or wall
    on either side. The result is 0 where the image is affine, and the second derivative where
    the Gaussian reaches no border.

    Parameters
    ----------
    f
        Features of the slab.
    widest
        Largest standard deviation of a Gaussian [length].
    """

    def __init__(self, f: Features, widest: float) -> None:
        self._features = f
        self._distances: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        if f.grid.open_faces is not None:
            faces = f.kernels.fetch(f.grid.open_faces)
            for axis in f.axes:
                zone = len(gaussian_taps(widest / f.grid.spacing[axis], 2, TAIL))
                self._distances[axis] = _distances(faces, axis, f.lo, f.hi, zone)

    def remove(self, sigma: float, axis: int, first: int, second: Field, slope: Field) -> None:
        """Remove the ridges from a second derivative along an axis, in place.

        Parameters
        ----------
        sigma
            Standard deviation of the Gaussian [length].
        axis
            The axis.
        first
            Plane 0 of the derivatives, as a number of planes from that of the slab.
        second, slope
            Second and first derivative along the axis, shape ``space``.
        """
        f = self._features
        h, size, dtype = f.grid.spacing[axis], f.grid.shape[axis], f.u.dtype
        if axis in self._distances:
            table = (_ratios(sigma / h, 1, size) / h).astype(dtype)
            planes = slice(first, first + len(second))
            below, above = (np.minimum(d[planes], len(table) - 1) for d in self._distances[axis])
            ratio = table[below, above]
            if f.kernels.takes_whole_fields:
                factor = f.kernels.empty(second.shape, dtype)
                factor[...] = ratio
                ratio = factor
            second -= ratio * slope
            return
        ratios, first = _along(sigma, h, size, dtype), first + f.lo
        last = first + len(second)
        if f.kernels.takes_whole_fields:
            factor = f.kernels.empty(second.shape, dtype)
            own = ratios[first:last] if axis == 0 else ratios
            factor[...] = np.broadcast_to(own[_line(axis, second.ndim)], second.shape)
            second -= factor * slope
            return
        for start, stop in _parts(sigma, h, size, dtype):
            if axis == 0:
                start, stop = max(start, first), min(stop, last)
            if start < stop:
                box = (slice(None),) * axis + (slice(start, stop),)
                inner = (slice(start - first, stop - first),) if axis == 0 else box
                second[inner] -= ratios[start:stop][_line(axis, second.ndim)] * slope[inner]


def _line(axis: int, ndim: int) -> tuple[slice | None, ...]:
    """Return the index that turns a vector into a field with ``ndim`` axes along one of them."""
    return tuple(slice(None) if i == axis else None for i in range(ndim))


@lru_cache(maxsize=64)
def _along(sigma: float, h: float, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return c at every voxel of an axis without walls [1/length]."""
    table, place = _ratios(sigma / h, size, size), np.arange(size)
    below, above = (np.minimum(d, len(table) - 1) for d in (place, size - 1 - place))
    return (table[below, above] / h).astype(dtype)


@lru_cache(maxsize=64)
def _parts(sigma: float, h: float, size: int, dtype: np.dtype[Any]) -> tuple[tuple[int, int], ...]:
    """Return first voxel and end of the parts of an axis where c is not 0; few voxels are there."""
    beside = np.flatnonzero(_along(sigma, h, size, dtype))
    parts = np.split(beside, np.flatnonzero(np.diff(beside) > 1) + 1)
    return tuple((int(part[0]), int(part[-1]) + 1) for part in parts if len(part))


def _distances(
    faces: OpenFaces, axis: int, lo: int, hi: int, zone: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the distances to the wall below and above along an axis [voxel], up to ``zone``."""
    margin = zone if axis == 0 else 0
    start = max(0, lo - margin)
    is_open = (faces[start : hi + margin] & (1 << axis)) != 0
    size = is_open.shape[axis]
    below, above = np.zeros((2, *is_open.shape), np.uint8 if zone < 256 else np.int16)
    for distances, sign in ((below, -1), (above, 1)):
        reached = np.ones(is_open.shape, bool)
        for step in range(1, min(zone, size) + 1):
            # The face belongs to the voxel before it.
            shift = step if sign < 0 else step - 1
            near, far = (slice(None, size - shift), slice(shift, None))
            to, source = (far, near) if sign < 0 else (near, far)
            line, rest = (slice(None),) * axis, slice(0, shift)
            reached[(*line, to)] &= is_open[(*line, source)]
            outside = rest if sign < 0 else slice(size - shift, None)
            reached[(*line, outside)] = False
            distances += reached
    inner = slice(lo - start, hi - start)
    return below[inner], above[inner]


@lru_cache(maxsize=64)
def _ratios(sigma: float, shortest: int, longest: int) -> NDArray[np.float64]:
    """Return c by the distances to the border below and above [voxel]; the last one is far.

    Two near borders are from ``shortest`` to ``longest`` voxels apart.
    """
    zone = len(gaussian_taps(sigma, 2, TAIL))
    table = np.zeros((zone + 1, zone + 1))
    near = _ratio(sigma, 2 * zone + 2)
    table[:zone, zone] = near[:zone]
    table[zone, :zone] = -near[:zone]
    for size in range(max(1, shortest), min(longest + 1, 2 * zone)):
        below = np.arange(max(0, size - zone), min(size, zone))
        table[below, size - 1 - below] = _ratio(sigma, size)[below]
    return table


def _ratio(sigma: float, size: int) -> NDArray[np.float64]:
    """Return the ratio of both derivatives of a slope on an axis of this number of voxels."""
    half = gaussian_taps(sigma, size, TAIL)
    reach = len(half) - 1
    ramp = np.pad(np.arange(float(size)), reach + 1, mode="symmetric")
    smooth = np.convolve(ramp, np.concatenate([half[:0:-1], half]), "valid")
    rise = np.diff(smooth)  # beyond both borders, the smoothed image is mirrored, too
    first, second = (rise[1:] + rise[:-1]) / 2, np.diff(rise)
    second[np.abs(second) < 1e-12 * size] = 0
    return np.asarray(second / np.where(first > 1e-9, first, np.inf))
