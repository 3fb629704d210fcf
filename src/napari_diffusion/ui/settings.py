"""What is on screen, as the arguments of one call of the library, and what a layer tells about how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import napari_diffusion as nd
from napari_diffusion.models import Model
from napari_diffusion.ui.layers import full_name

#: Key in a layer's metadata.
KEY = "napari-diffusion"


@dataclass(frozen=True)
class Settings:
    """One call of the library: what is on screen, as arguments."""

    image: Any
    model: Model
    keywords: dict[str, Any]
    unit: str

    def recipe(self) -> nd.Recipe:
        """Return the recipe of the call."""
        names = ("time", "scheme", "tolerance", "strict", "nan", "spacing", "axes", "channel_axis", "preserve_dtype")
        return nd.Recipe(self.model, unit=full_name(self.unit), **{name: self.keywords[name] for name in names})


def provenance(recipe: nd.Recipe, source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what the result of a run tells about itself: its recipe, its source's name, and how that was made, earliest first."""
    return {"recipe": recipe.to_dict(), "source": source, "earlier": history(metadata)}


def history(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the filters that a layer went through, earliest first, as its metadata tell; those of no filter are an empty list."""
    last = metadata.get(KEY)
    if not isinstance(last, dict) or "recipe" not in last:
        return []
    return [*last.get("earlier", []), {key: value for key, value in last.items() if key != "earlier"}]
