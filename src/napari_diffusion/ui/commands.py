"""Commands of the command palette and their keys: they act on the open widget of a viewer.

The manifest lists the commands. napari does not read key bindings from a manifest, so each widget
binds the keys to its viewer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import Any
from weakref import WeakValueDictionary, ref

from napari.utils.notifications import show_info
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QWidget

from napari_diffusion.ui.docking import dock
from napari_diffusion.ui.layers.view_state import bare
from napari_diffusion.ui.qt.canvas import canvases
from napari_diffusion.ui.qt.layout import tab_stops
from napari_diffusion.ui.sections.preview import COMPARE_KEY, PreviewSection

#: Keys of the commands in the canvas.
RUN_KEY, PREVIEW_KEY, SUGGEST_KEY = "Control-Enter", f"Shift-{COMPARE_KEY}", "Shift-N"
SWITCH_KEY = "F6"
OPENED = "The widget was open nowhere, so it was opened. Give the command again."

_number = itertools.count()
#: Open widgets by the order in which they were opened.
_widgets: WeakValueDictionary[int, Any] = WeakValueDictionary()


def run(viewer: Viewer) -> None:
    """Press Run in the open widget."""
    _act(viewer, lambda widget: _press(widget.panel.button))


def toggle_preview(viewer: Viewer) -> None:
    """Switch the preview of the open widget on or off."""
    _act(viewer, lambda widget: widget.sections[PreviewSection].toggle())


def compare(viewer: Viewer) -> None:
    """Show the original until the command is given again."""
    _act(viewer, lambda widget: widget.sections[PreviewSection].comparison.toggle())


def suggest(viewer: Viewer) -> None:
    """Press Suggest in the open widget."""
    _act(viewer, lambda widget: _press(widget.form.suggest))


def switch(viewer: Viewer) -> None:
    """Give the keyboard to the controls of the open widget, or from there to the image.

    Tab does not get from the image to a dock: napari's sliders give the keyboard back.
    """
    _act(viewer, lambda widget: _switch(widget.native))


def register(widget: Any) -> None:
    """Let the commands find a widget, and bind their keys to its viewer.

    Keys that are taken by the user or by another plugin stay as they are.
    """
    _widgets[next(_number)] = widget
    bound: dict[str, Callable[[Any], object]] = {
        RUN_KEY: _on_key(run),
        PREVIEW_KEY: _on_key(toggle_preview),
        SUGGEST_KEY: _on_key(suggest),
        SWITCH_KEY: _on_key(switch),
        COMPARE_KEY: _hold_compare,
    }
    for key, call in bound.items():
        try:
            widget.context.viewer.bind_key(key, call)
        except ValueError:  # it is bound, by another widget of ours or by somebody else
            continue


def open_widget(viewer: Any) -> Any:
    """Return the widget of a viewer on which the commands act, ``None`` without one.

    It is the last one opened, if possible of those on screen.
    """
    own = [
        widget
        for _, widget in sorted(_widgets.items())
        if bare(widget.context.viewer) is bare(viewer) and widget.native.parentWidget() is not None
    ]
    on_screen = [widget for widget in own if widget.native.isVisible()]
    return next(reversed(on_screen or own), None)


def _act(viewer: Any, act: Callable[[Any], object]) -> None:
    widget = open_widget(viewer)
    if widget is not None:
        act(widget)
        return
    dock(viewer)
    show_info(OPENED)


def _press(button: Any) -> None:
    """Press a button; where it is disabled, show its tooltip, which says why."""
    if button.enabled:
        button.native.click()
    else:
        show_info(button.tooltip)


def _switch(native: QWidget) -> None:
    focus = QApplication.focusWidget()
    if focus is not None and native.isAncestorOf(focus):
        targets: list[Any] = [*canvases(native)]
    else:
        targets = [stop for stop in tab_stops(native) if stop.isVisible() and stop.isEnabled()]
    if targets:
        targets[0].setFocus(Qt.FocusReason.ShortcutFocusReason)


def _on_key(command: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a command as a key binding; it does nothing where no widget is open."""

    def act(viewer: Any) -> None:
        if open_widget(viewer) is not None:
            command(viewer)

    return act


def _hold_compare(viewer: Any) -> Generator[None, None, None]:
    """Show the original while a key is held."""
    widget = open_widget(viewer)
    if widget is None:
        return
    comparison = ref(widget.sections[PreviewSection].comparison)
    del widget
    _call(comparison, "begin")
    yield
    _call(comparison, "end")


def _call(weak: Callable[[], Any], name: str) -> None:
    owner = weak()
    if owner is not None:
        getattr(owner, name)()
