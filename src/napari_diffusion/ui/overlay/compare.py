"""Comparison with the original: it is shown for as long as a button or a key is held."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_diffusion.ui.context import Context
from napari_diffusion.ui.layers.view_state import bare
from napari_diffusion.ui.overlay.overlay_layer import Overlay
from napari_diffusion.ui.overlay.visibility import VisibilityMemory, hides_original
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot
from napari_diffusion.ui.qt.undocked import Undocked


class Compare:
    """Shows the chosen layer without preview and results, and then what was on screen before.

    Parameters
    ----------
    context
        Context of the section.
    overlay
        The preview; nothing is computed for it meanwhile.
    """

    def __init__(self, context: Context, overlay: Overlay) -> None:
        self._context, self._overlay = context, overlay
        self._layers = VisibilityMemory(context.viewer)
        self._original: Any = None
        self._hide_timer = single_shot(context.parent, 0, self._hide_others)
        context.viewer.layers.events.inserted.connect(self._inserted)
        context.viewer.layers.events.removing.connect(self._removing)
        context.layer_changed.connect(self.end)
        context.on_close(self.end)
        # Qt calls the filter that is made last first: the comparison ends before the preview does.
        self._undocked = Undocked(context.parent, self.end)
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.applicationStateChanged.connect(self._left)

    def fail(self, error: Exception) -> None:
        """Show an error below Run."""
        self._context.fail(error)

    @property
    def held(self) -> bool:
        """Whether the original is on screen."""
        return self._original is not None

    @slot
    def begin(self) -> None:
        """Show the original."""
        if self.held or self._context.layer is None:
            return
        self._original = bare(self._context.layer)
        self._overlay.hold(True)
        self._hide_others()

    @slot
    def end(self) -> None:
        """Show again what was on screen before."""
        if self.held:
            self._original = None
            self._hide_timer.stop()
            self._layers.restore()
            self._overlay.hold(False)

    def toggle(self) -> None:
        """Show the original, or what was on screen before."""
        if self.held:
            self.end()
        else:
            self.begin()

    @slot
    def _hide_others(self) -> None:
        """Show the original, and hide the layers that would hide it or be added to it."""
        if not self.held:
            return
        layers = [bare(layer) for layer in self._context.viewer.layers]
        place = layers.index(self._original)
        for index, layer in enumerate(layers):
            if layer is not self._original and hides_original(layer, index > place):
                self._layers.show(layer, False)
        self._layers.show(self._original)

    @slot
    def _inserted(self) -> None:
        if self.held:  # napari has to show a new layer before it is hidden
            self._hide_timer.start()

    @slot
    def _removing(self, event: Any) -> None:
        if self.held and bare(self._context.viewer.layers[event.index]) is self._original:
            self.end()

    @slot
    def _left(self, state: Any) -> None:
        """End when another program gets the keyboard: it would get the release of the key."""
        if state != Qt.ApplicationState.ApplicationActive:
            self.end()


class HoldKey(QObject):
    """Holds a comparison while a key is pressed with the focus in the dock of the widget.

    The canvas has key bindings of its own.

    Parameters
    ----------
    native
        Qt widget of the dock.
    key
        The key, a capital letter.
    compare
        The comparison.
    """

    def __init__(self, native: QWidget, key: str, compare: Compare) -> None:
        super().__init__(native)
        self._key, self._compare = Qt.Key[f"Key_{key}"], compare
        native.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Begin at a press of the key, and end at its release."""
        if not isinstance(a1, QKeyEvent) or a1.key() != self._key:
            return False
        if a1.modifiers() != Qt.KeyboardModifier.NoModifier:
            return False
        if not a1.isAutoRepeat():
            if a1.type() == QEvent.Type.KeyPress:
                self._compare.begin()
            elif a1.type() == QEvent.Type.KeyRelease:
                self._compare.end()
        return True
