"""The notification that offers to denoise a sample; its button opens the widget."""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import ref

from qtpy.QtWidgets import QDialog, QPushButton, QWidget

from napari_diffusion.ui.docking import PLUGIN, dock
from napari_diffusion.ui.qt.slots import report

QUESTION = "Remove the noise of this sample?"
ACCEPT = "Denoise it"


def show(viewer: Any) -> None:
    """Show the offer in the window of a viewer."""
    from napari.utils.notifications import (
        Notification,
        NotificationSeverity,
        notification_manager,
    )

    # A notification shows its source, which by default is an object of napari.
    kind = type("Offer", (Notification,), {"source": PLUGIN})
    # The manager keeps its notifications for as long as napari runs.
    actions = ((ACCEPT, partial(accept, ref(viewer))),)
    offer = kind(QUESTION, severity=NotificationSeverity.INFO, actions=actions)
    notification_manager.dispatch(offer)


def accept(viewer: Any, _: object = None) -> None:
    """Dock the denoising widget in the window of a viewer, given by a weak reference."""
    try:
        if (target := viewer()) is not None:
            dock(target)
    except Exception as error:  # a slot of Qt
        report(None, error)


def withdraw(window: QWidget) -> None:
    """Close the offer in a window whose widget was opened in another way."""
    for dialog in window.findChildren(QDialog):
        if any(button.text() == ACCEPT for button in dialog.findChildren(QPushButton)):
            dialog.close()
