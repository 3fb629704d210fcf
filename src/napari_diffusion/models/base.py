"""What a model is: parameters, each declared once, and one method that turns local features into a coefficient."""

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
    """The declaration of one parameter, read by validation, widgets, command line, docs and the unit test."""

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
        """Unit with the names of the data put in, for display: ``"intensity/length"`` becomes ``"intensity/µm"``."""
        if self.unit == "1":
            return ""
        return (
            self.unit.replace("length", length).replace("intensity", intensity).replace("^2", "²")
        )

    def check(self, owner: str, value: Any) -> Any:
        """Return ``value`` as the declared type, or raise one sentence that says what would work."""
        if self.function and callable(value):
            return value
        if self.choices is not None:
            if not isinstance(value, str) or value not in self.choices:
                other = " or a function" if self.function else ""
                raise ValueError(
                    f"{owner}: {self.name} must be one of {', '.join(self.choices)}{other}, got {value!r}."
                )
            return value
        number = as_number(value)
        if number is None:
            raise TypeError(f"{owner}: {self.name} must be a number, got {value!r:.60}.")
        declared = ((">", self.gt, gt), (">=", self.ge, ge), ("<=", self.le, le))
        bounds = [(sign, bound, test) for sign, bound, test in declared if bound is not None]
        wanted = " and ".join([*(f"{sign} {bound:g}" for sign, bound, _ in bounds), "finite"])
        if not math.isfinite(number) or not all(holds(number, bound) for _, bound, holds in bounds):
            told = self.doc.rstrip(".")
            raise ValueError(
                f"{owner}: {self.name} must be {wanted}{self._unit_text()}, got {value!s:.60} ({told})."
            )
        return self.type(number)

    def _unit_text(self) -> str:
        return "" if self.unit == "1" else f" [{self.unit}]"


def as_number(value: Any) -> float | None:
    """Return a single number as a float, infinite beyond all floats, and ``None`` for what is none (text, bool, arrays)."""
    if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "ndim", False):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except TypeError:  # a class has __float__ too
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
    """Declare a parameter of a model: default, one sentence, unit, bounds.

    ``suggest`` names the estimator that can fill it in; ``function`` says that Python may give a function instead of one of the choices.
    """
    told = {
        "doc": doc,
        "unit": unit,
        "gt": gt,
        "ge": ge,
        "le": le,
        "choices": choices,
        "suggest": suggest,
        "function": function,
    }
    return dataclasses.field(default=default, metadata={_KEY: told})


@dataclass(frozen=True, kw_only=True)
class Model:
    """A diffusion model: a frozen dataclass whose fields are declared with `param`.

    A subclass sets ``name`` (command line), ``title`` and ``summary`` (menus), and says `operator`. It may read only
    local features: no global statistic, no state. That alone makes previews, tiles, threads and clusters agree.

    What it promises about every image is declared too, and the laws of `napari_diffusion.testing` hold it to that: ``conservative``,
    that it keeps the mean (every model in divergence form does), and ``offset_invariant``, that a constant added to the image is added
    to the result. ``rounding_gain`` says how much more than others it makes of a rounding error, ``truncation_gain`` how much more of what is left
    out around a preview: much, where its formula nearly jumps from one way of smoothing to another.
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
        """Turn intensities into what diffuses, in place, before a run; for models of transformed intensities."""

    def decode(self, u: NDArray[np.floating]) -> None:
        """Turn what has diffused back into intensities, in place. Time 0 returns the image as it is."""

    @property
    def has_transform(self) -> bool:
        """Whether this model transforms intensities."""
        return type(self).encode is not Model.encode

    def with_max_diffusivity(self, most: float) -> Self:
        """Return a model that does nearly the same with no diffusivity above ``most``, for drafts; without one, the model itself."""
        return self

    def operator(self, f: Features) -> Operator:
        """Diffusion coefficient of the image that ``f`` describes, at its time."""
        raise NotImplementedError


def parameters(model: Model | type[Model]) -> tuple[Parameter, ...]:
    """All parameter declarations of a model, in order."""
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
