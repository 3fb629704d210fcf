"""What a finished run has changed in the viewer, for the result card: undo, residual, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

from napari_diffusion.models import Model
from napari_diffusion.ui.layers.axes import array_of
from napari_diffusion.ui.layers.new_layers import METADATA_KEY, add_result
from napari_diffusion.ui.layers.style import LayerStyle
from napari_diffusion.ui.layers.view_state import ViewState, bare


def add_residual(
    viewer: Any, data: Any, limit: float, style: LayerStyle, title: str, notes: dict[str, Any]
) -> Any:
    """Add the difference between an image and its result as a layer, and return it.

    Parameters
    ----------
    viewer
        The viewer.
    data
        Image minus result.
    limit
        Contrast limit.
    style
        Style of the image.
    title, notes
        Title and provenance of the result.
    """
    import numpy as np

    difference = style.as_difference(limit)
    if style.arguments["rgb"]:
        # Differences have no colour: the channels become an axis with a slider.
        difference = difference.with_axis("channel", (0, 1), unit_of_new_axis(viewer, style))
        data = np.moveaxis(data, -1, 0)
    notes = notes | {"output": "removed"}
    return add_result(viewer, data, difference, f"{title}, residual", notes)


def unit_of_new_axis(viewer: Any, style: LayerStyle) -> str:
    """Return the unit for a new first axis of an image: that of the viewer's axis of that place.

    With any other unit, napari would ignore the units of all layers.
    """
    common = getattr(viewer.layers.extent, "units", None)
    ndim = len(style.arguments["scale"])
    return "dimensionless" if common is None or len(common) <= ndim else str(common[-ndim - 1])


@dataclass
class RunRecord:
    """One finished run. Its layers and its image are held weakly.

    Attributes
    ----------
    viewer
        The viewer.
    source
        The filtered layer, or None if it was gone at the end of the run.
    layers
        Layers that the run has added; the result is the last one.
    before
        Selection before, and the layers that were hidden.
    model
        Class of the model.
    array, region
        Weak reference to the array of the source, and the box of it that was filtered, None for all
        of it.
    style, title, notes
        Style of the source, and title and provenance of the result.
    batch
        The same object for all runs of a batch, None for a single run.
    earlier
        The run of the same batch before.
    """

    viewer: Any
    source: ref[Any] | None
    layers: Sequence[ref[Any]]
    before: ViewState
    model: type[Model]
    array: Callable[[], Any]
    region: tuple[slice, ...] | None
    style: LayerStyle
    title: str
    notes: dict[str, Any]
    batch: object = None
    earlier: RunRecord | None = None

    @property
    def count(self) -> int:
        """Number of runs of the batch so far."""
        return 1 if self.earlier is None else 1 + self.earlier.count

    @property
    def source_layer(self) -> Any:
        """The filtered layer, or None if it is not in the viewer any more."""
        layer = None if self.source is None else self.source()
        return layer if layer is not None and layer in self.viewer.layers else None

    @property
    def image(self) -> Any:
        """The array that was filtered; None where it is gone, or its layer."""
        array = None if self.source_layer is None else self.array()
        return array if array is None or self.region is None else array[self.region]

    @property
    def present(self) -> list[Any]:
        """The layers of the run that are still in the viewer."""
        layers = (reference() for reference in self.layers)
        return [layer for layer in layers if layer is not None and layer in self.viewer.layers]

    @property
    def result(self) -> Any:
        """The layer of the result, or None if it is not in the viewer any more."""
        layer = self.layers[-1]()
        return layer if layer is not None and layer in self.viewer.layers else None

    @property
    def residual_layer(self) -> Any:
        """The layer of the residual, or None if there is none."""
        for layer in self.present:
            if layer.metadata[METADATA_KEY].get("output") == "removed":
                return layer
        return None

    @property
    def names(self) -> list[str]:
        """Names of the results of the batch that are still in the viewer, the first one first."""
        own = [] if self.result is None else [self.result.name]
        return [*(() if self.earlier is None else self.earlier.names), *own]

    @property
    def last_image(self) -> Any:
        """The result, or the last one of its snapshots."""
        data = array_of(self.result)
        return data[-1] if "times" in self.notes_of_result else data

    @property
    def notes_of_result(self) -> dict[str, Any]:
        """Provenance of the result."""
        notes: dict[str, Any] = self.result.metadata[METADATA_KEY]
        return notes

    def add_residual(self, data: Any, limit: float) -> None:
        """Add image minus result as a layer of the run, on top of all layers."""
        layer = add_residual(self.viewer, data, limit, self.style, self.title, self.notes)
        self.layers = [ref(bare(layer)), *self.layers]

    def remove(self) -> None:
        """Remove the layers of the run."""
        for layer in self.present:
            self.viewer.layers.remove(layer)

    def undo(self) -> None:
        """Remove the layers of the batch, and restore visibility and selection."""
        self.remove()
        self.before.restore()
        if self.earlier is not None:
            self.earlier.undo()
