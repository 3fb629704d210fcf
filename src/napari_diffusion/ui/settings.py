"""What is on screen, as the arguments of one call of the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import napari_diffusion as nd
from napari_diffusion.models import Model
from napari_diffusion.ui.layers import full_name


@dataclass(frozen=True)
class Settings:
    """One call of the library: what is on screen, as arguments."""

    image: Any
    model: Model
    keywords: dict[str, Any]
    unit: str

    def recipe(self) -> nd.Recipe:
        """Return the recipe of the call."""
        names = ("time", "scheme", "nan", "spacing", "axes", "channel_axis", "preserve_dtype")
        return nd.Recipe(self.model, unit=full_name(self.unit), **{name: self.keywords[name] for name in names})
