"""The result card: side by side, residual, undo, replaced results, and sources that are hidden."""

import gc
import itertools
import weakref
from inspect import signature

import numpy as np
import pytest
from napari.components import ViewerModel

from helpers.viewer import (
    WAIT,
    open_section,
    start_run,
    wait_for_preview,
    wait_until_ended,
    wait_until_settled,
)
from napari_diffusion.estimation.measurement import removed
from napari_diffusion.ui.layers.new_layers import auxiliary_layers
from napari_diffusion.ui.overlay.visible_region import camera, grid
from napari_diffusion.ui.result.side_by_side import SideBySide
from napari_diffusion.ui.run import task
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.outputs import OutputsSection


@pytest.fixture
def filtered(open_alone, press_run, noisy):
    """A viewer with an image, another layer, a widget, and the result of one run."""
    viewer, widget = open_alone("Isotropic diffusion")
    other = viewer.add_image(noisy + 1, name="other")
    source = viewer.add_image(noisy, name="a")
    result = press_run(viewer, widget)
    return viewer, widget, other, source, result


def place_in_grid(viewer, layer):
    """Return row and column in which the grid of napari draws a layer."""
    canvas_grid, index, count = grid(viewer), viewer.layers.index(layer), len(viewer.layers)
    if not hasattr(canvas_grid, "iter_viewboxes"):  # before napari 0.6.2, from top to bottom
        return canvas_grid.position(count - 1 - index, count)
    by_number = "nlayers" in signature(canvas_grid.position).parameters  # before napari 0.9
    return canvas_grid.position(index, count if by_number else viewer.layers)


def press_residual(qtbot, widget):
    """Press *Residual* and wait for the layer."""
    widget.card.residual.native.click()
    qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)


def test_no_card_is_shown_before_a_run_and_one_is_after_it(open_widget, press_run, noisy, qtbot):
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy, name="a")
    assert widget.card.native.isHidden()
    press_run(viewer, widget)
    assert not widget.card.native.isHidden()
    wait_until_settled(qtbot, widget)
    text = widget.card.text.value
    assert "What was removed is" in text
    assert "Measure means in the result" in text
    assert "peaks, widths, texture in the original" in text


def test_level_on_the_card_is_that_of_the_residual(open_alone, press_run, qtbot):
    viewer, widget = open_alone("Isotropic diffusion")
    image = np.random.default_rng(0).normal(100, 10, (128, 128)).astype(np.float32)
    viewer.add_image(image, name="a")
    result = press_run(viewer, widget)
    level = (image - result.data).std()
    wait_until_settled(qtbot, widget)
    assert f"removed is {level / 10:.1g}" in widget.card.text.value  # the noise has ten grey levels
    assert f"removed: {level:.3g}; noise: " in widget.card.text.tooltip
    assert "No structure is seen" in widget.card.text.value


def test_undo_removes_the_result_and_restores_the_selection(filtered):
    viewer, widget, other, source, result = filtered
    assert viewer.layers.selection.active is result
    widget.card.undo.native.click()
    assert list(viewer.layers) == [other, source]
    assert viewer.layers.selection.active is source
    assert widget.form.layer.value is source
    assert widget.card.native.isHidden()


@pytest.mark.parametrize("gone", ["undo", "result", "source", "other"])
def test_status_does_not_announce_a_result_that_is_gone(filtered, press_run, qtbot, gone):
    viewer, widget, other, source, result = filtered
    announced = widget.panel.status.value
    assert announced.startswith("Done")
    assert result.name in announced
    if gone == "undo":
        widget.card.undo.native.click()
    else:
        viewer.layers.remove({"result": result, "source": source, "other": other}[gone])
    wait_until_settled(qtbot, widget)
    expected = {"undo": f"Removed by Undo: {result.name}.", "other": announced}
    assert widget.panel.status.value == expected.get(gone, "")
    if gone != "source":
        viewer.layers.selection.active = source
        again = press_run(viewer, widget)
        assert widget.panel.status.value.startswith("Done")
        assert again.name in widget.panel.status.value


def test_undo_of_a_batch_names_all_its_results(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    layers = [viewer.add_image(noisy + i, name=f"image {i}") for i in range(2)]
    section = open_section(widget, BatchSection)
    viewer.layers.selection = set(layers)
    section.layers.native.click()
    wait_until_ended(qtbot, widget)
    names = [layer.name for layer in viewer.layers[2:]]
    widget.card.undo.native.click()
    assert list(viewer.layers) == layers
    assert widget.panel.status.value == f"Removed by Undo: {names[0]}, {names[1]}."


def test_undo_during_another_run_leaves_its_status(filtered, qtbot, fake_run):
    viewer, widget, _, source, _ = filtered
    viewer.layers.selection.active = source
    start_run(qtbot, widget, fake_run)
    qtbot.waitUntil(lambda: "50%" in widget.panel.status.value, timeout=WAIT)
    widget.card.undo.native.click()
    assert widget.panel.status.value.startswith("Filtering")


def test_undo_removes_every_output_of_the_run_and_nothing_else(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    source = viewer.add_image(noisy, name="a")
    section = open_section(widget, OutputsSection)
    section.removed.value = section.conductance.value = True
    wait_until_settled(qtbot, widget)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    assert len(viewer.layers) == 4
    later = viewer.add_image(noisy, name="later")
    widget.card.undo.native.click()
    assert list(viewer.layers) == [source, later]


def test_residual_is_image_minus_result_without_a_run(filtered, qtbot, fake_run):
    viewer, widget, _, source, result = filtered
    press_residual(qtbot, widget)
    assert not fake_run.started.is_set()
    residual = viewer.layers[-1]
    np.testing.assert_array_equal(residual.data, source.data - result.data)
    assert residual.name == f"{result.name}, residual"
    notes = residual.metadata["napari-diffusion"]
    assert notes["output"] == "removed"
    assert notes["recipe"] == result.metadata["napari-diffusion"]["recipe"]
    assert not widget.card.residual.enabled
    assert residual.name in widget.card.residual.tooltip
    widget.card.undo.native.click()
    assert residual not in viewer.layers


def test_residual_of_colours_is_a_stack_of_its_channels(open_alone, press_run, qtbot):
    viewer, widget = open_alone("Isotropic diffusion")
    image = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    source = viewer.add_image(image, rgb=True, name="a")
    result = press_run(viewer, widget)
    press_residual(qtbot, widget)
    difference = source.data.astype(np.float32) - result.data
    np.testing.assert_array_equal(viewer.layers[-1].data, np.moveaxis(difference, -1, 0))


def test_residual_needs_the_original_which_is_not_kept_in_memory(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    image = noisy.copy()
    source = viewer.add_image(image, name="a")
    press_run(viewer, widget)
    assert widget.card.residual.enabled
    viewer.layers.remove(source)
    assert not widget.card.residual.enabled
    assert not widget.card.compare.enabled
    assert "not in the viewer" in widget.card.residual.tooltip
    assert widget.card.record.image is None


def test_card_closes_when_its_result_is_removed(filtered):
    viewer, widget, _, _, result = filtered
    viewer.layers.remove(result)
    assert widget.card.native.isHidden()
    assert widget.card.record is None


def test_side_by_side_shows_original_and_result_alone_and_goes_back(open_widget, press_run, noisy):
    viewer, widget = open_widget("Isotropic diffusion")
    other, source = viewer.add_image(noisy, name="other"), viewer.add_image(noisy, name="a")
    result = press_run(viewer, widget)
    zoom = camera(viewer).zoom
    widget.card.compare.native.click()
    assert grid(viewer).enabled
    assert [layer.visible for layer in (other, source, result)] == [False, True, True]
    assert [place_in_grid(viewer, layer) for layer in (source, result)] == [(0, 0), (0, 1)]
    widget.card.compare.native.click()
    assert not grid(viewer).enabled
    assert [layer.visible for layer in (other, source, result)] == [True] * 3
    assert (grid(viewer).stride, tuple(grid(viewer).shape)) == (1, (-1, -1))
    assert camera(viewer).zoom == zoom


def test_original_is_on_the_left_wherever_other_layers_are():
    """napari before 0.9 keeps places in the grid for hidden layers."""
    viewer = ViewerModel()
    layers = [viewer.add_image(np.zeros((4, 4)), name=str(number)) for number in range(4)]
    camera(viewer).center, camera(viewer).zoom = (0.0, 1.0, 2.0), 3.0
    sides = SideBySide(viewer, fail=None)
    for source, result in itertools.permutations(layers, 2):
        sides.show(source, result)
        assert [layer for layer in layers if layer.visible] == [
            layer for layer in layers if layer in (source, result)
        ]
        assert [place_in_grid(viewer, layer) for layer in (source, result)] == [(0, 0), (0, 1)]
        sides.hide()
        assert tuple(camera(viewer).center) == (0.0, 1.0, 2.0)
        assert camera(viewer).zoom == 3.0


def test_leaving_the_grid_by_napari_shows_the_other_layers_again(open_widget, press_run, noisy):
    viewer, widget = open_widget("Isotropic diffusion")
    other = viewer.add_image(noisy, name="other")
    viewer.add_image(noisy, name="a")
    press_run(viewer, widget)
    widget.card.compare.native.click()
    grid(viewer).enabled = False
    assert other.visible
    assert widget.card.compare.text == "Side by side"


def test_additive_original_is_hidden_and_undo_shows_it(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="green", blending="additive")
    source = viewer.add_image(noisy, name="magenta", blending="additive")
    first = press_run(viewer, widget)
    assert [layer.visible for layer in viewer.layers] == [True, False, True]
    assert "the original is hidden" in widget.panel.status.value
    widget.form.amount.number.value *= 2
    viewer.layers.selection.active = source
    second = press_run(viewer, widget)
    assert [layer.visible for layer in viewer.layers] == [True, False, False, True]
    widget.card.undo.native.click()
    assert second not in viewer.layers
    assert [layer.visible for layer in viewer.layers] == [True, False, True]
    assert first.visible


def test_translucent_original_stays_visible(filtered):
    _, widget, _, source, _ = filtered
    assert source.visible
    assert "hidden" not in widget.panel.status.value


def test_undo_of_an_additive_result_shows_the_original(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    source = viewer.add_image(noisy, name="a", blending="additive")
    press_run(viewer, widget)
    widget.card.undo.native.click()
    assert list(viewer.layers) == [source]
    assert source.visible


def test_replaced_result_makes_room_for_the_next_one_of_the_same_image(filtered, press_run):
    viewer, widget, other, source, first = filtered
    widget.sections[OutputsSection].replace.native.click()
    widget.form.amount.number.value *= 2
    viewer.layers.selection.active = source
    widget.panel.button.native.click()
    name = first.name
    wait = press_run(viewer, widget)
    assert first not in viewer.layers
    assert list(viewer.layers) == [other, source, wait]
    assert wait.name != name
    viewer.layers.selection.active = other
    last = press_run(viewer, widget)
    assert list(viewer.layers) == [other, source, wait, last]


def test_failed_run_replaces_nothing(filtered, qtbot, monkeypatch):
    from napari_diffusion.workflows import outputs

    viewer, widget, _, source, first = filtered
    widget.sections[OutputsSection].replace.native.click()
    viewer.layers.selection.active = source

    def fail(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr(outputs, "run_with_outputs", fail)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    assert first in viewer.layers
    assert not widget.card.native.isHidden()


def test_failed_measurement_loses_no_result(open_alone, press_run, noisy, monkeypatch, qtbot):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(removed, "measure_removed", fail)
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="a")
    assert press_run(viewer, widget) is not None
    wait_until_settled(qtbot, widget)
    assert widget.card.text.value.startswith("Measure means")


@pytest.fixture
def measured_noises(monkeypatch):
    """Record each measurement of noise that is made for the card."""
    calls, measure = [], removed.measure_noise
    monkeypatch.setattr(removed, "measure_noise", lambda *a: calls.append(a) or measure(*a))
    return calls


@pytest.mark.parametrize("early", [False, True], ids=["known", "awaited"])
def test_noise_of_the_suggestion_is_not_measured_again(
    open_alone, qtbot, noisy, measured_noises, early
):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, name="a")
    if not early:
        wait_until_settled(qtbot, widget)
    widget.suggesting.update()
    assert (widget.suggesting.under_way is not None) is early
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    wait_until_settled(qtbot, widget)
    noise = widget.context.suggestion.noise.sigma
    assert f"noise: {noise:.3g}." in widget.card.text.tooltip
    assert not measured_noises


def test_noise_inside_labels_is_measured_there(
    open_alone, press_run, qtbot, noisy, measured_noises
):
    viewer, widget = open_alone("Anisotropic diffusion")
    image = np.concatenate([noisy, 100 + 4 * (noisy - 100)])
    labels = np.repeat(np.array([1, 0], np.uint8), 6)[:, None, None] * np.ones_like(image, np.uint8)
    source = viewer.add_image(image, name="a")
    widget.form.regions.value = viewer.add_labels(labels, name="quiet")
    viewer.layers.selection.active = source
    press_run(viewer, widget)
    wait_until_settled(qtbot, widget)
    assert len(measured_noises) == 1
    of_image = widget.context.suggestion.noise.sigma
    assert f"of a noise of {of_image:.2g}." not in widget.card.text.value


def test_finished_run_keeps_no_layer_alive(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy.copy(), name="a")
    image = weakref.ref(viewer.layers[0].data)
    result = weakref.ref(press_run(viewer, widget))
    viewer.layers.clear()
    viewer.add_image(noisy + 1)  # napari keeps the layer that was selected last
    gc.collect()
    assert widget.card.record is None
    assert result() is None
    assert image() is None


def test_residual_and_level_of_a_region_are_those_of_the_region(open_alone, press_run, qtbot):
    viewer, widget = open_alone("Isotropic diffusion")
    image = np.random.default_rng(0).normal(100, 10, (160, 160)).astype(np.float32)
    image[:40] = 0
    source = viewer.add_image(image, name="a", scale=(0.5, 0.5))
    shapes = viewer.add_shapes([[[50, 20], [50, 120], [140, 120], [140, 20]]], scale=(0.5, 0.5))
    viewer.layers.selection.active = source
    widget.context.region_choice.layer.value = shapes
    result = press_run(viewer, widget)
    assert result.data.shape != image.shape
    part = image[widget.context.region]
    level = (part - result.data).std()
    wait_until_settled(qtbot, widget)
    assert f"removed: {level:.3g}; noise: " in widget.card.text.tooltip
    press_residual(qtbot, widget)
    np.testing.assert_array_equal(widget.card.record.residual_layer.data, part - result.data)


@pytest.mark.parametrize("runs", [1, 2])
def test_additive_original_stays_hidden_when_the_preview_ends(
    open_preview, press_run, qtbot, noisy, runs
):
    viewer, widget, _ = open_preview(noisy, blending="additive", name="a")
    source = viewer.layers["a"]
    for _ in range(runs):
        widget.form.amount.number.value *= 1.5
        wait_for_preview(qtbot, widget)
        result = press_run(viewer, widget)
        assert "the original is hidden" in widget.panel.status.value
    qtbot.waitUntil(lambda: not auxiliary_layers & set(viewer.layers), timeout=WAIT)
    assert [layer for layer in viewer.layers if layer.visible] == [result]
    widget.card.undo.native.click()
    shown = [layer for layer in viewer.layers if layer.visible and layer not in auxiliary_layers]
    assert len(shown) == 1
    assert (shown == [source]) is (runs == 1)


def test_undo_in_a_window_restores_the_selection(open_widget, press_run, noisy):
    # A plugin sees the viewer through a proxy, which makes a new proxy of a layer each time.
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy + 1, name="other")
    viewer.add_image(noisy, name="a")
    press_run(viewer, widget)
    widget.card.undo.native.click()
    assert [layer.name for layer in viewer.layers] == ["other", "a"]
    assert viewer.layers.selection.active.name == "a"


def test_other_outputs_of_an_additive_image_do_not_mix_with_the_result(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    green = viewer.add_image(noisy, name="green", blending="additive")
    viewer.add_image(noisy, name="a", blending="additive")
    section = open_section(widget, OutputsSection)
    section.removed.value = section.conductance.value = True
    wait_until_settled(qtbot, widget)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    _, _, residual, conductance, result = viewer.layers
    assert [layer for layer in viewer.layers if layer.visible] == [green, result]
    assert {residual.blending, conductance.blending} == {"translucent_no_depth"}
    assert result.blending == "additive"
