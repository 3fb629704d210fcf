"""Layers whose arrays raise errors: every action ends in a sentence, and none in an exception."""

import traceback
from dataclasses import replace
from pathlib import Path

import dask.array
import numpy as np
import pytest
import zarr

import napari_diffusion as nd
from helpers.viewer import WAIT, wait_until_ended, wait_until_settled
from napari_diffusion.ui.layers.axes import dtype_of, shape_of
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.sections.recipes import RecipeSection
from napari_diffusion.ui.sections.threshold import ThresholdSection

#: Options of the formats that the installed release of zarr writes.
ZARR_FORMATS = {"zarr 2": {}}
if hasattr(zarr, "create_array"):  # zarr 3
    ZARR_FORMATS = {"zarr 2": {"zarr_format": 2}, "zarr 3": {"zarr_format": 3}}
VALUES = np.random.default_rng(0).random((6, 16, 20), np.float32)


class ForeignDtype:
    """A data type that NumPy does not know."""

    kind = "?"

    def __str__(self):
        return "foreign.float32"


class ForeignArray:
    """A lazy array of another library, without ``nbytes``, that raises at a chosen place."""

    def __init__(self, values, dtype=None):
        self.values, self.own_dtype, self.broken = values, dtype, set()

    def _check(self, name):
        if name in self.broken:
            raise self.broken_error(f"{name} is gone")

    broken_error = RuntimeError

    @property
    def shape(self):
        self._check("shape")
        return list(self.values.shape)

    @property
    def ndim(self):
        return self.values.ndim

    @property
    def dtype(self):
        self._check("dtype")
        return self.own_dtype or self.values.dtype

    def __getitem__(self, index):
        self._check("values")
        return self.values[index]


@pytest.fixture
def read_at_once(monkeypatch):
    """Return a function after which a suggestion reads the whole image first, then knows it."""

    def switch_on():
        suggest = starting_values.suggest_for

        def suggest_for_values(problems, *others):
            whole = [replace(problem, image=problem.image[...]) for problem in problems]
            return suggest(whole, *others)

        monkeypatch.setattr(starting_values, "suggest_for", suggest_for_values)

    return switch_on


def open_all(gui):
    for drawer in gui.drawers.values():
        drawer.open = True
    gui.sections[PreviewSection].show.value = True
    gui.sections[ThresholdSection].mark.value = True


def emit(event):
    """Emit an event of a broken layer, after which napari before 0.7 fails, but none of ours."""
    try:
        event()
    except Exception as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        assert not any("napari_diffusion" in Path(file).parts for file in files)


@pytest.mark.parametrize(
    ("broken", "error"),
    [("values", error) for error in (RuntimeError, OSError, KeyError, ValueError, TypeError)]
    + [(broken, error) for broken in ("shape", "dtype") for error in (RuntimeError, TypeError)],
)
def test_every_action_on_a_broken_array_ends_in_a_sentence(
    open_alone, qtbot, slot_errors, read_at_once, broken, error
):
    if (broken, error) != ("values", RuntimeError):  # there the suggestion reads the parts
        read_at_once()
    viewer, gui = open_alone()
    array = ForeignArray(VALUES)
    layer = viewer.add_image(array, name="lost", contrast_limits=(0, 1))
    wait_until_settled(qtbot, gui)
    array.broken_error = type("Broken", (error,), {})
    array.broken = {broken}

    def assert_says_why():
        wait_until_settled(qtbot, gui)
        wait_until_ended(qtbot, gui)
        assert f"{broken} is gone" in gui.panel.status.value
        gui.panel.clear()

    gui.panel.button.native.click()
    assert_says_why()
    gui.form.suggest.native.click()
    assert_says_why()
    viewer.layers.selection = {layer}
    gui.sections[BatchSection].drawer.open = True
    gui.sections[BatchSection].layers.native.click()
    assert_says_why()
    open_all(gui)
    gui.form.controls["kappa"].value = 0.3
    gui.form.table.rows[0].smooth.value = False
    gui.form.amount.number.value = 3.0
    wait_until_settled(qtbot, gui)
    qtbot.waitUntil(lambda: not gui.sections[PreviewSection].overlay.pending, timeout=WAIT)
    said = (gui.panel.status.value, gui.sections[PreviewSection].status.value)
    assert sum(f"{broken} is gone" in text for text in said) == 1
    for button in ("python", "command", "json"):
        getattr(gui.sections[RecipeSection], button).native.click()
    gui.reset_choices()
    emit(layer.events.scale)
    emit(layer.events.data)
    wait_until_settled(qtbot, gui)
    # With its array back, the layer can be filtered.
    array.broken = set()
    layer.events.data()
    wait_until_settled(qtbot, gui)
    gui.panel.button.native.click()
    wait_until_ended(qtbot, gui)
    assert gui.panel.status.value.startswith("Done")
    slot_errors.clear()


def test_widget_opens_on_a_broken_array(open_alone, qtbot, slot_errors):
    from napari.components import ViewerModel

    from napari_diffusion.ui.widget import IsotropicDiffusion

    viewer, array = ViewerModel(), ForeignArray(VALUES)
    viewer.add_image(array, name="lost", contrast_limits=(0, 1))
    array.broken = {"shape"}
    gui = IsotropicDiffusion(viewer)
    qtbot.addWidget(gui.native)
    wait_until_settled(qtbot, gui)
    assert "The layer lost cannot be read: shape is gone" in gui.panel.status.value
    slot_errors.clear()


def test_array_of_a_foreign_type_is_filtered(open_alone, qtbot, press_run):
    """Its data type is that of a part of it, as for TensorStore and PyTorch."""
    viewer, gui = open_alone("Isotropic diffusion")
    array = ForeignArray(VALUES)
    layer = viewer.add_image(array, contrast_limits=(0, 1))
    array.own_dtype = ForeignDtype()
    layer.events.data()
    assert (shape_of(layer), dtype_of(layer)) == (VALUES.shape, np.float32)
    gui.sections[OutputsSection].removed.value = True
    wait_until_settled(qtbot, gui)
    gui.panel.button.native.click()
    wait_until_ended(qtbot, gui)
    result, time = viewer.layers[-1].data, gui.form.amount.time
    np.testing.assert_array_equal(result, nd.diffuse(VALUES, nd.Linear(), time=time))
    np.testing.assert_array_equal(viewer.layers[-2].data, VALUES - result)


@pytest.mark.parametrize("library", [*ZARR_FORMATS, "memmap", "levels", "dask"])
def test_lazy_array_is_filtered_as_the_array_in_memory(
    open_alone, qtbot, press_run, tmp_path, library
):
    if library.startswith("zarr"):
        options = {"shape": VALUES.shape, "dtype": VALUES.dtype, "chunks": (2, 8, 8)}
        options |= ZARR_FORMATS[library]
        array = zarr.open_array(tmp_path / "a.zarr", mode="w", **options)
        array[:] = VALUES
    elif library == "memmap":
        np.save(tmp_path / "a.npy", VALUES)
        array = np.load(tmp_path / "a.npy", mmap_mode="r")
    elif library == "levels":
        array = [VALUES, VALUES[:, ::2, ::2]]
    else:
        array = dask.array.from_array(VALUES, chunks=5)
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(array, contrast_limits=(0, 1), multiscale=library == "levels")
    result, time = press_run(viewer, gui), gui.form.amount.time
    np.testing.assert_array_equal(result.data, nd.diffuse(VALUES, nd.Linear(), time=time))
