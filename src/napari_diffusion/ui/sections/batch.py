"""The same settings on several images: every selected layer, or every file of a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, PushButton, Widget
from napari.layers import Image

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.ui.layers.new_layers import auxiliary_layers, programmatic_selection
from napari_diffusion.ui.layers.siblings import channels_of
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.layout import bare_container, keep_narrow, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.kernels import wait_with_message
from napari_diffusion.ui.run.panel import QueuedRun
from napari_diffusion.ui.run.run import Run
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.sections.base import Section
from napari_diffusion.ui.sections.batch_values import MEASURING, BatchValues, choose_for_layers
from napari_diffusion.workflows.file_run import (
    FileOptions,
    files_of,
    prepare_file,
    run_file,
    targets_of,
)
from napari_diffusion.workflows.file_values import (
    MAX_SHARED,
    ChooseValues,
    suggested_for_each,
    suggested_once,
)
from napari_diffusion.workflows.outputs import OutputRequest

VALUES_TIP = (
    "As above: the values on screen. Suggested for each: every image is measured by itself, with "
    "all its time points. Suggested once for all: the images are measured together, of a folder "
    f"at most {MAX_SHARED} of them."
)
CHANNELS_TIP = "Select every layer of the same file, size and place. Change the selection as usual."
ONE_CHANNEL = "No other layer has the same file, size and place as this image."

IN_REGION = "{}; of each, the region in {}."
LABELS_OF_FILES = (
    "Labels are of one image. To filter a folder, choose none in “Restrict to labels”, under "
    "Expert and history."
)
GUIDE_OF_FILES = (
    "A guide is of one image. To filter a folder, choose “the image itself” in “Edges from”, under "
    "Expert and history."
)
REGION_OF_FILES = (
    "The region is of the images on screen. To filter a folder, choose “whole image” in Region."
)


NOISE_OF_FILES = (
    "The place without structure is of the images on screen. To measure a folder, choose “whole "
    "image” in “Measure noise in”, or Values “as above”."
)


class BatchSection(Section):
    """Filters several layers or files.

    Attributes
    ----------
    values
        Whether the values are those on screen, suggested for each image, or once for all.
    channels, names
        Button that selects all channels of the image, and the names of the selected layers.
    layers, files
        Buttons that filter the selected layers, and the files of a folder.
    source, target, replace
        Folder of the files, folder for the results, and whether to overwrite results.
    """

    title = "Batch"
    tooltip = "The settings above on every selected layer, or on every file of a folder."

    def make(self) -> list[Widget]:
        """Return the controls."""
        tip = (
            "Each with its own axes and voxel size; lengths and thresholds are the physical ones "
            "above."
        )
        self.layers = PushButton(text="Filter the selected layers", tooltip=tip)
        choices = [(values.value, values) for values in BatchValues]
        self.values = ComboBox(choices=choices, label="Values", tooltip=VALUES_TIP)
        keep_narrow(self.values)
        self.channels = PushButton(text="Select all channels of this image", tooltip=CHANNELS_TIP)
        self.names = wrapping_label()
        folder = FileDialogMode.EXISTING_DIRECTORY
        tip = f"Every {_formats('and')} file in it is filtered."
        self.source = FileEdit(mode=folder, label="Input folder", tooltip=tip)
        tip = "Another folder; results have the names of their sources."
        self.target = FileEdit(mode=folder, label="Output folder", tooltip=tip)
        for edit in (self.source, self.target):
            edit.choose_btn.text = "Choose…"
            edit.line_edit.tooltip = edit.choose_btn.tooltip = edit.tooltip
        self.replace = CheckBox(
            text="Overwrite existing files", tooltip="Write over results of the same name."
        )
        tip = "One file after the other; what fails is listed at the end."
        self.files = PushButton(text="Filter the folder", tooltip=tip)
        folders = bare_container(self.source, self.target)
        self.layers.changed.connect(self._filter_layers)
        self.files.changed.connect(self._filter_files)
        self.context.viewer.layers.selection.events.changed.connect(self._show_count)
        self.channels.changed.connect(self._select_channels)
        self.context.layer_changed.connect(self._show_count)
        self.context.settings_changed.connect(self._show_count)
        values_row = bare_container(self.values)
        return [
            values_row,
            self.channels,
            self.names,
            self.layers,
            folders,
            self.replace,
            self.files,
        ]

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
        selected = self._selected_layers()
        count = len(selected)
        names = ", ".join(layer.name for layer in selected)
        shapes = self.context.region_choice.layer.value
        self.names.value = names if shapes is None else IN_REGION.format(names, shapes.name)
        channels = self._channels()
        self.channels.enabled = len(channels) > 1
        self.channels.tooltip = CHANNELS_TIP if len(channels) > 1 else ONE_CHANNEL
        self.layers.text = f"Filter {count} selected layer{'' if count == 1 else 's'}"
        self.layers.enabled = bool(count)
        if count:
            self.layers.tooltip = "Each with its own axes and voxel size."
        else:
            self.layers.tooltip = "Select image layers in the list of layers first."

    def _channels(self) -> list[Any]:
        """Return the layers that are channels of the chosen image."""
        layer = self.context.layer
        return [] if layer is None else channels_of(layer, self.context.viewer.layers)

    @slot
    def _select_channels(self) -> None:
        """Select all channels of the image in the list of layers, where they can be changed."""
        with programmatic_selection():
            self.context.viewer.layers.selection = set(self._channels())

    @slot
    def _filter_layers(self) -> None:
        context = self.context
        try:
            chosen = context.settings().with_copied_labels()
        except (TypeError, ValueError) as error:
            context.fail(error)
            return
        batch: list[tuple[Any, Settings]] = []
        for layer in self._selected_layers():
            try:
                batch.append((layer, self._settings_of(layer, chosen)))
            except ValueError as error:
                context.enqueue(_failing_run(layer.name, error))
        choose = choose_for_layers(
            self.values.value,
            [settings for _, settings in batch],
            context.suggestion_options,
            context.automatic,
        )
        memory, target, own = Preferences.read().memory, context.result_card, object()
        where = replace(context.result_place, name="")
        for layer, settings in batch:
            run = Run.of(context.viewer, layer, settings, OutputRequest(), memory, where)
            context.enqueue(replace(run, choose=choose, target=target, batch=own).queued_run())

    def _settings_of(self, layer: Any, chosen: Settings) -> Settings:
        """Return the settings of the chosen image for a layer, with its own axes and region."""
        context = self.context
        if layer is context.layer:
            return chosen
        settings = Settings.of_layer(
            layer,
            chosen.recipe,
            chosen.execution,
            context.layer.ndim,
            context.labels_layer,
            context.guide_layer,
        ).with_copied_labels()
        region, noise_mask = context.region_choice.region(layer), None
        if self.values.value is not BatchValues.AS_ABOVE:
            noise_mask = context.noise_mask(layer, settings.recipe.axes or ())
        return replace(settings, region=region, noise_mask=noise_mask)

    @slot
    def _filter_files(self) -> None:
        source, target = (Path(str(edit.line_edit.value)) for edit in (self.source, self.target))
        try:
            for path, name in ((source, "Input folder"), (target, "Output folder")):
                if path == Path() or not path.is_dir():
                    raise ValueError(f"{name}: choose a folder that exists.")
            recipe, sources = self.context.recipe(), files_of(source)
            execution = self.context.execution()
            chosen = None if self.context.layer is None else self.context.settings()
            targets = targets_of(sources, target)
            is_measured = self.values.value is not BatchValues.AS_ABOVE
            if recipe.labels is not None:
                raise ValueError(LABELS_OF_FILES)
            if recipe.guide is not None:
                raise ValueError(GUIDE_OF_FILES)
            if self.context.region_choice.layer.value is not None:
                raise ValueError(REGION_OF_FILES)
            if is_measured and chosen is not None and chosen.noise_mask is not None:
                raise ValueError(NOISE_OF_FILES)
            if not sources:
                raise ValueError(f"There is no {_formats('or')} file in {source}.")
        except (TypeError, ValueError, OSError) as error:
            self.context.fail(error)
            return
        options = FileOptions(execution=execution, overwrite=bool(self.replace.value))
        choose = self._choose_for_files(sources)
        for file, result in zip(sources, targets, strict=True):
            self.context.enqueue(_file_run(file, result, recipe, options, chosen, choose))

    def _choose_for_files(self, sources: list[Path]) -> ChooseValues | None:
        """Return what chooses the values of each file; None for those on screen."""
        options, automatic = self.context.suggestion_options, self.context.automatic
        if self.values.value is BatchValues.AS_ABOVE:
            return None
        if self.values.value is BatchValues.EACH:
            return suggested_for_each(options, automatic)
        return suggested_once(sources, options, automatic)


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
    options: FileOptions,
    chosen: Settings | None,
    choose: ChooseValues | None,
) -> QueuedRun:
    """Return a run that filters a file.

    It starts when the kernels for the chosen layer (``chosen``: its settings) are compiled. The
    file most probably needs the same kernels.
    """
    memory = Preferences.read().memory

    def work(control: TaskControl) -> Any:
        if chosen is not None:
            wait_with_message(chosen, control)
        file_run = prepare_file(source, target, recipe, options)
        if choose is not None:
            control.say(MEASURING)
            file_run = file_run.with_recipe(choose(file_run, control.cancel))
            control.say("")
        return run_file(file_run, limit=memory, progress=control.progress, cancel=control.cancel)

    return QueuedRun(
        source.name,
        work,
        lambda written: " ".join([f"Wrote {written[0]}.", *getattr(written, "notes", ())]),
        stoppable=False,
        files=(source, target),
    )
