"""Adding of result layers and auxiliary layers to a viewer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from typing import Any
from weakref import WeakSet

from napari_diffusion.ui.layers.style import LayerStyle

#: Key of the provenance in a layer's metadata.
METADATA_KEY = "napari-diffusion"
#: Layers that are not offered as input, such as the preview.
auxiliary_layers: WeakSet[Any] = WeakSet()
#: Depth of nested `programmatic_selection` blocks.
_programmatic_depth = [0]


def add_result(
    viewer: Any,
    data: Any,
    style: LayerStyle,
    title: str,
    provenance: dict[str, Any],
    *,
    vectors: bool = False,
) -> Any:
    """Add a result as a new image or vectors layer and return it.

    Parameters
    ----------
    viewer
        Viewer that gets the layer.
    data
        Array of the layer, or the list of the levels of a pyramid.
    style
        Style of the layer, usually that of its source.
    title
        Text after the source's name and a comma, as that of `result_title`.
    provenance
        Entry `METADATA_KEY` of the layer's metadata.
    vectors
        Whether to add a vectors layer.
    """
    from napari.layers import Image, Vectors

    name = unique_name(viewer, f"{style.name}, {title}")
    metadata = {**style.metadata, METADATA_KEY: provenance}
    if vectors:
        layer: Any = Vectors(data, name=name, metadata=metadata, **style.arguments)
    else:
        levels = isinstance(data, list)
        layer = Image(data, name=name, metadata=metadata, multiscale=levels, **style.arguments)
        layer.contrast_limits_range = style.contrast_range
    with programmatic_selection():
        viewer.add_layer(layer)
    return layer


def unique_name(viewer: Any, name: str) -> str:
    """Return a name that no layer has: with a number in brackets where the name is taken."""
    taken = {layer.name for layer in viewer.layers}
    numbers = (f"{name} ({number})" for number in count(2))
    return next(free for free in chain([name], numbers) if free not in taken)


@contextmanager
def programmatic_selection() -> Iterator[None]:
    """Mark changes of the selection in this block as not made by the user.

    napari selects every layer that is added. A result is not thereby the next image to filter.
    """
    _programmatic_depth[0] += 1
    try:
        yield
    finally:
        _programmatic_depth[0] -= 1


def selected_by_user() -> bool:
    """Whether a layer that becomes selected now is selected by the user."""
    return not _programmatic_depth[0]


def add_quietly(viewer: Any, layer: Any, place: int) -> None:
    """Add a layer at an index of the list of layers, and restore the selection."""
    selected, active = set(viewer.layers.selection), viewer.layers.selection.active
    with programmatic_selection():
        viewer.layers.insert(place, layer)
        viewer.layers.selection = selected
        viewer.layers.selection.active = active
