"""The same settings on many images: every selected layer, or every file of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, Container, FileEdit, PushButton, Widget
from napari.layers import Image

import napari_diffusion as nd
from napari_diffusion.ui.layers.adding import auxiliary_layers
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.run.panel import QueuedRun
from napari_diffusion.ui.run.request import Settings
from napari_diffusion.ui.run.run import Run
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.run.warmup import wait_and_say
from napari_diffusion.ui.sections.base import Section
from napari_diffusion.workflows.file_run import files_of, filter_file, targets_of
from napari_diffusion.workflows.outputs import OutputRequest


class BatchSection(Section):
    """Many layers or files."""

    title = "Several layers or files"
    tooltip = "The settings above on every selected layer, or on every file of a folder."

    def make(self) -> list[Widget]:
        """Return the controls."""
        tip = "Each with its own axes and voxel size; lengths and thresholds are the physical ones above."
        self.layers = PushButton(text="Filter the selected layers", tooltip=tip)
        folder = FileDialogMode.EXISTING_DIRECTORY
        self.source = FileEdit(
            mode=folder,
            label="Folder",
            tooltip="Every NIfTI, TIFF and NumPy file in it is filtered.",
        )
        self.target = FileEdit(
            mode=folder,
            label="Results to",
            tooltip="Another folder; results have the names of their sources.",
        )
        for edit in (self.source, self.target):
            edit.choose_btn.text = "Choose…"
            edit.line_edit.tooltip = edit.choose_btn.tooltip = edit.tooltip
        self.replace = CheckBox(
            text="Replace what is there", tooltip="Write over results of the same name."
        )
        self.files = PushButton(
            text="Filter the folder",
            tooltip="One file after the other; what fails is listed at the end.",
        )
        form = Container(widgets=[self.source, self.target])
        form.margins = (0, 0, 0, 0)
        self.layers.changed.connect(self._filter_layers)
        self.files.changed.connect(self._filter_files)
        self.context.viewer.layers.selection.events.changed.connect(self._count)
        return [self.layers, form, self.replace, self.files]

    def folded(self, opened: bool) -> None:
        """Say how many layers are selected."""
        if opened:
            self._count()

    def _selected(self) -> list[Any]:
        viewer = self.context.viewer
        return [
            layer
            for layer in viewer.layers
            if layer in viewer.layers.selection
            and isinstance(layer, Image)
            and layer not in auxiliary_layers
        ]

    def _count(self) -> None:
        if self.box.open:
            count = len(self._selected())
            self.layers.text = f"Filter {count} selected layer{'' if count == 1 else 's'}"
            self.layers.enabled = bool(count)
            self.layers.tooltip = (
                "Each with its own axes and voxel size."
                if count
                else "Select image layers in the list of layers first."
            )

    def _filter_layers(self) -> None:
        preferences = Preferences.read()
        try:
            here, recipe = self.context.settings().kept(), self.context.recipe()
            threads, labels = here.keywords["threads"], here.keywords["labels"]
        except (TypeError, ValueError) as error:
            self.context.fail(error)
            return
        for layer in self._selected():
            try:
                other = layer is not self.context.layer
                settings = (
                    Settings.of_layer(layer, recipe, threads, self.context.layer.ndim, labels)
                    if other
                    else here
                )
            except ValueError as error:
                self.context.run(_failing(layer.name, error))
            else:
                self.context.run(
                    Run.of(
                        self.context.viewer, layer, settings, OutputRequest(), preferences.memory
                    ).queued_run()
                )

    def _filter_files(self) -> None:
        source, target = (Path(str(edit.line_edit.value)) for edit in (self.source, self.target))
        try:
            for path, name in ((source, "Folder"), (target, "Results to")):
                if path == Path() or not path.is_dir():
                    raise ValueError(f"{name}: choose a folder that exists.")
            recipe, sources = self.context.recipe(), files_of(source)
            threads = self.context.threads or Preferences.read().threads
            alike = None if self.context.layer is None else self.context.settings()
            targets = targets_of(sources, target)
            if recipe.labels is not None:
                raise ValueError(
                    "Labels are of one image: choose none in “Within labels”, under More options, to filter a folder."
                )
            if not sources:
                raise ValueError(f"There is no NIfTI, TIFF or NumPy file in {source}.")
        except (TypeError, ValueError, OSError) as error:
            self.context.fail(error)
            return
        for one, result in zip(sources, targets, strict=True):
            self.context.run(
                _file_job(one, result, recipe, bool(self.replace.value), threads, alike)
            )


def _failing(name: str, error: Exception) -> QueuedRun:
    def work(control: TaskControl) -> Any:
        raise error

    return QueuedRun(name, work, str, stoppable=False)


def _file_job(
    source: Path,
    target: Path,
    recipe: nd.Recipe,
    overwrite: bool,
    threads: int | None,
    alike: Settings | None,
) -> QueuedRun:
    """Filter a file, as soon as there are the kernels of the run on the layer, which is most probably of its kind."""
    memory = Preferences.read().memory

    def work(control: TaskControl) -> Any:
        if alike is not None:
            wait_and_say(alike, control)
        return filter_file(
            source,
            target,
            recipe,
            threads=threads,
            limit=memory,
            overwrite=overwrite,
            progress=control.progress,
            cancel=control.cancel,
        )

    return QueuedRun(
        source.name,
        work,
        lambda written: f"Wrote {written[0]}",
        stoppable=False,
        folders=(source.parent, target.parent),
    )
