"""Exception classes of the package."""

from __future__ import annotations


class NotFinite(ValueError):
    """Some values are NaN or infinite.

    Attributes
    ----------
    count
        Number of NaN and infinite values.
    index
        Index of the first of them in the user's array.
    subject
        Name of the array in the message.
    """

    def __init__(self, count: int, index: tuple[int, ...], subject: str) -> None:
        self.count, self.index, self.subject = count, index, subject
        several = count > 1
        values, them = ("values that are", "them") if several else ("value that is", "it")
        place = f"{', one' if several else ''} at index {list(index)}"
        remedy = f"use nan='mask' to diffuse around {them}"
        super().__init__(f"{subject} has {count} {values} NaN or infinite{place}; {remedy}.")

    def __reduce__(self) -> tuple[type[NotFinite], tuple[int, tuple[int, ...], str]]:
        """Rebuild the error in another process from its three arguments."""
        return NotFinite, (self.count, self.index, self.subject)


class MissingLibraryError(ImportError):
    """A file format needs a library that is not installed."""


class WriteError(OSError):
    """A file could not be written; the message names its path, the reason and the free space."""
