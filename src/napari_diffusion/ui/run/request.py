"""What is on screen, as the arguments of one call of the library, and what a layer tells about how it was made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import napari_diffusion as nd
from napari_diffusion.models import Model
from napari_diffusion.ui.layers.axes import (
    array_of,
    axes_of_recipe,
    channel_axis_of,
    common_unit,
    diffusing_by_default,
    layer_axes,
    names_of,
    recipe_unit,
    size_in,
)

#: Key in a layer's metadata.
KEY = "napari-diffusion"


@dataclass(frozen=True)
class Settings:
    """One call of the library: what is on screen, as arguments."""

    image: Any
    model: Model
    keywords: dict[str, Any]
    unit: str
    names: tuple[str, ...] | None = None
    within: str | None = None

    def recipe(self) -> nd.Recipe:
        """Return the recipe of the call."""
        names = (
            "time",
            "scheme",
            "tolerance",
            "strict",
            "nan",
            "spacing",
            "axes",
            "channel_axis",
            "preserve_dtype",
        )
        own = {name: self.keywords[name] for name in names}
        return nd.Recipe(
            self.model,
            unit=recipe_unit(self.unit),
            axis_names=self.names,
            labels=self.within,
            **own,
        )

    @property
    def frames(self) -> int:
        """Number of images that are filtered one by one."""
        keywords, shape = self.keywords, self.image.shape
        together = {
            axis % len(shape)
            for axis in (*keywords["axes"], keywords["channel_axis"])
            if axis is not None
        }
        return math.prod(n for axis, n in enumerate(shape) if axis not in together)

    def kept(self) -> Settings:
        """Return the call with labels of its own, for a run that may have to wait: whoever paints in them then paints for later."""
        labels = self.keywords["labels"]
        return (
            replace(self, keywords=self.keywords | {"labels": labels.copy()})
            if isinstance(labels, np.ndarray)
            else self
        )

    @classmethod
    def of_layer(
        cls,
        layer: Any,
        recipe: nd.Recipe,
        threads: int | None,
        ndim: int | None = None,
        labels: Any = None,
    ) -> Settings:
        """Return the call that runs a recipe on another layer: with that layer's axes and voxel size, lengths in its unit.

        The axes are those that the recipe means, made for an image of ``ndim`` axes, as `axes_of_recipe` finds them, or else the last three
        that are space. ``labels`` are those that the recipe names; an image that they do not fit is refused when it is run.

        Raises
        ------
        ValueError
            When the recipe is in pixel and the layer in a unit of length, or the reverse; or when the axes cannot be told, and there
            are more of space than the recipe smooths along.
        """
        axes = layer_axes(layer)
        meant = axes_of_recipe(recipe, axes, ndim)
        chosen = diffusing_by_default(axes) if meant is None else meant
        if meant is None and recipe.axes and len(chosen) > len(recipe.axes):
            raise ValueError(
                f"Which {len(recipe.axes)} of its {len(axes)} axes to smooth along cannot be told; filter it by itself."
            )
        unit = common_unit([axes[i] for i in chosen])
        here_now = recipe.in_unit(recipe_unit(unit))
        keywords = {
            name: getattr(here_now, name)
            for name in ("time", "scheme", "tolerance", "strict", "nan", "preserve_dtype")
        }
        keywords |= {
            "spacing": tuple(size_in(axes[i], unit) for i in chosen),
            "axes": tuple(chosen),
            "channel_axis": channel_axis_of(layer),
            "labels": labels,
            "threads": threads,
        }
        return cls(
            array_of(layer),
            here_now.model,
            keywords,
            unit,
            names_of([axes[i] for i in chosen]),
            recipe.labels,
        )


def provenance(recipe: nd.Recipe, source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what the result of a run tells about itself: its recipe, its source's name, and how that was made, earliest first."""
    return {"recipe": recipe.to_dict(), "source": source, "earlier": history(metadata)}


def history(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the filters that a layer went through, earliest first, as its metadata tell; those of no filter are an empty list."""
    last = metadata.get(KEY)
    if not isinstance(last, dict):
        return []
    earlier = last.get("earlier")
    steps = [
        *(earlier if isinstance(earlier, list) else []),
        {key: value for key, value in last.items() if key != "earlier"},
    ]
    return [
        step for step in steps if isinstance(step, dict) and isinstance(step.get("recipe"), dict)
    ]
