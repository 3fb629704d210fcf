"""What the file of a layer says and its reader has left out: napari's own keeps of a TIFF the pixels alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_diffusion import io
from napari_diffusion.core.units import symbol
from napari_diffusion.io.volume import UNKNOWN
from napari_diffusion.ui.layers.axes import PIXEL, array_of, is_nameless

SECOND = "s"


@dataclass(frozen=True)
class FileAxes:
    """Names, sample distances and units of the axes of a layer, one each."""

    names: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]

    @classmethod
    def of_file(cls, layer: Any) -> FileAxes | None:
        """Read it; ``None`` where the layer says something itself, or the file says no more or is of another image."""
        path = layer.source.path
        says = (
            not all(map(is_nameless, layer.axis_labels))
            or any(h != 1 for h in layer.scale)
            or any(str(unit) != PIXEL for unit in layer.units)
        )
        volume = None if says or not isinstance(path, str) else io.read_metadata(path)
        if volume is None or volume.shape != tuple(array_of(layer).shape):
            return None
        letters = volume.axes[: layer.ndim]
        if any(letter in UNKNOWN for letter in letters) or (
            volume.unit == PIXEL and set(letters) <= set("XYZ")
        ):
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
        """Say it in words."""
        return ", ".join(
            name
            if unit == PIXEL
            else f"{name} {size:.4g} {unit if unit == SECOND else symbol(unit)}"
            for name, size, unit in zip(self.names, self.scale, self.units, strict=True)
        )

    def apply_to(self, layer: Any) -> None:
        """Let the layer say so."""
        layer.axis_labels, layer.scale, layer.units = self.names, self.scale, self.units
