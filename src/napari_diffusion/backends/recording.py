"""A backend that records which kernels are called, with the kinds of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from napari_diffusion.backends.base import Backend

#: Arguments whose value selects a compiled kernel, as in `Backend.step`; of other arguments, only
#: matters whether they are ``None``.
_SELECTING = ("code", "bright")


class Recorder:
    """Passes every call on to a backend.

    Attributes
    ----------
    calls
        Name and kinds of arguments of each different call.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.calls: set[tuple[Any, ...]] = set()

    def __getattr__(self, name: str) -> Any:
        """Return a method or an attribute of the backend."""
        attribute = getattr(self._backend, name)
        if not callable(attribute) or not hasattr(Backend, name):
            return attribute
        return self._recorded(name, attribute)

    def _recorded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*values: Any, **named: Any) -> Any:
            arguments = _signature(name).bind(None, *values, **named).arguments
            kinds = tuple(_kind(key, value) for key, value in list(arguments.items())[1:])
            self.calls.add((name, *kinds))
            return method(*values, **named)

        return call


def _kind(name: str, value: Any) -> Any:
    """Return what the value of an argument says about the compiled kernel."""
    if name not in _SELECTING:
        return value is None
    # A function is called by the NumPy kernels, and need not be hashable.
    return "function" if callable(value) else value


@cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(getattr(Backend, name))
