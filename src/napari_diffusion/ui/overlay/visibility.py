"""Visibility of layers that are shown or hidden for a while."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from napari_diffusion.ui.layers.new_layers import METADATA_KEY, auxiliary_layers
from napari_diffusion.ui.layers.view_state import bare, hidden_for_a_while

#: Blendings of a layer that hides what lies below it; others mix it with the layers below.
COVERING = ("opaque", "translucent", "translucent_no_depth")


class VisibilityMemory:
    """Shows and hides layers, and restores them.

    Parameters
    ----------
    viewer
        The viewer of the layers.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._before: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def show(self, layer: Any, visible: bool = True) -> None:
        """Show a layer, or hide it with ``visible=False``."""
        if layer.visible != visible:
            self._before.setdefault(bare(layer), bool(layer.visible))
            layer.visible = visible
            if not visible:
                hidden_for_a_while.add(bare(layer))

    def restore(self) -> None:
        """Restore the visibility of all layers that are still in the viewer."""
        before, self._before = dict(self._before), WeakKeyDictionary()
        for layer, visible in before.items():
            hidden_for_a_while.discard(layer)
            if layer in self._viewer.layers and layer.visible != visible:
                layer.visible = visible


def is_result(layer: Any, source: str | None = None) -> bool:
    """Whether a layer is a result of this plugin, of a layer with the name ``source`` if given."""
    made = layer.metadata.get(METADATA_KEY)
    return isinstance(made, dict) and source in (None, made.get("source"))


def hides_original(layer: Any, is_above: bool) -> bool:
    """Whether another layer has to be hidden for the original to be seen.

    Parameters
    ----------
    layer
        The other layer.
    is_above
        Whether it lies above the original.
    """
    if layer in auxiliary_layers or is_result(layer):
        return True
    return is_above and hasattr(layer, "interpolation2d") and str(layer.blending) in COVERING
