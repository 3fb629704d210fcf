"""Units of length: names, symbols and conversion factors; and the declared units of parameters.

Names are looked up in a table first, and then in pint, which is imported for other units only.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from napari_diffusion.core.errors import shown

if TYPE_CHECKING:
    from fractions import Fraction

#: Units in whole picometers, so that a conversion factor is one correctly rounded division.
_PICOMETERS = {
    "picometer": 1,
    "angstrom": 100,
    "nanometer": 1_000,
    "micrometer": 1_000_000,
    "millimeter": 1_000_000_000,
    "centimeter": 10_000_000_000,
    "inch": 25_400_000_000,
    "meter": 1_000_000_000_000,
}
_SYMBOLS = {
    "picometer": "pm",
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "inch": "in",
    "meter": "m",
    "pixel": "pixel",
}
_MICRO_SIGN, _GREEK_MU = "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"
# Files write µ as the micro sign, as the Greek letter or as "u"; ImageJ as an escape sequence.
_ALIASES = {symbol: name for name, symbol in _SYMBOLS.items()} | {
    f"{_GREEK_MU}m": "micrometer",
    "um": "micrometer",
    "\\u00b5m": "micrometer",
    "micron": "micrometer",
    "\N{ANGSTROM SIGN}": "angstrom",
    "ångström": "angstrom",
    '"': "inch",
    # For pint, px is a length: the pixel of CSS.
    "px": "pixel",
    "voxel": "pixel",
    "reference frame": "pixel",
}
#: Symbols of the megameter and the petameter. All symbols of the table are read in any case.
_CASE_MATTERS = ("Mm", "Pm")
#: Names of at least this length may have a plural: "ms" is no plural of "m".
_SHORTEST_WITH_PLURAL = 5
#: Longest text that is read as a unit.
_LONGEST = 40


def canonical(name: str) -> str:
    """Return the full name of a unit of length: ``"micrometer"`` for ``"µm"``.

    Besides the pixel, it is a unit of length that pint knows by this word. Text that has to be
    computed, such as ``"10 * meter"``, is no name of a unit.

    Raises
    ------
    ValueError
        If ``name`` is not a known unit of length.
    TypeError
        If it is not text.
    """
    if not isinstance(name, str):
        raise TypeError(f"A unit must be text, such as 'µm', got {shown(name)}.")
    text = name.strip()
    unit = None if len(text) > _LONGEST else _name_in_table(text) or _name_in_pint(text)
    if unit is None:
        raise ValueError(
            f"{shown(name)} is not a unit of length known here; use "
            f"{', '.join(_SYMBOLS.values())}, or the name of another length, such as km or foot."
        )
    return unit


def symbol(unit: str) -> str:
    """Return the symbol of a unit for display: ``"µm"`` for ``"micrometer"``.

    It is the full name where the symbol would be read as another unit.
    """
    name = canonical(unit)
    return _SYMBOLS.get(name) or _symbol_in_pint(name)


def factor(old: str, new: str) -> float:
    """Return the number of ``new`` units in one ``old`` unit.

    Raises
    ------
    ValueError
        If a unit is not known, or if exactly one of them is the pixel, which has no length.
    TypeError
        If a unit is not text.
    """
    old, new = canonical(old), canonical(new)
    if old == new:
        return 1.0
    if "pixel" in (old, new):
        raise ValueError(
            f"{symbol(old)} cannot be converted to {symbol(new)}: "
            "a pixel has no length until a voxel size is given."
        )
    return float(_picometers(old) / _picometers(new))


def _name_in_table(text: str) -> str | None:
    """Return the full name of a unit of the table by name, symbol or alias, ``None`` without."""
    lower = text.lower()
    singular = lower.removesuffix("s").replace("metre", "meter")
    words = [text] if text in _CASE_MATTERS else [text, lower]
    words += [singular] if len(singular) >= _SHORTEST_WITH_PLURAL else []
    for word in words:
        if word in _SYMBOLS:
            return word
        if word in _ALIASES:
            return _ALIASES[word]
    return None


def _is_word(text: str) -> bool:
    """Whether a text is one word of letters and underscores, and not a computation."""
    return text.replace("_", "").isalpha()


def _registry() -> Any:
    import pint

    return pint.get_application_registry()  # type: ignore[no-untyped-call]


def _name_in_pint(text: str) -> str | None:
    """Return pint's full name of a unit of length, ``None`` for all other text."""
    if not _is_word(text):
        return None
    registry = _registry()
    try:
        name: str = registry.get_name(text)
        is_length = dict(registry.Unit(name).dimensionality) == {"[length]": 1}
        # A unit with an offset is no plain multiple of the meter.
        if not is_length or _meters(0, name) != 0 or not 0 < _meters(1, name) < math.inf:
            return None
    except (AttributeError, TypeError, ValueError):  # pint's errors are subclasses of these
        return None
    return (_name_in_table(name) or name) if _is_word(name) else None


def _symbol_in_pint(name: str) -> str:
    """Return pint's symbol of a unit if it is read as the same unit, and the name otherwise."""
    text = f"{_registry().Unit(name):~P}".replace(_GREEK_MU, _MICRO_SIGN)
    try:
        return text if canonical(text) == name else name
    except ValueError:
        return name


def _meters(number: int, name: str) -> float:
    """Return a number of a unit of pint in meters, as pint computes it."""
    return float(_registry().Quantity(number, name).to("meter").magnitude)


def _picometers(name: str) -> Fraction:
    """Return a unit as an exact number of picometers.

    Of pint's number of meters, the first 15 digits count. The next ones are rounding errors.
    """
    from fractions import Fraction  # its import takes longer than that of this module

    if name in _PICOMETERS:
        return Fraction(_PICOMETERS[name])
    return Fraction(f"{_meters(1, name):.15g}") * _PICOMETERS["meter"]


#: One factor of a declared unit, and up to eight of them with their operators.
_FACTOR = r"(?:1|(?:length|intensity)(?:\^-?\d{1,2})?)"
_DIMENSION = re.compile(rf"{_FACTOR}(?: ?[*/] ?{_FACTOR}){{0,7}}", re.ASCII)
_FACTORS = re.compile(r"([*/]?) ?(?:1|(length|intensity)(?:\^(-?\d+))?)", re.ASCII)
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Dimension:
    """Declared unit of a parameter: a product of powers of length and intensity.

    Attributes
    ----------
    length, intensity
        Power of each.
    """

    length: int = 0
    intensity: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a declared unit such as ``"1"``, ``"length^2"`` or ``"intensity/length"``.

        Raises
        ------
        ValueError
            If ``text`` is not a product or quotient of integer powers of length and intensity.
        """
        match = None
        if isinstance(text, str):
            match = _DIMENSION.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{shown(text)} is not the unit of a parameter; write products, quotients and "
                "integer powers of length and intensity, such as '1', 'length', 'length^2', "
                "'intensity' or 'intensity/length'."
            )
        return cls(*_powers(text))

    def factor(self, length: float = 1.0, intensity: float = 1.0) -> float:
        """Return the factor of a value whose lengths and intensities grow by these factors."""
        return float(length**self.length * intensity**self.intensity)

    def text(self, length: str, intensity: str = "intensity") -> str:
        """Return the unit for display, for example ``"intensity/µm"``; empty without a unit."""
        parts = ((intensity, self.intensity), (length, self.length))
        above = "·".join(_power_text(base, power) for base, power in parts if power > 0)
        below = [_power_text(base, -power) for base, power in parts if power < 0]
        if not below:
            return above
        product = "·".join(below)
        return f"{above or 1}/{product if len(below) == 1 else f'({product})'}"


@cache
def _powers(text: str) -> tuple[int, int]:
    """Return the powers of length and intensity in a declared unit that is well formed."""
    powers = {"length": 0, "intensity": 0}
    for operator, base, power in _FACTORS.findall(text):
        if base:
            powers[base] += (-1 if operator == "/" else 1) * int(power or 1)
    return powers["length"], powers["intensity"]


def _power_text(base: str, power: int) -> str:
    return base if power == 1 else f"{base}{str(power).translate(_SUPERSCRIPTS)}"
