"""Visibility and selection of layers before a run, so that they can be restored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet, ref

from napari_diffusion.ui.layers.new_layers import METADATA_KEY, programmatic_selection
from napari_diffusion.ui.layers.siblings import channels_of
from napari_diffusion.ui.layers.style import MIXING

#: Layers that are hidden as long as a preview is shown, without proxies.
hidden_for_a_while: WeakSet[Any] = WeakSet()


def bare(item: Any) -> Any:
    """Return the object behind a proxy of napari; a proxy itself lives for a moment only."""
    return getattr(item, "__wrapped__", item)


@dataclass
class ViewState:
    """The selection before, and layers that were hidden or shown since. Layers are held weakly.

    Attributes
    ----------
    viewer
        The viewer.
    selected, active
        The selected layers and the active one.
    hidden, shown
        Layers that were hidden and shown since then.
    """

    viewer: Any
    selected: list[ref[Any]]
    active: ref[Any] | None
    hidden: list[ref[Any]] = field(default_factory=list)
    shown: list[ref[Any]] = field(default_factory=list)

    @classmethod
    def of(cls, viewer: Any) -> ViewState:
        """Read the selection of a viewer."""
        selection = viewer.layers.selection
        active = selection.active
        selected = [ref(bare(layer)) for layer in selection]
        return cls(viewer, selected, None if active is None else ref(bare(active)))

    def hide(self, layers: Iterable[Any]) -> None:
        """Hide those of the layers that are visible, were it not for a preview."""
        for layer in list(layers):
            if layer.visible or layer in hidden_for_a_while:
                layer.visible = False
                self.hidden.append(ref(bare(layer)))

    def reveal(self, layers: Iterable[Any]) -> None:
        """Show those of the layers that are hidden."""
        for layer in layers:
            if not layer.visible:
                layer.visible = True
                self.shown.append(ref(bare(layer)))

    def restore_visibility(self) -> None:
        """Show the layers again that were hidden, and hide those that were shown."""
        for layer in self._present(self.hidden):
            layer.visible = True
        for layer in self._present(self.shown):
            layer.visible = False
        self.hidden.clear()
        self.shown.clear()

    def restore(self) -> None:
        """Restore the visibility, and select what was selected."""
        self.restore_visibility()
        selection, active = self.viewer.layers.selection, self._present([self.active])
        with programmatic_selection():
            self.viewer.layers.selection = set(self._present(self.selected))
            for layer in active:
                selection.active = layer

    def _present(self, references: Iterable[ref[Any] | None]) -> list[Any]:
        """Return the layers that are still in the viewer."""
        layers = (None if reference is None else reference() for reference in references)
        return [layer for layer in layers if layer is not None and layer in self.viewer.layers]


def is_below_channels(viewer: Any, source: Any) -> bool:
    """Whether other channels of the same image are drawn over a layer.

    napari gives the lowest channel an opaque blending. A result of it on top of all layers would
    hide the other channels.
    """
    if source.blending in MIXING:
        return False
    above = viewer.layers[viewer.layers.index(source) + 1 :]
    channels = channels_of(source, above)
    return any(layer.visible and layer.blending in MIXING for layer in channels)


def move_above(viewer: Any, source: Any, layers: Sequence[Any]) -> None:
    """Move layers directly above another one, in their order."""
    with programmatic_selection():
        for layer in reversed(layers):
            viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(source) + 1)


def mixed_layers(viewer: Any, source: Any) -> Iterator[Any]:
    """Yield the source of a run and its earlier results where they would be mixed with a new one.

    Parameters
    ----------
    viewer
        The viewer.
    source
        The layer that was filtered.
    """
    if source.blending not in MIXING:
        return
    yield source
    for layer in viewer.layers:
        provenance = layer.metadata.get(METADATA_KEY)
        is_result = isinstance(provenance, dict) and provenance.get("source") == source.name
        is_image = is_result and provenance.get("output") in (None, "snapshots")
        if is_image and layer.blending in MIXING:
            yield layer
