"""Estimators: pure functions from arrays to numbers: the noise of an image, and the risk of a filtered one."""

from __future__ import annotations

from napari_diffusion.estimate.kinds import KINDS, Kind, Noise, estimate_noise
from napari_diffusion.estimate.noise import Evidence, busy, calmer, carries_noise, fine_axes, gather
from napari_diffusion.estimate.risk import (
    CRITERIA,
    EPSILON,
    MOSTLY,
    Probe,
    Sums,
    careful,
    disturbed,
    hiding,
    mean_squared_error,
    noise_left,
    noise_share,
    sure,
    typical_share,
)

__all__ = [
    "CRITERIA",
    "EPSILON",
    "KINDS",
    "MOSTLY",
    "Evidence",
    "Kind",
    "Noise",
    "Probe",
    "Sums",
    "busy",
    "calmer",
    "careful",
    "carries_noise",
    "disturbed",
    "estimate_noise",
    "fine_axes",
    "gather",
    "hiding",
    "mean_squared_error",
    "noise_left",
    "noise_share",
    "sure",
    "typical_share",
]
