"""Base class of the diffusion models, and the declaration of their parameters.

A model declares its parameters and has one method, which builds a diffusion operator from local
features.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from operator import ge, gt, le
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_diffusion.operators import Operator
    from napari_diffusion.operators.features import Features

_KEY = "napari_diffusion"


@dataclass(frozen=True)
class Parameter:
    """Declaration of one parameter of a model.

    It is used by the validation, the widgets, the command line, the documentation and the tests.

    Attributes
    ----------
    name
        Name of the field.
    type
        Annotated type, to which numbers are converted.
    default
        Default value.
    doc
        One sentence: tooltip and help text.
    unit
        ``"1"``, ``"length"``, ``"length^2"``, ``"intensity"`` or ``"intensity/length"``.
    gt, ge, le
        Bounds (>, >=, <=), or None.
    choices
        Names to choose from; None for a number.
    suggest
        Name of the estimator that can set it, or None.
    function
        Whether a function is allowed in place of one of the ``choices``.
    """

    name: str
    type: type
    default: Any
    doc: str
    unit: str
    gt: float | None
    ge: float | None
    le: float | None
    choices: tuple[str, ...] | None
    suggest: str | None
    function: bool

    def unit_in(self, length: str, intensity: str = "intensity") -> str:
        """Return the unit for display in the units of the data, for example ``"intensity/µm"``."""
        if self.unit == "1":
            return ""
        unit = self.unit.replace("length", length).replace("intensity", intensity)
        return unit.replace("^2", "²")

    def check(self, owner: str, value: Any) -> Any:
        """Return ``value`` as the declared type.

        Raises
        ------
        ValueError
            If it is not one of the choices, not finite, or out of bounds. The message starts with
            ``owner``, the name of the model, and states the allowed values.
        TypeError
            If it is not a number.
        """
        if self.function and callable(value):
            return value
        if self.choices is not None:
            if not isinstance(value, str) or value not in self.choices:
                other = " or a function" if self.function else ""
                raise ValueError(
                    f"{owner}: {self.name} must be one of {', '.join(self.choices)}{other}, "
                    f"got {value!r}."
                )
            return value
        number = as_number(value)
        if number is None:
            raise TypeError(f"{owner}: {self.name} must be a number, got {value!r:.60}.")
        declared = ((">", self.gt, gt), (">=", self.ge, ge), ("<=", self.le, le))
        bounds = [(sign, bound, test) for sign, bound, test in declared if bound is not None]
        allowed = " and ".join([*(f"{sign} {bound:g}" for sign, bound, _ in bounds), "finite"])
        if not math.isfinite(number) or not all(holds(number, bound) for _, bound, holds in bounds):
            meaning = self.doc.rstrip(".")
            raise ValueError(
                f"{owner}: {self.name} must be {allowed}{self._unit_text()}, "
                f"got {value!s:.60} ({meaning})."
            )
        return self.type(number)

    def _unit_text(self) -> str:
        return "" if self.unit == "1" else f" [{self.unit}]"


def as_number(value: Any) -> float | None:
    """Return a single number as a float; None for other values such as text, bool and arrays.

    Integers beyond the range of floats become infinite.
    """
    if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "ndim", False):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except TypeError:  # a class, which has __float__ too
        return None


def param(
    default: Any,
    doc: str,
    *,
    unit: str = "1",
    gt: float | None = None,
    ge: float | None = None,
    le: float | None = None,
    choices: tuple[str, ...] | None = None,
    suggest: str | None = None,
    function: bool = False,
) -> Any:
    """Declare a parameter of a model.

    Parameters
    ----------
    default
        Default value.
    doc
        One sentence: tooltip and help text.
    unit
        ``"1"``, ``"length"``, ``"length^2"``, ``"intensity"`` or ``"intensity/length"``.
    gt, ge, le
        Bounds (>, >=, <=).
    choices
        Names to choose from, for a parameter that is not a number.
    suggest
        Name of the estimator that can set it.
    function
        Whether a function is allowed in place of one of the ``choices``.
    """
    declaration = {
        "doc": doc,
        "unit": unit,
        "gt": gt,
        "ge": ge,
        "le": le,
        "choices": choices,
        "suggest": suggest,
        "function": function,
    }
    return dataclasses.field(default=default, metadata={_KEY: declaration})


@dataclass(frozen=True, kw_only=True)
class Model:
    """Base class of the diffusion models: frozen dataclasses with fields declared by `param`.

    A subclass sets ``name``, ``title`` and ``summary`` and implements `operator`. It uses local
    features only: no global statistics and no state. The result therefore does not depend on
    slabs, threads, frames or the part that is previewed. The laws of `napari_diffusion.testing`
    check the declared properties.

    Attributes
    ----------
    name
        Name on the command line and in recipes.
    title
        Name in menus.
    summary
        One sentence for menus.
    isotropic
        Whether the model smooths equally in all directions; selects its widget.
    conservative
        Whether the model keeps the mean of the image, as all models in divergence form do.
    offset_invariant
        Whether a constant added to the image is added to the result.
    rounding_gain
        Factor by which the model amplifies rounding errors, relative to other models; large for
        near-discontinuous diffusivities.
    truncation_gain
        Factor by which the model amplifies the error of the truncated surroundings of a preview,
        relative to other models; large for near-discontinuous diffusivities.
    has_transform
        Whether the model diffuses transformed intensities; it then overrides `encode` and `decode`.
    with_max_diffusivity
        Method that returns an approximation of the model with bounded diffusivity, for drafts.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    isotropic: ClassVar[bool] = False
    conservative: ClassVar[bool] = True
    offset_invariant: ClassVar[bool] = True
    rounding_gain: ClassVar[float] = 1.0
    truncation_gain: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check every field against its declaration."""
        for parameter in parameters(self):
            object.__setattr__(
                self,
                parameter.name,
                parameter.check(type(self).__name__, getattr(self, parameter.name)),
            )

    def encode(self, u: NDArray[np.floating]) -> None:
        """Transform the intensities ``u`` in place, before the first step."""

    def decode(self, u: NDArray[np.floating]) -> None:
        """Transform ``u`` back to intensities in place, after the last step.

        A run of time 0 returns the image unchanged, without both transforms.
        """

    @property
    def has_transform(self) -> bool:
        """Whether the model diffuses transformed intensities."""
        return type(self).encode is not Model.encode

    def with_max_diffusivity(self, limit: float) -> Self:
        """Return an approximation of this model with diffusivities of at most ``limit``.

        It is used for drafts. Models without such an approximation return themselves.
        """
        return self

    def operator(self, f: Features) -> Operator:
        """Return the diffusion operator for the features ``f`` of the current field."""
        raise NotImplementedError


def parameters(model: Model | type[Model]) -> tuple[Parameter, ...]:
    """Return the parameter declarations of a model, in the order of its fields."""
    cls: Any = model if isinstance(model, type) else type(model)
    return _declared(cls)


@cache
def _declared(cls: Any) -> tuple[Parameter, ...]:
    types = get_type_hints(cls)
    return tuple(
        Parameter(f.name, types[f.name], f.default, **f.metadata[_KEY])
        for f in dataclasses.fields(cls)
        if _KEY in f.metadata
    )
