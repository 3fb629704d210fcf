"""In a new installation, the first preview is a marked draft and does not wait for the compiler."""

from dataclasses import replace

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import WAIT, assert_shows_the_run, wait_for_preview
from napari_diffusion.engine.execution import Execution
from napari_diffusion.previewing import cold_start
from napari_diffusion.ui.overlay.preview_words import STARTING_VALUES
from napari_diffusion.ui.sections.preview import PreviewSection


@pytest.fixture
def shown(open_widget, qtbot, noisy, fake_compile_client):
    """Open a viewer with an image and the first preview, before the kernels are compiled."""
    viewer, gui = open_widget()
    viewer.add_image(noisy, name="noisy")
    section = gui.sections[PreviewSection]
    section.show.native.click()
    qtbot.waitUntil(lambda: section.overlay.layer is not None, timeout=WAIT)
    assert not fake_compile_client.go.is_set()
    return viewer, gui, section


@pytest.fixture
def draft_first(monkeypatch):
    """Make every first preview a draft of the whole part."""

    def on_reference(request, middle):
        return replace(request, execution=Execution(backend="reference"), draft=True)

    monkeypatch.setattr(cold_start, "affordable_preview", on_reference)


@pytest.fixture
def small_draft_first(monkeypatch):
    """Allow so little time that the first preview is a draft of a smaller part."""
    monkeypatch.setattr(cold_start, "FIRST_PREVIEW_S", 1e-3)
    monkeypatch.setattr(cold_start, "MIN_SIDE", 4)


def draft_of(gui, section):
    """Compute the draft of the part that is shown."""
    settings, region = gui.form.settings(), section.overlay._shown_part.region
    return nd.preview(settings.image, settings.recipe, region=region, draft=True)


def is_same(shown, picture):
    return np.allclose(shown, picture, rtol=0, atol=1e-3 * np.ptp(picture))


def shows(section, picture):
    return is_same(section.overlay.layer.data, picture)


def assert_shows_a_draft(gui, section, qtbot):
    """Assert that the draft has the settings on screen, once the suggestion has changed them."""
    qtbot.waitUntil(lambda: shows(section, draft_of(gui, section)), timeout=WAIT)


def test_draft_is_shown_and_marked_before_the_kernels_are_compiled(
    draft_first, shown, qtbot, fake_compile_client
):
    viewer, gui, section = shown
    assert section.status.value.startswith("Quick draft of this slice")
    assert section.status.native.styleSheet()
    qtbot.waitUntil(lambda: "Compiling once" in section.status.value, timeout=WAIT)
    assert section.status.value.startswith("Quick draft")
    assert_shows_a_draft(gui, section, qtbot)
    fake_compile_client.go.set()
    wait_for_preview(qtbot, gui)
    assert section.status.value.startswith("Exact preview of this slice")
    assert not section.status.native.styleSheet()
    assert_shows_the_run(viewer, gui)


def test_draft_of_a_slow_preview_is_its_middle(
    small_draft_first, shown, qtbot, fake_compile_client, noisy
):
    viewer, gui, section = shown
    assert section.status.value.startswith("Quick draft of the central ")
    sides = section.overlay.layer.data.shape
    whole = (1, *noisy.shape[1:])
    assert all(side <= limit for side, limit in zip(sides, whole, strict=True))
    assert np.prod(sides) < np.prod(whole)
    source, layer = gui.form.layer.value, section.overlay.layer
    start = source.world_to_data(layer.data_to_world((0, 0, 0)))
    np.testing.assert_allclose(start, [part.start for part in section.overlay._shown_part.region])
    assert_shows_a_draft(gui, section, qtbot)
    fake_compile_client.go.set()
    wait_for_preview(qtbot, gui)
    assert section.overlay.layer.data.shape == whole
    assert_shows_the_run(viewer, gui)


def test_cheap_preview_is_exact_without_kernels(shown, qtbot):
    viewer, gui, section = shown
    qtbot.waitUntil(lambda: not section.overlay.pending, timeout=WAIT)
    assert section.status.value.startswith("Exact preview")
    assert_shows_the_run(viewer, gui)


def test_each_change_shows_a_draft_and_only_the_last_an_exact_preview(
    draft_first, shown, qtbot, fake_compile_client
):
    viewer, gui, section = shown
    for kappa in (5.0, 50.0, 20.0):
        waits, before = fake_compile_client.cancelled, np.array(section.overlay.layer.data)
        gui.form.controls["kappa"].value = kappa
        # The wait for the kernels of the previous preview is cancelled.
        qtbot.waitUntil(lambda waits=waits: fake_compile_client.cancelled > waits, timeout=WAIT)
        draft = draft_of(gui, section)
        assert not is_same(before, draft)
        qtbot.waitUntil(lambda draft=draft: shows(section, draft), timeout=WAIT)
        assert section.overlay.pending
        assert section.status.value.startswith("Quick draft")
    fake_compile_client.go.set()
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)


@pytest.mark.parametrize("how", ["hide", "close"])
def test_hidden_or_closed_preview_does_not_wait_for_kernels(
    how, draft_first, shown, qtbot, fake_compile_client
):
    viewer, _, section = shown
    if how == "hide":
        before = fake_compile_client.cancelled
        section.show.native.click()
        qtbot.waitUntil(lambda: fake_compile_client.cancelled > before, timeout=WAIT)
        assert [layer.name for layer in viewer.layers] == ["noisy"]
        assert not section.overlay.pending
        assert not section.status.value
    # The fixture closes the viewer, and no thread may be left then.


def test_preview_within_labels_says_that_it_compiles(
    draft_first, shown, qtbot, fake_compile_client, noisy
):
    viewer, gui, section = shown
    fake_compile_client.go.set()
    wait_for_preview(qtbot, gui)
    fake_compile_client.go.clear()
    source = gui.form.layer.value
    labels = viewer.add_labels(np.ones(noisy.shape, np.uint8), name="cells")
    gui.form.layer.value, gui.form.regions.value = source, labels
    qtbot.waitUntil(lambda: "Compiling once" in section.status.value, timeout=WAIT)
    assert section.status.value.startswith("Quick draft of this slice. Compiling once")
    fake_compile_client.go.set()
    wait_for_preview(qtbot, gui)
    assert section.status.value.startswith("Exact preview")


def test_noise_is_removed_before_the_kernels_are_compiled(
    open_widget, qtbot, noisy, fake_compile_client
):
    """The threshold follows the noise by then: the default is far below that of this image."""
    viewer, gui = open_widget()
    viewer.add_image(100 * noisy, name="noisy")
    section = gui.sections[PreviewSection]
    section.show.native.click()
    original = viewer.layers["noisy"].data[viewer.dims.current_step[0], :, :9]  # without the edge

    def steps(picture):
        return np.abs(np.diff(picture)).mean()

    def removes_noise():
        layer = section.overlay.layer
        return layer is not None and steps(layer.data[0, :, :9]) < 0.8 * steps(original)

    qtbot.waitUntil(removes_noise, timeout=WAIT)
    assert gui.context.measuring
    assert section.status.value.endswith(STARTING_VALUES) or "ompiling" in section.status.value
