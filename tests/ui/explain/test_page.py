"""The page "Explain it to me": figures of the slice on screen, in a thread, until Back."""

import gc
import weakref

import dask.array
import numpy as np
import pytest

from helpers.viewer import WAIT
from napari_diffusion.ui.explain import page as page_module
from napari_diffusion.ui.explain.own_slice import slice_reader
from napari_diffusion.ui.explain.page import COMPUTING, OWN, SAMPLE, ExplainPage
from napari_diffusion.ui.explain.pictures import picture_of
from napari_diffusion.ui.explain.topics import TOPICS
from napari_diffusion.ui.run import task


@pytest.fixture
def open_page(open_alone, qtbot):
    """Return a function that opens a page for a viewer with some layers."""

    def open_one(*images, **options):
        viewer, widget = open_alone()
        for image in images:
            viewer.add_image(image, **options)
        qtbot.waitUntil(lambda: not widget.pending, timeout=WAIT)
        page = ExplainPage(widget.context)
        qtbot.addWidget(page)
        page.open()
        return viewer, page

    return open_one


def wait_for_figure(qtbot, page):
    qtbot.waitUntil(lambda: page.caption.text() not in ("", COMPUTING), timeout=WAIT)


def test_figure_is_made_of_the_slice_on_screen(open_page, qtbot, noisy):
    viewer, page = open_page(noisy, scale=(2, 0.5, 0.25), units=("um",) * 3)
    viewer.dims.set_current_step(0, 4)
    qtbot.waitUntil(lambda: page._follow.isActive() is False, timeout=WAIT)
    wait_for_figure(qtbot, page)
    expected = picture_of(noisy[4], (0.5, 0.25), "µm")
    qtbot.waitUntil(
        lambda: np.array_equal(page._figure.panels[0].images[0], expected.values), timeout=WAIT
    )
    assert page._figure.pixel == (0.5, 0.25)
    assert page.caption.text().endswith(OWN)


@pytest.mark.parametrize("topic", range(len(TOPICS)), ids=[topic.title for topic in TOPICS])
def test_every_topic_shows_its_text_and_figure(open_page, qtbot, noisy, topic):
    _, page = open_page(noisy)
    page.topics[topic].click()
    wait_for_figure(qtbot, page)
    assert page.text.text() == TOPICS[topic].text
    assert page.slider.maximum() == page._figure.positions - 1
    page.slider.setValue(1)
    assert page.caption.text().startswith(page._figure.captions[1])


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1)])
@pytest.mark.parametrize("ndisplay", [2, 3])
def test_slice_is_that_on_screen_with_its_pixel_size(open_alone, noisy, order, ndisplay):
    viewer, _ = open_alone()
    layer = viewer.add_image(noisy, scale=(4, 2, 1), units=("um",) * 3)
    viewer.dims.order = order
    viewer.dims.ndisplay = ndisplay
    first, *shown = order
    place = 1 if ndisplay == 2 else noisy.shape[first] // 2
    if ndisplay == 2:
        viewer.dims.set_current_step(first, place)
    picture = slice_reader(viewer, layer)()
    expected = picture_of(noisy.transpose(order)[place], [(4, 2, 1)[axis] for axis in shown], "µm")
    np.testing.assert_array_equal(picture.values, expected.values)
    assert picture.pixel == expected.pixel


def test_known_figure_is_shown_at_once_until_the_slice_changes(open_page, qtbot, noisy):
    viewer, page = open_page(noisy)
    wait_for_figure(qtbot, page)
    known = page._figure
    page.topics[1].click()
    wait_for_figure(qtbot, page)
    page.topics[0].click()
    assert page._figure is known
    viewer.dims.set_current_step(0, 5)
    assert page._follow.isActive()
    page._follow.timeout.emit()
    assert page.caption.text() == COMPUTING
    wait_for_figure(qtbot, page)
    np.testing.assert_array_equal(page._figure.original, picture_of(noisy[5]).values)


def test_slider_starts_at_the_recommendation_and_changes_the_picture(open_page, qtbot, noisy):
    _, page = open_page(noisy)
    page.topics[3].click()  # the strength
    wait_for_figure(qtbot, page)
    figure = page._figure
    assert 0 < figure.start == page.slider.value()
    assert page.view._position == figure.start
    for position in range(figure.positions):
        page.slider.setValue(position)
        assert page.view._position == position


def test_animation_goes_round_and_stops_when_it_is_hidden(open_page, qtbot, noisy):
    _, page = open_page(noisy)
    wait_for_figure(qtbot, page)
    page.slider.setValue(page.slider.maximum())
    page._advance()
    assert page.slider.value() == 0
    assert page._tick.isActive()
    page.hide()
    assert not page._tick.isActive()
    page._follow_slice()
    assert not page._follow.isActive()


def test_error_of_a_figure_takes_the_place_of_its_caption(open_page, qtbot, noisy):
    _, page = open_page(noisy)
    wait_for_figure(qtbot, page)
    page.fail(ValueError("It is too dark."))
    assert page.caption.text() == "It is too dark."


def test_without_an_image_a_sample_is_explained(open_page, qtbot):
    _, page = open_page()
    wait_for_figure(qtbot, page)
    assert page.caption.text().endswith(SAMPLE)


def test_a_slice_that_cannot_be_read_is_replaced_by_a_sample(open_page, qtbot):
    def refuse(block):
        if block.size:  # dask calls it with an empty array first
            raise OSError("gone")
        return block

    viewer, page = open_page()
    image = dask.array.zeros((4, 32, 32), chunks=(1, 32, 32)).map_blocks(refuse, dtype=float)
    page._context = type("Context", (), {"viewer": viewer, "layer": None})()
    reader = page_module._picture(lambda: picture_of(np.asarray(image[0])))
    assert not reader.own


@pytest.mark.parametrize("ndisplay", [2, 3])
def test_three_dimensional_view_has_a_slice_too(open_page, qtbot, noisy, ndisplay):
    viewer, page = open_page(noisy)
    viewer.dims.ndisplay = ndisplay
    page.open()
    wait_for_figure(qtbot, page)
    assert page._figure.own


def test_figure_plays_until_the_slider_is_pressed(open_page, qtbot, noisy):
    _, page = open_page(noisy)
    wait_for_figure(qtbot, page)
    qtbot.waitUntil(lambda: page.slider.value() > 1, timeout=WAIT)
    page.slider.sliderPressed.emit()
    assert not page._tick.isActive()
    page.play.click()
    assert page._tick.isActive()


def test_back_ends_the_work_and_forgets_the_figures(open_page, qtbot, noisy):
    _, page = open_page(noisy)
    left = []
    page.left.connect(lambda: left.append(True))
    page.back.click()
    assert left
    assert not page.isVisible()
    assert page._figure is None
    assert not page._figures
    assert not page._tick.isActive()
    qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)
    assert page._figure is None


def test_hidden_page_does_not_follow_the_slider(open_page, qtbot, noisy):
    viewer, page = open_page(noisy)
    page.back.click()
    viewer.dims.set_current_step(0, 1)
    assert not page._follow.isActive()


def test_figures_are_freed_after_back(open_page, qtbot, noisy):
    _, page = open_page(noisy)
    wait_for_figure(qtbot, page)
    figure = weakref.ref(page._figure)
    page.back.click()
    gc.collect()
    assert figure() is None


def test_question_mark_opens_the_page_in_the_place_of_the_controls(open_widget, qtbot, noisy):
    viewer, widget = open_widget()
    viewer.add_image(noisy)
    run = widget.panel.button.native
    before = run.mapToGlobal(run.rect().topLeft())
    widget.header.help.native.click()
    assert not widget.explain.isHidden()
    assert widget.scroll.isHidden()
    assert not run.isHidden()
    wait_for_figure(qtbot, widget.explain)
    widget.explain.back.click()
    assert not widget.scroll.isHidden()
    assert widget.explain.isHidden()
    qtbot.wait(50)
    assert run.mapToGlobal(run.rect().topLeft()) == before


def test_page_is_not_higher_than_the_controls(open_alone, noisy):
    """The window keeps its size when the page opens."""
    viewer, widget = open_alone()
    viewer.add_image(noisy)
    assert widget.explain.minimumSizeHint().height() == widget.scroll.minimumSizeHint().height()
    assert widget.explain.minimumSizeHint().width() <= widget.scroll.minimumSizeHint().width()


def test_figure_and_slider_stay_in_place_for_all_topics(open_widget, qtbot, noisy):
    viewer, widget = open_widget()
    window = widget.native.window()
    window.resize(1280, 800)
    window.show()
    viewer.add_image(noisy)
    widget.header.help.native.click()
    page, places = widget.explain, set()
    for button in page.topics:
        button.click()
        qtbot.wait(30)
        places.add((page.view.y(), page.slider.y()))
    assert len(places) == 1
