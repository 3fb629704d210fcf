"""A draft is seen first where the exact preview takes longer; it is named, it never stays, and it never keeps a newer one waiting."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import WAIT, follow, shows_the_run
from napari_diffusion.previewing import previewer
from napari_diffusion.previewing.region import PreviewRequest


@pytest.fixture
def slow_exact(held, monkeypatch):
    """Every exact preview takes longer than a moment, and waits to be let go; drafts come at once."""
    monkeypatch.setattr(previewer, "DRAFT_FREE_S", -1.0)
    real = held.__call__

    def wait_for_exact(excerpt, progress=None, cancel=None):
        if not excerpt.draft:
            return real(excerpt, progress, cancel)
        return held.real(excerpt, progress, cancel)

    monkeypatch.setattr(PreviewRequest, "run", wait_for_exact)
    return held


#: Enough stages for a draft to be less than half the work.
LONG = 20.0


def long_run(qtbot, gui, section):
    """Choose a long diffusion time, and wait for its draft."""
    gui.form.amount.number.value = LONG
    qtbot.waitUntil(lambda: section.status.value.startswith("Draft"), timeout=WAIT)


def draft_of(gui, section):
    settings = gui.form.settings()
    return nd.preview(
        settings.image,
        settings.model,
        region=section.overlay._shown.region,
        draft=True,
        **settings.keywords,
    )


def test_a_draft_is_shown_and_named_until_the_exact_one_is_there(opened, qtbot, noisy, slow_exact):
    slow_exact.go.set()
    viewer, gui, section = opened(noisy)
    assert not section.status.native.styleSheet()
    slow_exact.go.clear()
    long_run(qtbot, gui, section)
    assert "The exact preview follows" in section.status.value
    assert section.status.native.styleSheet()
    np.testing.assert_array_equal(section.overlay.layer.data, draft_of(gui, section))
    qtbot.waitUntil(
        lambda: (
            bool(slow_exact.calls)
            and slow_exact.calls[-1].request.integration.time == gui.form.amount.time
        ),
        timeout=WAIT,
    )
    layer = section.overlay.layer
    slow_exact.go.set()
    follow(qtbot, gui)
    assert "As Run will make it" in section.status.value
    assert not section.status.native.styleSheet()
    assert section.overlay.layer == layer
    shows_the_run(viewer, gui)


def test_dragging_makes_drafts_only_and_drops_the_exact_one_at_once(
    opened, qtbot, noisy, slow_exact
):
    slow_exact.go.set()
    viewer, gui, section = opened(noisy)
    slow_exact.go.clear()
    slow_exact.ended.clear()
    long_run(qtbot, gui, section)
    for kappa in (3.0, 4.0, 5.0):
        gui.form.controls["kappa"].value = kappa
        # Nobody lets the exact ones go: that the next draft comes says that the one before was cancelled.
        qtbot.waitUntil(
            lambda kappa=kappa: slow_exact.calls[-1].request.model.kappa == kappa, timeout=WAIT
        )
        np.testing.assert_array_equal(section.overlay.layer.data, draft_of(gui, section))
    assert not slow_exact.ended
    slow_exact.go.set()
    follow(qtbot, gui)
    assert {excerpt.request.model.kappa for excerpt in slow_exact.ended} == {5.0}
    shows_the_run(viewer, gui)


def test_the_exact_one_fails_or_is_not_wanted_any_more(
    opened, qtbot, noisy, slow_exact, monkeypatch
):
    slow_exact.go.set()
    viewer, gui, section = opened(noisy)
    slow_exact.go.clear()
    long_run(qtbot, gui, section)
    section.show.native.click()
    assert [layer.name for layer in viewer.layers] == ["noisy"]
    assert not section.overlay.pending
    section.show.native.click()
    qtbot.waitUntil(lambda: section.status.value.startswith("Draft"), timeout=WAIT)

    def too_large(excerpt, progress=None, cancel=None):
        raise MemoryError("The run needs 3 PiB more memory.")

    slow_exact.real = too_large
    slow_exact.go.set()
    follow(qtbot, gui)
    assert section.status.value == "The run needs 3 PiB more memory."
    assert not section.status.native.styleSheet()
    assert section.overlay.layer is None


def test_the_viewer_is_closed_while_the_exact_one_is_made(opened, qtbot, noisy, slow_exact):
    slow_exact.go.set()
    _, gui, section = opened(noisy)
    slow_exact.go.clear()
    slow_exact.calls.clear()
    long_run(qtbot, gui, section)
    qtbot.waitUntil(
        lambda: bool(slow_exact.calls), timeout=WAIT
    )  # and this viewer is closed by its fixture, before it is let go
