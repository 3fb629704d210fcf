"""The result card: what the last run has removed, and what can be done with its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from magicgui.widgets import Container, PushButton
from psygnal import Signal

from napari_diffusion.ui.layers.run_record import RunRecord
from napari_diffusion.ui.layers.view_state import bare
from napari_diffusion.ui.qt.canvas import make_canvas_current
from napari_diffusion.ui.qt.layout import NO_MARGINS, bare_container, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.viewer_part import ViewerPart
from napari_diffusion.ui.result.side_by_side import SideBySide
from napari_diffusion.ui.result.words import levels_sentence, result_sentences
from napari_diffusion.ui.run.run import symmetric_limit
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl, when_destroyed
from napari_diffusion.workflows.outputs import residual_of

if TYPE_CHECKING:
    from napari_diffusion.estimation.measurement.removed import Removed
    from napari_diffusion.estimation.noise.kinds import Noise

COMPARE_TIP = "Show the original on the left and the result on the right; press again to go back."
RESIDUAL_TIP = "Add a layer with original minus result: what was removed. No new run is needed."
UNDO_TIP = "Remove the layers of this run or batch; show and select what was shown before."
NO_IMAGE = "The image of this layer has changed since the run; run again for a residual."
MEASURING = "Measuring what was removed…"
NO_SOURCE = "The original is not in the viewer any more."
UNDONE = "Removed by Undo: {}."
HAS_RESIDUAL = "The residual is in the viewer: {}"


class ResultCard(ViewerPart, Container):  # type: ignore[type-arg]
    """Sentences about the last result, and buttons; made for the first result, hidden without one.

    Attributes
    ----------
    text
        The sentences.
    compare, residual, undo
        Buttons *Side by side*, *Residual* and *Undo*.
    replaces
        Whether the next run on an image replaces its last result.
    ended
        Signal: the result that was shown is gone. It carries what is to be said about that.
    """

    ended = Signal(str)

    def __init__(self, viewer: Any, fail: Callable[[Exception], None]) -> None:
        ViewerPart.__init__(self, viewer, fail)
        self._record: RunRecord | None = None
        self._last_of: WeakKeyDictionary[Any, RunRecord] = WeakKeyDictionary()
        self._task, self._measurement = ReplaceableTask(), ReplaceableTask()
        self._sides = SideBySide(viewer, fail)
        self.replaces = False
        Container.__init__(self, labels=False)
        self.margins = NO_MARGINS
        self.visible = False
        self._sides.ended.connect(self._update_buttons)
        viewer.layers.events.removed.connect(self._layers_changed)
        when_destroyed(self.native, self._close)

    def _make(self) -> None:
        """Make the controls, before they are first shown."""
        self.text = wrapping_label()
        self.compare = PushButton(text="Side by side", tooltip=COMPARE_TIP)
        self.residual = PushButton(text="Residual", tooltip=RESIDUAL_TIP)
        self.undo = PushButton(text="Undo", tooltip=UNDO_TIP)
        buttons = bare_container(
            self.compare, self.residual, self.undo, layout="horizontal", labels=False
        )
        self.extend([self.text, buttons])
        self.native.layout().setSpacing(2)
        self.compare.changed.connect(self._compare)
        self.residual.changed.connect(self._add_residual)
        self.undo.changed.connect(self._undo)

    @property
    def record(self) -> RunRecord | None:
        """The run that is shown, or None."""
        return self._record

    def make_room(self, source: Any) -> None:
        """Remove the result that is shown if it is to be replaced by a new one of ``source``."""
        self._sides.hide()
        record = None if source is None else self._last_of.get(bare(source))
        if record is None or not self.replaces:
            return
        if record is self._record:
            self._forget()
        make_canvas_current(self.native)
        record.remove()
        # The new run hides again what would be mixed with its result.
        record.before.restore_visibility()

    def show_run(
        self, record: RunRecord, settings: Settings | None, noise: Noise | None = None
    ) -> None:
        """Show a finished run, and measure what it has removed.

        Parameters
        ----------
        record
            The run.
        settings
            Its settings; None for no measurement.
        noise
            Noise of the image, where it is known already.
        """
        self._task.drop()
        self._measurement.drop()
        before, self._record = self._record, record
        if before is not None:
            is_same = record.batch is not None and record.batch is before.batch
            record.earlier = before if is_same else None
        if record.source_layer is not None:
            self._last_of[bare(record.source_layer)] = record
        if not len(self):
            self._make()
        self.visible = True
        self._say(None)
        if settings is not None:
            self._measure(settings, noise)
        self._update_buttons()

    def _say(self, removed: Removed | None, measuring: bool = False) -> None:
        """Show the sentences about the run."""
        record = self._record
        if record is None:
            return
        several = [f"{record.count} results; of the last one:"] if record.count > 1 else []
        waiting = [MEASURING] if measuring else []
        sentences = result_sentences(removed, record.model)
        self.text.value = " ".join([*several, *waiting, *sentences])
        self.text.tooltip = "" if removed is None else levels_sentence(removed)

    def _measure(self, settings: Settings, noise: Noise | None) -> None:
        """Measure what the run has removed, in a thread. It takes about a second."""
        record = self._record
        if record is None or record.result is None:
            return
        result = record.last_image

        def work(control: TaskControl) -> Removed:
            from napari_diffusion.estimation.measurement.removed import measure_removed

            return measure_removed(settings.part_problem(), result, control.cancel, noise)

        self._say(None, measuring=True)
        # The result counts more than a sentence about it: an error leaves that out.
        self._measurement.start(work, self._say, lambda _: self._say(None))

    def _forget(self) -> None:
        """Show no run."""
        self._task.drop()
        self._measurement.drop()
        self._sides.hide()
        self._record, self.visible = None, False

    @slot
    def _update_buttons(self) -> None:
        """Enable the buttons that make sense, and say why others do not."""
        record = self._record
        if record is None:
            return
        has_source = record.source_layer is not None
        residual = record.residual_layer
        self.compare.enabled = has_source
        self.compare.tooltip = COMPARE_TIP if has_source else NO_SOURCE
        self.compare.text = "Back" if self._sides.is_on else "Side by side"
        self.residual.enabled = has_source and residual is None and self._task.task is None
        self.residual.tooltip = RESIDUAL_TIP if has_source else NO_SOURCE
        if residual is not None:
            self.residual.tooltip = HAS_RESIDUAL.format(residual.name)

    @slot
    def _compare(self) -> None:
        record = self._record
        if record is not None and self._sides.is_on:
            self._sides.hide()
        elif record is not None and record.result is not None and record.source_layer is not None:
            self._sides.show(record.source_layer, record.result)
        self._update_buttons()

    @slot
    def _add_residual(self) -> None:
        record = self._record
        if record is None or record.result is None:
            return
        image, result = record.image, record.last_image
        if image is None:
            raise ValueError(NO_IMAGE)

        def work(control: TaskControl) -> tuple[Any, float]:
            difference = residual_of(image, result, control.cancel)
            return difference, symmetric_limit(difference)

        def done(answer: tuple[Any, float]) -> None:
            record.add_residual(*answer)
            self._update_buttons()

        def failed(error: Exception) -> None:
            self._update_buttons()
            self.fail(error)

        self._task.start(work, done, failed)
        self._update_buttons()

    @slot
    def _undo(self) -> None:
        record = self._record
        if record is None:
            return
        self._forget()
        make_canvas_current(self.native)
        names = record.names
        record.undo()
        self.ended.emit(UNDONE.format(", ".join(names)))

    @slot
    def _layers_changed(self, _: Any = None) -> None:
        """Forget the run when its result is removed; stop to use the image when its layer is."""
        record = self._record
        if record is None:
            return
        if record.result is None:
            self._forget()
            self.ended.emit("")
            return
        if record.source_layer is None:
            for task in (self._task, self._measurement):
                task.drop()
            self._sides.hide()
        self._update_buttons()

    def _close(self) -> None:
        """End the work and the comparison: the widget is destroyed."""
        self._task.drop()
        self._measurement.drop()
        self._viewer.layers.events.removed.disconnect(self._layers_changed)
        self._sides.close()
