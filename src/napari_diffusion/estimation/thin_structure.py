r"""Lines and sheets that fill little of the image, and the risk of losing their contrast.

The mean squared error over an image that is mostly background falls with every bit of background
noise. At its minimum a thin vessel may have lost half of its contrast. Models for thin structure
are therefore chosen among the settings that keep its contrast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.evidence import fine_axes
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import EPSILON, Probe, Sums, sure

#: Radii of the two Gaussians [voxel] whose difference shows thin structure.
NARROW, WIDE = 1.0, 3.0
#: Least difference of both on thin structure, in standard deviations of that of the noise.
MIN_CONTRAST = 5.0
#: Power of the contrast relative to that of the nearest ridge: weights beside the axis are small.
SHARPNESS = 6
#: Largest share of the contrast that may be lost.
MAX_LOSS = 0.07
#: Least number of voxels on thin structure, and their least and largest share.
MIN_VOXELS, MIN_SHARE, MAX_SHARE = 200, 1e-3, 0.5
#: Smallest contrast by which others are divided.
TINY = 1e-30


def risk_of_thin_structure(sums: Sums) -> float:
    """Sum of the mean squared errors of the image and of its thin structure [intensity²].

    Where more than `MAX_LOSS` of the contrast is lost, the risk exceeds that without a filter, and
    increases with the loss.
    """
    loss = -sums.contrast_removed
    if loss > MAX_LOSS:
        return sums.variance / sums.voxels * (2 + loss)
    return sure(sums) + sure(sums.on_structure or sums)


def mark_thin_structure(patches: Sequence[Patch], probes: Sequence[Probe]) -> list[Probe] | None:
    """Return the probes with templates that measure the contrast of thin structure.

    A narrow and a wide Gaussian differ there by more than `MIN_CONTRAST` times what noise gives.
    The result is None if there is too little thin structure, or if it is everywhere.
    """
    parts = [_template(p, q, q.image) for p, q in zip(patches, probes, strict=True)]
    voxels = sum(int((probe.deviation > 0).sum()) for probe in probes)
    marked = sum(int((template != 0).sum()) for template, _ in parts)
    if not max(MIN_VOXELS, MIN_SHARE * voxels) <= marked <= MAX_SHARE * voxels:
        return None
    scale = 1 / sum(contrast for _, contrast in parts)
    others = [_template(p, q, q.other)[0] for p, q in zip(patches, probes, strict=True)]
    return [
        replace(
            probe,
            template=(template * scale).astype(template.dtype),
            template_response=((other - template) * (scale / EPSILON)).astype(template.dtype),
        )
        for probe, (template, _), other in zip(probes, parts, others, strict=True)
    ]


def _template(patch: Patch, probe: Probe, image: FloatArray) -> tuple[FloatArray, float]:
    """Return the weights of one patch, and the contrast that they measure.

    Voxels near one that does not count have no weight.
    """
    from scipy import ndimage

    counts = probe.deviation > 0
    fine = [axis + 1 for axis in fine_axes(patch.valid.shape, patch.spacing)]

    def size(radius: float) -> list[int]:
        return [2 * round(radius) + 1 if axis in fine else 1 for axis in range(counts.ndim)]

    image = np.where(counts, image, 0)
    # At the border of a patch, directions are worse known than in the image.
    inside = ndimage.minimum_filter(counts, size(WIDE), mode="constant", cval=False)
    if not inside.any():
        return np.zeros_like(image), 0.0
    narrow, wide = (
        ndimage.gaussian_filter(image, [sigma * (axis in fine) for axis in range(counts.ndim)])
        for sigma in (NARROW, WIDE)
    )
    difference = np.abs(narrow - wide)
    # The integral of the squared difference of two Gaussians is the variance of white noise in it.
    pairs = ((1, NARROW, NARROW), (1, WIDE, WIDE), (-2, NARROW, WIDE))
    n = len(fine)
    white = sum(k * (2 * math.pi * (a**2 + b**2)) ** (-n / 2) for k, a, b in pairs)
    # Noise that neighbours share is stronger in the difference: its median shows how strong.
    typical = float(np.median(difference[inside])) / 0.6745
    level = np.maximum(math.sqrt(white) * probe.deviation, typical)
    clear = np.clip(difference / np.maximum(level, TINY) - MIN_CONTRAST, 0, 1)
    # Relative to the nearest ridge, so that every line has the same weight, mostly on its axis.
    ridge = np.maximum(ndimage.maximum_filter(difference, size(2 * NARROW)), TINY)
    template = inside * clear * np.sign(narrow - wide) * (difference / ridge) ** SHARPNESS / ridge
    return template.astype(image.dtype), float((template * (image - wide)).sum(dtype=float))
