"""A filter of another program: its parameters there, and their conversion to a recipe."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.parameters import check_parameters
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.problem import Problem, make_problem, unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import Linear, Model
from napari_diffusion.schemes import AUTO, Scheme

UNSTABLE = "The step is unstable in {}, where it may amplify noise; here all steps are stable."

#: Voxels whose gradients are computed at once.
_SLAB_VOXELS = 1 << 20


@dataclass(frozen=True)
class Conversion:
    """Our parameters of a filter of another program.

    Attributes
    ----------
    model, time, scheme
        As in a `Recipe`; lengths are in the unit of the voxel size.
    differences
        Sentences that say what differs from the other program.
    """

    model: Model
    time: float
    scheme: str | Scheme = AUTO
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """An image for which parameters are converted.

    Attributes
    ----------
    problem
        The image with its axes and its voxel size.
    cancel
        Event that ends a measurement with `Cancelled`.
    """

    problem: Problem
    cancel: CancelEvent | None = None

    @property
    def sizes(self) -> tuple[float, ...]:
        """Voxel size along each axis of more than one voxel [length]; all of them without one."""
        shape, axes = self.problem.shape, self.problem.axes
        long = [h for i, h in zip(axes, self.problem.spacing, strict=True) if shape[i] > 1]
        return tuple(long or self.problem.spacing)

    @property
    def size(self) -> float:
        """Geometric mean of the voxel sizes [length].

        With it, long linear diffusion leaves the same share of white noise as in the other program,
        whatever its diffusivity along each axis: the share depends on the product alone.
        """
        return math.prod(self.sizes) ** (1 / len(self.sizes))

    @property
    def elongation(self) -> float:
        """Largest voxel size divided by the smallest."""
        return max(self.sizes) / min(self.sizes)

    @property
    def is_cubic(self) -> bool:
        """Whether all voxel sizes are equal, to the rounding of a file."""
        return self.elongation < 1 + 1e-6

    def filtered(self, model: Model, time: float) -> Measured:
        """Return the image after diffusion over a time [length²]; NaN stays where it is."""
        problem = self.problem
        recipe = RecipeFields(model, time, nan="mask")
        run_on = make_problem(problem.image, recipe, problem.geometry)
        result = run(run_on, cancel=self.cancel)
        return Measured(unread_problem(result, recipe, problem.geometry, Domain()), self.cancel)

    def rms_gradient(self) -> float:
        r"""Return :math:`\sqrt{\langle|\nabla u|^2\rangle}` over all frames [intensity/length].

        As in ITK, differences are central and the outermost voxels are repeated. Channels count
        with their weights, and values that are not finite are left out. The result is 0 for a
        constant image.
        """
        problem = self.problem
        spacing, weights = problem.kernel_spacing, problem.weights
        sums, counts = np.zeros(len(spacing)), np.zeros(len(spacing))
        for frame in problem.frames():
            field, _ = problem.read(frame)
            for channel in problem.filtered_channels:
                for axis, difference in _central_differences(field[channel]):
                    poll(self.cancel)
                    finite = difference[np.isfinite(difference)]
                    sums[axis] += weights[channel] * float(finite @ finite)
                    counts[axis] += weights[channel] * finite.size
        return math.sqrt(np.sum(sums / np.maximum(counts, 1.0) / np.square(spacing)))


def _central_differences(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield axis and central differences of slabs, with the outermost voxels repeated."""
    rows = max(1, _SLAB_VOXELS // max(1, values[:1].size))
    for start in range(0, len(values), rows):
        slab = slice(start, min(start + rows, len(values)))
        for axis, n in enumerate(values.shape):
            numbers = np.arange(n)[slab] if axis == 0 else np.arange(n)
            part = values if axis == 0 else values[slab]
            above, below = (
                np.take(part, np.clip(numbers + step, 0, n - 1), axis) for step in (1, -1)
            )
            with np.errstate(invalid="ignore", over="ignore"):
                yield axis, (0.5 * np.subtract(above, below, dtype=np.float64)).ravel()


@dataclass(frozen=True)
class Preset(ABC):
    """Base of the filters of other programs; its fields are their parameters there.

    Attributes
    ----------
    name
        Name on the command line.
    title
        Program and filter.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_parameters(self, self.name)

    @abstractmethod
    def converted(self, image: Measured) -> Conversion:
        """Return our parameters for an image."""

    def recipe(
        self,
        image: Any,
        geometry: Geometry | None = None,
        unit: str = "pixel",
        cancel: CancelEvent | None = None,
    ) -> Recipe:
        """Return the recipe for an image.

        Parameters
        ----------
        image
            As in `napari_diffusion.diffuse`. It is read only if a parameter is relative to it.
        geometry
            Axes, channels and voxel size [unit].
        unit
            Unit of all lengths.
        cancel
            Event that ends the measurement with `Cancelled`.

        Returns
        -------
        Recipe
            Its `Recipe.remarks` say what differs from the other program.

        Raises
        ------
        TypeError, ValueError
            As `napari_diffusion.diffuse`, and where the other program has no such filter.
        """
        fields = RecipeFields(Linear(), 0.0, nan="mask")
        problem = unread_problem(image, fields, geometry or Geometry(), Domain())
        conversion = self.converted(Measured(problem, cancel))
        return Recipe(
            conversion.model,
            conversion.time,
            unit=unit,
            scheme=conversion.scheme,
            spacing=problem.spacing,
            axes=problem.axes,
            channel_axis=problem.channel_axis,
            remarks=conversion.differences,
        )
