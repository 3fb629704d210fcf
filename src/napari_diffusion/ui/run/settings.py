"""Settings on screen as the arguments of one call of the library, and the history of a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import napari_diffusion as nd
from napari_diffusion.engine.recipe import IMAGE_KEYWORDS, RUN_KEYWORDS
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
from napari_diffusion.ui.layers.new_layers import METADATA_KEY


@dataclass(frozen=True)
class Settings:
    """One call of the library, with the settings on screen as arguments.

    Attributes
    ----------
    image
        Array to filter.
    model
        Model with its parameters.
    keywords
        Keyword arguments of `diffuse`.
    unit
        Unit of the voxel size and of all lengths.
    axis_names
        Names of the axes to smooth along, ``None`` where one has no name.
    labels_name
        Name of the labels layer.
    """

    image: Any
    model: Model
    keywords: dict[str, Any]
    unit: str
    axis_names: tuple[str, ...] | None = None
    labels_name: str | None = None

    def recipe(self) -> nd.Recipe:
        """Return the recipe of the call."""
        options = {name: self.keywords[name] for name in (*RUN_KEYWORDS, *IMAGE_KEYWORDS)}
        return nd.Recipe(
            self.model,
            unit=recipe_unit(self.unit),
            axis_names=self.axis_names,
            labels=self.labels_name,
            **options,
        )

    @property
    def frames(self) -> int:
        """Number of frames that are filtered one by one."""
        keywords, shape = self.keywords, self.image.shape
        axes = (*keywords["axes"], keywords["channel_axis"])
        frame_axes = {axis % len(shape) for axis in axes if axis is not None}
        return math.prod(n for axis, n in enumerate(shape) if axis not in frame_axes)

    def with_copied_labels(self) -> Settings:
        """Return the call with a copy of the labels, for a run that may have to wait.

        Labels that the user paints in the meantime do not change that run.
        """
        labels = self.keywords["labels"]
        if not isinstance(labels, np.ndarray):
            return self
        return replace(self, keywords=self.keywords | {"labels": labels.copy()})

    @classmethod
    def of_layer(
        cls,
        layer: Any,
        recipe: nd.Recipe,
        threads: int | None,
        ndim: int | None = None,
        labels: Any = None,
    ) -> Settings:
        """Return the call that runs a recipe on another layer, with its axes and voxel size.

        Lengths are converted to the unit of that layer. The axes are those of `axes_of_recipe`, or
        else the last three axes of space.

        Parameters
        ----------
        layer
            Image layer to filter.
        recipe
            Settings of the run.
        threads
            Number of threads; ``None`` for all processors.
        ndim
            Number of axes of the recipe's image.
        labels
            Array of the labels that the recipe names. A run whose image they do not fit is refused.

        Raises
        ------
        ValueError
            When the recipe is in pixel and the layer in a unit of length, or the reverse; or when
            the axes are ambiguous and the layer has more axes of space than the recipe smooths.
        """
        axes = layer_axes(layer)
        matched = axes_of_recipe(recipe, axes, ndim)
        chosen = diffusing_by_default(axes) if matched is None else matched
        if matched is None and recipe.axes and len(chosen) > len(recipe.axes):
            raise ValueError(
                f"Which {len(recipe.axes)} of its {len(axes)} axes to smooth along cannot be told; "
                "filter it by itself."
            )
        unit = common_unit([axes[i] for i in chosen])
        converted = recipe.in_unit(recipe_unit(unit))
        keywords = converted.keywords | {
            "spacing": tuple(size_in(axes[i], unit) for i in chosen),
            "axes": tuple(chosen),
            "channel_axis": channel_axis_of(layer),
            "labels": labels,
            "threads": threads,
        }
        return cls(
            array_of(layer),
            converted.model,
            keywords,
            unit,
            names_of([axes[i] for i in chosen]),
            recipe.labels,
        )


def provenance(recipe: nd.Recipe, source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of a result: its recipe, the name and the history of its source."""
    return {"recipe": recipe.to_dict(), "source": source, "earlier": history(metadata)}


def history(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the provenance of each filter in a layer's metadata, earliest first.

    The list is empty for a layer that is not a result. Malformed entries are left out.
    """
    last = metadata.get(METADATA_KEY)
    if not isinstance(last, dict):
        return []
    earlier = last.get("earlier")
    steps = [
        *(earlier if isinstance(earlier, list) else []),
        {key: value for key, value in last.items() if key != "earlier"},
    ]
    return [step for step in steps if _has_recipe(step)]


def _has_recipe(step: Any) -> bool:
    return isinstance(step, dict) and isinstance(step.get("recipe"), dict)
