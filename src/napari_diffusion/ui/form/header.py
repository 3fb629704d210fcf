"""Header of a widget: what it does, and help."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from typing import NamedTuple

from magicgui.widgets import Container, PushButton
from qtpy.QtCore import Qt

from napari_diffusion.ui.qt.layout import NO_MARGINS, wrapping_label


class Words(NamedTuple):
    """Name of a widget in the menu, and what it does to a picture."""

    title: str
    sentence: str


ISOTROPIC = Words(
    "Gaussian smoothing (isotropic diffusion)",
    "Blurs noise and details alike, like a Gaussian filter.",
)
ANISOTROPIC = Words(
    "Edge-preserving denoising (anisotropic diffusion)", "Removes noise and keeps edges."
)


def documentation_url() -> str | None:
    """Return the address of the documentation that this installation names, or ``None``."""
    try:
        addresses = metadata("napari-diffusion").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = dict(address.split(", ", 1) for address in addresses)
    return named.get("Documentation") or named.get("Homepage")


class Header(Container):  # type: ignore[type-arg]
    """A sentence, and the button ``?`` that opens the explanations.

    Parameters
    ----------
    sentence
        What the widget does to a picture.

    Attributes
    ----------
    sentence, help
        The line and the button.
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = wrapping_label(sentence)
        self.help = PushButton(
            text="?", tooltip="Explain it to me: the words, with moving pictures."
        )
        self.help.native.setAccessibleName("Explain it to me")
        super().__init__(widgets=[self.sentence, self.help], layout="horizontal", labels=False)
        self.margins = NO_MARGINS
        layout = self.native.layout()
        layout.setStretch(0, 1)
        layout.setAlignment(self.help.native, Qt.AlignmentFlag.AlignTop)
