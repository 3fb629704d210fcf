"""The noise region of the widget: labels or a shape, and the suggestion is that of Python."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_diffusion as nd
from helpers.viewer import wait_until_settled

#: Voxel sizes of the image.
LOOK = {"scale": (0.5, 0.5), "units": ("um",) * 2}


@pytest.fixture(scope="module")
def scene():
    """Return an image full of texture, and a place without."""
    rng = np.random.default_rng(0)
    image = 100 + 90 * gaussian_filter(rng.normal(size=(72, 76)), 0.7)
    region = np.zeros(image.shape, bool)
    region[:30, :30] = True
    image[region] = 100
    return (image + 10 * rng.normal(size=image.shape)).astype(np.float32), region


def level(widget):
    return widget.context.suggestion.noise.sigma


def test_suggestion_is_that_of_the_labels_and_follows_them(open_alone, qtbot, scene):
    image, region = scene
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(image, **LOOK)
    place = widget.form.noise_place
    assert not place.native.isVisibleTo(widget.native)
    wait_until_settled(qtbot, widget)
    whole = level(widget)
    labels = viewer.add_labels(np.where(region, 4, 0), name="air", **LOOK)
    place.layer.value = labels
    wait_until_settled(qtbot, widget)
    model = widget.context.suggestion.model
    expected = nd.suggest(image, type(model)(), spacing=(0.5, 0.5), unit="µm", noise_region=region)
    assert level(widget) == expected.noise.sigma
    assert whole > 1.03 * level(widget)
    assert "of the noise region" in widget.context.suggestion.report
    labels.data = np.where(region & (np.indices(region.shape)[0] > 9), 4, 0)
    wait_until_settled(qtbot, widget)
    assert level(widget) != expected.noise.sigma
    viewer.layers.remove(labels)
    wait_until_settled(qtbot, widget)
    assert level(widget) == whole


def test_a_rectangle_is_its_box(open_alone, qtbot, scene):
    image, region = scene
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(image, **LOOK)
    corners = np.array([[0, 0], [0, 14.6], [14.6, 14.6], [14.6, 0]])  # voxels 0 to 29
    shapes = viewer.add_shapes([corners], name="air", units=("um",) * 2)
    widget.form.noise_place.layer.value = shapes
    mask = widget.form.settings().noise_mask
    np.testing.assert_array_equal(mask.mask(image.shape), region)
    wait_until_settled(qtbot, widget)
    assert level(widget) == pytest.approx(10, rel=0.15)
    shapes.data = [corners / 8]
    wait_until_settled(qtbot, widget)
    assert widget.context.suggestion is None
    assert "has 16 voxels that can be used" in widget.form.strength.sentence.value
