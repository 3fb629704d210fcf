"""The status of the panel is a value; its text is only shown."""

import threading
from pathlib import Path

import pytest
from napari.utils.notifications import notification_manager

import napari_diffusion as nd
from helpers.viewer import WAIT, wait_for_go, wait_until_settled
from napari_diffusion.core.errors import InputError, Remedy, TargetExists, WriteError
from napari_diffusion.ui import background_compilation, suggesting
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.run.kernels import warmup_message
from napari_diffusion.ui.run.panel import ERROR_STYLE, QueuedRun, RunPanel
from napari_diffusion.ui.run.status import Status, StatusKind

SOURCE, TARGET = Path("images") / "a.tif", Path("results") / "a.tif"


@pytest.fixture
def panel(qtbot):
    panel = RunPanel(lambda: None)
    qtbot.addWidget(panel.native)
    return panel


def failing(error, name="a.tif", files=(SOURCE, TARGET)):
    def work(control):
        raise error

    return QueuedRun(name, work, str, stoppable=False, files=files)


def wait_until_idle(qtbot, panel):
    qtbot.waitUntil(lambda: not panel.busy, timeout=WAIT)


def test_status_is_shown_and_cleared(panel):
    assert panel.state == Status(StatusKind.IDLE)
    for kind in StatusKind:
        panel.show_status(Status(kind, "some text", "all of it"))
        assert panel.state == Status(kind, "some text", "all of it")
        assert (panel.status.value, panel.status.tooltip) == ("some text", "all of it")
        failed = kind is StatusKind.FAILED
        assert panel.failed is failed
        assert panel.status.native.styleSheet() == (ERROR_STYLE if failed else "")
        panel.clear(*(other for other in StatusKind if other is not kind))
        assert panel.state.kind is kind
        panel.clear(kind)
        assert panel.state == Status()
        assert not panel.status.value
        assert not panel.status.tooltip


def test_status_follows_a_run(panel, qtbot):
    go = threading.Event()

    def work(control):
        control.progress(0.5)
        wait_for_go(go, control.cancel)

    panel.add(QueuedRun("a", work, lambda _: "Done."))
    assert panel.state == Status(StatusKind.RUNNING, "Filtering a…")
    qtbot.waitUntil(lambda: "50%" in panel.state.text, timeout=WAIT)
    assert panel.state.kind is StatusKind.RUNNING
    panel.stop.native.click()
    assert panel.state.kind is StatusKind.STOPPING
    go.set()
    wait_until_idle(qtbot, panel)
    assert panel.state == Status(StatusKind.DONE, "Done.")
    go.clear()
    panel.add(QueuedRun("a", work, lambda _: "Done."))
    panel.cancel.native.click()
    assert panel.state == Status(StatusKind.CANCELLED, "Cancelled; no layer was added.")
    panel.add(failing(ValueError("It is wrong."), "b", files=()))
    wait_until_idle(qtbot, panel)
    assert panel.state == Status(StatusKind.FAILED, "It is wrong.")


def test_list_of_errors_stays_when_another_image_is_chosen(panel, qtbot):
    panel.add(failing(ValueError("It is wrong.")))
    wait_until_idle(qtbot, panel)
    listed = panel.state
    assert listed.details.splitlines() == [
        str(SOURCE.parent),
        str(TARGET.parent),
        "a.tif: It is wrong.",
    ]
    panel.forget()
    assert panel.state == listed
    panel.say("Recipe copied.")
    panel.forget()
    assert panel.state == Status()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            TargetExists("exists already", Remedy.ALLOW_OVERWRITING, TARGET),
            (
                "a.tif: exists already; check “Overwrite existing files” or choose another folder "
                "for the results."
            ),
        ),
        (
            InputError("cannot be read as TIFF: no image", path=SOURCE),
            "a.tif: cannot be read as TIFF: no image.",
        ),
        (
            WriteError(
                f"cannot be written: the folder {TARGET.parent} does not exist", path=TARGET
            ),
            f"a.tif: cannot be written: the folder {TARGET.parent} does not exist.",
        ),
        (
            InputError("The recipe couples channels", Remedy.NAME_CHANNEL_AXIS),
            "a.tif: The recipe couples channels; open the file as a layer and run it by itself.",
        ),
        (InputError("it is odd", path=SOURCE.with_name("mask.tif")), "a.tif: mask.tif: it is odd."),
        # An error that is not about the file gets the name, whatever its text begins with.
        (ValueError("a.tif: is the name of a model."), "a.tif: a.tif: is the name of a model."),
        (ValueError(f"{SOURCE} is odd."), f"a.tif: {SOURCE} is odd."),
    ],
)
def test_error_of_a_file_names_it_once_without_its_folder(panel, qtbot, error, line):
    panel.add(failing(error))
    wait_until_idle(qtbot, panel)
    assert panel.state.text == line
    assert notification_manager.records[-1].message == panel.state.text


def test_error_of_a_layer_names_its_file_with_the_folder(panel, qtbot):
    panel.add(failing(InputError("it is odd", path=SOURCE), "a", files=()))
    wait_until_idle(qtbot, panel)
    assert panel.state.text == f"{SOURCE}: it is odd."


@pytest.fixture
def no_announcement(monkeypatch):
    """Announce no compilation: on a busy machine it takes long enough to be announced."""
    monkeypatch.setattr(background_compilation, "is_compiling", lambda: False)


def held_suggestion(monkeypatch):
    go, real = threading.Event(), starting_values.suggest_values

    def slow(*args, thorough=False, **keywords):
        if thorough:
            go.wait(60)
        return real(*args, thorough=False, **keywords)

    monkeypatch.setattr(starting_values, "suggest_values", slow)
    return go


@pytest.mark.usefixtures("no_announcement")
def test_suggestion_is_dropped_though_another_status_is_shown(
    open_alone, qtbot, noisy, monkeypatch
):
    viewer, widget = open_alone()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, widget)
    go = held_suggestion(monkeypatch)
    widget.form.suggest.native.click()
    assert widget.panel.state == Status(StatusKind.SUGGESTING, suggesting.TRYING)
    widget.panel.say("Recipe copied.")
    widget.form.model.value = nd.MeanCurvature
    qtbot.waitUntil(lambda: not widget.pending, timeout=WAIT)
    go.set()
    wait_until_settled(qtbot, widget)
    assert widget.panel.state == Status(StatusKind.NOTICE, "Recipe copied.")
    assert not widget.form.reasons.visible


@pytest.mark.usefixtures("no_announcement")
@pytest.mark.parametrize("change", ["strength", "number", "model"])
def test_values_that_the_user_has_changed_are_not_called_suggested(
    open_alone, qtbot, noisy, monkeypatch, change
):
    viewer, widget = open_alone()
    viewer.add_image(noisy)
    held_suggestion(monkeypatch).set()
    wait_until_settled(qtbot, widget)
    widget.form.suggest.native.click()
    wait_until_settled(qtbot, widget)
    assert widget.panel.state.kind is StatusKind.SUGGESTED
    form = widget.form
    if change == "strength":
        form.strength.slider.value = 40
    elif change == "number":
        form.controls["kappa"].value *= 2
    else:
        form.model.value = nd.MeanCurvature
        wait_until_settled(qtbot, widget)
    assert widget.panel.status.value == ""


@pytest.mark.usefixtures("no_announcement")
def test_notice_with_the_text_of_another_status_stays(open_alone, qtbot, noisy):
    viewer, widget = open_alone()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, widget)
    widget.panel.say(suggesting.TRYING)
    widget.form.model.value = nd.MeanCurvature
    wait_until_settled(qtbot, widget)
    assert widget.panel.state == Status(StatusKind.NOTICE, suggesting.TRYING)


@pytest.mark.usefixtures("no_announcement")
def test_end_of_a_compilation_clears_only_its_own_status(open_alone, qtbot, noisy, monkeypatch):
    go = threading.Event()

    def held(settings, cancel, *others):
        wait_for_go(go, cancel)

    monkeypatch.setattr(background_compilation, "wait_for_kernels", held)
    monkeypatch.setattr(background_compilation, "compiled_keys", set())
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: not widget.pending, timeout=WAIT)
    message = warmup_message(widget.form.settings())
    widget.panel.say(message)
    go.set()
    wait_until_settled(qtbot, widget)
    assert widget.panel.state == Status(StatusKind.NOTICE, message)


@pytest.mark.parametrize(
    ("kind", "is_shown"), [(StatusKind.COMPILING, True), (StatusKind.FAILED, False)]
)
def test_a_refusal_is_shown_again_after_other_work_but_not_after_an_error(panel, kind, is_shown):
    panel.refuse(ValueError("No axis is checked."))
    refusal = panel.state
    assert refusal.kind is StatusKind.REFUSED
    panel.say("something else", kind)
    panel.clear(kind)
    assert panel.state == (refusal if is_shown else Status())
    panel.show_plan("about 1 s", "in full")
    panel.say("something else", kind)
    panel.clear(kind)
    assert panel.state == Status()
