"""Estimators: pure functions from arrays to numbers: the noise of an image, and the risk of a filtered one."""

from __future__ import annotations

from napari_diffusion.estimate.kinds import KINDS, Kind, Noise, estimate_noise
from napari_diffusion.estimate.noise import Evidence, calmer, carries_noise, fine_axes, gather
from napari_diffusion.estimate.risk import CRITERIA, Probe, disturbed, hiding, mean_squared_error, noise_left, sure

__all__ = [
    "CRITERIA",
    "KINDS",
    "Evidence",
    "Kind",
    "Noise",
    "Probe",
    "calmer",
    "carries_noise",
    "disturbed",
    "estimate_noise",
    "fine_axes",
    "gather",
    "hiding",
    "mean_squared_error",
    "noise_left",
    "sure",
]
