"""Settings on screen as one run of the library, and the history of a layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import napari_diffusion as nd
from napari_diffusion.core import units
from napari_diffusion.core.axes.names import time_axes
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.halo_block import HaloBlock
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem, make_problem, unread_problem
from napari_diffusion.models import Model
from napari_diffusion.ui.layers.axes import (
    array_of,
    axes_of_recipe,
    channel_axis_of,
    channel_weights_of,
    common_unit,
    diffusing_by_default,
    layer_axes,
    names_of,
    size_in,
)
from napari_diffusion.ui.layers.labels import guide_on_grid, labels_on_grid
from napari_diffusion.ui.layers.new_layers import METADATA_KEY
from napari_diffusion.ui.layers.noise_mask import NoiseMask
from napari_diffusion.workflows import outputs
from napari_diffusion.workflows.outputs import OutputRequest, Outputs
from napari_diffusion.workflows.region_run import RegionRun
from napari_diffusion.workflows.warmup import brief


@dataclass(frozen=True)
class Settings:
    """One run of the library, as the controls on screen define it.

    Attributes
    ----------
    image
        Array to filter.
    recipe
        What is done, with the axes, the voxel size and the unit of the image.
    labels
        Array of the labels to smooth within, or ``None``.
    execution
        Number of threads.
    guide, guide_key
        Array of the image from which edges come, and a value that changes with it; or ``None``.
    channel_weights
        Weight of each colour channel, as in `Geometry`.
    time_axes
        Axes of time; ``None`` where the names of the axes do not say.
    region
        Box of the image to filter, a slice for every axis; ``None`` for the whole image. The result
        is that of the whole image in the box.
    noise_mask
        Where a suggestion measures the noise; ``None`` for the whole image. It is no part of a run.
    """

    image: Any
    recipe: nd.Recipe
    labels: Any
    execution: Execution
    guide: Any = None
    guide_key: Hashable = None
    channel_weights: tuple[float | None, ...] | None = None
    time_axes: tuple[int, ...] | None = None
    region: tuple[slice, ...] | None = None
    noise_mask: NoiseMask | None = None

    @property
    def model(self) -> Model:
        """Model with its parameters."""
        return self.recipe.model

    @property
    def unit(self) -> str:
        """Symbol of the unit of all lengths."""
        return units.symbol(self.recipe.unit)

    @property
    def geometry(self) -> Geometry:
        """Axes, voxel size and channels of the image."""
        return replace(self.recipe.geometry, channel_weights=self.channel_weights)

    def problem(self) -> Problem:
        """Return the run on the image; its labels are read."""
        domain = Domain(labels=self.labels, guide=self.guide)
        return make_problem(self.image, self.recipe, self.geometry, domain)

    def unread_problem(self) -> Problem:
        """Return the run on the image for a plan or a part; its labels are not read."""
        domain = Domain(labels=self.labels, guide=self.guide)
        return unread_problem(self.image, self.recipe, self.geometry, domain)

    @property
    def noise_region(self) -> NDArray[np.bool_] | None:
        """Where a suggestion measures the noise, as a bool array; ``None`` for the whole image."""
        if self.noise_mask is None:
            return None
        shape, colours = self.image.shape, self.recipe.channel_axis
        colour_axis = None if colours is None else colours % len(shape)
        return self.noise_mask.mask([n for i, n in enumerate(shape) if i != colour_axis])

    @property
    def of_edges(self) -> Settings:
        """The settings with the image that shows the edges: the guide, if it has all axes."""
        has_all_axes = self.guide is not None and self.guide.shape == self.image.shape
        return replace(self, image=self.guide) if has_all_axes else self

    def problem_and_run(
        self, request: OutputRequest, *, read: bool = True
    ) -> tuple[Problem, Callable[..., Outputs]]:
        """Return the problem to run, and the function that runs it.

        The problem is that of the whole image, or that of the region with its surroundings. The
        function takes the arguments of `run_with_outputs` without the problem. Without ``read``,
        mask and labels are not read; the problem is then for a plan.
        """
        problem = self.problem() if read else self.unread_problem()
        if self.region is None:
            return problem, partial(outputs.run_with_outputs, problem)
        part = RegionRun.of(problem, self.region, request, self.execution, read=read)
        return part.problem, part.run

    @property
    def part(self) -> Any:
        """The part of the image that the result covers."""
        return self.image if self.region is None else self.image[self.region]

    def part_problem(self) -> Problem:
        """Return the run on the part of the image that the result covers, to measure that part."""
        problem = self.problem()
        if self.region is None:
            return problem
        block = HaloBlock.around(problem, self.region, [0] * len(problem.axes))
        domain = Domain(labels=block.crop(problem.domain.labels), place=block.place())
        return make_problem(self.part, self.recipe, self.geometry, domain)

    @cached_property
    def plan_of_kernels(self) -> Plan | None:
        """A plan with the kernels of the run; ``None`` if the run cannot be done.

        Its diffusion time is short: the plan of a long time takes long.
        """
        try:
            return make_plan(brief(self.unread_problem()), self.execution)
        except Exception:  # preview and run report what is wrong
            return None

    @property
    def frames(self) -> int:
        """Number of frames that are filtered one by one."""
        geometry, shape = self.recipe.geometry, self.image.shape
        axes = (*(geometry.axes or range(len(shape))), geometry.channel_axis)
        frame_axes = {axis % len(shape) for axis in axes if axis is not None}
        return math.prod(n for axis, n in enumerate(shape) if axis not in frame_axes)

    def with_copied_labels(self) -> Settings:
        """Return the run with a copy of the labels, for a run that may have to wait.

        Labels that the user paints in the meantime do not change that run.
        """
        if not isinstance(self.labels, np.ndarray):
            return self
        return replace(self, labels=self.labels.copy())

    @classmethod
    def of_layer(
        cls,
        layer: Any,
        recipe: nd.Recipe,
        execution: Execution,
        ndim: int | None = None,
        labels_layer: Any = None,
        guide_layer: Any = None,
    ) -> Settings:
        """Return the run of a recipe on another layer, with its axes and voxel size.

        Lengths are converted to the unit of that layer. The axes are those of `axes_of_recipe`, or
        else the last three axes of space.

        Parameters
        ----------
        layer
            Image layer to filter.
        recipe
            Settings of the run.
        execution
            Number of threads.
        ndim
            Number of axes of the recipe's image.
        labels_layer, guide_layer
            Labels layer, and image layer of the edges, that the recipe names.

        Raises
        ------
        ValueError
            When labels or guide are not on the voxels of the layer; when the recipe is in pixel and
            the layer in a unit of length, or the reverse; or when the axes are ambiguous and the
            layer has more axes of space than the recipe smooths.
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
        converted = replace(
            recipe.in_unit(units.canonical(unit)),
            spacing=tuple(size_in(axes[i], unit) for i in chosen),
            axes=tuple(chosen),
            axis_names=names_of([axes[i] for i in chosen]),
            channel_axis=channel_axis_of(layer),
        )
        return cls.of_recipe(layer, converted, execution, labels_layer, guide_layer)

    @classmethod
    def of_recipe(
        cls,
        layer: Any,
        recipe: nd.Recipe,
        execution: Execution,
        labels_layer: Any = None,
        guide_layer: Any = None,
    ) -> Settings:
        """Return the run of a recipe that has the axes and the voxel size of a layer.

        Parameters
        ----------
        layer
            Image layer to filter.
        recipe
            Settings of the run.
        execution
            Number of threads.
        labels_layer, guide_layer
            Labels layer to smooth within, and image layer of the edges, or ``None``.

        Raises
        ------
        ValueError
            When labels or guide are not on the voxels of the layer.
        """
        labels = guide = guide_key = None
        if labels_layer is not None:
            labels = labels_on_grid(layer, labels_layer, recipe.axes or ())
        if guide_layer is not None:
            guide = guide_on_grid(layer, guide_layer, recipe.axes or ())
            guide_key = id(guide_layer), id(guide_layer.data)
        return cls(
            image=array_of(layer),
            recipe=recipe,
            labels=labels,
            execution=execution,
            guide=guide,
            guide_key=guide_key,
            channel_weights=channel_weights_of(layer),
            time_axes=time_axes([axis.name for axis in layer_axes(layer)]),
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
