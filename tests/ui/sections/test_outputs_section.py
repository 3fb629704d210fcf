"""Snapshots on a slider, removed noise and maps, runs that are stopped, and queued runs."""

import threading

import napari.settings
import numpy as np
import pytest
from napari.utils.notifications import notification_manager

import napari_diffusion as nd
from helpers.paths import ROOT
from helpers.viewer import (
    WAIT,
    open_section,
    start_run,
    wait_until_ended,
    wait_until_settled,
)
from napari_diffusion.ui.layers.result_names import result_title
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.run import run
from napari_diffusion.ui.run.panel import QueuedRun, RunPanel
from napari_diffusion.ui.run.task import REPORT_INTERVAL
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.workflows import outputs

READ = Preferences.read


LOOK = {
    "scale": (2, 0.5, 0.5),
    "units": ("um",) * 3,
    "translate": (1, 2, 3),
    "rotate": 20.0,
    "shear": (0.1, 0.2, 0.3),
}

SERIES = {"scale": (1, 2, 0.5, 0.5), "units": ("s", "um", "um", "um"), "translate": (0, 1, 2, 3)}


def test_snapshots_are_an_axis_with_a_slider(open_widget, press_run, qtbot, noisy):
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(
        noisy, name="a", axis_labels=("z", "y", "x"), affine=np.diag((2, 3, 4, 1)), **LOOK
    )
    wait_until_settled(qtbot, widget)
    section = open_section(widget, OutputsSection)
    section.snapshots.value = 4
    wait_until_settled(qtbot, widget)
    assert widget.panel.plan.tooltip.startswith("4 snapshots")
    stack = press_run(viewer, widget)
    times = outputs.OutputRequest(snapshots=4).times(widget.form.amount.time)
    assert stack.name == f"a, {result_title(widget.form.recipe())}, 4 snapshots"
    assert stack.axis_labels == ("diffusion time", "z", "y", "x")
    assert [str(unit) for unit in stack.units] == [
        "dimensionless",
        "micrometer",
        "micrometer",
        "micrometer",
    ]
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    rotate = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    shear = np.array([[1, 0.1, 0.2], [0, 1, 0.3], [0, 0, 1]])
    steps = np.diag((2, 3, 4)) @ rotate @ shear @ np.diag((2, 0.5, 0.5))
    spacing = widget.form.recipe().spacing
    assert spacing == pytest.approx(np.linalg.norm(steps, axis=0), rel=1e-11)
    for number, time in enumerate(times):
        np.testing.assert_array_equal(
            stack.data[number],
            nd.diffuse(noisy, nd.Linear(), time=time, spacing=spacing),
            strict=True,
        )
        assert stack.data_to_world((number, 0, 0, 0))[0] == pytest.approx(np.log10(time))
    source = viewer.layers["a"]
    point = (3, 4, 5)
    np.testing.assert_allclose(
        stack.data_to_world((2, *point))[1:], source.data_to_world(point), rtol=1e-12
    )

    viewer.dims.set_current_step(0, 2)
    assert section.position.value.startswith(f"Snapshot 3 of 4: diffusion time {times[2]:.3g} µm²")
    section.stop.native.click()
    kept = viewer.layers[-1]
    np.testing.assert_array_equal(kept.data, stack.data[2], strict=True)
    np.testing.assert_allclose(kept.data_to_world(point), source.data_to_world(point), rtol=1e-12)
    recipe = nd.Recipe.from_dict(kept.metadata["napari-diffusion"]["recipe"])
    np.testing.assert_array_equal(recipe.diffuse(noisy), kept.data, strict=True)
    assert kept.units == source.units
    sigma = nd.equivalent_sigma(times[2])
    assert kept.name == f"a, Gaussian σ {sigma:.3g} µm at {times[2]:.3g} µm²"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_two_snapshots_give_the_result_alone(open_alone, qtbot, press_run, noisy, count):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    open_section(widget, OutputsSection).snapshots.value = count
    wait_until_settled(qtbot, widget)
    assert widget.panel.plan.tooltip.startswith("2 snapshots") == (count > 1)
    assert press_run(viewer, widget).data.shape == ((2, *noisy.shape) if count > 1 else noisy.shape)


def test_stop_here_is_disabled_without_a_layer_of_snapshots(open_alone, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    section = open_section(widget, OutputsSection)
    assert not section.stop.enabled
    assert "Select a layer of snapshots" in section.stop.tooltip


def test_removed_layer_has_symmetric_contrast_limits(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="a", scale=(2, 1, 1), contrast_limits=(0, 300))
    open_section(widget, OutputsSection).removed.native.click()
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    _, removed, result = viewer.layers
    np.testing.assert_array_equal(removed.data, noisy - result.data)
    low, high = removed.contrast_limits
    assert low == -high
    assert 0.998 <= (np.abs(removed.data) <= high).mean() < 1
    assert tuple(removed.scale) == (2, 1, 1)
    assert removed.metadata["napari-diffusion"]["output"] == "removed"


def test_removed_layer_of_a_colour_image_has_no_colours(open_alone, qtbot):
    values = np.random.default_rng(1).integers(0, 255, (12, 13, 3), np.uint8)
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(values, rgb=True)
    open_section(widget, OutputsSection).removed.native.click()
    wait_until_settled(qtbot, widget)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    _, removed, result = viewer.layers
    assert result.rgb
    assert not removed.rgb
    np.testing.assert_array_equal(
        np.moveaxis(removed.data, 0, -1), values.astype(np.float32) - result.data
    )


def test_the_conductance_of_a_colour_image_is_one_map(open_alone, qtbot):
    values = np.random.default_rng(1).integers(0, 255, (12, 13, 3), np.uint8)
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(values, rgb=True)
    open_section(widget, OutputsSection).conductance.native.click()
    wait_until_settled(qtbot, widget)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    _, conductance, result = viewer.layers
    expected = nd.conductance(
        result.data, widget.form.controls.value(), axes=(0, 1), channel_axis=-1
    )
    np.testing.assert_array_equal(conductance.data, expected, strict=True)
    assert not conductance.rgb
    assert list(conductance.contrast_limits) == [0, 1]


def test_coherence_and_directions_of_a_model_with_a_tensor(open_alone, qtbot):
    image = np.broadcast_to(50 * np.cos(np.arange(40) / 2), (2, 3, 30, 40)).astype(np.float32)
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(
        image, name="a", axis_labels=("t", "z", "y", "x"), affine=np.diag((1, 2, 3, 4, 1)), **SERIES
    )
    range_before, section = viewer.dims.range, open_section(widget, OutputsSection)
    for control in (section.coherence, section.directions):
        assert not control.enabled
        assert "Perona-Malik smooths alike in all directions" in control.tooltip
    widget.form.model.value = nd.EdgeEnhancing
    wait_until_settled(qtbot, widget)
    for control in (section.coherence, section.directions):
        assert control.enabled
        control.native.click()
    widget.form.controls["kappa"].value = 1.0
    wait_until_settled(qtbot, widget)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    source, coherence, result, directions = viewer.layers  # arrows above the image
    # The affine multiplies the scale: 2 · 2, 3 · 0.5, 4 · 0.5.
    grid = {"spacing": (4, 1.5, 2), "axes": (1, 2, 3)}
    model = widget.form.controls.value()
    expected = nd.coherence(result.data, model, **grid)
    np.testing.assert_array_equal(coherence.data, expected, strict=True)
    expected = nd.directions(result.data, model, **grid).arrows()
    np.testing.assert_array_equal(directions.data, expected, strict=True)
    assert len(directions.data) > 100
    assert directions.name == "a, edge-enhancing κ 1, directions"
    assert directions.metadata["napari-diffusion"]["output"] == "directions"
    assert (directions.units, directions.axis_labels) == (source.units, source.axis_labels)
    assert viewer.dims.range == range_before  # the ranges of napari's sliders are the same
    point = (1, 2, 3, 4)
    np.testing.assert_allclose(
        directions.data_to_world(point), source.data_to_world(point), rtol=1e-12
    )
    widget.form.model.value = nd.PeronaMalik
    wait_until_settled(qtbot, widget)
    assert not section.output_options()["directions"]
    widget.form.model.value = nd.EdgeEnhancing
    wait_until_settled(qtbot, widget)
    assert section.output_options()["directions"]


def test_missing_directions_add_no_layer_and_are_reported(open_alone, qtbot):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(np.ones((20, 24), np.float32), name="flat")
    section = open_section(widget, OutputsSection)
    widget.form.model.value = nd.CoherenceEnhancing
    wait_until_settled(qtbot, widget)
    section.directions.native.click()
    wait_until_settled(qtbot, widget)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    assert [layer.name for layer in viewer.layers] == ["flat", "flat, coherence-enhancing κ 5"]
    assert widget.panel.status.value.endswith(
        "coherence-enhancing κ 5; no directions: no place of their grid has a coherence of 0.05"
    )


def test_symmetric_limit_of_zeros_is_one():
    assert run.symmetric_limit(np.zeros((3, 4))) == 1
    assert run.symmetric_limit(np.array([np.nan, -2.0])) == 2


@pytest.mark.parametrize("time", [41.7, 7.3, 0.7])
def test_complete_run_is_not_called_stopped(open_alone, press_run, time):
    """Sums of steps may round to another number than the time."""
    viewer, widget = open_alone("Anisotropic diffusion")
    image = np.linspace(0, 100, 12, dtype=np.float32).reshape(3, 4)
    viewer.add_image(image, name="a")
    model = nd.PeronaMalik(sigma=0.8)
    for scheme in (nd.schemes.Explicit(), nd.schemes.RKL2(supersteps=7), nd.schemes.FSI(cycles=7)):
        widget.form.load(nd.Recipe(model, time, scheme=scheme))
        viewer.layers.selection.active = viewer.layers[0]
        layer = press_run(viewer, widget)
        assert "stopped" not in layer.name
        notes = layer.metadata["napari-diffusion"]
        assert "stopped" not in notes
        assert notes["recipe"]["time"] == time
        assert widget.panel.status.value.startswith("Done in")
        np.testing.assert_array_equal(
            layer.data, nd.diffuse(image, model, time=time, scheme=scheme)
        )


@pytest.mark.parametrize("frames", [1, 3])
def test_stop_and_keep_adds_the_partial_result(open_alone, qtbot, noisy, fake_run, frames):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(np.stack([noisy] * frames), name="a", axis_labels=("t", "z", "y", "x"))
    start_run(qtbot, widget, fake_run)
    widget.panel.stop.native.click()
    assert not widget.panel.stop.enabled
    wait_until_ended(qtbot, widget)
    layer = viewer.layers[-1]
    reached = widget.form.amount.time / 2
    notes = layer.metadata["napari-diffusion"]
    assert notes["stopped"] == {"time": reached, "frame": 0, "ordered": 2 * reached}
    assert notes["recipe"]["time"] == (reached if frames == 1 else 2 * reached)
    assert layer.name.endswith(f" stopped at {reached:.3g} pixel²")
    assert "Stopped" in widget.panel.status.value


def test_stop_and_keep_among_snapshots_keeps_those_computed(open_alone, qtbot, noisy, monkeypatch):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(np.stack([noisy, noisy + 1]), name="a", axis_labels=("t", "z", "y", "x"))
    section = open_section(widget, OutputsSection)
    section.snapshots.value, section.removed.value = 5, True
    wait_until_settled(qtbot, widget)  # the choice of a layer clears the status
    evolve, run, stops = outputs.evolve, outputs.run_with_outputs, []

    def run_noting_its_stop(*arguments, stop, **others):
        stops.append(stop)  # the panel may not have its task yet
        return run(*arguments, stop=stop, **others)

    def stop_at_the_third(problem, *arguments):
        if problem.recipe.time > widget.form.amount.time / 10:
            stops[0].set()
        return evolve(problem, *arguments)

    monkeypatch.setattr(outputs, "run_with_outputs", run_noting_its_stop)
    monkeypatch.setattr(outputs, "evolve", stop_at_the_third)
    widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    stack = next(layer for layer in viewer.layers if "snapshots" in layer.name)
    removed = next(layer for layer in viewer.layers if "residual" in layer.name)
    kept, reached = len(stack.data), stack.metadata["napari-diffusion"]["times"][-1]
    assert 0 < kept < 5
    assert widget.panel.status.value.startswith("Stopped in")
    assert f"{kept} snapshots stopped at {reached:.3g} pixel²" in stack.name
    image, ordered = widget.form.layer.value.data, widget.form.amount.time
    for layer, result in ((stack, stack.data[-1]), (removed, image - removed.data)):
        notes = layer.metadata["napari-diffusion"]
        assert notes["stopped"] == {"time": reached, "frame": None, "ordered": ordered}
        repeated = nd.Recipe.from_dict(notes["recipe"]).diffuse(image)
        np.testing.assert_allclose(repeated, result, rtol=1e-6)


def test_stop_and_keep_stops_the_engine(open_alone, qtbot):
    image = np.random.default_rng(0).random((24, 64, 64), np.float32)
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(image)
    wait_until_settled(qtbot, widget)
    widget.form.amount.number.value = 100  # takes minutes
    widget.panel.button.native.click()
    qtbot.waitUntil(lambda: "%" in widget.panel.status.value, timeout=WAIT)
    widget.panel.stop.native.click()
    wait_until_ended(qtbot, widget)
    layer = viewer.layers[-1]
    reached = layer.metadata["napari-diffusion"]["stopped"]["time"]
    assert 0 < reached < widget.form.amount.time
    assert 0 < layer.data.std() < image.std()


def test_runs_are_done_in_the_order_of_the_clicks(open_widget, qtbot, noisy, fake_run):
    viewer, widget = open_widget("Isotropic diffusion")
    first, second = viewer.add_image(noisy, name="a"), viewer.add_image(noisy, name="b")
    viewer.layers.selection.active = first
    start_run(qtbot, widget, fake_run)
    assert widget.panel.button.text == "Add to queue"
    viewer.layers.selection.active = second
    widget.panel.button.native.click()
    widget.panel.button.native.click()
    assert widget.panel.queued == 2
    assert not widget.panel.cancel_all.native.isHidden()
    assert widget.panel.cancel_all.text == "Cancel all 3"
    fake_run.go.set()
    wait_until_ended(qtbot, widget)
    assert [layer.name.partition(",")[0] for layer in viewer.layers] == ["a", "b", "a", "b", "b"]
    assert widget.panel.status.value.startswith("3 runs done.")
    assert widget.panel.cancel_all.native.isHidden()
    assert widget.panel.button.text == "Run"


def test_cancel_continues_with_queued_runs_and_cancel_all_does_not(
    open_alone, qtbot, noisy, fake_run
):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="a")
    start_run(qtbot, widget, fake_run)
    widget.panel.button.native.click()
    widget.panel.button.native.click()
    fake_run.started.clear()
    widget.panel.cancel.native.click()
    qtbot.waitUntil(fake_run.started.is_set, timeout=WAIT)
    assert widget.panel.busy
    assert widget.panel.queued == 1
    widget.panel.cancel_all.native.click()
    assert not widget.panel.busy
    assert widget.panel.status.value == "0 done, 3 cancelled."
    wait_until_ended(qtbot, widget)
    assert len(viewer.layers) == 1


def test_stopping_is_shown_until_the_run_ends(qtbot):
    panel, go = RunPanel(lambda: None), threading.Event()
    qtbot.addWidget(panel.native)

    def work(control):
        share = 0.0
        while not go.wait(REPORT_INTERVAL) and not control.cancel.is_set():
            control.progress(share := min(1.0, share + 0.01))

    panel.add(QueuedRun("a", work, lambda _: "Stopped."))
    qtbot.waitUntil(lambda: panel.bar.value > 0, timeout=WAIT)
    panel.stop.native.click()
    reached = panel.bar.value
    qtbot.waitUntil(lambda: panel.bar.value > reached, timeout=WAIT)
    panel.add(QueuedRun("b", lambda control: None, lambda _: "Done."))
    assert panel.status.value == "Stopping after this step…"
    assert not panel.stop.enabled
    go.set()
    qtbot.waitUntil(lambda: not panel.busy, timeout=WAIT)
    assert panel.status.value == "2 runs done. Done."


def test_errors_of_several_runs_are_listed_at_the_end(open_alone, qtbot, noisy):
    broken = noisy.copy()
    broken[0, 0, 0] = np.nan
    viewer, widget = open_alone("Isotropic diffusion")
    bad = viewer.add_image(broken, name="bad", contrast_limits=(0, 300))
    good = viewer.add_image(noisy, name="good")
    for layer in (bad, good):
        viewer.layers.selection.active = layer
        widget.panel.button.native.click()
    wait_until_ended(qtbot, widget)
    lines = widget.panel.status.value.splitlines()
    assert lines[0] == "1 done, 1 failed:"
    assert lines[1].startswith("bad: ")
    assert "NaN" in lines[1]
    assert len(viewer.layers) == 3
    assert "NaN" in notification_manager.records[-1].message


def test_preferences_apply_to_every_run(open_alone, press_run, noisy, preferences):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    preferences[0] = Preferences(threads=3, memory=1 << 20)
    assert widget.form.settings().execution.threads == 3
    assert press_run(viewer, widget) is None
    assert "at most 1 MiB are allowed" in widget.panel.status.value
    widget.form.amount.number.value = 1.5
    assert press_run(viewer, widget) is None
    assert "at most 1 MiB are allowed" in widget.panel.status.value
    assert widget.panel.plan.value == ""


@pytest.mark.skipif(
    not hasattr(napari.settings, "get_plugin_settings"), reason="napari before 0.9 has no such page"
)
def test_preferences_are_those_of_the_page_that_the_manifest_declares(plugin_settings, npe2pm):
    assert READ() == Preferences()  # not installed as a plugin: the defaults apply
    with npe2pm.tmp_plugin(manifest=str(ROOT / "napari.yaml")):
        assert READ() == Preferences()
        page = napari.settings.get_plugin_settings("napari-diffusion").filters
        page.threads, page.memory, page.preview = 3, 1536, 256
        assert READ() == Preferences(threads=3, memory=3 << 29, preview=256)
