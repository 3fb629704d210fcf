"""A slider without a number, for magicgui containers."""

from __future__ import annotations

from functools import cache
from typing import Any

from magicgui.application import use_app
from magicgui.widgets.bases import RangedWidget
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSlider, QWidget


class QuietSlider(QSlider):
    """Horizontal Qt slider that takes the keyboard; `WheelGuard` keeps the mouse wheel off it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)


@cache
def _backend() -> type:
    """Return magicgui's backend of a ranged widget, changed to wrap `QuietSlider`."""
    base: Any = use_app().get_obj("SpinBox")

    class Backend(base):  # type: ignore[misc]
        def __init__(self, parent: QWidget | None = None) -> None:
            super(base, self).__init__(QuietSlider, parent=parent)

        def _mgui_set_adaptive_step(self, value: bool) -> None:
            """A slider has steps of one size."""

        def _mgui_get_adaptive_step(self) -> bool:
            return False

    return Backend


class PlainSlider(RangedWidget[int]):
    """A horizontal slider over whole numbers, for magicgui containers.

    Parameters
    ----------
    value, minimum, maximum
        Initial value and inclusive bounds.
    page
        Step of a click beside the handle, and of the page keys.
    tooltip
        As for every magicgui widget.
    name
        Name for screen readers.
    """

    def __init__(
        self, value: int, *, minimum: int, maximum: int, page: int, tooltip: str, name: str
    ) -> None:
        super().__init__(
            value, min=minimum, max=maximum, step=1, tooltip=tooltip, widget_type=_backend()
        )
        slider: QuietSlider = self.native
        slider.setPageStep(page)
        slider.setAccessibleName(name)
