"""The same settings on several images: every selected layer, or every file of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, FileEdit, PushButton, Widget
from napari.layers import Image

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.engine.execution import Execution
from napari_diffusion.ui.layers.new_layers import auxiliary_layers
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.layout import bare_container
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.kernels import wait_with_message
from napari_diffusion.ui.run.panel import QueuedRun
from napari_diffusion.ui.run.run import Run
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.sections.base import Section
from napari_diffusion.workflows.file_run import files_of, filter_file, targets_of
from napari_diffusion.workflows.outputs import OutputRequest


class BatchSection(Section):
    """Filters several layers or files.

    Attributes
    ----------
    layers, files
        Buttons that filter the selected layers, and the files of a folder.
    source, target, replace
        Folder of the files, folder for the results, and whether to overwrite results.
    """

    title = "Several layers or files"
    tooltip = "The settings above on every selected layer, or on every file of a folder."

    def make(self) -> list[Widget]:
        """Return the controls."""
        tip = (
            "Each with its own axes and voxel size; lengths and thresholds are the physical ones "
            "above."
        )
        self.layers = PushButton(text="Filter the selected layers", tooltip=tip)
        folder = FileDialogMode.EXISTING_DIRECTORY
        tip = f"Every {_formats('and')} file in it is filtered."
        self.source = FileEdit(mode=folder, label="Folder", tooltip=tip)
        tip = "Another folder; results have the names of their sources."
        self.target = FileEdit(mode=folder, label="Results to", tooltip=tip)
        for edit in (self.source, self.target):
            edit.choose_btn.text = "Choose…"
            edit.line_edit.tooltip = edit.choose_btn.tooltip = edit.tooltip
        self.replace = CheckBox(
            text="Replace what is there", tooltip="Write over results of the same name."
        )
        tip = "One file after the other; what fails is listed at the end."
        self.files = PushButton(text="Filter the folder", tooltip=tip)
        folders = bare_container(self.source, self.target)
        self.layers.changed.connect(self._filter_layers)
        self.files.changed.connect(self._filter_files)
        self.context.viewer.layers.selection.events.changed.connect(self._show_count)
        return [self.layers, folders, self.replace, self.files]

    @slot
    def on_toggled(self, opened: bool) -> None:
        """Show the number of selected layers."""
        if opened:
            self._show_count()

    def _selected_layers(self) -> list[Any]:
        """Return the selected image layers, in the order of the viewer."""
        viewer = self.context.viewer
        return [
            layer
            for layer in viewer.layers
            if layer in viewer.layers.selection
            and isinstance(layer, Image)
            and layer not in auxiliary_layers
        ]

    @slot
    def _show_count(self) -> None:
        if not self.open:
            return
        count = len(self._selected_layers())
        self.layers.text = f"Filter {count} selected layer{'' if count == 1 else 's'}"
        self.layers.enabled = bool(count)
        if count:
            self.layers.tooltip = "Each with its own axes and voxel size."
        else:
            self.layers.tooltip = "Select image layers in the list of layers first."

    @slot
    def _filter_layers(self) -> None:
        context, memory = self.context, Preferences.read().memory
        try:
            chosen = context.settings().with_copied_labels()
        except (TypeError, ValueError) as error:
            context.fail(error)
            return
        for layer in self._selected_layers():
            settings = chosen
            try:
                if layer is not context.layer:
                    ndim = context.layer.ndim
                    settings = Settings.of_layer(
                        layer, chosen.recipe, chosen.execution, ndim, context.labels_layer
                    ).with_copied_labels()
            except ValueError as error:
                context.enqueue(_failing_run(layer.name, error))
                continue
            run = Run.of(context.viewer, layer, settings, OutputRequest(), memory)
            context.enqueue(run.queued_run())

    @slot
    def _filter_files(self) -> None:
        source, target = (Path(str(edit.line_edit.value)) for edit in (self.source, self.target))
        try:
            for path, name in ((source, "Folder"), (target, "Results to")):
                if path == Path() or not path.is_dir():
                    raise ValueError(f"{name}: choose a folder that exists.")
            recipe, sources = self.context.recipe(), files_of(source)
            execution = self.context.execution()
            chosen = None if self.context.layer is None else self.context.settings()
            targets = targets_of(sources, target)
            if recipe.labels is not None:
                raise ValueError(
                    "Labels are of one image: choose none in “Within labels”, under Expert and "
                    "history, to filter a folder."
                )
            if not sources:
                raise ValueError(f"There is no {_formats('or')} file in {source}.")
        except (TypeError, ValueError, OSError) as error:
            self.context.fail(error)
            return
        overwrite = bool(self.replace.value)
        for file, result in zip(sources, targets, strict=True):
            self.context.enqueue(_file_run(file, result, recipe, overwrite, execution, chosen))


def _formats(conjunction: str) -> str:
    """Return the names of all file formats as a list in words."""
    *names, last = (file_format.name for file_format in io.REGISTRY)
    return f"{', '.join(names)} {conjunction} {last}"


def _failing_run(name: str, error: Exception) -> QueuedRun:
    """Return a run that raises an error: the panel lists it with those of the other layers."""

    def work(control: TaskControl) -> Any:
        raise error

    return QueuedRun(name, work, str, stoppable=False)


def _file_run(
    source: Path,
    target: Path,
    recipe: nd.Recipe,
    overwrite: bool,
    execution: Execution,
    chosen: Settings | None,
) -> QueuedRun:
    """Return a run that filters a file.

    It starts when the kernels for the chosen layer (``chosen``: its settings) are compiled. The
    file most probably needs the same kernels.
    """
    memory = Preferences.read().memory

    def work(control: TaskControl) -> Any:
        if chosen is not None:
            wait_with_message(chosen, control)
        return filter_file(
            source,
            target,
            recipe,
            execution=execution,
            limit=memory,
            overwrite=overwrite,
            progress=control.progress,
            cancel=control.cancel,
        )

    return QueuedRun(
        source.name,
        work,
        lambda written: " ".join([f"Wrote {written[0]}.", *getattr(written, "notes", ())]),
        stoppable=False,
        files=(source, target),
    )
