"""Common base of the parts of a widget that act on the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ViewerPart:
    """A part of a widget that acts on a viewer.

    Parameters
    ----------
    viewer
        The viewer.
    fail
        Shows an error; `slot` calls it.
    """

    def __init__(self, viewer: Any, fail: Callable[[Exception], None]) -> None:
        self._viewer, self.fail = viewer, fail
