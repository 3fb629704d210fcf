"""Repeated runs: from copied text, recipes and the history, on other layers and on files."""

import shlex
import threading

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QApplication, QFileDialog

import napari_diffusion as nd
from helpers.viewer import (
    WAIT,
    filter_folder,
    open_section,
    wait_for_go,
    wait_until_ended,
    wait_until_settled,
)
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import Remedy, TargetExists
from napari_diffusion.io.volume import Volume
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.sections import batch
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.recipes import RecipeSection

LOOK = {"scale": (2, 0.5, 0.5), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}


def clipboard():
    return QApplication.clipboard()


def set_unusual_values(qtbot, widget):
    """Wait for the suggestion and choose values that are not the defaults."""
    wait_until_settled(qtbot, widget)
    form = widget.form
    form.controls["kappa"].value, form.controls["diffusivity"].value = 7.25, "tukey"
    form.controls["sigma"].value = 0.25
    form.amount.number.value = 0.9
    (
        form.run_options["strict"].value,
        form.run_options["tolerance"].value,
        form.run_options["scheme"].value,
    ) = True, 2e-3, "explicit"


def test_copied_python_gives_the_same_bits(open_widget, qtbot, press_run, noisy):
    viewer, widget = open_widget("Anisotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    set_unusual_values(qtbot, widget)
    section = open_section(widget, RecipeSection)
    section.python.native.click()
    names = {"image": noisy}
    exec(clipboard().text(), names)
    np.testing.assert_array_equal(names["result"], press_run(viewer, widget).data, strict=True)


def test_copied_python_uses_the_labels(open_alone, qtbot, press_run, noisy):
    labels = np.ones(noisy.shape, np.uint8)
    labels[..., 9:] = 2
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    widget.form.regions.value = viewer.add_labels(labels, scale=LOOK["scale"], units=LOOK["units"])
    wait_until_settled(qtbot, widget)
    open_section(widget, RecipeSection).python.native.click()
    names = {"image": noisy, "labels": labels}
    exec(clipboard().text(), names)
    np.testing.assert_array_equal(names["result"], press_run(viewer, widget).data, strict=True)


def test_copied_command_gives_the_same_bits_for_files_of_any_axis_order(
    open_alone, qtbot, press_run, noisy, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    spacing = (2.0, 0.5, 0.5)
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    set_unusual_values(qtbot, widget)
    widget.form.table.rows[0].smooth.value = False
    layer = press_run(viewer, widget)
    open_section(widget, RecipeSection).command.native.click()
    words = shlex.split(clipboard().text())
    assert words[:4] == ["napari-diffusion", "run", "IN", "OUT"]
    for name, data, axes, steps in (
        ("zyx.tif", noisy, "ZYX", spacing),
        ("xyz.nii", noisy.transpose(), "XYZ", spacing[::-1]),
    ):
        io.write(name, data, Volume(data, axes, steps, unit="micrometer"))
        assert main([*words[1:2], name, f"out-{name}", *words[4:]]) == 0
    np.testing.assert_array_equal(np.asarray(io.read("out-zyx.tif").data), layer.data)
    # The sums of a step are in the order of the array's axes. They differ by half a unit in the
    # last place in each of eight steps.
    np.testing.assert_allclose(
        np.asarray(io.read("out-xyz.nii").data).transpose(), layer.data, rtol=8 * 2.0**-23
    )


@pytest.mark.parametrize(
    "name", ["plain.tif", "micrometers.tif", "plain.npy", "colours.tif", "flat.tif"]
)
def test_copied_command_runs_on_the_file_of_a_layer_without_axis_names(
    open_widget, qtbot, press_run, noisy, tmp_path, name
):
    """napari opens the file without names and voxel size; the user corrects the voxel size."""
    colours = name == "colours.tif"
    if colours:
        image = noisy[:3].transpose(1, 2, 0).astype(np.uint8)
    else:
        image = noisy[0] if name == "flat.tif" else noisy
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, image)
    elif name.startswith("micro"):
        io.write(path, image, Volume(image, "ZYX", (7.0, 5.0, 5.0), unit="micrometer"))
    else:
        tifffile.imwrite(path, image, photometric="rgb" if colours else "minisblack", metadata=None)
    viewer, widget = open_widget("Anisotropic diffusion")
    (source,) = viewer.open(path, plugin="napari", rgb=colours)
    source.scale = (2.0, 0.5, 0.5)[-source.ndim :]
    wait_until_settled(qtbot, widget)
    set_unusual_values(qtbot, widget)
    layer = press_run(viewer, widget)
    open_section(widget, RecipeSection).command.native.click()
    words = shlex.split(clipboard().text())
    assert words[2:4] == [str(path), str(path.with_name(f"filtered-{name}"))]
    assert main(words[1:]) == 0
    np.testing.assert_array_equal(np.asarray(io.read(words[3]).data), layer.data)


def test_copied_json_is_the_recipe_of_the_result(open_alone, qtbot, press_run, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    set_unusual_values(qtbot, widget)
    open_section(widget, RecipeSection).json.native.click()
    recipe = nd.Recipe.from_json(clipboard().text())
    layer = press_run(viewer, widget)
    assert recipe.to_dict() == layer.metadata["napari-diffusion"]["recipe"]
    assert recipe.axis_names == ("z", "y", "x")


def test_loaded_recipe_restores_every_setting(open_alone, qtbot, noisy, tmp_path, monkeypatch):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    set_unusual_values(qtbot, widget)
    before = widget.form.settings()
    section = open_section(widget, RecipeSection)
    path = tmp_path / "r.json"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: (str(path), ""))
    section.save.native.click()
    viewer.add_image(
        noisy, name="b", scale=(2e-3, 5e-4, 5e-4), units=("mm",) * 3, axis_labels=("z", "y", "x")
    )
    widget.form.run_options["scheme"].value = "auto"
    widget.form.controls["diffusivity"].value = "rational"
    widget.form.run_options["strict"].value = False
    section.load.native.click()
    wait_until_settled(qtbot, widget)
    after = widget.form.settings()
    assert after.unit == "mm"
    assert after.model == nd.PeronaMalik(kappa=7250.0, diffusivity="tukey", sigma=0.00025)
    assert after.recipe.time == pytest.approx(before.recipe.time * 1e-6)
    for name in ("scheme", "tolerance", "strict", "nan", "preserve_dtype", "axes"):
        assert getattr(after.recipe, name) == getattr(before.recipe, name), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "The clipboard does not contain a recipe"),
        ("{nonsense", "not valid JSON"),
        ('{"model": "linear", "time": 1}', "widget Gaussian smoothing"),
        ("[]", "a JSON object"),
    ],
)
def test_text_that_is_no_recipe_is_reported(open_alone, noisy, text, message):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy)
    clipboard().setText(text)
    open_section(widget, RecipeSection).paste.native.click()
    assert message in widget.panel.status.value


def test_scheme_with_parameters_is_kept(open_alone, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy)
    recipe = nd.Recipe(nd.PeronaMalik(kappa=3.0), 2.0, scheme=nd.schemes.Explicit(step=0.05))
    clipboard().setText(recipe.to_json())
    open_section(widget, RecipeSection).paste.native.click()
    assert widget.form.settings().recipe.scheme == nd.schemes.Explicit(step=0.05)


def test_history_shows_every_filter_and_repeats_it(open_widget, press_run, noisy):
    viewer, widget = open_widget("Anisotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    section = open_section(widget, RecipeSection)
    assert "No filter of this plugin" in section.of.value
    widget.form.controls["kappa"].value = 7.25
    first = press_run(viewer, widget)
    widget.form.layer.value = first
    widget.form.controls["kappa"].value = 3.5
    second = press_run(viewer, widget)
    assert viewer.layers.selection.active == second
    assert len(section.steps.choices) == 2
    assert section.steps.current_choice == "2. Perona-Malik of a, edge-preserving κ 7.25"
    assert "kappa 3.5" in section.step.value
    section.steps.value = 0
    assert "kappa 7.25 intensity/µm" in section.step.value
    other = viewer.add_image(noisy + 1, name="other", **LOOK)
    viewer.layers.selection.active = second
    section.steps.value = 0
    widget.form.layer.value = other  # the history is that of the selected layer
    section.again.native.click()
    assert widget.form.controls["kappa"].value == 7.25
    again = press_run(viewer, widget)
    recipe = nd.Recipe.from_dict(first.metadata["napari-diffusion"]["recipe"])
    np.testing.assert_array_equal(again.data, recipe.diffuse(noisy + 1), strict=True)


def test_all_selected_layers_get_the_same_physical_filter(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    layers = [
        viewer.add_image(noisy, name="a", **LOOK),
        viewer.add_image(
            np.stack([noisy, noisy]),
            name="b",
            scale=(1, 2e-3, 5e-4, 5e-4),
            units=("s", "mm", "mm", "mm"),
        ),
        viewer.add_image(noisy, name="c"),
    ]
    viewer.layers.selection.active = layers[0]
    wait_until_settled(qtbot, widget)
    widget.form.controls["kappa"].value = 7.0
    viewer.layers.selection = set(layers)
    section = open_section(widget, BatchSection)
    assert section.layers.text == "Filter 3 selected layers"
    section.layers.native.click()
    wait_until_ended(qtbot, widget)
    results = {layer.name[0]: layer.data for layer in viewer.layers[3:]}
    assert sorted(results) == ["a", "b"]
    time = widget.form.amount.time
    expected = nd.diffuse(noisy, widget.form.controls.value(), time=time, spacing=(2, 0.5, 0.5))
    np.testing.assert_array_equal(results["a"], expected, strict=True)
    # Thresholds in mm are rounded to float32.
    np.testing.assert_allclose(results["b"], np.stack([expected, expected]), rtol=1e-4)
    assert widget.panel.status.value.splitlines()[0] == "2 done, 1 failed:"
    assert widget.panel.status.value.splitlines()[1].startswith(
        "c: A recipe in micrometer cannot be used on an image in pixel"
    )


def test_folder_is_filtered_with_the_threads_of_the_form(
    open_alone, qtbot, noisy, folders, preferences, monkeypatch
):
    preferences[0], seen = Preferences(threads=3), []
    monkeypatch.setattr(
        batch,
        "run_file",
        lambda prepared, **_: seen.append(prepared.options.execution.threads) or [prepared.target],
    )
    np.save(folders[0] / "a.npy", noisy[0])
    _, widget = open_alone("Isotropic diffusion")  # without a layer
    filter_folder(widget, folders)
    wait_until_ended(qtbot, widget)
    widget.form.run_options["threads"].value = 2
    widget.sections[BatchSection].files.native.click()
    wait_until_ended(qtbot, widget)
    assert seen == [3, 2]


def test_errors_of_files_name_the_remedy_in_napari(open_alone, qtbot, noisy, folders):
    for name, image in (("flat.npy", noisy[0]), ("stack.npy", noisy)):
        np.save(folders[0] / name, image)
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy[:, None], name="a")
    wait_until_settled(qtbot, widget)
    filter_folder(widget, folders)
    wait_until_ended(qtbot, widget)
    flat, stack = widget.panel.status.value.splitlines()[1:]
    assert flat == (
        "flat.npy: The recipe smooths along 3 axes and the file has 2 axes of space; open the file "
        "as a layer and run it by itself."
    )
    assert stack.startswith(
        "stack.npy: it does not say what its 6 planes are; open the file as a layer and check there"
    )


def test_cancelled_files_of_a_folder_do_not_count_as_failed(
    open_alone, qtbot, noisy, folders, monkeypatch
):
    go = threading.Event()

    def stand_in(prepared, *, cancel, **keywords):
        target = prepared.target
        if target.name == "b.npy":
            raise TargetExists("exists already", Remedy.ALLOW_OVERWRITING, target)
        if target.name == "c.npy":
            go.set()
            wait_for_go(threading.Event(), cancel)
        return [target]

    monkeypatch.setattr(batch, "run_file", stand_in)
    for name in "abcde":
        np.save(folders[0] / f"{name}.npy", noisy[0])
    _, widget = open_alone("Isotropic diffusion")
    filter_folder(widget, folders)
    qtbot.waitUntil(go.is_set, timeout=WAIT)
    widget.panel.cancel_all.native.click()
    assert widget.panel.status.value.splitlines()[0] == "1 done, 3 cancelled, 1 failed:"
    assert not widget.panel.queued


def test_cancelled_file_shows_no_message_about_layers(open_alone, noisy, folders, monkeypatch):
    monkeypatch.setattr(
        batch, "run_file", lambda *_, cancel, **__: wait_for_go(threading.Event(), cancel)
    )
    np.save(folders[0] / "a.npy", noisy[0])
    _, widget = open_alone("Isotropic diffusion")
    filter_folder(widget, folders)
    widget.panel.cancel.native.click()
    assert widget.panel.status.value == "Cancelled."


def test_folder_is_filtered_and_failed_files_are_listed(open_alone, qtbot, noisy, folders, caplog):
    source, target = folders
    volume = Volume(noisy, "ZYX", (2.0, 0.5, 0.5), unit="micrometer")
    io.write(source / "a.tif", noisy, volume)
    io.write(
        source / "b.nii",
        noisy.transpose(),
        Volume(noisy.transpose(), "XYZ", (0.0005, 0.0005, 0.002), unit="millimeter"),
    )
    (source / "broken.nii").write_bytes(b"no image")
    (source / "notes.txt").write_text("not an image")
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    wait_until_settled(qtbot, widget)
    widget.form.controls["kappa"].value = 7.0
    section = open_section(widget, BatchSection)
    section.source.line_edit.value, section.target.line_edit.value = str(source), str(target)
    section.files.native.click()
    wait_until_ended(qtbot, widget)
    assert sorted(path.name for path in target.iterdir()) == [
        "a.tif",
        "a.tif.recipe.json",
        "b.nii",
        "b.nii.recipe.json",
    ]
    expected = nd.diffuse(
        noisy, widget.form.controls.value(), time=widget.form.amount.time, spacing=(2, 0.5, 0.5)
    )
    np.testing.assert_array_equal(np.asarray(io.read(target / "a.tif").data), expected)
    np.testing.assert_allclose(
        np.asarray(io.read(target / "b.nii").data).transpose(), expected, rtol=1e-4
    )
    lines = widget.panel.status.value.splitlines()
    assert lines[0] == "2 done, 1 failed:"
    assert lines[1].startswith("broken.nii: cannot be read")
    assert widget.panel.status.tooltip.splitlines() == [str(source), str(target), lines[1]]
    section.files.native.click()
    wait_until_ended(qtbot, widget)
    assert widget.panel.status.value.splitlines()[0] == "0 done, 3 failed:"
    lines = widget.panel.status.value.splitlines()
    assert lines[1] == (
        "a.tif: exists already; check “Overwrite existing files” or choose another folder for the "
        "results."
    )
    assert "Traceback" not in caplog.text  # errors of the user are not logged


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("", "", "Input folder: choose"),
        (".", "", "Output folder: choose"),
        (".", ".", "replace the images"),
    ],
)
def test_invalid_folders_are_reported(open_alone, tmp_path, monkeypatch, source, target, message):
    np.save(tmp_path / "a.npy", np.zeros((4, 5)))
    monkeypatch.chdir(tmp_path)
    _, widget = open_alone("Anisotropic diffusion")
    section = open_section(widget, BatchSection)
    section.source.line_edit.value = source and str(tmp_path)
    section.target.line_edit.value = target and str(tmp_path)
    section.files.native.click()
    assert message in widget.panel.status.value
    assert not widget.panel.busy
