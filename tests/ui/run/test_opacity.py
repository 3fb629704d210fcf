"""The opacity of RGBA is copied, and the colours are those of the same image in RGB."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.viewer import (
    WAIT,
    open_section,
    wait_for_preview,
    wait_until_ended,
    wait_until_settled,
)
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.ui.sections.recipes import RecipeSection
from napari_diffusion.ui.sections.threshold import ThresholdSection


@pytest.fixture
def rgba():
    """Noisy colours with an edge, and an opacity with an edge elsewhere."""
    values = np.random.default_rng(0).normal(90, 12, (26, 30, 4))
    values[:, 15:, :3] += 70
    values[..., 3] = 255
    values[:13, :, 3] = 40
    return values.clip(0, 255).astype(np.uint8)


def filtered(gui, rgb):
    model, time = gui.form.controls.value(), gui.form.amount.time
    return nd.diffuse(rgb, model, time=time, channel_axis=-1, preserve_dtype=True)


def assert_is_filtered(gui, result, rgba):
    np.testing.assert_array_equal(result[..., 3], rgba[..., 3])
    np.testing.assert_array_equal(result[..., :3], filtered(gui, rgba[..., :3]))


def test_run_preview_code_and_suggestion(open_preview, qtbot, press_run, rgba):
    viewer, gui, section = open_preview(rgba, rgb=True)
    suggested = gui.form.controls.value(), gui.form.amount.time
    assert_is_filtered(gui, section.overlay.layer.data, rgba)
    result = press_run(viewer, gui)
    assert_is_filtered(gui, result.data, rgba)
    open_section(gui, RecipeSection).python.native.click()
    names = {"image": rgba}
    exec(QApplication.clipboard().text(), names)
    np.testing.assert_array_equal(names["result"], result.data)
    assert "channel_weights=(1, 1, 1, None)" in QApplication.clipboard().text()
    # The first suggestion is made without the opacity, and so is the one of the button.
    viewer.add_image(rgba[..., :3], rgb=True)
    wait_until_settled(qtbot, gui)
    assert (gui.form.controls.value(), gui.form.amount.time) == suggested
    reports = []
    rgb = next(layer for layer in viewer.layers if layer.data.shape[-1] == 3)
    for layer in (rgb, viewer.layers[0]):
        gui.form.layer.value = layer
        wait_until_settled(qtbot, gui)
        gui.form.suggest.native.click()
        wait_until_settled(qtbot, gui)
        reports.append((gui.form.controls.value(), gui.form.amount.time, gui.form.reasons.text))
    assert reports[0] == reports[1]
    wait_for_preview(qtbot, gui)


@pytest.mark.parametrize("model", [nd.PeronaMalik, nd.CoherenceEnhancing])
@pytest.mark.usefixtures("values_of_noisy")
def test_maps_and_removed_part(open_alone, qtbot, model, rgba):
    viewer, gui = open_alone()
    outputs, kept = gui.sections[OutputsSection], []
    for image in (rgba, rgba[..., :3]):
        viewer.add_image(image, rgb=True)
        gui.form.model.value = model
        wait_until_settled(qtbot, gui)
        outputs.drawer.open = True
        maps = (outputs.removed, outputs.conductance, outputs.coherence, outputs.directions)
        for control in maps:
            control.value = bool(control.enabled)
        wait_until_settled(qtbot, gui)
        before = len(viewer.layers)
        gui.panel.button.native.click()
        wait_until_ended(qtbot, gui)
        assert gui.panel.status.value.startswith("Done")
        kept.append(list(viewer.layers)[before:])
        viewer.layers.clear()
    for with_opacity, colours in zip(*kept, strict=True):
        one, other = np.asarray(with_opacity.data), np.asarray(colours.data)
        if "residual" in with_opacity.name:
            assert (one[3] == 0).all()
            one = one[:3]
        elif getattr(with_opacity, "rgb", False):
            one = one[..., :3]
        np.testing.assert_array_equal(one, other)
    assert len(kept[0]) == (3 if model is nd.PeronaMalik else 5)


@pytest.mark.usefixtures("values_of_noisy")
def test_batch_and_gradients(open_alone, qtbot, rgba):
    viewer, gui = open_alone()
    for image in (rgba, rgba[:, ::-1], rgba[..., :3]):
        viewer.add_image(image, rgb=True)
    gui.form.layer.value = viewer.layers[0]
    wait_until_settled(qtbot, gui)
    sources = list(viewer.layers)
    viewer.layers.selection = set(sources)
    open_section(gui, BatchSection).layers.native.click()
    wait_until_ended(qtbot, gui)
    results = list(viewer.layers)[3:]
    for source, result in zip(sources[:2], results[:2], strict=True):
        assert_is_filtered(gui, result.data, source.data)
    np.testing.assert_array_equal(results[2].data, results[0].data[..., :3])
    section, gradients = open_section(gui, ThresholdSection), []
    for layer in (sources[0], sources[2]):
        gui.form.layer.value = layer
        wait_until_settled(qtbot, gui)
        qtbot.waitUntil(lambda: not section.pending, timeout=WAIT)
        gradients.append(section._gradients.magnitudes.copy())
    np.testing.assert_array_equal(*gradients)


def test_floating_point_colours(open_alone, qtbot, press_run, rgba):
    viewer, gui = open_alone("Isotropic diffusion")
    values = (rgba / 255).astype(np.float32)
    viewer.add_image(values, rgb=True)
    wait_until_settled(qtbot, gui)
    gui.form.run_options["preserve_dtype"].value = False
    result = press_run(viewer, gui).data
    expected = nd.diffuse(values[..., :3], nd.Linear(), time=gui.form.amount.time, channel_axis=-1)
    np.testing.assert_array_equal(result[..., :3], expected)
    np.testing.assert_array_equal(result[..., 3], values[..., 3])
