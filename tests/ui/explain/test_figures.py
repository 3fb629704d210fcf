"""Frames of the explanations: they are what the filters make of the picture. No display needed."""

import dataclasses
import threading

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.ui.explain import figures
from napari_diffusion.ui.explain.drawing import MARK, pixels
from napari_diffusion.ui.explain.pictures import (
    MAX_SIDE,
    fibre_picture,
    noise_of,
    picture_of,
    sample_picture,
)
from napari_diffusion.ui.explain.topics import TOPICS


@pytest.fixture(scope="module")
def step():
    """A step from 0 to 1000 with noise."""
    values = np.random.default_rng(0).normal(0.0, 40.0, (40, 48))
    values[:, 24:] += 1000.0
    return picture_of(values)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.title)
def test_every_figure_is_complete_and_small(topic, step):
    figure = topic.make(step, None)
    assert figure.positions >= 5
    assert 0 <= figure.start < figure.positions
    for panel in figure.panels:
        assert len(panel.images) == figure.positions
        assert np.isfinite(panel.images).all()
        assert max(panel.images.shape[1:]) <= MAX_SIDE
        assert panel.marks is None or panel.marks.shape == panel.images.shape
        assert panel.limits[0] < panel.limits[1]
        assert 0 <= figure.row < panel.images.shape[1]
    assert all(0 <= number < 2 for number in figure.profile)


def test_heat_equation_of_the_figure_is_the_linear_filter(step):
    """Frames are computed one from another; by the semigroup law each is one run to its time."""
    _, smooth = figures.isotropic(step).panels
    times = [0.0, *np.geomspace(figures.FIRST_TIME, figures.LAST_TIME, figures.TIME_STEPS)]
    for image, time in zip(smooth.images, times, strict=True):
        expected = nd.diffuse(step.values, nd.Linear(), time=float(time))
        np.testing.assert_allclose(image, expected, atol=0.1)  # of 1000 grey levels


def test_same_amount_blurs_the_edge_or_keeps_it(step):
    blurred, kept = figures.anisotropic(step).panels
    position = 15
    jumps = [np.ptp(panel.images[position][:, 22:26].mean(axis=0)) for panel in (blurred, kept)]
    assert jumps[0] < 500 < 700 < jumps[1]
    inside = [panel.images[position][10:30, 5:15].std() for panel in (blurred, kept)]
    assert max(inside) < 0.3 * step.noise


def test_a_higher_threshold_leaves_fewer_edges(step):
    edges, _ = figures.edge_threshold(step).panels
    shares = edges.marks.mean(axis=(1, 2))
    assert (np.diff(shares) <= 0).all()
    assert shares[0] > 0.5 > 0.2 > shares[-1]


def test_captions_say_what_the_figure_shows(step):
    threshold = figures.edge_threshold(step)
    for marks, caption in zip(threshold.panels[0].marks, threshold.captions, strict=True):
        assert caption == f"{marks.mean():.0%} of the pixels count as edges."
    strength = figures.strength(step)
    assert strength.captions[0] == "Gentle: 0.25 times the recommended amount."
    assert strength.captions[-1] == "Strong: 4 times the recommended amount."
    assert strength.panels[0].limits == (-3 * step.noise, 3 * step.noise)
    fine = dataclasses.replace(step, pixel=(0.5, 0.25), unit="µm")
    times = [0.0, 2.0, 8.0]
    assert figures._widths(fine, times) == [
        "Not smoothed yet.",
        "Like a Gaussian of σ = 0.5 µm.",
        "Like a Gaussian of σ = 1 µm.",
    ]


def test_result_of_a_higher_threshold_is_smoother(step):
    _, result = figures.edge_threshold(step).panels
    inside = result.images[:, 10:30, 5:15].std(axis=(1, 2))
    assert (np.diff(inside)[:6] < 0).all()  # then the other side of the edge comes in
    assert inside[0] < np.std(step.values[10:30, 5:15])


def test_profile_crosses_regions_away_from_the_border():
    values = np.zeros((40, 48), np.float32)
    values[1, 24:], values[18:22, 24:] = 3000.0, 400.0  # a border of the sensor, and an object
    assert 16 <= figures.telling_row(values) < 24


def test_pixels_are_drawn_between_the_limits_and_marks_in_colour():
    marks = np.zeros((2, 1, 3), bool)
    marks[1, 0, 1] = True
    images = np.array([[[-5.0, 5.0, 50.0]]] * 2, np.float32)
    panel = figures.Panel("", images, (0.0, 10.0), marks)
    np.testing.assert_array_equal(pixels(panel, 0)[0], [[0] * 3, [127] * 3, [255] * 3])
    np.testing.assert_array_equal(pixels(panel, 1)[0], [[0] * 3, MARK, [255] * 3])


def test_constant_picture_has_limits_and_generated_ones_are_not_the_users():
    low, high = picture_of(np.full((16, 16), 7)).limits
    assert low < high
    assert picture_of(np.eye(8)).own
    assert not sample_picture().own
    assert not fibre_picture().own


def test_noise_is_measured_along_rows():
    """Lines of a scan differ by more than the noise within a line."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.0, 8.0, (128, 128)) + rng.normal(0.0, 80.0, (128, 1))
    assert noise_of(values) == pytest.approx(8.0, rel=0.1)


def test_removed_part_and_result_add_up_to_the_picture(step):
    figure = figures.strength(step)
    removed, result = figure.panels
    np.testing.assert_allclose(
        removed.images + result.images, np.broadcast_to(step.values, result.images.shape), atol=1e-3
    )
    assert figure.captions[figure.start] == "Recommended."
    assert (np.diff(removed.images.std(axis=(1, 2))) > 0).all()


def test_gaps_of_fibres_close_along_the_fibres():
    """The mean along a fibre's direction changes less than with a filter that only keeps edges."""
    figure = figures.fibres(sample_picture())
    kept, along = (panel.images[-1] for panel in figure.panels)
    assert not figure.own
    assert along.std() > 2 * kept.std()  # fibres are still there
    noisy = fibre_picture().values
    roughness = [np.abs(np.diff(image, axis=1)).mean() for image in (noisy, along)]
    assert roughness[1] < 0.6 * roughness[0]


def test_a_figure_that_is_not_needed_stops(step):
    cancel = threading.Event()
    cancel.set()
    for topic in TOPICS:
        with pytest.raises(Cancelled):
            topic.make(step, cancel)


def test_a_large_slice_gives_its_middle():
    plane = np.random.default_rng(0).random((400, 300))
    picture = picture_of(plane)
    middle = plane[136:264, 86:214]
    assert picture.values.shape == (MAX_SIDE, MAX_SIDE)
    np.testing.assert_allclose(
        picture.values, 1000 * (middle - middle.min()) / np.ptp(middle), rtol=1e-5, atol=1e-3
    )


def test_colours_are_averaged_without_the_opacity():
    plane = np.zeros((10, 12, 4), np.uint8)
    plane[3:7, 3:7, 0] = 240
    plane[..., 3] = np.arange(12)  # would change the grey levels
    picture = picture_of(plane)
    assert picture.values.shape == (10, 12)
    assert sorted(np.unique(picture.values)) == [0, 1000]


def test_values_that_are_not_finite_become_the_median():
    plane = np.full((8, 9), 5.0)
    plane[0, 0], plane[1, 1], plane[7, :] = np.nan, np.inf, 6.0
    values = picture_of(plane).values
    assert values[0, 0] == values[1, 1] == values[2, 2]


@pytest.mark.parametrize(
    "plane", [np.zeros((2, 90)), np.full((9, 9), np.nan), np.zeros(7)], ids=["thin", "nan", "1-D"]
)
def test_a_slice_that_shows_nothing_is_refused(plane):
    with pytest.raises(ValueError, match="slice"):
        picture_of(plane)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.title)
def test_a_constant_slice_has_a_figure(topic):
    figure = topic.make(picture_of(np.full((16, 16), 7)), None)
    assert all(np.isfinite(panel.images).all() for panel in figure.panels)


def test_noise_of_white_noise_is_its_standard_deviation():
    values = np.random.default_rng(1).normal(0.0, 8.0, (128, 128))
    assert noise_of(values) == pytest.approx(8.0, rel=0.05)
