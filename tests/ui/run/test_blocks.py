"""Layers from the disk, and those too large for the memory, run in blocks into a store."""

import json
import threading

import dask.array
import numpy as np
import pytest
import zarr

import napari_diffusion as nd
from helpers.viewer import WAIT, open_section, wait_until_ended, wait_until_settled
from napari_diffusion import io
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.run.blocks import Place
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.workflows.store import options, tasks

SHAPE = (24, 40, 44)
LOOK = {
    "name": "cells",
    "scale": (2, 0.5, 0.5),
    "translate": (10, 20, 30),
    "units": ("um",) * 3,
    "axis_labels": ("z", "y", "x"),
    "contrast_limits": (60, 220),
    "colormap": "green",
}


def values(shape=SHAPE):
    rng = np.random.default_rng(0)
    return (100 + 80 * (np.indices(shape).sum(0) % 16 > 8) + rng.normal(0, 5, shape)).astype("f4")


@pytest.fixture
def store(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "cells.zarr"), shape=SHAPE, chunks=(6, 8, 8), dtype="f4"
    )
    array[...] = values()
    return tmp_path / "cells.zarr"


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks and passes, as for a large image."""
    original = options.resources_of

    def resources_of(problem, plan, files, store_options):
        from dataclasses import replace

        own = original(problem, plan, files, store_options)
        return replace(own, block=(12, 16, 44), stages_per_pass=12)

    monkeypatch.setattr("napari_diffusion.workflows.store.run.resources_of", resources_of)


def add(viewer, store, array=None, **look):
    """Add a lazy layer that knows its file, as a reader of napari does."""
    from napari.layers._source import layer_source

    with layer_source(path=str(store)):
        array = dask.array.from_zarr(str(store)) if array is None else array
        return viewer.add_image(array, **LOOK | look)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def whole(widget, image):
    settings = widget.form.settings()
    recipe = settings.recipe
    return recipe.diffuse(np.asarray(image), labels=settings.labels)


def shows_store(section):
    """Whether folder and name of the store have a place in the drawer."""
    return not section.store.native.isHidden()


def test_a_lazy_layer_runs_in_blocks_beside_its_file(
    open_widget, press_run, qtbot, store, small_blocks, values_of_noisy
):
    viewer, widget = open_widget()
    source = add(viewer, store)
    wait_until_settled(qtbot, widget)
    name = f"cells {widget.form.settings().model.name}.ome.zarr"
    assert f"Runs in blocks and writes {name} to {store.parent}" in widget.panel.plan.value
    assert "blocks of 12 x 16 x 44 voxels" in widget.panel.plan.tooltip
    result = press_run(viewer, widget)
    recipe = widget.form.settings().recipe
    assert result.multiscale
    assert all(isinstance(level, zarr.Array) for level in result.data)
    expected = whole(widget, values())
    np.testing.assert_array_equal(np.asarray(result.data[0]), expected, strict=True)
    for attribute in ("scale", "translate", "units", "axis_labels", "contrast_limits"):
        assert np.all(getattr(result, attribute) == getattr(source, attribute)), attribute
    assert result.colormap.name == "green"
    assert result.name.startswith("cells, ")
    notes = result.metadata["napari-diffusion"]
    assert nd.Recipe.from_dict(notes["recipe"]) == recipe
    assert notes["path"] == str(store.parent / name)
    assert names_in(store.parent) == [name, f"{name}.recipe.json", "cells.zarr"]
    volume = io.read(store.parent / name)
    np.testing.assert_array_equal(np.asarray(volume.data[...]), expected)
    assert (volume.axes, volume.spacing, volume.unit) == ("ZYX", (2, 0.5, 0.5), "micrometer")
    assert volume.header.translation == (10, 20, 30)
    attributes = json.loads((store.parent / name / "zarr.json").read_text())["attributes"]
    assert attributes["napari-diffusion"]["recipe"] == json.loads(recipe.to_json())
    assert widget.panel.state.text.endswith(f"written to {store.parent / name}")
    widget.card.undo.native.click()
    assert result not in viewer.layers
    assert (store.parent / name).is_dir()
    wait_until_settled(qtbot, widget)
    assert f"{recipe.model.name} 2.ome.zarr" in widget.panel.plan.value


def test_cancel_keeps_blocks_and_run_continues(
    open_alone, press_run, qtbot, store, small_blocks, monkeypatch
):
    viewer, widget = open_alone("Isotropic diffusion")
    add(viewer, store)
    wait_until_settled(qtbot, widget)
    half, go, done = threading.Event(), threading.Event(), []
    run = tasks.Job.run

    def slow(job, stage, index, cancel=None):
        if stage == "pass-0" and len(done) >= 3:
            half.set()
            go.wait(60)
        run(job, stage, index, cancel)
        if stage == "pass-0":
            done.append(index)

    monkeypatch.setattr(tasks.Job, "run", slow)
    widget.panel.button.native.click()
    qtbot.waitUntil(half.is_set, timeout=WAIT)
    assert not widget.panel.stop.visible
    widget.panel.cancel.native.click()
    assert widget.panel.state.text.startswith("Cancelled; the blocks that are done are kept")
    go.set()
    wait_until_ended(qtbot, widget)
    assert len(viewer.layers) == 1
    kept = len(done)
    wait_until_settled(qtbot, widget)
    assert widget.panel.plan.value.startswith("Continues in blocks and writes")
    done.clear()
    result = press_run(viewer, widget)
    blocks = 2 * 3
    assert 3 <= kept < blocks
    assert len(done) == blocks - kept
    np.testing.assert_array_equal(np.asarray(result.data[0]), whole(widget, values()))
    assert len(names_in(store.parent)) == 3


def test_an_array_that_is_too_large_runs_in_blocks_into_a_chosen_folder(
    open_widget, press_run, qtbot, tmp_path, preferences, small_blocks
):
    preferences[0] = Preferences(memory=96 << 20)
    viewer, widget = open_widget("Isotropic diffusion")
    labels = np.ones(SHAPE, "u1")
    labels[:, :20] = 2
    viewer.add_image(values(), **LOOK)
    viewer.add_labels(labels, name="halves", scale=(2, 0.5, 0.5), translate=(10, 20, 30))
    widget.form.make_options()
    widget.form.regions.value = viewer.layers["halves"]
    section = open_section(widget, OutputsSection)
    assert not shows_store(section)
    section.place.value = Place.DISK
    assert shows_store(section)
    wait_until_settled(qtbot, widget)
    assert widget.panel.state.text.startswith("There is no folder for an OME-Zarr; choose one in")
    section.folder.value, section.name.value = tmp_path, "mine"
    wait_until_settled(qtbot, widget)
    assert f"writes mine.ome.zarr to {tmp_path}" in widget.panel.plan.value
    result = press_run(viewer, widget)
    np.testing.assert_array_equal(np.asarray(result.data[0]), whole(widget, values()))
    wait_until_settled(qtbot, widget)
    assert "mine.ome.zarr: exists already" in widget.panel.state.text
    section.overwrite.value = True
    wait_until_settled(qtbot, widget)
    assert "writes mine.ome.zarr" in widget.panel.plan.value
    section.snapshots.value = 3
    wait_until_settled(qtbot, widget)
    assert "uncheck them under Outputs and batch" in widget.panel.state.text
    section.place.value = Place.AUTOMATIC
    wait_until_settled(qtbot, widget)
    assert widget.panel.plan.tooltip.startswith("3 snapshots")
    assert not shows_store(section)


def test_memory_decides_where_an_array_is_filtered(
    open_alone, qtbot, tmp_path, preferences, small_blocks
):
    viewer, widget = open_alone("Isotropic diffusion")
    layer = add(viewer, tmp_path, values((40, 256, 256)))
    wait_until_settled(qtbot, widget)
    assert "blocks" not in widget.panel.plan.value
    section = open_section(widget, OutputsSection)
    assert not shows_store(section)
    preferences[0] = Preferences(memory=20 << 20)
    layer.source.__dict__["path"] = None
    widget.form.settings_changed.emit()
    wait_until_settled(qtbot, widget)
    assert "cannot be done in blocks: there is no folder for an OME-Zarr" in (
        widget.panel.state.text
    )
    assert shows_store(section)


class CountingStore(zarr.storage.MemoryStore):
    """A store that records which chunks are read."""

    def __init__(self):
        super().__init__()
        self.chunks = set()

    async def get(self, key, prototype, byte_range=None):
        if "c/" in key:
            self.chunks.add(key)
        return await super().get(key, prototype, byte_range)


def test_preview_and_suggestion_read_only_what_they_need(open_alone, qtbot):
    shape, chunks = (512, 512, 512), (32, 64, 64)
    store = CountingStore()
    array = zarr.create_array(store, shape=shape, chunks=chunks, dtype="u1", compressors=None)
    part = values((64, 128, 128)).astype("u1")
    array[224:288, 192:320, 192:320] = part
    viewer, widget = open_alone()
    viewer.dims.ndisplay = 2
    total = 16 * 8 * 8
    viewer.add_image(array, contrast_limits=(0, 255), name="large")
    wait_until_settled(qtbot, widget)
    assert 0 < len(store.chunks) < 0.4 * total
    store.chunks.clear()
    section = widget.sections[PreviewSection]
    section.show.value = True
    wait_until_settled(qtbot, widget)
    qtbot.waitUntil(lambda: not section.overlay.pending, timeout=WAIT)
    plane = 8 * 8
    assert 0 < len(store.chunks) <= 2 * plane  # the plane and its halo
