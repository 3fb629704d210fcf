"""Values of a batch: those on screen, suggested for each image, or once for all; and channels."""

from functools import cache

import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from helpers.viewer import WAIT, filter_folder, open_section, wait_until_ended, wait_until_settled
from napari_diffusion.ui.layers.siblings import channels_of
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.batch_values import BatchValues
from napari_diffusion.workflows.file_values import MAX_SHARED

pytestmark = pytest.mark.usefixtures("thorough_suggestions")


def noisy_disc(seed, noise, contrast=100.0, n=56):
    """A disc with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((n, n)) - n / 2
    return (100 + contrast * (x**2 + y**2 < (n / 3) ** 2) + rng.normal(0, noise, (n, n))).astype(
        np.float32
    )


QUIET, LOUD = noisy_disc(0, 2.0), noisy_disc(1, 20.0)


@cache
def suggested(name):
    """The suggestion for the quiet disc, the loud one, or both together."""
    images = {"quiet": [QUIET], "loud": [LOUD], "both": [QUIET, LOUD]}[name]
    return nd.suggest(images[0], nd.PeronaMalik(), others=images[1:], unit="pixel")


def results(viewer):
    """Recipes of the results in a viewer, by the name of their source."""
    notes = [layer.metadata.get("napari-diffusion") for layer in viewer.layers]
    return {note["source"]: nd.Recipe.from_dict(note["recipe"]) for note in notes if note}


@pytest.fixture
def two_layers(open_alone, qtbot):
    """A viewer with a quiet and a loud layer, both selected, and an open Batch section."""
    viewer, widget = open_alone("Anisotropic diffusion")
    quiet = viewer.add_image(QUIET, name="quiet")
    loud = viewer.add_image(LOUD, name="loud")
    section = open_section(widget, BatchSection)
    viewer.layers.selection = {quiet, loud}
    wait_until_settled(qtbot, widget)
    return viewer, widget, section


def run_batch(qtbot, widget, section, values):
    section.values.value = values
    section.layers.native.click()
    wait_until_ended(qtbot, widget)


def test_values_on_screen_are_the_default(two_layers, qtbot):
    viewer, widget, section = two_layers
    assert section.values.value is BatchValues.AS_ABOVE
    shown = widget.form.recipe()
    section.layers.native.click()
    wait_until_ended(qtbot, widget)
    for recipe in results(viewer).values():
        assert (recipe.model, recipe.time) == (shown.model, shown.time)


def test_suggested_for_each_gives_every_layer_its_own_values(two_layers, qtbot):
    viewer, widget, section = two_layers
    run_batch(qtbot, widget, section, BatchValues.EACH)
    recipes = results(viewer)
    for name in ("quiet", "loud"):
        assert recipes[name].model == suggested(name).model
        assert recipes[name].time == suggested(name).time
    assert recipes["loud"].model != recipes["quiet"].model
    names = [layer.name for layer in viewer.layers]
    assert f"loud, edge-preserving κ {recipes['loud'].model.kappa:.3g}" in names


def test_suggested_once_gives_all_layers_the_values_for_all_together(two_layers, qtbot):
    viewer, widget, section = two_layers
    run_batch(qtbot, widget, section, BatchValues.ONCE)
    recipes = results(viewer)
    assert recipes["quiet"].model == recipes["loud"].model
    assert recipes["quiet"].time == recipes["loud"].time
    suggestion = suggested("both")
    assert (recipes["quiet"].model, recipes["quiet"].time) == (suggestion.model, suggestion.time)


def test_layers_in_other_units_get_the_same_physical_values(open_alone, qtbot):
    viewer, widget = open_alone("Anisotropic diffusion")
    one = viewer.add_image(noisy_disc(0, 9.0), name="µm", scale=(0.5, 0.5), units=("um", "um"))
    two = viewer.add_image(noisy_disc(1, 9.0), name="nm", scale=(500, 500), units=("nm", "nm"))
    viewer.layers.selection = {one, two}
    section = open_section(widget, BatchSection)
    wait_until_settled(qtbot, widget)
    run_batch(qtbot, widget, section, BatchValues.ONCE)
    recipes = results(viewer)
    in_micrometers = recipes["nm"].in_unit("micrometer")
    assert recipes["µm"].model.kappa == pytest.approx(in_micrometers.model.kappa)
    assert recipes["µm"].time == pytest.approx(in_micrometers.time)


def test_layer_without_noise_is_listed_and_the_others_are_filtered(open_alone, qtbot):
    viewer, widget = open_alone("Anisotropic diffusion")
    flat = viewer.add_image(np.zeros((64, 64), np.float32), name="flat")
    noisy = viewer.add_image(noisy_disc(0, 9.0), name="noisy")
    viewer.layers.selection = {flat, noisy}
    section = open_section(widget, BatchSection)
    wait_until_settled(qtbot, widget)
    run_batch(qtbot, widget, section, BatchValues.EACH)
    assert set(results(viewer)) == {"noisy"}
    status = widget.panel.status
    assert "1 done, 1 failed" in status.value
    assert "flat: The image has no measurable noise" in status.value


def test_time_points_share_one_suggestion(open_alone, qtbot):
    viewer, widget = open_alone("Anisotropic diffusion")
    series = np.stack([noisy_disc(seed, 10.0) for seed in range(2)])
    layer = viewer.add_image(series, name="series", axis_labels=("t", "y", "x"))
    section = open_section(widget, BatchSection)
    viewer.layers.selection = {layer}
    wait_until_settled(qtbot, widget)
    run_batch(qtbot, widget, section, BatchValues.EACH)
    (recipe,) = results(viewer).values()
    expected = nd.suggest(series, nd.PeronaMalik(), axes=(1, 2), time_axis=0, unit="pixel")
    assert (recipe.model, recipe.time) == (expected.model, expected.time)
    assert viewer.layers[-1].data.shape == series.shape


@pytest.mark.parametrize("values", [BatchValues.EACH, BatchValues.ONCE])
def test_noise_is_measured_in_the_place_that_is_marked(two_layers, qtbot, folders, values):
    viewer, widget, section = two_layers
    corner = np.zeros(QUIET.shape, np.uint8)
    corner[:16, :16] = 1
    labels = viewer.add_labels(corner, name="air")
    widget.form.noise_place.layer.value = labels
    viewer.layers.selection = {viewer.layers["quiet"], viewer.layers["loud"]}
    wait_until_settled(qtbot, widget)
    run_batch(qtbot, widget, section, values)
    options = {"unit": "pixel", "noise_region": corner > 0}
    own = [nd.suggest(image, nd.PeronaMalik(), **options) for image in (QUIET, LOUD)]
    if values is BatchValues.ONCE:
        own = [nd.suggest(QUIET, nd.PeronaMalik(), others=[LOUD], **options)] * 2
    for name, expected in zip(("quiet", "loud"), own, strict=True):
        recipe = results(viewer)[name]
        assert (recipe.model, recipe.time) == (expected.model, expected.time)
        assert (recipe.model, recipe.time) != tuple(suggested(name))
    tifffile.imwrite(folders[0] / "a.tif", QUIET)
    filter_folder(widget, folders)
    assert "choose “whole image” in “Measure noise in”" in widget.panel.status.value
    assert not list(folders[1].iterdir())


@pytest.mark.parametrize("values", [BatchValues.EACH, BatchValues.ONCE])
def test_files_get_suggested_values_which_their_recipes_hold(open_alone, qtbot, folders, values):
    images = {"a.tif": QUIET, "b.tif": LOUD}
    expected = {"a.tif": suggested("both")}
    if values is BatchValues.EACH:
        expected = {"a.tif": suggested("quiet"), "b.tif": suggested("loud")}
    for name, image in images.items():
        tifffile.imwrite(folders[0] / name, image)
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(QUIET, name="shown")
    wait_until_settled(qtbot, widget)
    section = widget.sections[BatchSection]
    section.values.value = values
    filter_folder(widget, folders)
    wait_until_ended(qtbot, widget)
    recipes = {name: nd.Recipe.load(next(folders[1].glob(f"{name}*.json"))) for name in images}
    if values is BatchValues.ONCE:
        assert recipes["b.tif"].model == recipes["a.tif"].model
    for name, suggestion in expected.items():
        assert (recipes[name].model, recipes[name].time) == (suggestion.model, suggestion.time)
        written = tifffile.imread(folders[1] / name)
        np.testing.assert_array_equal(written, recipes[name].diffuse(images[name]))


def test_broken_files_do_not_stop_the_suggestion_for_all(open_alone, qtbot, folders):
    tifffile.imwrite(folders[0] / "a.tif", noisy_disc(0, 9.0))
    (folders[0] / "b.tif").write_bytes(b"no image")
    tifffile.imwrite(folders[0] / "c.tif", noisy_disc(1, 9.0))
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(QUIET, name="shown")
    wait_until_settled(qtbot, widget)
    widget.sections[BatchSection].values.value = BatchValues.ONCE
    filter_folder(widget, folders)
    wait_until_ended(qtbot, widget)
    assert sorted(path.name for path in folders[1].glob("*.tif")) == ["a.tif", "c.tif"]
    assert "2 done, 1 failed" in widget.panel.status.value


def test_number_of_files_that_are_measured_together_is_bounded():
    assert 1 < MAX_SHARED <= 10


def test_all_channels_of_an_image_are_selected_and_listed(open_alone, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy + 1, name="elsewhere", translate=(5, 0, 0))
    channels = viewer.add_image(
        np.stack([noisy, noisy * 2, noisy * 3]), channel_axis=0, name=["red", "green", "blue"]
    )
    viewer.add_image(noisy[:4], name="smaller")
    viewer.layers.selection.active = channels[1]
    section = open_section(widget, BatchSection)
    section.channels.native.click()
    assert set(viewer.layers.selection) == set(channels)
    assert widget.form.layer.value is channels[1]
    assert section.names.value == "red, green, blue"
    assert section.layers.text == "Filter 3 selected layers"
    viewer.layers.selection.remove(channels[0])
    assert section.names.value == "green, blue"


def test_results_and_other_files_are_no_channels(open_alone, press_run, noisy, tmp_path):
    viewer, widget = open_alone("Isotropic diffusion")
    source = viewer.add_image(noisy, name="a")
    press_run(viewer, widget)
    tifffile.imwrite(tmp_path / "other.tif", noisy)
    viewer.open(tmp_path / "other.tif", plugin="napari")
    assert len(viewer.layers) == 3
    assert channels_of(source, viewer.layers) == [source]


def test_undo_after_a_batch_of_channels_removes_all_results(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(np.stack([noisy, noisy * 2]), channel_axis=0)
    section = open_section(widget, BatchSection)
    section.channels.native.click()
    section.layers.native.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=WAIT)
    wait_until_ended(qtbot, widget)
    # The lowest channel is opaque: its result lies between it and the other channels.
    lowest, lowest_result, additive, additive_result = viewer.layers
    assert [layer.visible for layer in viewer.layers] == [True, True, False, True]
    for source, result in ((lowest, lowest_result), (additive, additive_result)):
        assert result.metadata["napari-diffusion"]["source"] == source.name
    assert widget.card.text.value.startswith("2 results")
    widget.card.undo.native.click()
    assert len(viewer.layers) == 2
    assert [layer.visible for layer in viewer.layers] == [True, True]
