"""Declared parameters: default, help sentence, unit and bounds of a number, in one place.

The fields of a model, of a scheme, of a recipe and of an execution are declared by `param`. The
declaration is read by the validation, the widgets, the command line, the saved recipes, the
conversion of units, the documentation and the tests.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import ge, gt, index, le
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from napari_diffusion.core.errors import shown
from napari_diffusion.core.units import Dimension

_KEY = "napari_diffusion"
_Declared = TypeVar("_Declared")


@dataclass(frozen=True)
class Parameter:
    """Declaration of one parameter.

    Attributes
    ----------
    name
        Name of the field.
    type
        Annotated type, to which numbers are converted.
    optional
        Whether ``None`` is allowed.
    default
        Default value.
    doc
        One sentence: tooltip and help text.
    unit
        Product of powers of ``length`` and ``intensity``, such as ``"intensity/length"``; ``"1"``
        for a number without unit.
    gt, ge, le
        Bounds (>, >=, <=), or None.
    choices
        Names to choose from; None for a number.
    suggest
        Name of the estimator that can set it, or None.
    function
        Whether a function is allowed in place of one of the ``choices``.
    label
        Name on the screen; empty for the name of the field.
    choice_labels
        Names of the ``choices`` on the screen, in their order; None for the choices themselves.
    convert
        Function that checks a value that is neither a number nor a choice, and returns it in its
        final form.
    offered
        Function that returns names to choose from, for a value that ``convert`` checks.
    hidden
        Whether lists of options leave it out: it has a control of its own, or is for Python only.
    preference
        Whether the widgets leave it to napari's page of preferences.
    absent
        Value that a recipe without this parameter has, or None for the default. It keeps the
        meaning of recipes that are older than the parameter.
    is_map
        Whether it is a map over the image, nested tuples with one level per diffusing axis.
    """

    name: str
    type: type
    optional: bool
    default: Any
    doc: str
    unit: str
    gt: float | None
    ge: float | None
    le: float | None
    choices: tuple[str, ...] | None
    suggest: str | None
    function: bool
    label: str
    choice_labels: tuple[str, ...] | None
    convert: Callable[[Any], Any] | None
    offered: Callable[[], list[str]] | None
    hidden: bool
    preference: bool
    absent: Any
    is_map: bool

    @property
    def dimension(self) -> Dimension:
        """Powers of length and intensity in the unit."""
        return Dimension.parse(self.unit)

    def unit_in(self, length: str, intensity: str = "intensity") -> str:
        """Return the unit for display in the units of the data, for example ``"intensity/µm"``."""
        return self.dimension.text(length, intensity)

    def check(self, owner: str, value: Any) -> Any:
        """Return ``value`` as the declared type.

        Parameters
        ----------
        owner
            Name of the model or scheme, with which a message starts; empty for an option of a run.
        value
            The value to check.

        Raises
        ------
        ValueError
            If it is not one of the choices, not finite, or out of bounds. The message states the
            allowed values.
        TypeError
            If it is not a number, or not a bool where one is declared.

        Notes
        -----
        Errors of ``convert`` are passed on.
        """
        if (value is None and self.optional) or (self.function and callable(value)):
            return value
        if self.convert is not None:
            return self.convert(value)
        if type(value) is self.type and self._accepts(value):
            return value
        subject = f"{owner}: {self.name}" if owner else self.name
        if self.choices is not None:
            return self._checked_choice(subject, value)
        if self.type is bool:
            return checked_flag(subject, value)
        if self.type is str:
            raise TypeError(f"{subject} must be text, got {shown(value)}.")
        # To Python, True is a number; it is no count.
        number = math.nan if self.type is int and isinstance(value, bool) else as_number(value)
        if number is None:
            raise TypeError(f"{subject} must be a number{self._unit_text()}, got {shown(value)}.")
        is_whole = self.type is not int or hasattr(value, "__index__")
        declared = ((">", self.gt, gt), (">=", self.ge, ge), ("<=", self.le, le))
        bounds = [(sign, bound, test) for sign, bound, test in declared if bound is not None]
        is_inside = all(holds(number, bound) for _, bound, holds in bounds)
        # Quotients by a subnormal number overflow.
        is_inside &= self.gt != 0 or number >= sys.float_info.min
        if not (math.isfinite(number) and is_whole and is_inside):
            limits = [f"{sign} {bound:g}" for sign, bound, _ in bounds]
            if self.type is int:
                allowed = " ".join(["a whole number", " and ".join(limits)]).rstrip()
            else:
                allowed = " and ".join([*limits, "finite"])
            meaning = self.doc.split(". ")[0].rstrip(".")  # a message is one sentence
            raise ValueError(
                f"{subject} must be {allowed}{self._unit_text()}, got {shown(value)} ({meaning})."
            )
        return self.type(value) if self.type is int else self.type(number)

    def _accepts(self, value: Any) -> bool:
        """Whether a value of the declared type is valid; this is faster than the complete check."""
        if self.choices is not None:
            return value in self.choices
        if self.type not in (int, float):
            return self.type in (bool, str)
        return (
            -sys.float_info.max <= value <= sys.float_info.max
            and (self.gt is None or value > self.gt)
            and (self.ge is None or value >= self.ge)
            and (self.le is None or value <= self.le)
            and (self.gt != 0 or value >= sys.float_info.min)
        )

    def _checked_choice(self, subject: str, value: Any) -> Any:
        assert self.choices is not None
        if not isinstance(value, str) or value not in self.choices:
            other = " or a function" if self.function else ""
            raise ValueError(
                f"{subject} must be one of {', '.join(self.choices)}{other}, got {shown(value)}."
            )
        return str(value)

    def _unit_text(self) -> str:
        return "" if self.unit == "1" else f" [{self.unit_in('length')}]"


def checked_flag(name: str, value: Any) -> bool:
    """Return a bool, or raise TypeError."""
    if type(value).__name__ not in ("bool", "bool_"):  # Python's and NumPy's
        raise TypeError(f"{name} must be True or False, got {shown(value)}.")
    return bool(value)


def checked_whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least ``least``, or raise TypeError or ValueError."""
    is_array = hasattr(value, "dtype") and (value.ndim or value.dtype.kind not in "iu")
    if not hasattr(value, "__index__") or isinstance(value, bool | type) or is_array:
        raise TypeError(f"{name} must be a whole number, got {shown(value)}.")
    number = index(value)
    if number < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {shown(value)}.")
    return number


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
    except (TypeError, ValueError):  # a class, which has __float__ too; a text in an array
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
    label: str = "",
    choice_labels: tuple[str, ...] | None = None,
    convert: Callable[[Any], Any] | None = None,
    offered: Callable[[], list[str]] | None = None,
    hidden: bool = False,
    preference: bool = False,
    absent: Any = None,
    is_map: bool = False,
) -> Any:
    """Declare a parameter; the arguments are attributes of `Parameter`.

    ``default`` is `dataclasses.MISSING` for a parameter that must be given.

    Raises
    ------
    ValueError
        If ``unit`` is no product of powers of ``length`` and ``intensity``.
    """
    Dimension.parse(unit)
    declaration = {
        "doc": doc,
        "unit": unit,
        "gt": gt,
        "ge": ge,
        "le": le,
        "choices": choices,
        "suggest": suggest,
        "function": function,
        "label": label,
        "choice_labels": choice_labels,
        "convert": convert,
        "offered": offered,
        "hidden": hidden,
        "preference": preference,
        "absent": absent,
        "is_map": is_map,
    }
    return dataclasses.field(default=default, metadata={_KEY: declaration})


def parameters(owner: Any) -> tuple[Parameter, ...]:
    """Return the declared parameters of a dataclass or of its instance, in order of its fields."""
    return _declared(owner if isinstance(owner, type) else type(owner))


def check_parameters(owner: Any, name: str = "") -> None:
    """Check and convert every declared field of a frozen dataclass, after its creation.

    ``name`` is the name of the model or scheme in messages.
    """
    values = vars(owner)
    kind: Any = type(owner)
    for key, default, check in _checks(kind):
        value = values[key]
        # A default needs no check, which takes time.
        if value is not default and not (type(value) is type(default) and value == default):
            object.__setattr__(owner, key, check(name, value))


@cache
def _checks(cls: Any) -> tuple[tuple[str, Any, Callable[[str, Any], Any]], ...]:
    """Return name, default and check of every declared field."""
    return tuple((p.name, p.default, p.check) for p in _declared(cls))


def rescaled(owner: _Declared, length: float) -> _Declared:
    """Return a dataclass with its declared quantities in another unit of length.

    Parameters
    ----------
    owner
        Dataclass with declared fields.
    length
        Number of the new units in one old unit.
    """
    changed = {}
    for parameter in parameters(owner):
        value = getattr(owner, parameter.name)
        if not parameter.dimension.length or value is None:
            continue
        factor = parameter.dimension.factor(length)
        is_list = isinstance(value, tuple | list)
        changed[parameter.name] = tuple(v * factor for v in value) if is_list else value * factor
    return dataclasses.replace(owner, **changed) if changed else owner  # type: ignore[type-var]


@cache
def _declared(cls: Any) -> tuple[Parameter, ...]:
    hints = get_type_hints(cls)
    declared = []
    for field in dataclasses.fields(cls):
        if _KEY in field.metadata:
            kind, optional = _base_type(hints[field.name])
            declaration = field.metadata[_KEY]
            declared.append(Parameter(field.name, kind, optional, field.default, **declaration))
    return tuple(declared)


def _base_type(hint: Any) -> tuple[Any, bool]:
    """Return the type of an annotation without ``None``, and whether ``None`` is allowed."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return (kinds[0] if len(kinds) == 1 else hint), len(kinds) < len(get_args(hint))
