"""A slow preview shows a marked draft first; the exact preview, or a newer draft, replaces it."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import WAIT, assert_shows_the_run, wait_for_preview
from napari_diffusion.previewing import previewer
from napari_diffusion.previewing.request import PreviewRequest


@pytest.fixture
def slow_exact(held_previews, monkeypatch):
    """Hold every exact preview until ``go`` is set, as if it were slow; drafts are not held."""
    monkeypatch.setattr(previewer, "DRAFT_FREE_S", -1.0)

    def hold_exact(request, progress=None, cancel=None):
        if request.draft:
            return held_previews.real(request, progress, cancel)
        return held_previews(request, progress, cancel)

    monkeypatch.setattr(PreviewRequest, "run", hold_exact)
    return held_previews


#: Diffusion time with so many stages that a draft takes less than half the work.
LONG_TIME = 20.0


def choose_long_time(qtbot, gui, section):
    """Choose a long diffusion time and wait for its draft."""
    gui.form.amount.number.value = LONG_TIME
    qtbot.waitUntil(lambda: section.status.value.startswith("Quick draft"), timeout=WAIT)


def draft_of(gui, section):
    """Compute the draft of the part that is shown."""
    settings, region = gui.form.settings(), section.overlay._shown_part.region
    return nd.preview(settings.image, settings.recipe, region=region, draft=True)


def test_draft_is_marked_until_the_exact_preview_replaces_it(
    open_preview, qtbot, noisy, slow_exact
):
    slow_exact.go.set()
    viewer, gui, section = open_preview(noisy)
    assert not section.status.native.styleSheet()
    slow_exact.go.clear()
    choose_long_time(qtbot, gui, section)
    assert "exact preview" in section.status.value
    assert section.status.native.styleSheet()
    np.testing.assert_array_equal(section.overlay.layer.data, draft_of(gui, section))

    def exact_preview_is_under_way():
        times = [call.problem.recipe.time for call in slow_exact.calls]
        return bool(times) and times[-1] == gui.form.amount.time

    qtbot.waitUntil(exact_preview_is_under_way, timeout=WAIT)
    layer = section.overlay.layer
    slow_exact.go.set()
    wait_for_preview(qtbot, gui)
    assert section.status.value.startswith("Exact preview")
    assert not section.status.native.styleSheet()
    assert section.overlay.layer == layer
    assert_shows_the_run(viewer, gui)


def test_dragging_shows_drafts_and_cancels_exact_previews_at_once(
    open_preview, qtbot, noisy, slow_exact
):
    slow_exact.go.set()
    viewer, gui, section = open_preview(noisy)
    slow_exact.go.clear()
    slow_exact.ended.clear()
    choose_long_time(qtbot, gui, section)
    for kappa in (3.0, 4.0, 5.0):
        gui.form.controls["kappa"].value = kappa
        # The exact previews are held: the next draft can only follow if the previous exact preview
        # was cancelled.
        qtbot.waitUntil(
            lambda kappa=kappa: slow_exact.calls[-1].problem.recipe.model.kappa == kappa,
            timeout=WAIT,
        )
        np.testing.assert_array_equal(section.overlay.layer.data, draft_of(gui, section))
    assert not slow_exact.ended
    slow_exact.go.set()
    wait_for_preview(qtbot, gui)
    assert {preview.problem.recipe.model.kappa for preview in slow_exact.ended} == {5.0}
    assert_shows_the_run(viewer, gui)


def test_exact_preview_may_fail_or_be_switched_off(open_preview, qtbot, noisy, slow_exact):
    slow_exact.go.set()
    viewer, gui, section = open_preview(noisy)
    slow_exact.go.clear()
    choose_long_time(qtbot, gui, section)
    section.show.native.click()
    assert [layer.name for layer in viewer.layers] == ["noisy"]
    assert not section.overlay.pending
    section.show.native.click()
    qtbot.waitUntil(lambda: section.status.value.startswith("Quick draft"), timeout=WAIT)

    def too_large(request, progress=None, cancel=None):
        raise MemoryError("The run needs 3 PiB more memory.")

    slow_exact.real = too_large
    slow_exact.go.set()
    wait_for_preview(qtbot, gui)
    assert section.status.value == "The run needs 3 PiB more memory."
    assert not section.status.native.styleSheet()
    assert section.overlay.layer is None


def test_viewer_may_be_closed_during_the_exact_preview(
    open_preview_in_window, qtbot, noisy, slow_exact
):
    slow_exact.go.set()
    _, gui, section = open_preview_in_window(noisy)
    slow_exact.go.clear()
    slow_exact.calls.clear()
    choose_long_time(qtbot, gui, section)
    qtbot.waitUntil(lambda: bool(slow_exact.calls), timeout=WAIT)
    # The fixture closes this viewer before the held preview continues.
