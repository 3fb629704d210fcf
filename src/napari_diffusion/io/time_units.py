"""Units of time in image files: those of the OME schema, and the words that ImageJ writes."""

from __future__ import annotations

#: Powers of ten of the prefixes of the OME schema.
_PREFIXES = {"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1}
_PREFIXES |= {"": 0, "d": -1, "c": -2, "m": -3, "µ": -6, "n": -9, "p": -12, "f": -15, "a": -18}
_PREFIXES |= {"z": -21, "y": -24}
_SYMBOLS = {f"{prefix}s": float(f"1e{power}") for prefix, power in _PREFIXES.items()}
_SYMBOLS |= {"min": 60.0, "h": 3600.0, "d": 86400.0}
#: Words in lower case and without plural.
_WORDS = {"sec": 1.0, "second": 1.0, "msec": 1e-3, "millisec": 1e-3, "millisecond": 1e-3}
_WORDS |= {"us": 1e-6, "usec": 1e-6, "µsec": 1e-6, "microsec": 1e-6, "microsecond": 1e-6}
_WORDS |= {"nsec": 1e-9, "nanosec": 1e-9, "nanosecond": 1e-9, "minute": 60.0, "mn": 60.0}
_WORDS |= {"hr": 3600.0, "hour": 3600.0, "day": 86400.0}
_GREEK_MU, _ESCAPED_MU = "\N{GREEK SMALL LETTER MU}", "\\u00b5"


def seconds(unit: str) -> float | None:
    """Return a unit of time [s], ``None`` for other text.

    Symbols are case-sensitive: Ms is a megasecond.
    """
    text = unit.strip().replace(_GREEK_MU, "µ").replace("\\u00B5", "µ").replace(_ESCAPED_MU, "µ")
    word = text.lower()
    for form in (text, word, word.removesuffix("s")):
        if form in _SYMBOLS:
            return _SYMBOLS[form]
        if form in _WORDS:
            return _WORDS[form]
    return None
