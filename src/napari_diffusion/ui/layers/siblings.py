"""Channels of one image that napari has split into layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_diffusion.ui.layers.axes import shape_of
from napari_diffusion.ui.layers.new_layers import METADATA_KEY, auxiliary_layers


def channels_of(layer: Any, layers: Sequence[Any]) -> list[Any]:
    """Return the layers that are channels of the same image, the layer itself included.

    They have the same shape, voxel size, place and axis labels. Where napari knows the file, the
    sample or the plugin that the layer comes from, it is the same. Results and previews are no
    channels.

    Parameters
    ----------
    layer
        An image layer.
    layers
        Layers of the viewer; the result is in their order.
    """
    return [other for other in layers if other is layer or _is_alike(layer, other)]


def _is_alike(layer: Any, other: Any) -> bool:
    if (
        type(other) is not type(layer)
        or other in auxiliary_layers
        or METADATA_KEY in other.metadata
    ):
        return False
    return (
        _origin(other) == _origin(layer)
        and other.rgb == layer.rgb
        and shape_of(other) == shape_of(layer)
        and tuple(other.axis_labels) == tuple(layer.axis_labels)
        and tuple(map(str, other.units)) == tuple(map(str, layer.units))
        and _has_same_place(layer, other)
    )


def _has_same_place(layer: Any, other: Any) -> bool:
    """Whether two layers of the same number of axes have the same transform."""
    ends = np.array([np.zeros(layer.ndim), *np.eye(layer.ndim)])
    return all(
        np.allclose(layer.data_to_world(point), other.data_to_world(point)) for point in ends
    )


def _origin(layer: Any) -> tuple[Any, Any]:
    """Return the file and the sample that a layer was opened from; None where it has none."""
    source = layer.source
    return source.path, source.sample
