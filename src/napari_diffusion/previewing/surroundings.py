"""Width of what is computed around a previewed part, so that the part is that of the whole run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.engine.halo_block import HaloBlock
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import Problem
from napari_diffusion.operators.smoothing import MAX_SIGMA_VOXELS, gaussian_taps

#: Largest difference of a part from the whole run, as a share of the intensity range.
EXACTNESS = 1e-3
#: Number of voxels of a part from which its intensity range is estimated, and the percentiles.
RANGE_SAMPLE, RANGE_PERCENTILES = 1 << 16, (1.0, 99.0)
#: Argument z at which z ierfc(z) is largest.
DEPTH_OF_LARGEST_FLUX = 0.44


def surroundings(
    problem: Problem,
    plan: Plan,
    part: HaloBlock,
    diffusivity: float,
    reach: Sequence[int],
    tail: float = EXACTNESS,
    flux: float = math.inf,
) -> list[int]:
    r"""Return the surroundings [voxel] of a part along each diffusing axis.

    .. math:: \sqrt{d^2 + r^2}, \qquad P(|X| > d) = \epsilon/m

    The distribution of X is the heat kernel of the time :math:`g T` with the largest
    ``diffusivity`` g of the model (1 for motion by curvature). :math:`\epsilon` is ``tail``,
    :math:`10^{-3}` divided by `Model.truncation_gain`; m is the number of sides on which the image
    continues, and r the ``reach`` of the features. The result is at most the exact halo.

    Beyond a side, the mirror image of the block replaces the image. This changes the part by half
    the tail of the heat kernel, times the range. The other half of the error budget is for models
    that sharpen, which amplify the difference (measured, docs/develop/decisions.md).

    With a fidelity length :math:`\ell`, the kernel of the steady state is narrower after a long
    time. On the grid it is :math:`q^{|n|}`, :math:`q = e^{-\theta}`,
    :math:`2\sinh(\theta/2) = h/(\ell\sqrt g)`, with the weight :math:`2q^{d+1}/(1+q)` beyond d.

    A bound F of the ``flux`` (`Operator.largest_flux` of an image with the range 1) narrows the
    surroundings: no more than F enters the block through its border. Diffusion with a constant
    diffusivity :math:`D \le g` carries this flux to the depth d, where the intensity changes by

    .. math:: 2 F \sqrt{T/D}\;\mathrm{ierfc}(z) = \frac{4 F T}{d}\,z\,\mathrm{ierfc}(z),
       \qquad z = \frac{d}{2\sqrt{D T}}, \qquad
       \mathrm{ierfc}(z) = \frac{e^{-z^2}}{\sqrt\pi} - z\,\mathrm{erfc}(z)

    The depth is chosen for the D of the largest change. Source: Carslaw & Jaeger 1959,
    section 2.9.
    """
    recipe_time, length = problem.recipe.time, problem.recipe.fidelity_length
    time = recipe_time * diffusivity
    sides = sum(
        (part.outer[i].start > 0) + (part.outer[i].stop < problem.shape[i]) for i in problem.axes
    )
    reaches = problem.per_diffusing_axis(reach)
    halo = []
    for axis, h, exact, r in zip(problem.axes, problem.spacing, plan.halo, reaches, strict=True):
        n = problem.shape[axis]
        sigma = math.sqrt(2 * time) / h
        wide = sigma >= min(n, MAX_SIGMA_VOXELS)
        spread = n if wide else len(gaussian_taps(sigma, n, tail / max(sides, 1))) - 1
        if length is not None and diffusivity > 0:
            rate = 2 * math.asinh(h / (2 * length * math.sqrt(diffusivity)))
            spread = min(spread, math.ceil(math.log(2 * max(sides, 1) / tail) / rate))
        if diffusivity > 0:
            limit = tail / (2 * max(sides, 1))
            spread = _flux_limited(spread, h, flux, recipe_time, diffusivity, limit)
        halo.append(min(exact, math.ceil(math.hypot(spread, r))) if n > 1 else 0)
    return halo


def _flux_limited(
    spread: int, h: float, flux: float, time: float, diffusivity: float, change: float
) -> int:
    """Return the depth [voxel], at most ``spread``, at which a flux causes at most this change."""
    if math.isinf(flux) or time == 0:
        return spread
    depths = range(1, spread)
    enough = (d for d in depths if largest_change(d * h, flux, time, diffusivity) <= change)
    return next(enough, spread)


def largest_change(depth: float, flux: float, time: float, diffusivity: float) -> float:
    """Return the largest change of the intensity at a depth by a flux through the border.

    Parameters
    ----------
    depth
        Distance from the border [length].
    flux
        Largest flux [intensity/length].
    time
        Diffusion time [length²].
    diffusivity
        Largest diffusivity.
    """
    z = max(depth / (2 * math.sqrt(diffusivity * time)), DEPTH_OF_LARGEST_FLUX)
    ierfc = math.exp(-z * z) / math.sqrt(math.pi) - z * math.erfc(z)
    return 4 * flux * time / depth * z * ierfc


def intensity_range(part: HaloBlock, image: NDArray[Any], mask: NDArray[Any] | None) -> float:
    """Return the difference of two percentiles of a part of an image, 0 without finite values.

    Bright or dark outliers do not widen it.
    """
    values = part.read(image)
    axes = max(sum(n > 1 for n in values.shape), 1)
    step = max(math.ceil((values.size / RANGE_SAMPLE) ** (1 / axes)), 1)
    sample = (slice(None, None, step),) * values.ndim
    values = values[sample]
    inside = np.isfinite(values)
    if mask is not None:
        inside &= part.crop_for_image(mask)[sample]
    chosen = values[inside]
    if not chosen.size:
        return 0.0
    low, high = np.percentile(chosen.astype(float), RANGE_PERCENTILES)
    return float(high - low)
