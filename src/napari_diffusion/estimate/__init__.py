"""Estimators: pure functions from an image to a number. A parameter names the one that can fill it in."""

from __future__ import annotations

from napari_diffusion.estimate.noise import noise_sigma, threshold

ESTIMATORS = {"threshold": threshold}

__all__ = ["ESTIMATORS", "noise_sigma", "threshold"]
