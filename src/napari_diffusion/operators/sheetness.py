"""Sheets over several scales, from which membrane-enhancing diffusion builds its tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_diffusion.core.arrays import Field
from napari_diffusion.operators.features import Features, gradient_unit
from napari_diffusion.operators.mirrored_slopes import MirroredSlopes

#: Voxels whose slopes are computed at once; they stay in the cache.
SLOPE_VOXELS = 1 << 14


def sheets(
    f: Features, sigmas: Sequence[float], gamma: float, polarity: str
) -> tuple[Field, Field]:
    r"""Return the weighted sum of Hessians and the largest sheetness over all scales.

    The sum is :math:`\sum_\sigma P_\sigma^4 H_\sigma` as in `Features.vessels`, with the sheetness
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
