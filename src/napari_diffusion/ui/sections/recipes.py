"""The settings as text for elsewhere, and back; and what the selected layer went through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, Container, PushButton, Widget
from qtpy.QtWidgets import QApplication, QFileDialog

import napari_diffusion as nd
from napari_diffusion.models import get
from napari_diffusion.ui.layers.axes import array_of
from napari_diffusion.ui.qt.layout import keep_narrow, wrapping_label
from napari_diffusion.ui.run.request import history
from napari_diffusion.ui.sections.base import Section
from napari_diffusion.workflows.file_run import names_in

_FILES = "Recipes (*.json)"


class RecipeSection(Section):
    """Copy, save and load recipes; the history of a layer."""

    title = "Recipe and history"
    tooltip = "The same run in Python, on the command line or on another layer; what a layer went through."

    def make(self) -> list[Widget]:
        """Return the controls."""
        self.python = self._button(
            "Python",
            "Copy the run as Python code.",
            lambda: self._copy("Python code", self._python),
        )
        self.command = self._button(
            "Command", "Copy the run as a command line.", self._copy_command
        )
        self.json = self._button(
            "JSON", "Copy the recipe as JSON.", lambda: self._copy("Recipe", lambda r: r.to_json())
        )
        self.save = self._button("Save…", "Write the recipe to a JSON file.", self._save)
        self.load = self._button("Load…", "Take the settings from a JSON file.", self._load)
        self.paste = self._button(
            "Paste", "Take the settings from a recipe in the clipboard, as JSON.", self._paste
        )
        self.of = wrapping_label()
        self.steps = ComboBox(
            choices=self._steps,
            tooltip="Filters that the selected layer went through, earliest first.",
        )
        keep_narrow(self.steps)
        self.step = wrapping_label()
        self.again = self._button(
            "Use these settings",
            "Take the settings of this step, to run them on the layer above.",
            self._again,
        )
        self.steps.changed.connect(self._show_step)
        self.context.viewer.layers.selection.events.active.connect(self._show_history)
        rows = Container(
            widgets=[
                _row("Copy as", self.python, self.command, self.json),
                _row("Recipe", self.save, self.load, self.paste),
            ]
        )
        rows.margins = (0, 0, 0, 0)
        return [rows, self.of, self.steps, self.step, self.again]

    def folded(self, opened: bool) -> None:
        """Show the history of the selected layer."""
        if opened:
            self._show_history()

    def _button(self, text: str, tip: str, pressed: Callable[[], None]) -> PushButton:
        def guarded() -> None:
            try:
                pressed()
            except ValueError as error:
                self.context.fail(error)
            except OSError as error:
                self.context.fail(OSError(f"{error.filename} cannot be read: {error.strerror}."))

        button = PushButton(text=text, tooltip=tip)
        button.changed.connect(guarded)
        return button

    # ---- text

    def _copy(self, what: str, text: Callable[[nd.Recipe], str], note: str = "") -> None:
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text(self.context.recipe()))
        self.context.say(f"{what} copied.{note}")

    def _python(self, recipe: nd.Recipe) -> str:
        layer, labels = self.context.layer, self.context.labels_layer
        name = "" if layer is None else f"# image: the array of the layer {layer.name!r}"
        name += "" if labels is None else f"; labels: that of {labels.name!r}"
        return f"{name}\n{recipe.to_python(labels=None if labels is None else 'labels')}".lstrip()

    def _copy_command(self) -> None:
        """Copy a command for the layer's file, where the file is known to hold the layer's image, and in which order."""
        layer, labels = self.context.layer, self.context.labels_layer
        source, note = _file_of(layer), ""
        names = None if source is None else names_in(source, array_of(layer))
        if source is not None and names is None:
            note = f" IN is for a file with this image: {source.name} has another one, or cannot be read."
        within = None if labels is None else str(_file_of(labels) or "LABELS")

        def command(recipe: nd.Recipe) -> str:
            if source is None or names is None:
                return recipe.to_command(labels=within)
            # What is in the table is told, whatever the reader has made of the file's axes and voxel size.
            told = replace(
                recipe, axis_names=tuple(names[axis] for axis in recipe.axes or ()) or None
            )
            return told.to_command(
                str(source), str(source.with_name(f"filtered-{source.name}")), within
            )

        self._copy("Command line", command, note)

    # ---- files

    def _save(self) -> None:
        recipe = self.context.recipe()
        name, _ = QFileDialog.getSaveFileName(
            self.box.native, "Save the recipe", "recipe.json", _FILES
        )
        if not name:
            return
        path = (
            Path(name) if Path(name).suffix else Path(f"{name}.json")
        )  # without it Load… would not list the file
        if str(path) != name and path.exists():
            raise ValueError(f"{path.name} is there already; choose that name to replace it.")
        try:
            recipe.save(path)
        except OSError as error:
            raise ValueError(f"{path} cannot be written: {error.strerror}.") from None
        self.context.say(f"Saved: {path.name}")

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self.box.native, "Load a recipe", "", _FILES)
        if path:
            self._use(nd.Recipe.load(path), Path(path).name)

    def _paste(self) -> None:
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        if not clipboard.text().lstrip().startswith(("{", "[")):
            raise ValueError("The clipboard holds no recipe; copy one with JSON.")
        self._use(nd.Recipe.from_json(clipboard.text()), "the clipboard")

    def _use(self, recipe: nd.Recipe, origin: str) -> None:
        lacks = self.context.load(recipe)
        self.context.say(" ".join([f"Settings taken from {origin}.", *lacks]), error=bool(lacks))

    # ---- history

    def _history(self) -> list[dict[str, Any]]:
        return history(getattr(self.context.viewer.layers.selection.active, "metadata", {}))

    def _steps(self, _: Any) -> list[tuple[str, int]]:
        names = [
            (_title(step["recipe"].get("model", "?")), step.get("source", "?"))
            for step in self._history()
        ]
        return [
            (f"{number + 1}. {title} of {source}", number)
            for number, (title, source) in enumerate(names)
        ]

    def _show_history(self) -> None:
        if not self.box.open:
            return
        active = self.context.viewer.layers.selection.active
        self.steps.reset_choices()
        count = len(self.steps.choices)
        none = (
            "No layer is selected."
            if active is None
            else f"{active.name} went through no filter of ours."
        )
        self.of.value = f"{active.name} went through:" if count else none
        for widget in (self.steps, self.step, self.again):
            widget.visible = bool(count)
        if count:
            self.steps.value = count - 1
            self._show_step()

    def _show_step(self) -> None:
        steps = self._history()
        if self.steps.value is None or not steps:
            return
        step = steps[self.steps.value]
        stopped = f" Stopped at time {step['stopped']['time']:.4g}." if "stopped" in step else ""
        try:
            self.step.value = f"{nd.Recipe.from_dict(step['recipe']).describe()}.{stopped}"
        except ValueError as error:  # of a package or a version that is not here
            self.step.value = str(error)

    def _again(self) -> None:
        self._use(nd.Recipe.from_dict(self._history()[self.steps.value]["recipe"]), "the history")


def _row(label: str, *widgets: Widget) -> Container[Widget]:
    row = Container(widgets=widgets, layout="horizontal", labels=False, label=label)
    row.margins = (0, 0, 0, 0)
    return row


def _title(model: str) -> str:
    """Title of a model by its name; the name where it is of a package that is not here."""
    try:
        return get(model).title
    except ValueError:
        return model


def _file_of(layer: Any) -> Path | None:
    path = None if layer is None else layer.source.path
    return None if path is None else Path(path).absolute()
