"""The two dock widgets: header, form, preview, drawers, and the panel with Run at the foot."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from magicgui.widgets import Container

from napari_diffusion.core.errors import Remedy
from napari_diffusion.ui import commands, offer
from napari_diffusion.ui.background_compilation import BackgroundCompilation
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.files.layer_volume import LayerRecord
from napari_diffusion.ui.form.form import Form
from napari_diffusion.ui.form.header import ANISOTROPIC, ISOTROPIC, Header, Words
from napari_diffusion.ui.opening import Opening
from napari_diffusion.ui.preferences import Preferences, find_page
from napari_diffusion.ui.qt.canvas import make_canvas_current
from napari_diffusion.ui.qt.collector import COLLECTOR
from napari_diffusion.ui.qt.foldable import Foldable
from napari_diffusion.ui.qt.layout import (
    BAR_WIDTH,
    MARGIN,
    NO_MARGINS,
    VerticalScrollArea,
    align_labels,
    name_controls,
    set_tab_order,
)
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot
from napari_diffusion.ui.qt.undocked import Hidden, Undocked
from napari_diffusion.ui.result.card import ResultCard
from napari_diffusion.ui.run.blocks import BlockRequest, in_words
from napari_diffusion.ui.run.delayed_run import delayed_run
from napari_diffusion.ui.run.panel import RUN_TOOLTIP, RunPanel
from napari_diffusion.ui.run.run import Run
from napari_diffusion.ui.run.status import StatusKind
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl
from napari_diffusion.ui.sample_buttons import SampleButtons
from napari_diffusion.ui.sections.made_on_demand import Sections
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.suggesting import SuggestionController
from napari_diffusion.workflows import outputs, pace

if TYPE_CHECKING:
    from napari_diffusion.ui.explain.page import ExplainPage

#: Delay between the last change and the new suggestion and plan [ms].
PLAN_DELAY_MS = 150


class Drawer(NamedTuple):
    """A drawer of the widgets: its title, its purpose and its sections, from top to bottom.

    Sections are named as entry points name an object, and imported when they are made.
    """

    title: str
    tooltip: str
    sections: tuple[str, ...]


FINE_TUNE = Drawer(
    "Fine-tune",
    "The numbers, and the edge threshold by eye.",
    ("napari_diffusion.ui.sections.threshold:ThresholdSection",),
)
OUTPUTS = Drawer(
    "Outputs and batch",
    "Further results of a run, and many layers or files at once.",
    (
        "napari_diffusion.ui.sections.outputs:OutputsSection",
        "napari_diffusion.ui.sections.batch:BatchSection",
    ),
)
EXPERT = Drawer(
    "Expert and history",
    "All models and options, recipes, and what was done to a layer.",
    (
        "napari_diffusion.ui.sections.presets:PresetSection",
        "napari_diffusion.ui.sections.recipes:RecipeSection",
    ),
)
DRAWERS = (FINE_TUNE, OUTPUTS, EXPERT)
#: Why *Fine-tune* cannot be opened.
NO_NUMBERS = "This filter has no other numbers. Suggest gives its reasons here."


class DiffusionWidget(Container):  # type: ignore[type-arg]
    """Common base of the two widgets.

    Parameters
    ----------
    napari_viewer
        The viewer; napari passes it under this name.

    Attributes
    ----------
    form
        Controls that define a run.
    samples
        Buttons that open the samples, while no image is open.
    drawers
        The foldable boxes below the preview, by their declaration.
    sections
        The preview and the parts of the drawers, by class; these are made when they are needed.
    panel
        Status, progress, Run and Cancel.
    card
        What the last run has removed, above the status.
    """

    #: Whether the widget lists the isotropic models or the anisotropic ones.
    isotropic: ClassVar[bool]
    #: Its name, and what it does to a picture.
    words: ClassVar[Words]

    @COLLECTOR.during
    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self.panel = RunPanel(self._run)
        self.form = Form(napari_viewer, self.isotropic, self.panel.fail)
        self.header = Header(self.words.sentence)
        self.samples = SampleButtons(napari_viewer, self.panel.fail)
        self.drawers = {each: Foldable(each.title, [], tooltip=each.tooltip) for each in DRAWERS}
        content: Container[Any] = Container(
            widgets=[self.header, self.samples, self.form, *self.drawers.values()], labels=False
        )
        content.native.layout().addStretch()
        content.margins = (MARGIN, MARGIN, MARGIN, 0)
        super().__init__(widgets=[content], labels=False)
        self.samples.show_or_hide(self.form.layer.value is None)
        self.margins = NO_MARGINS
        self.scroll = VerticalScrollArea(content.native)
        self.native.layout().addWidget(self.scroll, 1)
        self.append(self.panel)
        # Its right edge is that of the controls above.
        self.panel.margins = (MARGIN, 0, MARGIN + BAR_WIDTH, MARGIN)
        self.card = ResultCard(napari_viewer, self.panel.fail)
        self.panel.result_place.append(self.card)
        self.opening = Opening(self.native)
        self.context = Context(
            napari_viewer, self.form, self.panel, self.card, self.native, self.opening
        )
        for part in (self.form.value_rows, self.form.reasons):
            self.drawers[FINE_TUNE].body.append(part)
        for part in (self.form.noise_place, self.form.model_row, self.form.option_rows):
            self.drawers[EXPERT].body.append(part)
        self.drawers[EXPERT].first_opened.connect(self.form.make_options)
        kinds = {box: drawer.sections for drawer, box in self.drawers.items()}
        self.sections = Sections(self.context, kinds, self._drawer_filled)
        self._explain_page: ExplainPage | None = None
        preview = PreviewSection(self.context)
        self.sections.add(preview)
        content.insert(content.index(self.form) + 1, preview.box)
        self._timer = single_shot(self.native, PLAN_DELAY_MS, self._update)
        self._plans = ReplaceableTask()
        self.card.ended.connect(self.panel.end_outcome)
        self.panel.status_changed.connect(self.context.status_changed)
        self.panel.ended.connect(self._update_later)  # names that were free, blocks that are done
        self.suggesting = SuggestionController(self.context, self.form, self.panel)
        self._compilation = BackgroundCompilation(self.context, self.panel)
        self.context.on_close(self._plans.drop)
        self._connect()
        self._page: Any = None
        self._had_preview = False
        self._undocked = Undocked(self.native, self._leave, self._come_back)
        self._hidden = Hidden(self.native, self.context.set_hidden)
        self._update_tab_order()
        commands.register(self)
        self.opening.ended.connect(self._opened)
        if not preview.show.value:
            self.opening.end()

    def _connect(self) -> None:
        form = self.form
        self.header.help.changed.connect(self._explain)
        self._viewer.layers.events.removing.connect(self._before_removal)
        form.layer_changed.connect(self._layer_changed)
        form.settings_changed.connect(self._settings_changed)
        self.context.settings_changed.connect(self._update_later)
        form.layout_changed.connect(self._update_tab_order)
        for drawer in self.drawers.values():
            drawer.toggled.connect(self._update_tab_order)
            drawer.opened.connect(self._show_drawer)
        form.reasons.opened.connect(self._disable_empty_drawer)
        form.model.changed.connect(self._model_changed)
        self.scroll.restyled.connect(self._update_later)
        form.suggest.changed.connect(self.suggesting.request)
        form.values.changed.connect(self._values_changed)

    @slot
    def reset_choices(self, *_: Any) -> None:
        """Update the lists of layers; napari calls this when the layers of the viewer change."""
        self.form.reset_choices()
        if "renamed" not in self._viewer.layers.events.emitters:  # napari before 0.7
            for layer in self._viewer.layers:
                layer.events.name.connect(self.reset_choices)

    def fail(self, error: Exception) -> None:
        """Show an error below Run."""
        self.panel.fail(error)

    @property
    def pending(self) -> bool:
        """Whether a change has not been processed yet."""
        return self.form.pending or bool(self._timer.isActive()) or not self.opening.over

    @slot
    def _leave(self) -> None:
        """End all work when the widget is taken off its dock."""
        # Of the filters for this event, that of the preview follows.
        self._had_preview = bool(self.sections[PreviewSection].show.value)
        self.panel.leave()
        self.suggesting.leave()

    @slot
    def _come_back(self) -> None:
        """Work again, with the preview as it was, when the widget is docked again."""
        self.suggesting.come_back()
        self.sections[PreviewSection].show.value = self._had_preview
        self._update_later()

    @slot
    def _update_tab_order(self) -> None:
        self._disable_empty_drawer()
        set_tab_order(self.native)
        name_controls(self.native)
        self.scroll.guard()

    @slot
    def _drawer_filled(self, drawer: Foldable) -> None:
        """Arrange the controls that a drawer has got."""
        align_labels(drawer)
        self._update_tab_order()

    @slot
    def _disable_empty_drawer(self) -> None:
        """Disable *Fine-tune* for a model without parameters whose amount is on the first screen.

        *Suggest* adds its reasons.
        """
        has_rows = bool(self.form.controls.rows) or not self.isotropic
        self.drawers[FINE_TUNE].enable(has_rows or self.form.reasons.open, NO_NUMBERS)

    @slot
    def _show_drawer(self, drawer: Foldable) -> None:
        self.opening.end()
        self.scroll.reveal(drawer.button.native, drawer.native)

    @slot
    def _model_changed(self) -> None:
        """Remove an error or a list of errors, which is about the settings before."""
        if not self.panel.busy:
            self.panel.clear(StatusKind.FAILED)

    @property
    def explain(self) -> ExplainPage:
        """The explanations, which are made when they are first needed."""
        if self._explain_page is None:
            from napari_diffusion.ui.explain.page import ExplainPage

            self._explain_page = page = ExplainPage(self.context)
            layout = self.native.layout()
            layout.insertWidget(layout.indexOf(self.scroll), page, 1)
            page.left.connect(self._show_controls)
            self._update_tab_order()
        return self._explain_page

    @slot
    def _explain(self) -> None:
        self.scroll.hide()
        self.explain.open()
        self.explain.back.setFocus()

    @slot
    def _show_controls(self) -> None:
        self.scroll.show()
        self.header.help.native.setFocus()

    @slot
    def _before_removal(self) -> None:
        with suppress(RuntimeError):  # the widget has been destroyed
            make_canvas_current(self.native)

    @slot
    def _layer_changed(self) -> None:
        self.panel.forget()
        if self.opening.over or self.form.values.model_values.measured is not None:
            self.suggesting.update()
        self.context.layer_changed.emit()

    @slot
    def _settings_changed(self) -> None:
        has_layer = self.form.layer.value is not None
        self.panel.button.enabled = has_layer
        self.samples.show_or_hide(not has_layer)
        if has_layer:
            self.panel.button.tooltip = RUN_TOOLTIP
        else:
            self.panel.button.tooltip = "Open an image first; it is filtered in the background."
        self.context.settings_changed.emit()

    @slot
    def _opened(self) -> None:
        """Begin what has waited for the first preview."""
        offer.withdraw(self.native.window())
        before, self._page = Preferences.read(), find_page()
        if self._page is not None:
            self._page.events.connect(self._preferences_changed)
            self.context.on_close(self._disconnect_page)
        if Preferences.read() != before:
            self._preferences_changed(None)
        self.suggesting.update()
        self._update_later()

    @slot
    def _preferences_changed(self, _: Any) -> None:
        self.form.settings_changed.emit()

    @slot
    def _disconnect_page(self) -> None:
        self._page.events.disconnect(self._preferences_changed)

    @slot
    def _values_changed(self) -> None:
        self.context.suggestion_changed.emit()
        self._update_later()

    @slot
    def _update_later(self) -> None:
        self._timer.start()

    @slot
    def _update(self) -> None:
        """Update layout, kernels, suggestion and plan, after a pause in the changes."""
        for drawer in self.drawers.values():
            align_labels(drawer)
        if not self.opening.over:
            return
        self._compilation.prepare()
        self.suggesting.update()
        self._make_plan()

    # ---- plan, run

    def _make_plan(self) -> None:
        """Show what a run takes, time and memory; nothing while the values are not known."""
        if self.context.measuring or self.form.layer.value is None:
            self._plans.drop()
            self.panel.show_plan("", "")
            return
        try:
            settings = self.form.settings()
        except (TypeError, ValueError) as error:
            self.panel.refuse(error)
            return
        request, limit = self._output_request(), Preferences.read().memory
        record = LayerRecord.of(self.form.layer.value)
        blocks = BlockRequest(record, self.context.result_place, limit)

        def work(control: TaskControl) -> tuple[bool, str, str]:
            store = blocks.run(settings, request)
            if store is not None:
                return True, *in_words(store)
            problem, _ = settings.problem_and_run(request, read=False)
            planned = outputs.plan_run(problem, request, settings.execution, limit)
            seconds = pace.SESSION.seconds(pace.work_of(problem, planned))
            return False, pace.in_brief(seconds, planned.memory), planned.describe()

        self._plans.start(work, self._show_plan, self._refuse_plan)

    def _show_plan(self, plan: tuple[bool, str, str]) -> None:
        """Show a plan: whether its result goes to the disk, in a few words, and in full."""
        on_disk, brief, details = plan
        self.context.show_result_on_disk(on_disk)
        self.panel.show_plan(brief, details)

    def _refuse_plan(self, error: Exception) -> None:
        if getattr(error, "remedy", None) is Remedy.CHOOSE_RESULT_FOLDER:
            self.context.show_result_on_disk(True)
        self.panel.refuse(error)

    def _output_request(self) -> outputs.OutputRequest:
        options: dict[str, Any] = {}
        for section in self.sections.made.values():
            options |= section.output_options()
        return outputs.OutputRequest(**options)

    @slot
    def _run(self) -> None:
        self.opening.end()
        self.suggesting.update()  # for changes that have not been processed yet
        try:
            settings, request = self.form.settings().with_copied_labels(), self._output_request()
        except (TypeError, ValueError) as error:
            self.panel.fail(error)
            return
        layer, limit = self.form.layer.value, Preferences.read().memory
        where = self.context.result_place
        run = Run.of(self._viewer, layer, settings, request, limit, where)
        run = replace(run, target=self.card)
        measurement = self.suggesting.under_way
        if measurement is None:
            self.panel.add(run.with_noise(self.suggesting.noise_of(settings)).queued_run())
        else:
            values_of = self.suggesting.values_of(settings.unit)
            self.panel.add(delayed_run(run, measurement, values_of))


class IsotropicDiffusion(DiffusionWidget):
    """Widget of the isotropic models, which smooth equally in all directions."""

    isotropic = True
    words = ISOTROPIC


class AnisotropicDiffusion(DiffusionWidget):
    """Widget of the anisotropic models, which smooth inside regions and keep edges."""

    isotropic = False
    words = ANISOTROPIC
