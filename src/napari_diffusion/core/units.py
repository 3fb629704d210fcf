"""Units of length: their names, their spellings in file formats, and conversion factors."""

from __future__ import annotations

from typing import Any

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
# Files write µ as the micro sign, as the Greek letter or as "u"; ImageJ as an escape sequence.
_ALIASES = {symbol: name for name, symbol in _SYMBOLS.items()} | {
    "μm": "micrometer",
    "um": "micrometer",
    "\\u00b5m": "micrometer",
    "micron": "micrometer",
    "\N{ANGSTROM SIGN}": "angstrom",
    '"': "inch",
    "voxel": "pixel",
    "reference frame": "pixel",
}


def canonical(name: str) -> str:
    """Return the name that this package uses for a unit: ``"micrometer"`` for ``"µm"``.

    Raises
    ------
    ValueError
        If ``name`` is not a known unit of length.
    """
    text = name.strip()
    for word in (text, text.lower(), text.lower().removesuffix("s").replace("metre", "meter")):
        if word in _SYMBOLS:
            return word
        if word in _ALIASES:
            return _ALIASES[word]
    raise ValueError(
        f"{name!r} is not a unit of length known here; use one of {', '.join(_SYMBOLS.values())}."
    )


def symbol(unit: str) -> str:
    """Return the symbol of a unit for display: ``"µm"`` for ``"micrometer"``."""
    return _SYMBOLS[canonical(unit)]


def factor(old: str, new: str) -> float:
    """Return the number of ``new`` units in one ``old`` unit.

    Raises
    ------
    ValueError
        If a unit is not known, or if exactly one of them is the pixel, which has no length.
    """
    old, new = canonical(old), canonical(new)
    if old == new:
        return 1.0
    if "pixel" in (old, new):
        raise ValueError(
            f"{symbol(old)} cannot be converted to {symbol(new)}: "
            "a pixel has no length until a voxel size is given."
        )
    return _PICOMETERS[old] / _PICOMETERS[new]


def length_factor(old: str, new: str) -> float:
    """Return the number of ``new`` units in one ``old`` unit, for all units of length in pint.

    Raises
    ------
    ValueError
        If one of them is not a unit of length.
    """
    import pint

    registry: Any = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        return float(registry.Quantity(1.0, old).to(new).magnitude)
    except (pint.errors.PintError, AttributeError, TypeError):
        raise ValueError(f"Cannot convert lengths from {old!r} to {new!r}.") from None
