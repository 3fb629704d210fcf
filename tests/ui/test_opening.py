"""Opening of a widget: what the first preview does not need is made, or begins, after it."""

import threading
import time
from types import SimpleNamespace

import pytest

import napari_diffusion as nd
from helpers.emulated import NAME, needs_emulation
from helpers.viewer import WAIT, open_section, wait_until_settled
from napari_diffusion.ui import opening, suggesting
from napari_diffusion.ui import preferences as module
from napari_diffusion.ui.explain.page import ExplainPage
from napari_diffusion.ui.form.options import Options
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.collector import COLLECTOR, CollectorPause, collects
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.ui.sections.presets import PresetSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.sections.recipes import RecipeSection
from napari_diffusion.ui.sections.threshold import ThresholdSection
from napari_diffusion.ui.widget import EXPERT, FINE_TUNE, OUTPUTS

#: `Preferences.read`, which a fixture replaces for every test.
READ = Preferences.read
IN_DRAWERS = {
    FINE_TUNE: {ThresholdSection},
    OUTPUTS: {OutputsSection, BatchSection},
    EXPERT: {PresetSection, RecipeSection},
}


@pytest.mark.parametrize("name", ["Anisotropic diffusion", "Isotropic diffusion"])
@pytest.mark.parametrize("drawer", IN_DRAWERS, ids=lambda drawer: drawer.title)
def test_sections_of_a_drawer_are_made_when_it_is_first_opened(open_alone, name, drawer):
    _, gui = open_alone(name)
    assert gui.sections.made.keys() == {PreviewSection}
    gui.form.reasons.open = drawer is FINE_TUNE  # as after Suggest, which enables that drawer
    gui.drawers[drawer].button.native.click()
    assert gui.sections.made.keys() == {PreviewSection, *IN_DRAWERS[drawer]}
    made = dict(gui.sections.made)
    gui.drawers[drawer].button.native.click()
    gui.drawers[drawer].button.native.click()
    assert gui.sections.made == made  # opened again, it is the same


@pytest.mark.parametrize("name", ["Anisotropic diffusion", "Isotropic diffusion"])
def test_drawers_have_one_order_and_a_disabled_one_says_why(open_alone, name):
    _, gui = open_alone(name)
    layout = gui.drawers[FINE_TUNE].native.parentWidget().layout()
    places = [layout.indexOf(gui.drawers[drawer].native) for drawer in (FINE_TUNE, OUTPUTS, EXPERT)]
    assert places == sorted(places)
    button = gui.drawers[FINE_TUNE].button
    assert button.enabled or "no other numbers" in button.tooltip
    gui.drawers[FINE_TUNE].open = button.enabled
    for model in gui.form.model.choices:
        gui.form.model.value = model
        assert button.enabled is (bool(gui.form.controls.rows) or name == "Anisotropic diffusion")
        assert gui.drawers[FINE_TUNE].open <= button.enabled


def test_section_that_is_opened_first_is_up_to_date(open_alone, noisy):
    viewer, gui = open_alone()
    for name in "ab":
        viewer.add_image(noisy, name=name)
    viewer.layers.selection = set(viewer.layers)
    assert open_section(gui, BatchSection).layers.text == "Filter 2 selected layers"


def test_options_are_made_when_their_drawer_is_first_opened(open_alone):
    _, gui = open_alone()
    first = len(gui.form.option_rows)
    recipe, execution = gui.form.recipe(), gui.form.execution()
    gui.drawers[EXPERT].button.native.click()
    assert len(gui.form.option_rows) > first == 3  # unit, labels, guide
    assert (gui.form.recipe(), gui.form.execution()) == (recipe, execution)


def test_recipe_loaded_before_the_drawers_are_opened_reaches_every_value(open_alone, noisy):
    viewer, gui = open_alone()
    viewer.add_image(noisy)
    loaded = nd.Recipe(
        nd.PeronaMalik(kappa=7.5, sigma=0.5), 2.5, nan="mask", preserve_dtype=True, tolerance=1e-2
    )
    assert gui.form.load(loaded) == []
    for drawer in gui.drawers.values():
        drawer.button.native.click()
        shown = gui.form.recipe()
        for name in ("model", "time", "nan", "preserve_dtype", "tolerance"):
            assert getattr(shown, name) == getattr(loaded, name), name
    assert gui.form.run_options["nan"].value == "mask"
    assert gui.form.controls["kappa"].value == 7.5


def test_explanations_are_made_when_they_are_first_asked_for(open_alone):
    _, gui = open_alone()
    assert gui.native.findChildren(ExplainPage) == []
    gui.header.help.native.click()
    (page,) = gui.native.findChildren(ExplainPage)
    assert page is gui.explain
    assert not page.isHidden()


# ---- what begins after the first preview


@pytest.fixture
def opened_with_image(open_alone, preview_at_opening, monkeypatch, noisy):
    """Open a widget with its preview on, for a viewer that has an image; record what begins.

    Only the first preview ends its opening: the limits are long.
    """
    monkeypatch.setattr(opening, "LONGEST_MS", WAIT)
    monkeypatch.setattr(COLLECTOR, "longest", WAIT / 1000)
    events, show = [], PreviewSection._show_state

    def shown(section, state):
        show(section, state)
        events.append("shown" if hasattr(state, "preview") else "begun")

    class Recorded(suggesting.Measurement):
        def start(self, quick):
            events.append("measured")
            super().start(quick)

    monkeypatch.setattr(PreviewSection, "_show_state", shown)
    monkeypatch.setattr(suggesting, "Measurement", Recorded)
    preview_at_opening()
    _, gui = open_alone(image=noisy)
    yield gui, events
    COLLECTOR.end()


def test_image_is_measured_after_the_first_preview(opened_with_image, qtbot):
    gui, events = opened_with_image
    qtbot.waitUntil(lambda: "measured" in events, timeout=WAIT)
    # A draft, and a second preview, may come before the measurement too.
    assert events[:2] == ["begun", "shown"]
    assert gui.context.measuring
    wait_until_settled(qtbot, gui)
    assert gui.form.values.suggestion is not None


def test_run_at_once_waits_for_the_measurement(opened_with_image, qtbot):
    gui, events = opened_with_image
    assert "measured" not in events
    gui.panel.button.native.click()
    assert gui.suggesting.under_way is not None
    assert gui.opening.over
    wait_until_settled(qtbot, gui)
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)


def test_collector_works_again_after_the_first_preview(opened_with_image, qtbot):
    gui, events = opened_with_image
    assert not collects()
    qtbot.waitUntil(lambda: gui.opening.over, timeout=WAIT)
    assert "shown" in events
    assert collects()
    wait_until_settled(qtbot, gui)


def test_pause_of_the_collector_ends_by_itself_without_an_event_loop():
    pause = CollectorPause(0.05)
    pause.begin()
    assert not collects()
    end = time.monotonic() + 10
    while not collects() and time.monotonic() < end:
        time.sleep(0.01)
    assert collects()


def test_pause_does_not_end_while_a_widget_is_made():
    pause, states = CollectorPause(60.0), []

    @pause.during
    def make():
        other = threading.Thread(target=pause.end)
        other.start()
        other.join()
        states.append(collects())

    make()
    assert (states, collects()) == ([False], True)


# ---- preferences


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """Return the file with the saved preferences; the page has not been searched for."""
    settings = SimpleNamespace(config_path=tmp_path / "settings.yaml")
    monkeypatch.setattr(module, "get_settings", lambda: settings)
    monkeypatch.setattr(module, "_searched", False)
    page = SimpleNamespace(threads=2, memory=0, preview=64, device="cpu")
    monkeypatch.setattr(module, "find_page", lambda: page)
    return tmp_path / "napari-diffusion.yaml"


def test_preferences_before_the_page_is_made_are_the_saved_ones(saved):
    assert READ() == Preferences()  # never changed
    saved.write_text("{}\n")
    assert READ() == Preferences()  # changed, and changed back
    saved.write_text("filters:\n  preview: 256\n  memory: 3\n")
    assert READ() == Preferences(preview=256, memory=3 << 20)


@pytest.mark.parametrize(
    "text", ["filters: [", "filters:\n  preview: many\n", "filters:\n  x: 1\n"]
)
def test_preferences_that_cannot_be_read_are_those_of_the_page(saved, text):
    saved.write_text(text)
    assert READ() == Preferences(threads=2, preview=64)


def test_a_device_that_is_not_there_is_said_and_the_processor_takes_its_place(saved):
    saved.write_text("filters:\n  device: Voodoo\n")
    with pytest.warns(RuntimeWarning, match="'Voodoo'.*: the processor does the work"):
        assert READ() == Preferences()


@needs_emulation
def test_device_of_the_preferences_runs_the_filters(saved, monkeypatch, qapp):
    monkeypatch.setattr(Preferences, "read", READ)
    saved.write_text(f"filters:\n  device: {NAME}\n")
    assert READ() == Preferences(device=NAME)
    options = Options(lambda _: ["pixel"], lambda _: [], lambda _: [])
    assert options.execution().device == NAME
    options.make()
    assert options.execution().device == NAME


def test_preferences_are_those_of_the_page_once_it_is_made(saved, monkeypatch):
    monkeypatch.setattr(module, "_searched", True)
    assert READ() == Preferences(threads=2, preview=64)
