"""From a napari layer to what the library takes (array, axes, spacing, unit), and from a result to a layer that looks like its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

# What is not carried over: what belongs to the source alone, or what the result has of its own.
_OWN = {"name", "multiscale", "locked_data_level", "visible", "metadata"}


@dataclass(frozen=True)
class LayerStyle:
    """All that a result takes over from its source, read before the run: the layer may be gone or changed when it ends."""

    name: str
    metadata: dict[str, Any]
    arguments: dict[str, Any]
    contrast_range: Any

    @classmethod
    def of(cls, layer: Any) -> LayerStyle:
        """Read it from an image layer; the pixel data is not kept."""
        arguments = {
            key: value for key, value in layer.as_layer_data_tuple()[1].items() if key not in _OWN
        }
        return cls(layer.name, dict(layer.metadata), arguments, layer.contrast_limits_range)

    def with_axis(
        self, name: str, positions: Sequence[float], unit: str = "dimensionless"
    ) -> LayerStyle:
        """Return the look of a stack of such images along a new first axis with equally spaced ``positions``, numbers whatever the unit."""
        old = self.arguments
        ndim = len(old["scale"])
        step = float(positions[1] - positions[0]) if len(positions) > 1 else 1.0
        new = {
            key: value
            for key, value in old.items()
            if key not in ("plane", "experimental_clipping_planes", "depiction")
        }
        new |= {
            "scale": (step, *old["scale"]),
            "translate": (float(positions[0]), *old["translate"]),
            "units": (unit, *old["units"]),
            "axis_labels": (name, *old["axis_labels"]),
            "shear": (*[0.0] * ndim, *old["shear"]),  # the upper triangle, row by row
            "rotate": _one_more(old["rotate"]),
            "affine": _one_more(old["affine"]),
        }
        return replace(self, arguments=new)

    def without_first_axis(self) -> LayerStyle:
        """Return the look of one image of a stack that `with_axis` describes."""
        old, inner = self.arguments, slice(1, None)
        new = {key: old[key][inner] for key in ("scale", "translate", "units", "axis_labels")}
        new |= {"shear": old["shear"][len(old["scale"]) - 1 :]} | {
            key: [row[inner] for row in old[key][inner]] for key in ("rotate", "affine")
        }
        left = ("plane", "experimental_clipping_planes", "depiction")
        return replace(
            self, arguments={key: value for key, value in (old | new).items() if key not in left}
        )

    def share(self, highest: float) -> LayerStyle:
        """Return the look of a map from 0 to ``highest``, without colour channels."""
        own = {"colormap": "viridis", "contrast_limits": (0.0, highest), "gamma": 1.0, "rgb": False}
        return replace(self, arguments={**self.arguments, **own}, contrast_range=(0.0, highest))

    def arrows(self, width: float) -> LayerStyle:
        """Return the look of vectors of that width [voxel], in the same place."""
        place = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
        arguments = {key: self.arguments[key] for key in place} | {
            "edge_width": width,
            "edge_color": "yellow",
        }
        return replace(self, arguments=arguments)

    def signed(self, limit: float) -> LayerStyle:
        """Return the look of an image of differences: zero is the middle of the greys."""
        own = {"colormap": "gray", "contrast_limits": (-limit, limit), "gamma": 1.0, "rgb": False}
        return replace(self, arguments={**self.arguments, **own}, contrast_range=(-limit, limit))


def _one_more(matrix: Any) -> Any:
    """Return a matrix that leaves a new first axis alone."""
    import numpy as np

    inner = np.asarray(matrix, float)
    outer = np.eye(len(inner) + 1)
    outer[1:, 1:] = inner
    return outer
