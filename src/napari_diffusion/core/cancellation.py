"""How a run is cancelled: an event that the run polls, and the exception that it raises then."""

from __future__ import annotations

from typing import Protocol


class Cancelled(Exception):
    """The run was cancelled by its ``cancel`` event."""


class CancelEvent(Protocol):
    """Anything with the method ``is_set`` of `threading.Event`."""

    def is_set(self) -> bool:
        """Whether the run should stop."""
        ...


def poll(cancel: CancelEvent | None) -> None:
    """Raise `Cancelled` when the cancel event is set."""
    if cancel is not None and cancel.is_set():
        raise Cancelled("The filter was cancelled.")
