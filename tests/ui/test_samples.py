"""Samples: units, truth, and the offer to filter them."""

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

from helpers.viewer import WAIT
from napari_diffusion.ui import offer, samples
from napari_diffusion.ui.widget import AnisotropicDiffusion

NAMES = ("confocal", "mri_simulated", "mri", "mri_4d")


@pytest.fixture
def offers(monkeypatch):
    """Record the notifications that samples show, instead of showing them."""
    shown = []
    monkeypatch.setattr(notification_manager, "dispatch", shown.append)
    return shown


def test_samples_are_listed_with_the_most_telling_first():
    manager = PluginManager.instance()
    manager.discover()
    manifest = manager.get_manifest("napari-diffusion")
    assert tuple(sample.key for sample in manifest.contributions.sample_data) == NAMES


@pytest.mark.parametrize(
    ("name", "units", "labels"),
    [
        ("confocal", ["micrometer"] * 3, "zyx"),
        ("mri_simulated", ["millimeter"] * 3, "zyx"),
        ("mri", ["millimeter"] * 3, "zyx"),
        ("mri_4d", ["second", *["millimeter"] * 3], "tzyx"),
    ],
)
def test_sample_opens_with_units_and_axes(open_alone, name, units, labels):
    viewer, _ = open_alone()
    viewer.open_sample("napari-diffusion", name)
    image = viewer.layers[-1]
    assert [str(unit) for unit in image.units] == units
    assert image.axis_labels == tuple(labels)
    assert image.contrast_limits[1] < image.data.max()


@pytest.mark.parametrize("name", ["confocal", "mri_simulated"])
def test_truth_of_a_simulated_sample_is_hidden_below_it(open_alone, name):
    viewer, _ = open_alone()
    viewer.open_sample("napari-diffusion", name)
    truth, noisy = viewer.layers
    assert (truth.visible, noisy.visible) == (False, True)
    assert truth.data.shape == noisy.data.shape
    assert list(truth.contrast_limits) == list(noisy.contrast_limits)
    assert tuple(truth.scale) == tuple(noisy.scale)
    error = np.sqrt(np.mean((noisy.data - truth.data.astype(float)) ** 2))
    assert error > 0.02 * np.ptp(truth.data)


def test_opening_a_sample_offers_the_denoising_widget(make_napari_viewer, offers):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-diffusion", "confocal")
    (shown,) = offers
    assert shown.message == offer.QUESTION
    assert shown.source == "napari-diffusion"
    ((text, press),) = shown.actions
    assert text == offer.ACCEPT
    press(None)
    (widget,) = viewer.window.dock_widgets.values()
    assert isinstance(widget, AnisotropicDiffusion)
    assert widget.form.layer.value is viewer.layers["confocal"]
    # the item in the menu hides the widget, and opens no second one
    get_app_model().commands.execute_command("napari-diffusion.anisotropic").result()
    assert [*viewer.window.dock_widgets.values()] == [widget]


def test_nothing_is_offered_beside_an_open_widget(open_widget, offers):
    viewer, _ = open_widget()
    viewer.open_sample("napari-diffusion", "mri")
    assert not offers


def test_nothing_is_offered_without_a_window(offers):
    assert len(samples.confocal()) == 2
    assert not offers


def test_accepting_after_the_window_was_closed_does_nothing(make_napari_viewer, offers):
    offer.accept(lambda: None)
    assert not offers


def test_buttons_open_the_samples_while_no_image_is_open(open_alone, qtbot):
    viewer, widget = open_alone()
    qtbot.waitUntil(lambda: not widget.pending, timeout=WAIT)
    assert not widget.samples.native.isHidden()
    widget.samples.buttons["confocal"].native.click()
    qtbot.waitUntil(lambda: widget.samples.native.isHidden(), timeout=WAIT)
    assert widget.form.layer.value is viewer.layers["confocal"]
    assert viewer.dims.current_step[0] == 20
    viewer.layers.clear()
    widget.reset_choices()
    qtbot.waitUntil(lambda: not widget.samples.native.isHidden(), timeout=WAIT)


@pytest.mark.parametrize("name", NAMES[:3])
def test_every_button_opens_its_sample(open_alone, name):
    viewer, widget = open_alone()
    widget.samples.buttons[name].native.click()
    expected = {"confocal": "confocal", "mri_simulated": "simulated MRI", "mri": "MRI"}
    assert viewer.layers[-1].name == expected[name]
