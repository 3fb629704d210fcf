"""Sentences on the preview fit into the two lines that are reserved for them."""

import pytest
from qtpy.QtWidgets import QApplication

from helpers.viewer import wait_until_settled
from napari_diffusion.models import all_models
from napari_diffusion.ui.overlay import preview_words
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.widget import OUTPUTS

PLACE = "the central 512 × 512 pixels"
TITLE = max((model.title for model in all_models()), key=len)
SENTENCES = [
    preview_words.COMPUTING,
    preview_words.describe_exact(PLACE, 0.0123),
    preview_words.describe_exact(PLACE, 0.0123, measuring=True),
    preview_words.describe_draft(PLACE, 12.0),
    preview_words.describe_draft(PLACE, 12.0, measuring=True),
    preview_words.describe_draft(PLACE, None),
    preview_words.describe_compilation(PLACE, TITLE),
    preview_words.describe_compilation("", TITLE),
]


@pytest.fixture
def window(open_widget, qtbot, noisy):
    """The widget in a visible window, with an image."""
    viewer, widget = open_widget()
    native = widget.native.window()
    native.resize(1280, 800)
    native.show()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, widget)
    return widget


def test_no_sentence_moves_what_is_below_it(window):
    section, places = window.sections[PreviewSection], {}
    for sentence in ("", *SENTENCES):
        section._set_status(sentence, is_draft=sentence.startswith("Quick"))
        for _ in range(5):
            QApplication.processEvents()
        places[sentence] = window.drawers[OUTPUTS].native.y()
        label = section.status.native
        assert label.height() >= label.heightForWidth(label.width()), sentence
    assert len(set(places.values())) == 1, places
