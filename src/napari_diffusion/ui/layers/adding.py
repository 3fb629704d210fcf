"""From a napari layer to what the library takes (array, axes, spacing, unit), and from a result to a layer that looks like its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from napari_diffusion.ui.layers.style import LayerStyle

#: Layers that show something about an image and are no image to filter, such as a preview.
auxiliary_layers: WeakSet[Any] = WeakSet()
_added_by_widget = [0]


def add_result(
    viewer: Any,
    data: Any,
    look: LayerStyle,
    title: str,
    provenance: dict[str, Any],
    *,
    vectors: bool = False,
) -> Any:
    """Add a result, an image or vectors, as a new layer with a name of its own and return it."""
    from napari.layers import Image, Vectors

    taken = {layer.name for layer in viewer.layers}
    name = f"{look.name} [{title}]"
    number = 2
    while name in taken:
        name = f"{look.name} [{title} {number}]"
        number += 1
    metadata = {**look.metadata, "napari-diffusion": provenance}
    if vectors:
        layer: Any = Vectors(data, name=name, metadata=metadata, **look.arguments)
    else:
        layer = Image(data, name=name, metadata=metadata, multiscale=False, **look.arguments)
        layer.contrast_limits_range = look.contrast_range
    with programmatic_selection():
        viewer.add_layer(layer)
    return layer


@contextmanager
def programmatic_selection() -> Iterator[None]:
    """Layers that a widget adds are selected by napari, but nobody has picked them as the next thing to filter."""
    _added_by_widget[0] += 1
    try:
        yield
    finally:
        _added_by_widget[0] -= 1


def selected_by_user() -> bool:
    """Whether a layer that becomes selected now was picked by the user."""
    return not _added_by_widget[0]


def add_quietly(viewer: Any, layer: Any) -> None:
    """Add a layer and leave selected what is selected."""
    selected, active = set(viewer.layers.selection), viewer.layers.selection.active
    with programmatic_selection():
        viewer.add_layer(layer)
        viewer.layers.selection = selected
        viewer.layers.selection.active = active
