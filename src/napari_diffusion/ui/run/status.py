"""The status of the panel: what it shows below Run, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class StatusKind(Enum):
    """What a status is about."""

    #: Nothing is shown.
    IDLE = auto()
    #: The answer to what the user did, such as copying the settings.
    NOTICE = auto()
    #: Why the settings on screen cannot be run.
    REFUSED = auto()
    #: Values are being suggested.
    SUGGESTING = auto()
    #: The values on screen are suggested ones, which the user has asked for.
    SUGGESTED = auto()
    #: Kernels are compiled in the background.
    COMPILING = auto()
    #: A run is under way.
    RUNNING = auto()
    #: A run ends early, with a partial result.
    STOPPING = auto()
    #: The outcome of runs, of which the last one was done.
    DONE = auto()
    #: The outcome of runs, of which the last one was cancelled.
    CANCELLED = auto()
    #: An error, or the outcome of runs with errors.
    FAILED = auto()


@dataclass(frozen=True)
class Status:
    """What the panel shows below Run.

    Attributes
    ----------
    kind
        What it is about.
    text
        The text on screen.
    details
        Text for the pointer: every error of a batch, of which the text shows a few.
    """

    kind: StatusKind = StatusKind.IDLE
    text: str = ""
    details: str = ""
