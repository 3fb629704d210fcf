"""Units of length, under one name each, whatever a file format calls them."""

from __future__ import annotations

from typing import Any

#: Every unit in whole picometers, so that a factor is one exactly rounded division.
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
# µ comes as the micro sign, as the Greek letter, as "u", and from ImageJ as an escape that stayed one
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
    """Return the name of a unit of length that this package uses: ``"µm"`` is ``"micrometer"``.

    Raises
    ------
    ValueError
        When it is no unit of length that is known here.
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
    """Return the short form for display: ``"micrometer"`` is ``"µm"``."""
    return _SYMBOLS[canonical(unit)]


def factor(old: str, new: str) -> float:
    """Return how many ``new`` units one ``old`` unit is; a pixel has no length and converts to nothing but itself."""
    old, new = canonical(old), canonical(new)
    if old == new:
        return 1.0
    if "pixel" in (old, new):
        raise ValueError(
            f"{symbol(old)} cannot be converted to {symbol(new)}: a pixel has no length until a voxel size is given."
        )
    return _PICOMETERS[old] / _PICOMETERS[new]


def length_factor(old: str, new: str) -> float:
    """Return how many ``new`` units one ``old`` unit is; ValueError when either is no unit of length."""
    import pint

    registry: Any = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        return float(registry.Quantity(1.0, old).to(new).magnitude)
    except (pint.errors.PintError, AttributeError, TypeError):
        raise ValueError(f"Cannot convert lengths from {old!r} to {new!r}.") from None
