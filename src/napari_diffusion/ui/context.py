"""Interface of a widget for its sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.ui.form.form import Form
from napari_diffusion.ui.form.model_controls import ModelControls
from napari_diffusion.ui.form.region_choice import RegionChoice
from napari_diffusion.ui.layers.new_layers import add_quietly, auxiliary_layers
from napari_diffusion.ui.opening import Opening
from napari_diffusion.ui.run.blocks import ResultPlace
from napari_diffusion.ui.run.panel import QueuedRun, RunPanel
from napari_diffusion.ui.run.run import ResultTarget
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.status import StatusKind
from napari_diffusion.ui.run.task import when_destroyed

if TYPE_CHECKING:
    from napari_diffusion.estimation.options import SuggestionOptions
    from napari_diffusion.estimation.suggestion import Suggestion
    from napari_diffusion.ui.layers.noise_mask import NoiseMask


class Context:
    """The widget as its sections see it: viewer, settings, signals, and the line below Run.

    Signals and `on_close` hold methods weakly: connect methods, not functions.

    Parameters
    ----------
    viewer
        The viewer.
    form, panel
        Form and panel of the widget; sections have no access to them.
    card
        The result card, which takes the records of runs.
    native
        Qt object of the widget.
    opening
        What waits for the first preview.

    Attributes
    ----------
    settings_changed
        Signal: the return value of `settings` may have changed. The form emits it at most once per
        turn of the event loop, after `layer_changed`; `report_change` emits it at once.
    layer_changed
        Signal: another layer was chosen, or the chosen one got other data, scale, units or axis
        labels.
    suggestion_changed
        Signal: `suggestion` or `measuring` may have changed.
    status_changed
        Signal: the line above Run has changed, and with it what `states` returns.
    result_place
        Where the result of a run goes.
    result_on_disk, result_on_disk_changed
        Whether the result of the next run goes to the disk, and a signal of its changes.
    hidden, hidden_changed
        Whether the user has hidden the widget, as with its dock, and a signal of its changes.
    """

    settings_changed = Signal()
    layer_changed = Signal()
    suggestion_changed = Signal()
    status_changed = Signal()
    hidden_changed = Signal()
    result_on_disk_changed = Signal()

    def __init__(
        self,
        viewer: Any,
        form: Form,
        panel: RunPanel,
        card: ResultTarget,
        native: Any,
        opening: Opening,
    ) -> None:
        self.viewer = viewer
        self.hidden = False
        self.result_place = ResultPlace()
        self.result_on_disk = False
        self.opening = opening
        self.result_card = card
        self._form = form
        self._panel = panel
        self._native = native

    @property
    def layer(self) -> Any:
        """The chosen image layer, or ``None``."""
        return self._form.layer.value

    @property
    def controls(self) -> ModelControls:
        """The controls of the chosen model; a value set in them counts as set by the user."""
        return self._form.controls

    @property
    def labels_layer(self) -> Any:
        """The chosen labels layer, or ``None``."""
        return self._form.regions.value

    @property
    def guide_layer(self) -> Any:
        """The chosen image layer of the edges, or ``None``."""
        return self._form.guide.value

    @property
    def suggestion(self) -> Suggestion | None:
        """The suggestion at the chosen strength; ``None`` before it and where there is none."""
        return self._form.values.suggestion

    @property
    def measuring(self) -> bool:
        """Whether the values on screen are not known yet: the image is being measured."""
        return self._form.values.measuring

    def states(self, error: Exception) -> bool:
        """Whether the line above Run says what is wrong, perhaps in another part of the image."""
        return self._panel.states(error)

    @property
    def region_choice(self) -> RegionChoice:
        """The choice of the region of interest, for the section that shows it."""
        return self._form.region

    @property
    def region(self) -> tuple[slice, ...] | None:
        """The region of interest in the chosen layer, ``None`` for the whole image.

        Reading it raises a ValueError when the chosen shape encloses no voxel of the image.
        """
        return None if self.layer is None else self._form.region.region(self.layer)

    def noise_mask(self, layer: Any, axes: Sequence[int]) -> NoiseMask | None:
        """Return the place of the noise in an image layer; as `NoisePlace.noise_mask`."""
        return self._form.noise_place.noise_mask(layer, axes)

    @property
    def suggestion_options(self) -> SuggestionOptions:
        """Options of a suggestion for other images: the strength, or the wanted noise reduction."""
        from napari_diffusion.estimation.options import SuggestionOptions

        if self._form.isotropic:
            return SuggestionOptions(noise_reduction=self._form.noise_reduction)
        return SuggestionOptions(strength=self._form.values.model_values.strength)

    @property
    def automatic(self) -> bool:
        """Whether a suggestion chooses the model."""
        return self._form.automatic

    @property
    def unit(self) -> str:
        """Unit of the voxel sizes and of every length on screen."""
        return self._form.table.unit

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along the checked axes [unit]."""
        return self._form.table.spacing

    def execution(self) -> Execution:
        """Return how a run is computed; options not set on screen are those of the preferences."""
        return self._form.execution()

    @property
    def revision(self) -> int:
        """Number of times that image or labels were changed in place, as by painting."""
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
        """Return the settings as one call of the library.

        Raises
        ------
        ValueError
            When no layer is chosen or no axis is checked.
        """
        return self._form.settings()

    def set_hidden(self, hidden: bool) -> None:
        """Note that the widget was hidden, or shown again."""
        self.hidden = hidden
        self.hidden_changed.emit()

    def show_result_on_disk(self, on_disk: bool) -> None:
        """Note whether the result of the next run goes to the disk."""
        if on_disk is not self.result_on_disk:
            self.result_on_disk = on_disk
            self.result_on_disk_changed.emit()

    def report_change(self) -> None:
        """Report that an option of the section changes the run, which needs a new plan."""
        self.settings_changed.emit()

    def enqueue(self, queued_run: QueuedRun) -> None:
        """Add a run to the queue; the panel shows its progress and its result."""
        self._panel.add(queued_run)

    def say(self, text: str, error: bool = False) -> None:
        """Show a message above Run, with a red border for an error."""
        self._panel.say(text, StatusKind.FAILED if error else StatusKind.NOTICE)

    def fail(self, error: Exception) -> None:
        """Show an error above Run."""
        self._panel.fail(error)

    def add_auxiliary_layer(self, layer: Any, place: Callable[[Any], int] = len) -> None:
        """Add a layer that is not offered as input, such as a preview; the selection is kept.

        ``place`` returns the index of the layer in a list of layers; the default is the top.
        """
        auxiliary_layers.add(layer)
        add_quietly(self.viewer, layer, place(self.viewer.layers))

    def on_close(self, call: Callable[[], object]) -> None:
        """Call a method when the widget is destroyed, to cancel work or to remove layers.

        Qt objects of the widget may be destroyed before the call.
        """
        when_destroyed(self._native, call)
