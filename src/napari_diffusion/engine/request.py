"""A run as the caller requests it: image, model and options, which are checked on first use."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.in_memory import State, evolve
from napari_diffusion.engine.memory import check_memory
from napari_diffusion.engine.options import Execution, Integration
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.models import Model


@dataclass(frozen=True)
class Request:
    """A run of a model on an image.

    Attributes
    ----------
    image, model
        The image to filter, and the diffusion model.
    geometry, domain
        Diffusing axes and voxel size, and the regions within which the image diffuses.
    integration, execution
        Diffusion time and scheme; threads and backend.
    preserve_dtype, channel_weights
        As in `napari_diffusion.diffuse`.
    """

    image: Any
    model: Model
    geometry: Geometry
    domain: Domain
    integration: Integration
    execution: Execution
    preserve_dtype: bool = False
    channel_weights: Sequence[float] | None = None

    @classmethod
    def of(cls, image: Any, model: Model, **options: Any) -> Self:
        """Make a request from the keywords of `napari_diffusion.diffuse`.

        Raises
        ------
        TypeError
            For a keyword that `diffuse` does not have, and without ``time``.
        """
        parts = {}
        for name, kind in _PARTS.items():
            names = {field.name for field in fields(kind)} & options.keys()
            parts[name] = kind(**{key: options.pop(key) for key in names})
        return cls(image, model, **parts, **options)

    @cached_property
    def problem(self) -> Problem:
        """The checked problem."""
        return make_problem(
            self.image,
            self.geometry,
            self.domain,
            preserve_dtype=self.preserve_dtype,
            channel_weights=self.channel_weights,
        )

    @cached_property
    def plan(self) -> Plan:
        """The plan of the run: scheme, schedule, halo and memory."""
        return make_plan(self.problem, self.model, self.integration, self.execution)

    def evolve(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
    ) -> Generator[State, None, None]:
        """Run step by step; everything is checked at the call, before the first step."""
        checks = (("progress", progress, "__call__"), ("cancel", cancel, "is_set"))
        for name, argument, method in checks:
            if argument is not None and not hasattr(argument, method):
                raise TypeError(f"{name} must have {method}(), got {type(argument).__name__}.")
        check_memory(self.problem, self.plan.memory)
        return evolve(self.problem, self.model, self.plan, progress, cancel)

    def result(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
    ) -> Image:
        """Run to the end and return the image."""
        last = None
        for state in self.evolve(progress, cancel):
            last = state
        assert last is not None
        return last.image


_PARTS: dict[str, Any] = {
    "geometry": Geometry,
    "domain": Domain,
    "integration": Integration,
    "execution": Execution,
}
