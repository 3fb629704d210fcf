"""Style of a result layer: transforms, contrast and colours, taken from its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

#: Blendings that mix a layer with those below it: a result on top of its source would be mixed
#: with the noisy source.
MIXING = ("additive", "minimum", "multiplicative")
#: Arguments that a result does not take from its source.
_NOT_COPIED = {"name", "multiscale", "locked_data_level", "visible", "metadata"}
#: Arguments of the 3-D view that are dropped where the number of axes changes.
_VIEW_3D = ("plane", "experimental_clipping_planes", "depiction")


@dataclass(frozen=True)
class LayerStyle:
    """Properties that a result takes over from its source layer.

    They are read before the run: the layer may be deleted or changed when the run ends.

    Attributes
    ----------
    name, metadata
        Those of the source.
    arguments
        Arguments of the layer's constructor.
    contrast_range
        Limits of the contrast slider.
    """

    name: str
    metadata: dict[str, Any]
    arguments: dict[str, Any]
    contrast_range: Any

    @classmethod
    def of(cls, layer: Any) -> LayerStyle:
        """Read the style of an image layer; the pixel data is not kept."""
        _, state, _ = layer.as_layer_data_tuple()
        arguments = {key: value for key, value in state.items() if key not in _NOT_COPIED}
        return cls(layer.name, dict(layer.metadata), arguments, layer.contrast_limits_range)

    def at_voxel(self, start: Sequence[int]) -> LayerStyle:
        """Return the style of a part of the image that begins at a voxel."""
        from napari.utils.transforms import Affine

        old, ndim = self.arguments, len(self.arguments["scale"])
        transform = Affine(
            **{name: old[name] for name in ("scale", "rotate", "shear", "translate")}
        )
        moved = {"translate": tuple(transform(list(start)[:ndim]))}
        kept = {key: value for key, value in old.items() if key not in _VIEW_3D}
        return replace(self, arguments=kept | moved)

    def with_axis(
        self, name: str, positions: Sequence[float], unit: str = "dimensionless"
    ) -> LayerStyle:
        """Return the style of a stack of such images.

        Parameters
        ----------
        name
            Label of the new first axis.
        positions
            Equally spaced coordinates of the images along that axis [unit].
        unit
            Unit of that axis. The positions are not converted.
        """
        old = self.arguments
        ndim = len(old["scale"])
        step = float(positions[1] - positions[0]) if len(positions) > 1 else 1.0
        new = {key: value for key, value in old.items() if key not in _VIEW_3D}
        new |= {
            "scale": (step, *old["scale"]),
            "translate": (float(positions[0]), *old["translate"]),
            "units": (unit, *old["units"]),
            "axis_labels": (name, *old["axis_labels"]),
            "shear": (*[0.0] * ndim, *old["shear"]),  # the upper triangle, row by row
            "rotate": _with_first_axis(old["rotate"]),
            "affine": _with_first_axis(old["affine"]),
        }
        return replace(self, arguments=new)

    def without_first_axis(self) -> LayerStyle:
        """Return the style of one image of a stack; the inverse of `with_axis`."""
        old, inner = self.arguments, slice(1, None)
        new = {key: old[key][inner] for key in ("scale", "translate", "units", "axis_labels")}
        new |= {"shear": old["shear"][len(old["scale"]) - 1 :]} | {
            key: [row[inner] for row in old[key][inner]] for key in ("rotate", "affine")
        }
        merged = (old | new).items()
        kept = {key: value for key, value in merged if key not in _VIEW_3D}
        return replace(self, arguments=kept)

    def as_map(self, highest: float) -> LayerStyle:
        """Return the style of a map of values from 0 to ``highest``, without colour channels."""
        own = {"colormap": "viridis", "contrast_limits": (0.0, highest), "gamma": 1.0, "rgb": False}
        arguments = {**self.arguments, **own, **self._covering()}
        return replace(self, arguments=arguments, contrast_range=(0.0, highest))

    def as_vectors(self, width: float) -> LayerStyle:
        """Return the style of vectors of a given width [voxel], with the same transforms."""
        transforms = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
        arguments = {key: self.arguments[key] for key in transforms} | {
            "edge_width": width,
            "edge_color": "yellow",
        }
        return replace(self, arguments=arguments)

    def as_difference(self, limit: float) -> LayerStyle:
        """Return the style of a difference image: zero is the middle of the grey scale."""
        own = {"colormap": "gray", "contrast_limits": (-limit, limit), "gamma": 1.0, "rgb": False}
        arguments = {**self.arguments, **own, **self._covering()}
        return replace(self, arguments=arguments, contrast_range=(-limit, limit))

    @property
    def is_mixed(self) -> bool:
        """Whether a layer of this style is mixed with those below it."""
        return str(self.arguments["blending"]) in MIXING

    def _covering(self) -> dict[str, str]:
        """Return a blending that covers the layers below, where that of the style mixes."""
        return {"blending": "translucent_no_depth"} if self.is_mixed else {}


def _with_first_axis(matrix: Any) -> Any:
    """Return a matrix for one more axis, the first, on which it acts as the identity."""
    import numpy as np

    inner = np.asarray(matrix, float)
    outer = np.eye(len(inner) + 1)
    outer[1:, 1:] = inner
    return outer
