"""What the file of a layer says about its axes; napari's own reader drops that of a TIFF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_diffusion.core.axes.names import AxisKind, kind_of
from napari_diffusion.core.units import symbol
from napari_diffusion.ui.layers.axes import PIXEL, is_nameless, shape_of

SECOND = "s"


@dataclass(frozen=True)
class FileAxes:
    """Axis metadata of a file.

    Attributes
    ----------
    names
        Name of each axis, one letter.
    scale
        Sample distance along each axis.
    units
        Unit of each sample distance.
    """

    names: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]

    @classmethod
    def of_file(cls, layer: Any) -> FileAxes | None:
        """Read the metadata of the file that a layer was loaded from.

        Returns
        -------
        FileAxes or None
            ``None`` where the layer has metadata of its own, the file adds nothing to it, or the
            file contains another image.
        """
        path = layer.source.path
        has_metadata = (
            not all(map(is_nameless, layer.axis_labels))
            or any(h != 1 for h in layer.scale)
            or any(str(unit) != PIXEL for unit in layer.units)
        )
        if has_metadata or not isinstance(path, str):
            return None
        from napari_diffusion import io

        volume = io.read_metadata(path)
        if volume is None or tuple(volume.shape) != shape_of(layer):
            return None
        if "XY" in volume.axes and volume.shape == volume.shape[::-1]:
            return None  # other readers turn such arrays, and this shape does not show it
        letters = volume.axes[: layer.ndim]
        kinds = {letter: kind_of(letter) for letter in letters}
        adds_nothing = volume.unit == PIXEL and {*kinds.values()} <= {AxisKind.SPACE}
        if adds_nothing or any(letter in io.volume.UNKNOWN_AXES for letter in letters):
            return None
        steps = {"T": (volume.time_step, SECOND)} if volume.time_step else {}
        steps |= {
            letter: (size, volume.unit)
            for letter, size in zip(letters, volume.spacing, strict=False)
            if size
        }
        scale, units = zip(*(steps.get(letter, (1.0, PIXEL)) for letter in letters), strict=True)
        return cls(tuple(letters.lower()), scale, units)

    def describe(self) -> str:
        """Return the axes as text, such as ``z 2 µm, y 0.5 µm, x 0.5 µm``."""
        parts = []
        for name, size, unit in zip(self.names, self.scale, self.units, strict=True):
            if unit == PIXEL:
                parts.append(name)
            else:
                parts.append(f"{name} {size:.4g} {unit if unit == SECOND else symbol(unit)}")
        return ", ".join(parts)

    def apply_to(self, layer: Any) -> None:
        """Set axis labels, scale and units of a layer."""
        layer.axis_labels, layer.scale, layer.units = self.names, self.scale, self.units


@dataclass(frozen=True)
class FileWords:
    """What the file of a layer says, in the words of the command ``info``.

    Attributes
    ----------
    brief
        Voxel size, time step, orientation and assumptions; empty where nothing is known.
    full
        All that `napari_diffusion.io.description.rows_of` says, one fact a line.
    """

    brief: str = ""
    full: str = ""

    @classmethod
    def of_file(cls, layer: Any) -> FileWords:
        """Describe the file that a layer was loaded from, without reading its values.

        The words are empty for a layer without a file. They are also empty for a file whose format
        cannot be read quickly, or that contains another image.
        """
        path = layer.source.path
        if not isinstance(path, str):
            return cls()
        from napari_diffusion import io
        from napari_diffusion.io.description import facts_of, in_brief, rows_of

        volume = io.read_metadata(path)
        if volume is None or _lengths(volume.shape) != _lengths(shape_of(layer)):
            return cls()
        rows = rows_of(facts_of(volume, values=False))
        return cls(in_brief(rows), "\n".join(f"{name}: {text}" for name, text in rows))


def _lengths(shape: Sequence[int]) -> list[int]:
    """Return the numbers of samples in an order that does not depend on that of the axes."""
    return sorted(n for n in shape if n > 1)
