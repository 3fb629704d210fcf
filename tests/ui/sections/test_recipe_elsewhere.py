"""Settings in the command line, the history, other layers and files; omissions are reported."""

import shlex

import napari.settings
import numpy as np
import pytest
from napari.layers._source import layer_source
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.viewer import WAIT, filter_folder, open_section, wait_until_ended, wait_until_settled
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.io.volume import Volume
from napari_diffusion.ui.preferences import find_page
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.recipes import RecipeSection

TIME = 1.5


@pytest.fixture
def halves(noisy):
    """Labels 1 and 2 of the two halves of `noisy`."""
    labels = np.ones(noisy.shape, np.uint8)
    labels[..., 9:] = 2
    return labels


def from_file(viewer, path, order, **picture):
    """Add a layer from a file as other readers do: with its axes in another order."""
    with layer_source(path=str(path)):
        return viewer.add_image(np.asarray(io.read(path).data).transpose(order), **picture)


def copied(widget):
    open_section(widget, RecipeSection).command.native.click()
    return shlex.split(QApplication.clipboard().text())


@pytest.mark.parametrize("names", [None, ("slice", "row", "column")])
def test_copied_command_repeats_the_run_on_a_volume_read_in_another_axis_order(
    open_alone, qtbot, press_run, noisy, tmp_path, names
):
    """One axis is unchecked, one size corrected; the first axis of the file is x."""
    path = tmp_path / "-brain.nii"
    io.write(path, noisy.T, Volume(noisy.T, "XYZ", (0.5, 0.5, 2.0), unit="millimeter"))
    viewer, widget = open_alone("Anisotropic diffusion")
    from_file(viewer, path, (2, 1, 0), scale=(2, 0.5, 0.5), units=("mm",) * 3, axis_labels=names)
    wait_until_settled(qtbot, widget)
    widget.form.table.rows[1].smooth.value = False
    widget.form.table.rows[0].size.value = 6.0
    layer = press_run(viewer, widget)
    words = copied(widget)
    assert words[4:] != []
    assert main(words[1:]) == 0
    result = np.asarray(io.read(tmp_path / "filtered--brain.nii").data).T
    np.testing.assert_allclose(result, layer.data, rtol=1e-5)  # sums are in another order
    across = nd.diffuse(
        noisy, widget.form.controls.value(), time=widget.form.amount.time, spacing=(2, 0.5, 0.5)
    )
    assert np.abs(across - layer.data).max() > 1


def test_copied_command_names_no_file_with_another_image(
    open_alone, qtbot, noisy, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", noisy)
    viewer, widget = open_alone("Isotropic diffusion")
    layer = from_file(viewer, "a.npy", (0, 1, 2))
    wait_until_settled(qtbot, widget)
    assert copied(widget)[2:4] == [str(tmp_path / "a.npy"), str(tmp_path / "filtered-a.npy")]
    layer.data = noisy[:4]
    wait_until_settled(qtbot, widget)
    widget.sections[RecipeSection].command.native.click()
    assert shlex.split(QApplication.clipboard().text())[2:4] == ["IN", "OUT"]
    assert "a.npy has another one" in widget.panel.status.value


def test_other_selected_layers_are_smoothed_within_the_labels(open_alone, qtbot, noisy, halves):
    viewer, widget = open_alone("Isotropic diffusion")
    one, two, small = (
        viewer.add_image(values, name=name)
        for name, values in (("a", noisy), ("b", noisy + 1), ("c", noisy[:3]))
    )
    widget.form.layer.value = one
    widget.form.regions.value = viewer.add_labels(halves, name="halves")
    wait_until_settled(qtbot, widget)
    viewer.layers.selection = {one, two, small}
    open_section(widget, BatchSection).layers.native.click()
    wait_until_ended(qtbot, widget)
    assert widget.panel.status.value.startswith("2 done, 1 failed:\nc: labels")
    for layer, source in ((viewer.layers[-2], noisy), (viewer.layers[-1], noisy + 1)):
        recipe = nd.Recipe.from_dict(layer.metadata["napari-diffusion"]["recipe"])
        assert recipe.labels == "halves"
        np.testing.assert_array_equal(layer.data, recipe.diffuse(source, labels=halves))


def test_folder_is_refused_while_labels_are_chosen(open_alone, qtbot, noisy, halves, folders):
    np.save(folders[0] / "a.npy", noisy)
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    widget.form.regions.value = viewer.add_labels(halves, name="halves")
    wait_until_settled(qtbot, widget)
    filter_folder(widget, folders)
    assert "choose none in “Restrict to labels”" in widget.panel.status.value
    assert not widget.panel.busy


def test_history_chooses_its_labels_again_or_reports_them_missing(
    open_alone, press_run, noisy, halves
):
    viewer, widget = open_alone("Isotropic diffusion")
    source, labels = viewer.add_image(noisy, name="a"), viewer.add_labels(halves, name="halves")
    widget.form.regions.value = labels
    first = press_run(viewer, widget)
    section = open_section(widget, RecipeSection)
    viewer.layers.selection.active = first
    assert "within halves" in section.step.value
    widget.form.regions.value = None
    section.again.native.click()
    assert widget.form.regions.value == labels
    widget.form.layer.value = source
    np.testing.assert_array_equal(press_run(viewer, widget).data, first.data)
    viewer.layers.selection.active = first
    viewer.layers.remove(labels)
    section.again.native.click()
    assert widget.form.regions.value is None
    assert "within the labels halves, and no layer here is called so" in widget.panel.status.value
    assert widget.panel.failed


def test_queued_run_ignores_later_painting_in_the_labels(open_alone, qtbot, noisy, halves):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="a")
    labels = viewer.add_labels(halves.copy(), name="halves")
    widget.form.regions.value = labels
    wait_until_settled(qtbot, widget)
    expected = nd.diffuse(noisy, nd.Linear(), time=widget.form.amount.time, labels=halves)
    for _ in range(2):
        widget.panel.button.native.click()
    labels.data[:] = 1
    labels.refresh()
    wait_until_ended(qtbot, widget)
    assert len(viewer.layers) == 4
    for layer in list(viewer.layers)[-2:]:
        np.testing.assert_array_equal(layer.data, expected)


def test_scheme_with_parameters_stays_chosen_when_layers_are_added(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    scheme = nd.schemes.Explicit(step=0.05)
    QApplication.clipboard().setText(nd.Recipe(nd.Linear(), TIME, scheme=scheme).to_json())
    open_section(widget, RecipeSection).paste.native.click()
    press_run(viewer, widget)
    viewer.add_points(np.zeros((1, 3)))
    assert widget.form.settings().recipe.scheme == scheme
    QApplication.clipboard().setText(nd.Recipe(nd.Linear(), TIME).to_json())
    widget.sections[RecipeSection].paste.native.click()
    assert widget.form.settings().recipe.scheme == "auto"
    assert scheme not in widget.form.run_options["scheme"].choices


@pytest.mark.parametrize(("shape", "rgb"), [((3, 20, 24), False), ((20, 24, 3), True)])
def test_channels_that_cannot_be_coupled_are_reported(open_alone, shape, rgb):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(np.zeros(shape, np.float32), rgb=rgb)
    QApplication.clipboard().setText(
        nd.Recipe(nd.Linear(), TIME, channel_axis=-1 if rgb else 0).to_json()
    )
    open_section(widget, RecipeSection).paste.native.click()
    assert ("It couples channels" in widget.panel.status.value) is not rgb


def test_several_bad_files_give_one_notification(open_alone, qtbot, folders):
    for number in range(7):
        (folders[0] / f"{number}.npy").write_bytes(b"no array")
    _, widget = open_alone("Isotropic diffusion")
    before = len(notification_manager.records)
    filter_folder(widget, folders)
    wait_until_ended(qtbot, widget)
    assert len(notification_manager.records) == before + 1
    assert notification_manager.records[-1].message == widget.panel.status.value
    assert widget.panel.status.value.splitlines()[0] == "0 done, 7 failed:"
    assert "6.npy" in widget.panel.status.tooltip


@pytest.mark.skipif(
    not hasattr(napari.settings, "get_plugin_settings"), reason="napari before 0.9 has no such page"
)
def test_changed_preferences_apply_at_once(open_alone, qtbot, noisy, preferences):
    page = find_page()
    if page is None:
        pytest.fail("The plugin is not installed.")
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    wait_until_settled(qtbot, widget)
    before = page.threads
    preferences[0] = type(preferences[0])(memory=1)
    page.threads = before + 1
    try:
        text = "at most 1 B are allowed"
        qtbot.waitUntil(lambda: text in widget.panel.status.value, timeout=WAIT)
    finally:
        page.threads = before
