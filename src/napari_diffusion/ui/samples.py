"""Sample images as napari layers."""

from __future__ import annotations

from typing import Any

import numpy as np

LayerData = tuple[Any, dict[str, Any], str]


def mri() -> list[LayerData]:
    """Return the real MRI volume."""
    from napari_diffusion.io import samples

    volume, spacing, unit = samples.mri()
    return [_image(volume, "MRI", "zyx", spacing, [unit] * 3)]


def mri_4d() -> list[LayerData]:
    """Return the real MRI time series."""
    from napari_diffusion.io import samples

    series, spacing, unit = samples.mri_4d()
    return [_image(series, "MRI time series", "tzyx", spacing, ["second", *[unit] * 3])]


def confocal() -> list[LayerData]:
    """Return the simulated confocal stack, and the noise-free image as a hidden layer below it."""
    from napari_diffusion.io import samples

    noisy, truth, spacing, unit = samples.confocal()
    noisy_layer = _image(noisy, "confocal", "zyx", spacing, [unit] * 3)
    truth_layer = _image(truth, "confocal truth", "zyx", spacing, [unit] * 3)
    truth_layer[1]["visible"] = False
    truth_layer[1]["contrast_limits"] = noisy_layer[1]["contrast_limits"]
    return [truth_layer, noisy_layer]


def _image(data: Any, name: str, axis_labels: str, spacing: Any, units: list[str]) -> LayerData:
    """Return an image layer; the darkest and brightest voxels are outside its contrast limits."""
    low, high = (float(value) for value in np.percentile(data, (0.5, 99.8)))
    options = {
        "name": name,
        "scale": tuple(spacing),
        "units": units,
        "axis_labels": tuple(axis_labels),
        "contrast_limits": (low, high),
        "colormap": "gray",
    }
    return data, options, "image"
