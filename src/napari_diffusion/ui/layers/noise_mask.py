"""Noise region of an image: the labels of a Labels layer, or the box of a shape."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_diffusion.ui.layers.labels import labels_on_grid
from napari_diffusion.ui.layers.region import region_of


@dataclass(frozen=True, eq=False)
class NoiseMask:
    """A noise region, which is made when it is needed.

    Attributes
    ----------
    labels
        Labels on the grid of the image; voxels with a label belong to the region. ``None`` for a
        box.
    box
        A slice for every axis of the image but that of the colours; empty for labels.
    key
        Value that changes with the region.
    """

    labels: Any
    box: tuple[slice, ...]
    key: Hashable

    @classmethod
    def of(
        cls, viewer: Any, image: Any, layer: Any, axes: Sequence[int], revision: int
    ) -> NoiseMask:
        """Return the region of a layer in an image layer.

        Parameters
        ----------
        viewer
            The viewer.
        image, layer
            Image layer, and Labels or Shapes layer of the region.
        axes
            Axes of the image to smooth along.
        revision
            Number of changes of the layer.

        Raises
        ------
        InputError
            As `labels_on_grid` and `region_of`.
        """
        if isinstance(layer, Shapes):
            box = region_of(viewer, image, layer)[: image.ndim]
            return cls(None, box, tuple((part.start, part.stop) for part in box))
        labels = labels_on_grid(image, layer, axes)
        return cls(labels, (), (id(layer), id(labels), revision))

    def mask(self, shape: Sequence[int]) -> NDArray[np.bool_]:
        """Return the region as a bool array, for the ``shape`` of the image without colours."""
        if self.labels is not None:
            return np.asarray(self.labels) > 0
        mask = np.zeros(tuple(shape), bool)
        mask[self.box] = True
        return mask
