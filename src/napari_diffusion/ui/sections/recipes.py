"""Recipes: the settings as text or file, loading them again, and the history of a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, Container, PushButton, Widget
from qtpy.QtGui import QClipboard
from qtpy.QtWidgets import QApplication, QFileDialog

import napari_diffusion as nd
from napari_diffusion.models import get
from napari_diffusion.ui.layers.axes import array_of
from napari_diffusion.ui.layers.labels import code_of_reorientation
from napari_diffusion.ui.qt.layout import bare_container, keep_narrow, wrapping_label
from napari_diffusion.ui.qt.slots import report, slot
from napari_diffusion.ui.run.settings import history
from napari_diffusion.ui.sections.base import Section
from napari_diffusion.workflows.file_run import axis_names_in_file

#: File filter of the dialogs.
_RECIPE_FILES = "Recipes (*.json)"

#: Note on a text that cannot name the region of interest.
WHOLE_IMAGE = " It is for the whole image: it does not name the region."


class RecipeSection(Section):
    """Copies, saves and loads recipes, and shows the history of the selected layer.

    Attributes
    ----------
    python, command, json, save, load, paste
        Buttons for recipes.
    of, steps, step, again
        History: title, list of the filters, description of the chosen one, and the button that
        uses its settings.
    """

    title = "Settings file and history"
    tooltip = (
        "The same run in Python, on the command line or on another layer; what a layer went "
        "through."
    )

    def make(self) -> list[Widget]:
        """Return the controls."""
        button = self._button
        self.python = button("Python", "Copy the run as Python code.", self._copy_python)
        self.command = button("Command", "Copy the run as a command line.", self._copy_command)
        self.json = button("JSON", "Copy the recipe as JSON.", self._copy_json)
        self.save = button("Save…", "Write the recipe to a JSON file.", self._save)
        self.load = button("Load…", "Take the settings from a JSON file.", self._load)
        tip = "Take the settings from a recipe in the clipboard, as JSON."
        self.paste = button("Paste", tip, self._paste)
        self.of = wrapping_label()
        tip = "Filters that were applied to the selected layer, earliest first."
        self.steps = ComboBox(choices=self._step_choices, tooltip=tip)
        keep_narrow(self.steps)
        self.step = wrapping_label()
        tip = "Take the settings of this step, to run them on the layer above."
        self.again = button("Use these settings", tip, self._use_step)
        self.steps.changed.connect(self._show_step)
        self.context.viewer.layers.selection.events.active.connect(self._show_history)
        rows = bare_container(
            _row("Copy as", self.python, self.command, self.json),
            _row("Recipe", self.save, self.load, self.paste),
        )
        return [rows, self.of, self.steps, self.step, self.again]

    @slot
    def on_toggled(self, opened: bool) -> None:
        """Show the history of the selected layer."""
        if opened:
            self._show_history()

    def _button(self, text: str, tip: str, call: Callable[[], None]) -> PushButton:
        """Return a button that calls a function and shows its errors."""

        def guarded() -> None:
            try:
                call()
            except OSError as error:
                report(self, OSError(f"{error.filename} cannot be read: {error.strerror}."))
            except Exception as error:
                report(self, error)

        button = PushButton(text=text, tooltip=tip)
        button.changed.connect(guarded)
        return button

    # ---- text

    def _copy(
        self, what: str, text: Callable[[nd.Recipe], str], note: str = "", cuts: bool = False
    ) -> None:
        """Copy a text; ``cuts`` says whether it cuts out the region of interest."""
        _clipboard().setText(text(self.context.recipe()))
        if self.context.region is not None and not cuts:
            note += WHOLE_IMAGE
        self.context.say(f"{what} copied.{note}")

    def _copy_python(self) -> None:
        layer, labels = self.context.layer, self.context.labels_layer
        comment = "" if layer is None else f"# image: the array of the layer {layer.name!r}"
        if labels is not None:
            comment += f"; labels: that of {labels.name!r}"
        settings = None if layer is None else self.context.settings()
        weights = None if settings is None else settings.channel_weights
        cut = "" if settings is None else code_of_region(settings.region)
        argument = None if labels is None else "labels"
        if argument is not None and settings is not None:
            argument += code_of_reorientation(labels, settings.labels)
        guide = self.context.guide_layer
        guide_argument = None if guide is None else "guide"
        if guide is not None:
            comment += f"; guide: that of {guide.name!r}"
        if guide is not None and settings is not None:
            guide_argument = f"guide{code_of_reorientation(guide, settings.guide)}"

        def code(recipe: nd.Recipe) -> str:
            text = recipe.to_python(labels=argument, channel_weights=weights, guide=guide_argument)
            return f"{comment}\n{text}{cut}".lstrip()

        self._copy("Python code", code, cuts=True)

    def _copy_json(self) -> None:
        self._copy("Recipe", lambda recipe: recipe.to_json())

    def _copy_command(self) -> None:
        """Copy a command line, with the file of the layer if that contains the layer's image."""
        layer, labels = self.context.layer, self.context.labels_layer
        source, note = _file_of(layer), ""
        names = None if source is None else axis_names_in_file(source, array_of(layer))
        if source is not None and names is None:
            note = (
                f" IN is for a file with this image: {source.name} has another one, or cannot be "
                "read."
            )
        guide = self.context.guide_layer
        files = [
            None if each is None else str(_file_of(each) or name)
            for each, name in ((labels, "LABELS"), (guide, "GUIDE"))
        ]

        def command(recipe: nd.Recipe) -> str:
            if source is None or names is None:
                return recipe.to_command("IN", "OUT", *files)
            # The command states axes and voxel sizes as in the table, which may differ from those
            # in the file. Axes are named as in the file, whose order may differ, too.
            axis_names = tuple(names[axis] for axis in recipe.axes or ()) or None
            target = source.with_name(f"filtered-{source.name}")
            renamed = replace(recipe, axis_names=axis_names)
            return renamed.to_command(str(source), str(target), *files)

        self._copy("Command line", command, note)

    # ---- files

    def _save(self) -> None:
        recipe = self.context.recipe()
        name, _ = QFileDialog.getSaveFileName(
            self.box.native, "Save the recipe", "recipe.json", _RECIPE_FILES
        )
        if not name:
            return
        # The dialog of Load… lists files with this suffix only.
        path = Path(name) if Path(name).suffix else Path(f"{name}.json")
        if str(path) != name and path.exists():
            raise ValueError(f"{path.name} is there already; choose that name to replace it.")
        try:
            recipe.save(path)
        except OSError as error:
            raise ValueError(f"{path} cannot be written: {error.strerror}.") from None
        self.context.say(f"Saved: {path.name}")

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self.box.native, "Load a recipe", "", _RECIPE_FILES)
        if path:
            self._use(nd.Recipe.load(path), Path(path).name)

    def _paste(self) -> None:
        text = _clipboard().text()
        if not text.lstrip().startswith(("{", "[")):
            raise ValueError(
                "The clipboard does not contain a recipe. Press JSON first to copy one."
            )
        self._use(nd.Recipe.from_json(text), "the clipboard")

    def _use(self, recipe: nd.Recipe, origin: str) -> None:
        """Show the settings of a recipe and report the parts that cannot be used."""
        shortcomings = self.context.load(recipe)
        message = " ".join([f"Settings taken from {origin}.", *shortcomings])
        self.context.say(message, error=bool(shortcomings))

    # ---- history

    def _history(self) -> list[dict[str, Any]]:
        return history(getattr(self.context.viewer.layers.selection.active, "metadata", {}))

    def _step_choices(self, _: Any) -> list[tuple[str, int]]:
        choices = []
        for number, step in enumerate(self._history()):
            title = _title(step["recipe"].get("model", "?"))
            choices.append((f"{number + 1}. {title} of {step.get('source', '?')}", number))
        return choices

    @slot
    def _show_history(self) -> None:
        if not self.open:
            return
        active = self.context.viewer.layers.selection.active
        self.steps.reset_choices()
        count = len(self.steps.choices)
        if count:
            self.of.value = f"Processing history of {active.name}:"
        elif active is None:
            self.of.value = "No layer is selected."
        else:
            self.of.value = f"No filter of this plugin was applied to {active.name}."
        for widget in (self.steps, self.step, self.again):
            widget.visible = bool(count)
        if count:
            self.steps.value = count - 1
            self._show_step()

    @slot
    def _show_step(self) -> None:
        steps = self._history()
        if self.steps.value is None or not steps:
            return
        step = steps[self.steps.value]
        stopped = f" Stopped at time {step['stopped']['time']:.4g}." if "stopped" in step else ""
        try:
            self.step.value = f"{nd.Recipe.from_dict(step['recipe']).describe()}.{stopped}"
        except ValueError as error:  # the model is of another package or of another version
            self.step.value = str(error)

    def _use_step(self) -> None:
        step = self._history()[self.steps.value]
        self._use(nd.Recipe.from_dict(step["recipe"]), "the history")


def code_of_region(region: tuple[slice, ...] | None) -> str:
    """Return the line of Python that cuts a region out of a result; empty without a region."""
    if region is None:
        return ""
    index = ", ".join(f"{part.start}:{part.stop}" for part in region)
    return f"result = result[{index}]\n"


def _clipboard() -> QClipboard:
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    return clipboard


def _row(label: str, *widgets: Widget) -> Container[Widget]:
    return bare_container(*widgets, layout="horizontal", labels=False, label=label)


def _title(name: str) -> str:
    """Return the title of a model, or its name if its package is not installed."""
    try:
        return get(name).title
    except ValueError:
        return name


def _file_of(layer: Any) -> Path | None:
    """Return the file that a layer was read from, ``None`` where there is none."""
    path = None if layer is None else layer.source.path
    return None if path is None else Path(path).absolute()
