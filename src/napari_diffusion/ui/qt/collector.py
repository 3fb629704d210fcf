"""Python's garbage collector waits while many Qt objects are made."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import Any


def collecting_later(make: Callable[..., None]) -> Callable[..., None]:
    """Decorate a function that makes many objects, none of which is garbage.

    The objects of a widget make Python search all modules of napari for garbage, which takes a
    third of the time in which the widget opens. The search would also destroy the Qt objects of
    closed widgets between two calls of Qt that build the new one.
    """

    @wraps(make)
    def call(*arguments: Any, **options: Any) -> None:
        was_on = gc.isenabled()
        gc.disable()
        try:
            make(*arguments, **options)
        finally:
            if was_on:
                gc.enable()

    return call
