"""Classes of calm voxels of similar local mean, and the deviation of the noise in each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.evidence import (
    BAND_VARIANCE,
    Evidence,
    class_deviation,
    relative_error,
)

#: Maximum number of classes of similar local mean, and minimum number of flat voxels in a class.
MAX_CLASSES, MIN_CLASS_VOXELS = 32, 100
#: Number of voxels beyond which a class hardly gains weight: a large background is one class.
SATURATED_VOXELS = 500
#: Shares of a class that are tried between a quarter and the smallest share. Otherwise a class with
#: few calm voxels has only a hundred, which know their deviation to 22 %.
SHARES_BETWEEN = (0.12, 0.06, 0.03)
#: Maximum activity of the voxels of a class, relative to white noise. The local mean at an edge is
#: between those of the flat parts; with edges, the variance would seem to grow with the mean.
MAX_CLASS_ACTIVITY = 10.0
#: The same where there are fewer classes than this: of two, a single class of fine anatomy decides.
MANY_CLASSES, MAX_ACTIVITY_OF_FEW = 3, 4.0


class Classes(NamedTuple):
    """Flat voxels in classes of similar local mean.

    Attributes
    ----------
    mean
        Local mean of each class [intensity].
    deviation
        Standard deviation of the noise of each class [intensity].
    voxels
        Number of flat voxels of each class, bounded by `SATURATED_VOXELS`.
    error
        Relative standard error of each deviation.
    """

    mean: FloatArray
    deviation: FloatArray
    voxels: FloatArray
    error: FloatArray


def classes_by_mean(evidence: Evidence, max_activity: float = MAX_CLASS_ACTIVITY) -> Classes:
    """Group the flat voxels into classes of similar local mean.

    Classes with more than ``max_activity`` times the activity of white noise are left out.
    """
    number = min(MAX_CLASSES, evidence.mean.size // (4 * MIN_CLASS_VOXELS))
    if number < 1:
        return Classes(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
    quantiles = np.quantile(evidence.mean, np.linspace(0, 1, number + 1))
    # A dark background becomes one class, not most classes: its means differ by noise alone.
    extent = float(np.subtract(*np.quantile(evidence.mean, (0.995, 0.005))))
    min_width = extent / MAX_CLASSES
    kept = [float(quantiles[0])]
    for bound in quantiles[1:]:
        if bound - kept[-1] >= min_width:
            kept.append(float(bound))
    bounds = np.array([*kept[: max(1, len(kept) - 1)], max(float(quantiles[-1]), kept[0])])
    which = np.clip(np.searchsorted(bounds, evidence.mean, side="right") - 1, 0, len(bounds) - 2)
    rows = []
    band = BAND_VARIANCE.get(evidence.axis_count, BAND_VARIANCE[3])
    for index in range(max(len(bounds) - 1, 1)):
        own = which == index
        flat = evidence.calm(own, max_activity, MIN_CLASS_VOXELS, SHARES_BETWEEN)
        if int(flat.sum()) < MIN_CLASS_VOXELS:
            continue
        deviation = class_deviation(evidence.residual[flat], evidence.step)
        flat = evidence.widened(flat, band * deviation**2, own)
        deviation, count = class_deviation(evidence.residual[flat], evidence.step), int(flat.sum())
        if deviation > 0:
            rows.append((float(evidence.mean[flat].mean()), deviation, count))
    table = np.array(rows).reshape(-1, 3)
    voxels = table[:, 2] * SATURATED_VOXELS / (table[:, 2] + SATURATED_VOXELS)
    errors = [relative_error(int(count), evidence.axis_count) for count in table[:, 2]]
    return Classes(table[:, 0], table[:, 1], voxels, np.array(errors))
