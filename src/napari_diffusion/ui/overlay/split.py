"""The split of the screen: the original on the left of a line, the preview on its right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_diffusion.ui.layers.axes import layer_axes
from napari_diffusion.ui.layers.positions import data_position
from napari_diffusion.ui.overlay.visible_region import Part, camera, displayed


@dataclass(frozen=True)
class Split:
    """Cut of a picture into the columns left and right of a line on screen.

    Attributes
    ----------
    axis
        Axis of the array that runs from left to right, or nearly so.
    forward
        Whether its indices grow from left to right.
    fraction
        Place of the line, from 0 at the left end of the part to 1 at its right end.
    """

    axis: int
    forward: bool
    fraction: float

    def cropped(self, part: Part, picture: Any) -> tuple[Part, Any]:
        """Return the columns right of the line, at least one of them.

        Parameters
        ----------
        part
            Part of the array that the picture shows.
        picture
            Picture with all axes of the array.
        """
        axis, n = self.axis, picture.shape[self.axis]
        hidden = min(round(self.fraction * n), n - 1)
        columns = slice(hidden, n) if self.forward else slice(0, n - hidden)
        kept = [slice(None)] * picture.ndim
        kept[axis] = columns
        region, start = list(part.region), part.region[axis].start
        region[axis] = slice(start + columns.start, start + columns.stop)
        return replace(part, region=tuple(region)), picture[tuple(kept)]

    def fraction_at(self, part: Part, position: Any) -> float:
        """Return the fraction of a line through a position [voxel], from 0 to 1."""
        edges = part.region[self.axis]
        share = (position[self.axis] + 0.5 - edges.start) / (edges.stop - edges.start)
        return float(np.clip(share if self.forward else 1 - share, 0.0, 1.0))

    def distance(self, part: Part, position: Any) -> float:
        """Return the distance of a position from the line [voxel]; infinite beyond its ends."""
        edges = part.region[self.axis]
        n = edges.stop - edges.start
        shown = round(self.fraction * n)
        line = edges.start + (shown if self.forward else n - shown)
        others = (i for i, s in enumerate(part.region) if i != self.axis and s.stop - s.start > 1)
        for i in others:
            if i < len(position) and not -0.5 <= position[i] - part.region[i].start < (
                part.region[i].stop - part.region[i].start - 0.5
            ):
                return float("inf")
        return abs(float(position[self.axis]) + 0.5 - float(line))


def split_at(viewer: Any, layer: Any, fraction: float) -> Split | None:
    """Return the split of a layer in the view on screen; ``None`` where there is no plane."""
    shown = displayed(viewer, layer)
    if len(shown) != 2 or viewer.dims.ndisplay != 2:
        return None
    ahead = viewer.dims.ndim - layer.ndim
    horizontal = viewer.dims.displayed[-1] - ahead
    steps = {axis: np.array(layer_axes(layer)[axis].step) for axis in shown}
    axis = max(shown, key=lambda i: abs(steps[i][horizontal]) / np.linalg.norm(steps[i]))
    to_the_right = str(getattr(camera(viewer), "orientation2d", ("down", "right"))[1]) == "right"
    return Split(axis, bool(steps[axis][horizontal] > 0) == to_the_right, fraction)


def pixels_per_voxel(viewer: Any, layer: Any, axis: int) -> float:
    """Return the size of a voxel on screen along an axis of a layer [pixel]."""
    start = np.array(viewer.dims.point, float)
    steps = np.array(layer_axes(layer)[axis].step)
    along = start.copy()
    along[viewer.dims.ndim - layer.ndim :] += steps
    voxels = np.linalg.norm(
        data_position(viewer, layer, along) - data_position(viewer, layer, start)
    )
    return float(camera(viewer).zoom * np.linalg.norm(steps) / max(voxels, 1e-12))
