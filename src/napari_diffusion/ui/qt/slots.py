"""Methods that Qt, magicgui and napari call: no error leaves them.

An error in a slot of Qt ends the process (PyQt6), or is printed and lost (PySide6). An error in a
callback of napari ends the change of the layer that has called it. `slot` catches both.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

#: Errors that say in a sentence what is wrong; the log has their traceback as a debug message only.
#: It has that of others as an error.
_EXPECTED_ERRORS = (ValueError, TypeError, MemoryError, OSError)
_Method = TypeVar("_Method", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def slot(method: _Method) -> _Method:
    """Decorate a method that is connected to a signal, an event or a timer.

    The method reports its errors (see `report`) and then returns ``None``. It is called with as
    many of the values of the signal as it takes.
    """
    taken = _number_of_values(method)

    @wraps(method)
    def call(self: Any, *values: Any, **options: Any) -> Any:
        try:
            return method(self, *values[:taken], **options)
        except Exception as error:
            report(self, error)
            return None

    return cast("_Method", call)


def report(owner: Any, error: Exception) -> None:
    """Show an error by the method ``fail`` of an object, or as a napari notification without one.

    An error that meets a destroyed widget, which cannot show it, is nobody's concern: napari's
    events reach the widget until Python has collected its parts.

    Parameters
    ----------
    owner
        The object whose method has raised the error.
    error
        The error.
    """
    level = logging.DEBUG if isinstance(error, _EXPECTED_ERRORS) else logging.ERROR
    try:
        fail = getattr(owner, "fail", None) or _notify
        fail(error)
    except RuntimeError:  # of Qt: the window is closed, and its parts are gone
        level = logging.DEBUG
    except Exception:
        _log.debug("The error could not be shown.", exc_info=True)
    _log.log(level, "%s", "".join(traceback.format_exception(error)))


def _notify(error: Exception) -> None:
    from napari.utils.notifications import show_error

    show_error(str(error) or type(error).__name__)


def _number_of_values(method: Any) -> int | None:
    """Return how many values a method takes besides ``self``; ``None`` for any number."""
    code = method.__code__  # `inspect.signature` takes a thirtieth of a millisecond
    return None if code.co_flags & inspect.CO_VARARGS else code.co_argcount - 1
