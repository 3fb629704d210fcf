"""In a new installation a first picture does not wait for the compiler; it is named, and what was asked for last comes first."""

from dataclasses import replace

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import WAIT, follow, shows_the_run
from napari_diffusion.engine.options import Execution
from napari_diffusion.previewing import cold_start
from napari_diffusion.ui.sections.preview import PreviewSection


@pytest.fixture
def shown(open_widget, qtbot, noisy, elsewhere):
    """Open a viewer with an image, the widget and its preview, before there are kernels; returns when something is shown."""
    viewer, gui = open_widget()
    viewer.add_image(noisy, name="noisy")
    section = gui.sections[PreviewSection]
    section.box.button.native.click()
    qtbot.waitUntil(lambda: section.overlay.layer is not None, timeout=WAIT)
    assert not elsewhere.go.is_set()
    return viewer, gui, section


@pytest.fixture
def hurried(monkeypatch):
    """A first picture is a draft of everything."""

    def on_reference(preview, middle):
        request = replace(preview.request, execution=Execution(backend="reference"))
        return replace(preview, request=request, draft=True)

    monkeypatch.setattr(cold_start, "affordable_preview", on_reference)


@pytest.fixture
def very_hurried(monkeypatch):
    """So little time for a first picture that it is a draft of a part."""
    monkeypatch.setattr(cold_start, "FIRST_PREVIEW_S", 1e-3)
    monkeypatch.setattr(cold_start, "MIN_SIDE", 4)


def draft_of(gui, section):
    settings = gui.form.settings()
    return nd.preview(
        settings.image,
        settings.model,
        region=section.overlay._shown.region,
        draft=True,
        **settings.keywords,
    )


def shows_a_draft(gui, section):
    there = np.asarray(section.overlay.layer.data)
    np.testing.assert_allclose(
        there, draft_of(gui, section), atol=1e-3 * np.ptp(gui.form.settings().image)
    )


def test_a_draft_is_shown_and_named_before_there_are_kernels(hurried, shown, qtbot, elsewhere):
    viewer, gui, section = shown
    assert section.status.value.startswith("Draft, nearly as Run will make it: all of the plane.")
    assert section.status.native.styleSheet()
    qtbot.waitUntil(lambda: "Compiling the filter" in section.status.value, timeout=WAIT)
    assert section.status.value.startswith("Draft")
    shows_a_draft(gui, section)
    elsewhere.go.set()
    follow(qtbot, gui)
    assert section.status.value.startswith("As Run will make it: all of the plane")
    assert not section.status.native.styleSheet()
    shows_the_run(viewer, gui)


def test_of_what_takes_longer_the_middle_is_shown_first(
    very_hurried, shown, qtbot, elsewhere, noisy
):
    viewer, gui, section = shown
    assert section.status.value.startswith("Draft, nearly as Run will make it: the middle, ")
    sides = section.overlay.layer.data.shape
    assert sides < (1, *noisy.shape[1:])
    source, layer = gui.form.layer.value, section.overlay.layer
    start = source.world_to_data(layer.data_to_world((0, 0, 0)))
    np.testing.assert_allclose(start, [part.start for part in section.overlay._shown.region])
    shows_a_draft(gui, section)
    elsewhere.go.set()
    follow(qtbot, gui)
    assert section.overlay.layer.data.shape == (1, *noisy.shape[1:])
    shows_the_run(viewer, gui)


def test_what_is_little_work_is_exact_without_kernels(shown, qtbot):
    viewer, gui, section = shown
    qtbot.waitUntil(lambda: not section.overlay.pending, timeout=WAIT)
    assert section.status.value.startswith("As Run will make it")
    shows_the_run(viewer, gui)


def test_each_change_has_its_draft_and_only_the_last_its_exact_one(
    hurried, shown, qtbot, elsewhere
):
    viewer, gui, section = shown
    for kappa in (5.0, 50.0, 20.0):
        waits = elsewhere.cancelled
        gui.form.controls["kappa"].value = kappa
        qtbot.waitUntil(
            lambda waits=waits: elsewhere.cancelled > waits, timeout=WAIT
        )  # nobody waits for what is not wanted any more
        qtbot.waitUntil(
            lambda: section.overlay._newest._improving and section.overlay.pending, timeout=WAIT
        )
        shows_a_draft(gui, section)
        assert section.status.value.startswith("Draft")
    elsewhere.go.set()
    follow(qtbot, gui)
    shows_the_run(viewer, gui)


@pytest.mark.parametrize("how", ["hide", "close"])
def test_nothing_waits_for_what_is_not_wanted(how, hurried, shown, qtbot, elsewhere):
    viewer, _, section = shown
    if how == "hide":
        before = elsewhere.cancelled
        section.show.native.click()
        qtbot.waitUntil(lambda: elsewhere.cancelled > before, timeout=WAIT)
        assert [layer.name for layer in viewer.layers] == ["noisy"]
        assert not section.overlay.pending
        assert not section.status.value
    # And the viewer is closed by its fixture, after which no thread is left.
