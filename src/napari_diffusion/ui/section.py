"""Sections: what a widget offers beside the filter itself, each a foldable box that knows the rest only through its context."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import Container, PushButton, Widget
from psygnal import Signal

from napari_diffusion.ui.layers import add_quietly, helpers
from napari_diffusion.ui.worker import when_destroyed

if TYPE_CHECKING:
    from napari_diffusion.ui.form import Form
    from napari_diffusion.ui.panel import Job, RunPanel
    from napari_diffusion.ui.parameters import ModelControls
    from napari_diffusion.ui.settings import Settings


class Foldable(Container):  # type: ignore[type-arg]
    """A box under a title that opens and closes it, closed at first.

    Parameters
    ----------
    title
        On the button; a word or two.
    widgets
        What is in the box, one below the other.
    labels
        Whether the widgets have their labels before them.
    tooltip
        What the box is for.
    """

    #: The box was opened (true) or closed.
    folded = Signal(bool)

    def __init__(self, title: str, widgets: list[Widget], labels: bool = False, tooltip: str = "") -> None:
        self._title, self._open = title, False
        self.button = PushButton(tooltip=tooltip)
        self.button.native.setStyleSheet("text-align: left; padding: 4px 6px;")
        self.body = Container(widgets=widgets, labels=labels)
        self.body.margins = (8, 0, 0, 4)
        super().__init__(widgets=[self.button, self.body], labels=False)
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(2)
        self.button.changed.connect(self._toggle)
        self._show()

    @property
    def open(self) -> bool:
        """Whether the box is open."""
        return self._open

    @open.setter
    def open(self, value: bool) -> None:
        if value != self._open:
            self._toggle()

    def _toggle(self) -> None:
        self._open = not self._open
        self._show()
        self.folded.emit(self._open)

    def _show(self) -> None:
        self.button.text = f"{'▾' if self._open else '▸'}  {self._title}"
        self.body.visible = self._open


class Context:
    """All that a section may see and do; it outlives nothing: connect methods, which are held weakly.

    Attributes
    ----------
    settings_changed
        Anything that `settings` returns may be another; at most once per turn of the event loop, after `layer_changed`.
    layer_changed
        Another layer was chosen, or this one got other data, scale, units or axis labels.
    """

    settings_changed = Signal()
    layer_changed = Signal()

    def __init__(self, viewer: Any, form: Form, panel: RunPanel, native: Any) -> None:
        self.viewer = viewer
        self.form = form
        self._panel = panel
        self._native = native

    @property
    def layer(self) -> Any:
        """The chosen image layer, or ``None``."""
        return self.form.layer.value

    @property
    def controls(self) -> ModelControls:
        """The controls of the chosen model; setting a value there is as if the user had."""
        return self.form.controls

    def settings(self) -> Settings:
        """Return what is on screen as one call of the library; ValueError in one sentence where it is none."""
        return self.form.settings()

    def touch(self) -> None:
        """Tell that a section's own choice changes what Run does, so that the plan is made anew."""
        self.settings_changed.emit()

    def run(self, job: Job) -> None:
        """Run something after what is running; the panel shows its progress and its end."""
        self._panel.add(job)

    def say(self, text: str, error: bool = False) -> None:
        """Show how it stands, below Run."""
        self._panel.say(text, error)

    def fail(self, error: Exception) -> None:
        """Show an error, below Run and as a napari notification."""
        self._panel.fail(error)

    def add_helper(self, layer: Any) -> None:
        """Add a layer that is no image to filter, such as a preview: not offered as input, and what is selected stays selected."""
        helpers.add(layer)
        add_quietly(self.viewer, layer)

    def on_close(self, call: Callable[[], object]) -> None:
        """Call a method when the widget dies: to cancel work, to remove layers. Qt objects of the widget may be gone by then."""
        when_destroyed(self._native, call)


class Section:
    """One foldable box.

    Parameters
    ----------
    context
        What it may see and do.
    """

    title: ClassVar[str]
    tooltip: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.box = Foldable(self.title, self.make(), tooltip=self.tooltip)
        self.box.folded.connect(self.folded)

    def make(self) -> list[Widget]:
        """Return what is in the box; called once."""
        raise NotImplementedError

    def wanted(self) -> dict[str, Any]:
        """Return what a run is to keep beside its result, as fields of `Wanted`."""
        return {}

    def folded(self, opened: bool) -> None:
        """React to being opened or closed; a closed section does no work."""
