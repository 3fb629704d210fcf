"""Cases for which the laws of models are checked, and comparisons of results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion.api.filters import diffuse, plan
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.grid import Place
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import Model

#: Range of the test image.
RANGE = 130
#: Rounding error of a few dozen steps, as a share of the range. It accumulates like a random walk;
#: the values include a margin for a different order of summation.
ROUNDING = {"float32": 3e-6, "float64": 1e-13}
#: Intensities of constant images; no sum of weights times one of them is exact.
CONSTANTS = (37.3, 0.1, 1e-30 / 3)


@dataclass(frozen=True)
class Case:
    """A grid, dtype and test image for which a law is checked."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    dtype: str = "float32"

    def picture(self) -> Array:
        """Return the test image: ball, ramp, stripes and seeded noise, in the range 0 to 130.

        It has flat parts, and weak and strong edges in all directions.
        """
        x = np.meshgrid(*(np.linspace(-1, 1, n) for n in self.shape), indexing="ij")
        ball = np.sum([c**2 for c in x], axis=0) < 0.5
        stripes = np.sin(9 * x[0] + 4 * x[-1])
        noise = np.random.default_rng(20260).normal(size=self.shape)
        image = 20 + 60 * ball + 15 * x[-1] + 10 * stripes * (x[0] > 0) + 4 * noise
        return np.asarray(np.abs(image), self.dtype)  # some models are for magnitudes only

    def time(self, model: Model) -> float:
        """Return a diffusion time: about ten stable steps of linear diffusion on the finest axis.

        It is at most 16 stable steps of the model.
        """
        return min(2.0 * min(self.spacing) ** 2, 16 * self.max_step(model))

    def max_step(self, model: Model) -> float:
        """Return the largest explicit step of the model on this grid."""
        image = np.empty(self.shape, self.dtype)
        return plan(image, model, time=1e-6, spacing=self.spacing).max_step

    @property
    def rounding(self) -> float:
        """Absolute tolerance for results that differ by rounding only."""
        return ROUNDING[self.dtype] * RANGE

    def run(self, model: Model, image: Array, **options: Any) -> Array:
        """Filter an image with the spacing and time of this case, unless ``options`` has others."""
        if "time" not in options:
            options["time"] = self.time(model)
        return diffuse(image, model, **({"spacing": self.spacing} | options))

    def run_part(self, model: Model, image: Array, box: tuple[slice, ...], **options: Any) -> Array:
        """Filter a box that is cut out of an image; maps of thresholds cover the whole image."""
        place = Place(tuple(part.start for part in box), image.shape)
        recipe = RecipeFields(model, **({"time": self.time(model)} | options))
        return run(make_problem(image[box], recipe, Geometry(self.spacing), Domain(place=place)))

    def fits(self, model: Model) -> bool:
        """Whether the maps of a model, if it has any, have one level for each axis."""
        return all(np.ndim(values) == len(self.shape) for values in model.maps.values())


CASES = tuple(
    Case(shape, spacing, dtype)
    for (shape, spacing), dtype in itertools.product(
        [
            ((24, 21), (1.0, 1.0)),
            ((24, 21), (4.0, 1.0)),
            ((13, 15, 14), (1.0, 1.0, 1.0)),
            ((9, 15, 14), (4.0, 1.0, 0.8)),
        ],
        ROUNDING,
    )
)


@contextmanager
def named(subject: str, law: Callable[..., None], place: str = "") -> Iterator[None]:
    """Turn an error of a law into an AssertionError that says what the law states.

    An error of any kind is a violation. The statement is the first sentence of the law's docstring.
    """
    try:
        yield
    except Exception as error:
        statement = " ".join((law.__doc__ or "").split("\n\n")[0].replace("`", "").split())
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        raise AssertionError(
            f"{subject} breaks the law {law.__name__}{place}: {statement} {kind}{error}"
        ) from error


def same(left: Array, right: Array) -> None:
    """Assert that two arrays are equal, bit for bit."""
    np.testing.assert_array_equal(left, right)


def close(model: Model, left: Array, right: Array, tolerance: float) -> None:
    """Assert equality up to ``tolerance`` times the rounding gain of the model.

    Transformed intensities are compared, since roots near zero amplify rounding. The tolerance of
    squares is 2 x 130 times larger.
    """
    tolerance *= model.rounding_gain
    if model.has_transform:
        left, right = encoded(model, left), encoded(model, right)
        tolerance = tolerance * 2 * RANGE
    np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)


def encoded(model: Model, image: Array) -> Array:
    """Return the intensities that a model diffuses."""
    image = image.copy()
    model.encode(image)
    return image


def decoded(model: Model, image: Array) -> Array:
    """Return intensities from those that a model diffuses."""
    model.decode(image)
    return image
