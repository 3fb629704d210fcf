"""Values of an image: which of them carry noise, and how far apart the grey levels are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray

#: Least grey level, relative to the median difference of unequal neighbours, that is coarse.
COARSE_STEP = 0.5


def carries_noise(field: FloatArray) -> NDArray[np.bool_]:
    """Mark the voxels of a field ``(C, *space)`` that are finite and in no constant place.

    Cut-off background and saturated regions are constant and carry no noise. A constant place has
    a voxel whose neighbours all have its value.
    """
    from scipy import ndimage

    space = field.shape[1:]
    # Along one axis, and among counts of few photons, equal neighbours occur by chance.
    is_line = sum(n > 1 for n in space) == 1
    reach = 5 if is_line or _has_coarse_levels(field) else 3
    size = [reach if n > 1 else 1 for n in space]
    varies = np.zeros(space, bool)
    for channel in field:
        core = ndimage.maximum_filter(channel, size) <= ndimage.minimum_filter(channel, size)
        # The outermost voxels of a constant place have other neighbours, and its value.
        values = np.where(core, channel, -np.inf)
        varies |= ndimage.maximum_filter(values, size) != channel
    return np.asarray(varies & np.isfinite(field).all(axis=0))


def _has_coarse_levels(field: FloatArray) -> bool:
    """Whether the grey levels are far apart, relative to the differences along the last axis."""
    values = field[np.isfinite(field)]
    step = grey_step(values)
    if not step > 0 or field.shape[-1] < 2:
        return False
    differences = np.abs(np.diff(field, axis=-1))
    differences = differences[np.isfinite(differences) & (differences > 0)]
    return bool(differences.size and step >= COARSE_STEP * np.median(differences))


def grey_step(values: NDArray[np.floating]) -> float:
    """Smallest difference of a sample of the values; 0 if all are equal."""
    different = np.unique(values[:: max(1, values.size // 10_000)] if values.ndim == 1 else values)
    return float(np.diff(different).min()) if different.size > 1 else 0.0
