"""Declared parameters: their checks, conversions and messages, and the change of units."""

import math
from dataclasses import MISSING, dataclass, fields

import numpy as np
import pytest

from helpers.hostile import check_sentence
from napari_diffusion.core.parameters import (
    as_number,
    check_parameters,
    param,
    parameters,
    rescaled,
)

HUGE = 10**400


def _even(value):
    if value % 2:
        raise ValueError(f"even must be even, got {value}.")
    return float(value)


@dataclass(frozen=True)
class Declared:
    """One field of each kind; ``plain`` is not declared."""

    size: float = param(1.5, "Size of a voxel.", unit="length", gt=0)
    share: float = param(0.5, "Share. It is a part of 1.", ge=0, le=1)
    factor: float = param(2.0, "Factor.", gt=1)
    free: float = param(0.0, "Any number.")
    count: int = param(2, "Number of cycles.", ge=1)
    integer: int = param(0, "Any whole number.")
    rounds: int | None = param(None, "Number of rounds.", ge=0, le=9)
    longest: float | None = param(None, "Longest step.", unit="length^2", gt=0)
    kind: str = param("one", "Kind.", choices=("one", "two"))
    curve: object = param("one", "Curve.", choices=("one", "two"), function=True)
    strict: bool = param(False, "Whether it is strict.")
    even: float = param(2.0, "Even number.", convert=_even)
    sizes: tuple[float, ...] | None = param(None, "Sizes.", unit="1/length", convert=tuple)
    plain: str = "unchecked"

    def __post_init__(self) -> None:
        check_parameters(self, "Declared")


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("size", 3, 3.0),
        ("size", np.float32(0.5), 0.5),
        ("size", np.array(2), 2.0),
        ("size", 2.3e-308, 2.3e-308),
        ("share", 0, 0.0),
        ("share", 1, 1.0),
        ("free", -1e308, -1e308),
        ("count", 1, 1),
        ("count", np.uint8(7), 7),
        ("count", np.array(7), 7),
        ("count", 2**70 + 1, 2**70 + 1),
        ("integer", -3, -3),
        ("rounds", None, None),
        ("rounds", 0, 0),
        ("rounds", 9, 9),
        ("longest", None, None),
        ("longest", 4, 4.0),
        ("kind", "two", "two"),
        ("curve", "two", "two"),
        ("curve", math.exp, math.exp),
        ("strict", True, True),
        ("strict", np.bool_(True), True),
        ("even", 4, 4.0),
        ("sizes", None, None),
        ("sizes", [1, 2], (1, 2)),
    ],
    ids=str,
)
def test_valid_value_is_stored_as_the_declared_type(name, value, stored):
    result = getattr(Declared(**{name: value}), name)
    assert result == stored
    assert type(result) is type(stored)


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("size", 0, ValueError, "Declared: size must be > 0 and finite [length], got 0 (Size of a"),
        ("size", -1.5, ValueError, "got -1.5"),
        ("size", 1e-320, ValueError, "must be > 0 and finite"),  # its quotients overflow
        ("size", math.nan, ValueError, "got nan"),
        ("size", math.inf, ValueError, "got inf"),
        ("size", HUGE, ValueError, "got 1000"),
        ("size", "1", TypeError, "Declared: size must be a number [length], got '1'"),
        ("size", None, TypeError, "got None"),
        ("size", True, TypeError, "got True"),
        ("size", [1.0], TypeError, "got [1.0]"),
        ("size", np.ones(1), TypeError, "got array([1.])"),
        ("size", 1j, TypeError, "got 1j"),
        ("size", float, TypeError, "got <class 'float'>"),
        ("share", 1.01, ValueError, "share must be >= 0 and <= 1 and finite, got 1.01 (Share)"),
        ("share", -0.01, ValueError, "got -0.01"),
        ("factor", 1.0, ValueError, "factor must be > 1 and finite, got 1.0"),
        ("free", math.nan, ValueError, "free must be finite, got nan"),
        ("count", 0, ValueError, "Declared: count must be a whole number >= 1, got 0 (Number of"),
        ("count", 2.5, ValueError, "count must be a whole number >= 1, got 2.5"),
        ("count", 2.0, ValueError, "count must be a whole number >= 1, got 2.0"),
        ("count", True, ValueError, "count must be a whole number >= 1, got True"),
        ("count", HUGE, ValueError, "got 1000"),
        ("count", None, TypeError, "count must be a number, got None"),
        ("count", "few", TypeError, "count must be a number, got 'few'"),
        ("integer", 0.5, ValueError, "integer must be a whole number, got 0.5"),
        ("rounds", 10, ValueError, "rounds must be a whole number >= 0 and <= 9, got 10"),
        ("rounds", -1, ValueError, "got -1"),
        ("longest", 0, ValueError, "longest must be > 0 and finite [length²], got 0"),
        ("kind", "three", ValueError, "Declared: kind must be one of one, two, got 'three'"),
        ("kind", 1, ValueError, "got 1"),
        ("kind", None, ValueError, "got None"),
        ("kind", math.exp, ValueError, "kind must be one of one, two, got"),
        ("kind", np.array(["one", "two"]), ValueError, "kind must be one of one, two, got"),
        ("curve", 3, ValueError, "curve must be one of one, two or a function, got 3"),
        ("strict", 1, TypeError, "Declared: strict must be True or False, got 1"),
        ("strict", None, TypeError, "got None"),
        ("even", 3, ValueError, "even must be even, got 3"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_invalid_value_is_refused_in_one_sentence(name, value, kind, message):
    with pytest.raises(kind) as caught:
        Declared(**{name: value})
    assert type(caught.value) is kind
    check_sentence(caught.value, message)


def test_message_without_an_owner_starts_with_the_parameter():
    size = parameters(Declared)[0]
    with pytest.raises(ValueError, match=r"^size must be > 0"):
        size.check("", 0)


def test_declaration_has_the_annotated_type_and_the_arguments():
    declared = {p.name: p for p in parameters(Declared)}
    assert list(declared) == [field.name for field in fields(Declared)][:-1]
    assert parameters(Declared()) == parameters(Declared)
    assert (declared["rounds"].type, declared["rounds"].optional) == (int, True)
    assert (declared["count"].type, declared["count"].optional) == (int, False)
    assert (declared["size"].default, declared["size"].doc) == (1.5, "Size of a voxel.")
    assert declared["longest"].unit_in("µm") == "µm²"
    assert declared["share"].unit_in("µm") == ""


def test_parameter_without_a_default_must_be_given():
    @dataclass(frozen=True)
    class Needed:
        size: float = param(MISSING, "Size.")

    (size,) = parameters(Needed)
    assert size.default is MISSING
    with pytest.raises(TypeError, match="size"):
        Needed()


def test_lengths_change_with_the_unit_and_nothing_else_does():
    before = Declared(size=2.0, share=0.5, longest=3.0, sizes=(4.0, 8.0), count=5)
    after = rescaled(before, 10.0)
    assert (after.size, after.longest) == (20.0, pytest.approx(300.0))
    assert after.sizes == pytest.approx((0.4, 0.8))
    assert (after.share, after.count, after.plain) == (0.5, 5, "unchecked")
    assert rescaled(Declared(), 10.0).longest is None


def test_owner_without_lengths_is_not_copied():
    @dataclass(frozen=True)
    class Unitless:
        share: float = param(0.5, "Share.")

    owner = Unitless()
    assert rescaled(owner, 10.0) is owner


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (np.float64(0.5), 0.5),
        (np.array(2), 2.0),
        (HUGE, math.inf),
        (-math.inf, -math.inf),
    ],
    ids=lambda value: str(value)[:20],
)
def test_single_numbers_are_numbers(value, number):
    assert as_number(value) == number


@pytest.mark.parametrize("value", [True, "3", None, [3], np.ones(1), 1j, int], ids=repr)
def test_other_values_are_no_numbers(value):
    assert as_number(value) is None


@dataclass(frozen=True)
class Named:
    """An option that is text."""

    word: str = param("a", "Any word.")

    def __post_init__(self) -> None:
        check_parameters(self, "Named")


def test_an_option_may_be_text():
    assert Named(word="another").word == "another"
    with pytest.raises(TypeError, match="Named: word must be text, got 3"):
        Named(word=3)
