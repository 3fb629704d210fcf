"""Sample images as napari layers; opening one offers to filter it."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_diffusion.ui import offer

LayerData = tuple[Any, dict[str, Any], str]


def confocal() -> list[LayerData]:
    """Return the simulated confocal stack, and the noise-free image as a hidden layer below it."""
    from napari_diffusion.io import samples

    noisy, truth, spacing, unit = samples.confocal()
    return _with_truth(noisy, truth, "confocal", spacing, unit)


def mri_simulated() -> list[LayerData]:
    """Return the simulated magnitude image, and the noise-free one as a hidden layer below it."""
    from napari_diffusion.io import samples

    noisy, truth, spacing, unit = samples.mri_simulated()
    return _with_truth(noisy, truth, "simulated MRI", spacing, unit)


def mri() -> list[LayerData]:
    """Return the real MRI volume."""
    from napari_diffusion.io import samples

    volume, spacing, unit = samples.mri()
    offer_to_denoise()
    return [_image(volume, "MRI", "zyx", spacing, [unit] * 3)]


def mri_4d() -> list[LayerData]:
    """Return the real MRI time series."""
    from napari_diffusion.io import samples

    series, spacing, unit = samples.mri_4d()
    offer_to_denoise()
    return [_image(series, "MRI time series", "tzyx", spacing, ["second", *[unit] * 3])]


def offer_to_denoise() -> None:
    """Offer to denoise the sample, in a window without a widget of this plugin."""
    import napari

    viewer = napari.current_viewer()
    window = None if viewer is None else getattr(viewer, "window", None)
    if window is not None and not _has_widget(window):
        offer.show(viewer)


def _has_widget(window: Any) -> bool:
    """Return whether a widget of this plugin is docked in a window."""
    from napari_diffusion.ui.widget import DiffusionWidget

    # The mapping is missing in old releases of napari.
    docked = getattr(window, "dock_widgets", {}).values()
    return any(isinstance(widget, DiffusionWidget) for widget in docked)


def _with_truth(noisy: Any, truth: Any, name: str, spacing: Any, unit: str) -> list[LayerData]:
    """Return a noisy layer above its hidden noise-free image, and offer to filter it."""
    noisy_layer = _image(noisy, name, "zyx", spacing, [unit] * 3)
    truth_layer = _image(truth, f"{name} truth", "zyx", spacing, [unit] * 3)
    truth_layer[1]["visible"] = False
    truth_layer[1]["contrast_limits"] = noisy_layer[1]["contrast_limits"]
    offer_to_denoise()
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
