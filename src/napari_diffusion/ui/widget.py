"""The two widgets: a form, sections that fold, and Run. They turn what is on screen into one call of the library."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from magicgui.widgets import Container
from qtpy.QtCore import QTimer

import napari_diffusion as nd
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.form.form import Form
from napari_diffusion.ui.preferences import Preferences, find_page
from napari_diffusion.ui.qt.layout import Scroll, align_labels, set_tab_order
from napari_diffusion.ui.qt.undocked import Undocked
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.run.panel import RUN, RunPanel, sentence
from napari_diffusion.ui.run.run import Run
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl
from napari_diffusion.ui.run.warmup import wait_for_suggestion
from napari_diffusion.ui.sections.base import Section
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.sections.recipes import RecipeSection
from napari_diffusion.ui.sections.threshold import ThresholdSection
from napari_diffusion.ui.warmup import WidgetWarmup
from napari_diffusion.workflows import outputs

#: Rest after the last change before suggestion and plan are made anew [ms].
PLAN_DELAY = 150
TRYING = "Trying parameters on pieces of the image…"
#: What the widgets offer beside the form, from top to bottom.
SECTIONS: tuple[type[Section], ...] = (
    PreviewSection,
    ThresholdSection,
    OutputsSection,
    RecipeSection,
    BatchSection,
)


class DiffusionWidget(Container):  # type: ignore[type-arg]
    """Common base of the two widgets.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by this name.

    Attributes
    ----------
    form
        What to filter and how.
    sections
        The foldable boxes below it, by their class.
    panel
        Run, Cancel and how it stands.
    """

    #: Which models to list.
    isotropic: ClassVar[bool]

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self._due = True
        self.form = Form(napari_viewer, self.isotropic)
        self.panel = RunPanel(self._run)
        content: Container[Any] = Container(
            widgets=[self.form, self.form.reasons, self.form.more], labels=False
        )
        content.native.layout().addStretch()
        super().__init__(widgets=[content], labels=False)
        self.margins = (0, 0, 0, 0)
        self.scroll = Scroll(content.native)
        self.native.layout().addWidget(self.scroll, 1)
        self.append(self.panel)
        self.context = Context(napari_viewer, self.form, self.panel, self.native)
        self.sections = {kind: kind(self.context) for kind in SECTIONS}
        for section in self.sections.values():
            content.insert(content.index(self.form.more), section.box)
        self._timer = QTimer(self.native)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PLAN_DELAY)
        self._timer.timeout.connect(self._settled)
        self._plans, self._suggestions = ReplaceableTask(), ReplaceableTask()
        self._warmup = WidgetWarmup(self.context, self.panel)
        self.context.on_close(self._plans.drop)
        self.context.on_close(self._suggestions.drop)
        self.form.layer_changed.connect(self._layer_changed)
        self.form.settings_changed.connect(self._settings_changed)
        self.context.settings_changed.connect(self._plan_due)
        self.form.layout_changed.connect(self._order)
        self.scroll.restyled.connect(self._plan_due)
        self.form.suggest.changed.connect(lambda: self._suggest(asked=True))
        for changed in (self.form.table.changed, self.form.model.changed):
            changed.connect(self._suggestion_due)
        self._page = find_page()
        if self._page is not None:
            self._page.events.connect(self._preferences_changed)
            self.context.on_close(self._leave_page)
        self._undocked = Undocked(self.native, self.panel.leave)
        self._order()

    def reset_choices(self, *_: Any) -> None:
        """List the layers anew; napari calls this when one comes, goes, moves or is renamed."""
        self.form.reset_choices()

    @property
    def pending(self) -> bool:
        """Whether a change waits to be worked on."""
        return self.form.pending or bool(self._timer.isActive())

    def _order(self) -> None:
        set_tab_order(self)

    def _layer_changed(self) -> None:
        self._due = True
        self.panel.forget()
        self.context.layer_changed.emit()

    def _settings_changed(self) -> None:
        known = self.form.layer.value is not None
        self.panel.button.enabled = known
        self.panel.button.tooltip = (
            RUN if known else "Open an image first; it is filtered in the background."
        )
        self.context.settings_changed.emit()

    def _preferences_changed(self, _: Any) -> None:
        self.form.settings_changed.emit()

    def _leave_page(self) -> None:
        self._page.events.disconnect(self._preferences_changed)

    def _suggestion_due(self) -> None:
        self._due = True
        self._plan_due()

    def _plan_due(self) -> None:
        self._timer.start()

    def _settled(self) -> None:
        """Do what is due after a change, once changes have paused."""
        for form in (self.form, self.form.more.body):
            align_labels(form)
        if self._due:
            self._due = False
            self._suggest()
        self._make_plan()

    def _suggest(self, asked: bool = False) -> None:
        """Fill in suggested values where the user has set none; everywhere when he asked for them."""
        controls, amount = self.form.controls, self.form.amount
        if self.panel.status.value == TRYING:  # it was for what is no longer on screen
            self.panel.say("")
            self._suggestions.drop()
        if not controls.depends_on_data:
            return
        try:
            settings = self.form.settings()
        except (TypeError, ValueError) as error:
            if asked:
                self.panel.fail(error)
            return
        if asked:
            controls.forget_edits()
            amount.edited = False
        keywords = {name: settings.keywords[name] for name in ("spacing", "axes", "channel_axis")}

        def done(found: nd.Suggestion) -> None:
            controls.fill(found.model)
            if not amount.edited:
                amount.fill(found.time)
            if asked:
                self.form.explain(found.report)
                self.panel.say("Values suggested.")

        def failed(error: Exception) -> None:
            if asked:
                self.panel.fail(error)
                return
            controls.fill(controls.model())  # rather than the values of the image before
            if not self.panel.busy:
                self.panel.say(f"No suggestion for this image: {sentence(error)}")

        if asked:
            self.panel.say(TRYING)

        def work(control: TaskControl) -> nd.Suggestion:
            wait_for_suggestion(settings, control.cancel)
            return starting_values.suggest_values(
                settings.image, settings.model, **keywords, thorough=asked, unit=settings.unit
            )

        self._suggestions.start(work, done, failed)

    def _make_plan(self) -> None:
        try:
            settings = self.form.settings()
        except (TypeError, ValueError) as error:
            self.panel.plan.value = sentence(error)
            return
        keywords = dict(settings.keywords)
        if keywords["labels"] is not None:
            # The shape is all that a plan needs; a lazy array would be computed.
            keywords["labels"] = np.broadcast_to(np.uint8(0), keywords["labels"].shape)

        request, limit = self._output_request(), Preferences.read().memory

        def describe(control: TaskControl) -> str:
            return outputs.describe_run(
                settings.image, settings.model, request, limit=limit, **keywords
            )

        def show(text: str) -> None:
            self.panel.plan.value = text

        self._plans.start(describe, show, lambda error: show(sentence(error)))

    def _output_request(self) -> outputs.OutputRequest:
        found: dict[str, Any] = {}
        for section in self.sections.values():
            found |= section.output_options()
        return outputs.OutputRequest(**found)

    def _run(self) -> None:
        try:
            settings, request = self.form.settings().kept(), self._output_request()
        except (TypeError, ValueError) as error:
            self.panel.fail(error)
        else:
            self.panel.add(
                Run.of(
                    self._viewer,
                    self.form.layer.value,
                    settings,
                    request,
                    Preferences.read().memory,
                ).queued_run()
            )


class IsotropicDiffusion(DiffusionWidget):
    """Smooth the same in every direction, by a physical distance."""

    isotropic = True


class AnisotropicDiffusion(DiffusionWidget):
    """Smooth inside regions and keep edges."""

    isotropic = False
