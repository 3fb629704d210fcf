"""The widget words every remedy with the controls on screen, and names files as it lists them."""

import re
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel

import napari_diffusion as nd
from helpers.viewer import wait_until_settled
from napari_diffusion.core.errors import InputError, NotFinite, Remedy, TargetExists
from napari_diffusion.estimation.measurement.noise import NoNoiseError
from napari_diffusion.ui.run.messages import SCREEN_WORDS, is_same_fault, screen_message
from napari_diffusion.ui.widget import EXPERT

FILE = Path("some") / "folder" / "a.tif"


@pytest.mark.parametrize("remedy", Remedy)
def test_widget_has_words_for_every_remedy(remedy):
    words = SCREEN_WORDS[remedy]
    assert screen_message(InputError("it is wrong", remedy)) == f"it is wrong; {words}."
    assert "--" not in words
    assert "=" not in words


def test_controls_in_the_words_are_on_screen(open_alone):
    _, widget = open_alone("Isotropic diffusion")
    for drawer in widget.drawers.values():
        drawer.open = True
    native = widget.native
    texts = {label.text() for label in native.findChildren(QLabel)}
    texts |= {button.text() for button in native.findChildren(QAbstractButton)}
    for box in native.findChildren(QComboBox):
        texts |= {box.itemText(i) for i in range(box.count())}
    words = " ".join(SCREEN_WORDS.values())
    named = set(re.findall("“(.*?)”", words))
    assert len(named) >= 4
    assert named <= texts
    assert f"under {EXPERT.title}" in words
    assert widget.drawers[EXPERT].button.text.endswith(EXPERT.title)


@pytest.mark.parametrize(
    ("error", "message", "without_folder"),
    [
        (
            TargetExists("exists already", Remedy.CHOOSE_ANOTHER_NAME, FILE),
            f"{FILE}: exists already; choose another folder for the results.",
            "a.tif: exists already; choose another folder for the results.",
        ),
        (
            OSError(28, "No space left on device", str(FILE)),
            f"{FILE}: No space left on device.",
            "a.tif: No space left on device.",
        ),
        (
            InputError(f"the folder {FILE.parent} is full"),
            f"the folder {FILE.parent} is full.",
            f"the folder {FILE.parent} is full.",
        ),
        (ValueError(f"{FILE} is odd."), f"{FILE} is odd.", f"{FILE} is odd."),
        (StopIteration(), "StopIteration.", "StopIteration."),
    ],
)
def test_files_are_named_with_or_without_their_folder(error, message, without_folder):
    assert screen_message(error) == message
    assert screen_message(error, with_folder=False) == without_folder


def test_text_of_other_errors_is_shown_as_it_is():
    """Not even words of another front end are exchanged in it."""
    text = "The layer nan='mask' cannot be used; say which with --axes."
    assert screen_message(ValueError(text)) == text
    assert screen_message(NotFinite(1, (0,), "nan='mask'")).startswith("nan='mask' has 1 value")


@pytest.mark.parametrize("image", [np.full((6, 16, 20), 7.0), np.arange(1920.0).reshape(6, 16, 20)])
@pytest.mark.parametrize("name", ["Isotropic diffusion", "Anisotropic diffusion"])
def test_image_without_noise_is_described_without_names_of_python(open_alone, qtbot, image, name):
    with pytest.raises(NoNoiseError) as caught:
        nd.suggest(image, nd.PeronaMalik())
    assert "kappa" in str(caught.value)
    sentence = screen_message(caught.value)
    assert sentence.startswith("The image has no measurable noise")
    assert sentence.endswith("enter the values yourself.")
    assert "kappa" not in sentence
    viewer, gui = open_alone(name)
    viewer.add_image(image, name="smooth")
    wait_until_settled(qtbot, gui)
    gui.form.suggest.native.click()
    wait_until_settled(qtbot, gui)
    assert gui.panel.status.value == sentence


def test_errors_about_a_part_and_the_whole_are_the_same_fault():
    part, whole = NotFinite(3, (0, 1), "the part"), NotFinite(32, (2, 5), "the image")
    assert is_same_fault(part, whole)
    assert is_same_fault(ValueError("it is wrong"), TypeError("it is wrong"))
    assert not is_same_fault(part, InputError("it is wrong", Remedy.MASK_NAN))
    assert not is_same_fault(InputError("a", Remedy.NAME_AXES), InputError("b", Remedy.GIVE_LABELS))
    assert not is_same_fault(InputError("it is wrong"), InputError("it is odd"))
