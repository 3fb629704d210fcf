"""What a section of a widget can see and do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import Signal

from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.ui.form.form import Form
from napari_diffusion.ui.form.model_controls import ModelControls
from napari_diffusion.ui.layers.adding import add_quietly, auxiliary_layers
from napari_diffusion.ui.run.panel import QueuedRun, RunPanel
from napari_diffusion.ui.run.request import Settings
from napari_diffusion.ui.run.task import when_destroyed


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
        self._form = form
        self._panel = panel
        self._native = native

    @property
    def layer(self) -> Any:
        """The chosen image layer, or ``None``."""
        return self._form.layer.value

    @property
    def controls(self) -> ModelControls:
        """The controls of the chosen model; setting a value there is as if the user had."""
        return self._form.controls

    @property
    def labels_layer(self) -> Any:
        """The chosen labels layer, or ``None``."""
        return self._form.regions.value

    @property
    def unit(self) -> str:
        """Unit of the voxel sizes and of every length on screen."""
        return self._form.table.unit

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along the chosen axes [unit]."""
        return self._form.table.spacing

    @property
    def threads(self) -> int:
        """Chosen number of threads; 0 for that of the preferences."""
        return int(self._form.threads.value)

    @property
    def revision(self) -> int:
        """Number of changes to the pixels of image and labels, as by painting."""
        return self._form.revision

    @property
    def parent(self) -> Any:
        """Qt object that lives as long as the widget, as parent of timers and event filters."""
        return self._form.native

    def recipe(self) -> Recipe:
        """Return the settings as a recipe; without a layer, it has no axes."""
        return self._form.recipe()

    def load(self, recipe: Recipe) -> list[str]:
        """Show the settings of a recipe, as `Form.load`."""
        return self._form.load(recipe)

    def settings(self) -> Settings:
        """Return what is on screen as one call of the library; ValueError in one sentence where it is none."""
        return self._form.settings()

    def touch(self) -> None:
        """Tell that a section's own choice changes what Run does, so that the plan is made anew."""
        self.settings_changed.emit()

    def run(self, job: QueuedRun) -> None:
        """Run something after what is running; the panel shows its progress and its end."""
        self._panel.add(job)

    def say(self, text: str, error: bool = False) -> None:
        """Show how it stands, below Run."""
        self._panel.say(text, error)

    def fail(self, error: Exception) -> None:
        """Show an error, below Run and as a napari notification."""
        self._panel.fail(error)

    def add_auxiliary_layer(self, layer: Any) -> None:
        """Add a layer that is no image to filter, such as a preview: not offered as input, and what is selected stays selected."""
        auxiliary_layers.add(layer)
        add_quietly(self.viewer, layer)

    def on_close(self, call: Callable[[], object]) -> None:
        """Call a method when the widget dies: to cancel work, to remove layers. Qt objects of the widget may be gone by then."""
        when_destroyed(self._native, call)
