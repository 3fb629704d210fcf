"""Connections to the events of napari layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def reconnect(old: Any, new: Any, events: Sequence[str], call: Callable[..., object]) -> None:
    """Move the connections of a function from the events of one layer to those of another.

    Parameters
    ----------
    old, new
        Layers to disconnect from and to connect to, each ``None`` where there is none.
    events
        Names of the events, such as ``"contrast_limits"``.
    call
        Bound method. napari holds it weakly.
    """
    for layer, change in ((old, "disconnect"), (new, "connect")):
        if layer is not None:
            for name in events:
                getattr(layer.events[name], change)(call)
