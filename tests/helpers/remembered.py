"""Results of slow functions of their arguments, computed once for all tests of a process."""

import dataclasses
from hashlib import sha256

import numpy as np

#: Largest array whose values are compared [bytes].
MAX_BYTES = 1 << 22


class NotComparableError(Exception):
    """The values of an argument are not compared: it is lazy, large, or of an unknown type."""


def content(value):
    """Return a hashable object that is equal for arguments of the same content."""
    if type(value) is np.ndarray and value.nbytes <= MAX_BYTES:
        return value.dtype.str, value.shape, sha256(value.tobytes()).digest()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (getattr(value, field.name) for field in dataclasses.fields(value))
        return type(value), *map(content, fields)
    if isinstance(value, list | tuple):
        return tuple(map(content, value))
    if value is None or isinstance(value, bool | int | float | str | type | np.dtype):
        return type(value), value
    raise NotComparableError(type(value))


def remember(function, results, is_counted):
    """Return a function that calls another one once for arguments of the same content.

    Parameters
    ----------
    function
        Function whose result depends on its arguments alone. Errors are not remembered.
    results
        Dictionary of the results.
    is_counted
        Called with the index of an argument: whether the result depends on it.
    """

    def call(*arguments):
        try:
            key = content([a for index, a in enumerate(arguments) if is_counted(index)])
        except NotComparableError:
            return function(*arguments)
        if key not in results:
            results[key] = function(*arguments)
        return results[key]

    return call
