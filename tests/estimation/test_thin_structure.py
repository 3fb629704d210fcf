"""Suggestions for models of thin structure keep its contrast."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.tubes import around, gaussian, straight
from napari_diffusion.estimation import selection

SHAPE = (36, 36, 36)
#: Direction and place of the tubes, from the middle of the volume.
TUBES = (
    ((0, 1, 3), (0, 0, 0)),
    ((1, 2, 4.3), (9, 6, -5)),
    ((0, 0, 1), (-9, -7, 0)),
    ((1, 1, 0.2), (-3, 9, 9)),
)


@pytest.fixture(scope="module")
def phantoms():
    """The same four tubes of radius 1; each phantom measures another one."""
    lines = []
    for direction, offset in TUBES:
        line = straight(np.array(SHAPE) / 2 + offset, direction, 60)
        lines.append(line[((line > -3) & (line < np.array(SHAPE) + 3)).all(1)])
    order = [[lines[k], *lines[:k], *lines[k + 1 :]] for k in range(4)]
    return [around(each, 1.0, gaussian, SHAPE) for each in order]


@pytest.mark.parametrize(
    "model", [nd.VesselEnhancing(), nd.CoherenceEnhancing()], ids=lambda model: model.name
)
def test_suggested_values_keep_nine_tenths_of_the_thinnest_tubes(model, phantoms):
    """With noise of a fifth of the contrast; and noise is removed. Less noise is easier."""
    each, percent = phantoms, 20
    noise = np.random.default_rng(5).normal(size=SHAPE)
    image = (100 * each[0].clean + percent * noise).astype("f4")
    chosen, time = nd.suggest(image, model)
    result = nd.diffuse(image, chosen, time=time)
    assert min(phantom.kept(result, image) for phantom in each) > 0.9
    left = np.square(result - 100 * each[0].clean).mean() / percent**2
    assert left < (0.1 if model.name == "vessel-enhancing" else 0.8)


def test_least_error_of_the_image_costs_thin_tubes_half_of_their_contrast(monkeypatch, phantoms):
    """The reason for a criterion of its own: nearly all of the image is background."""
    monkeypatch.setattr(selection, "mark_thin_structure", lambda patches, probes: None)
    each = phantoms
    noise = np.random.default_rng(5).normal(size=SHAPE)
    image = (100 * each[0].clean + 20 * noise).astype("f4")
    chosen, time = nd.suggest(image, nd.CoherenceEnhancing())
    result = nd.diffuse(image, chosen, time=time)
    assert max(phantom.kept(result, image) for phantom in each) < 0.7


def test_radii_of_vessels_follow_the_voxel(phantoms):
    """Unless they are fixed."""
    image = 100 * phantoms[0].clean[:20] + 10 * np.random.default_rng(5).normal(size=(20, 36, 36))
    options = {"spacing": 0.2, "thorough": False}
    chosen, _ = nd.suggest(image.astype("f4"), nd.VesselEnhancing(), **options)
    assert (chosen.sigma, chosen.thickest) == pytest.approx((0.2, 0.6))
    fixed = nd.VesselEnhancing(sigma=0.4, thickest=0.8)
    chosen, _ = nd.suggest(image.astype("f4"), fixed, **options, fixed=["sigma", "thickest"])
    assert (chosen.sigma, chosen.thickest) == (0.4, 0.8)


def test_image_without_thin_structure_is_chosen_as_before(monkeypatch):
    """Broad blocks and noise alone have none, so that the criterion stays the error."""
    noise = np.random.default_rng(1).normal(size=(24, 24, 24))
    image = (100 + 8 * noise).astype("f4")
    options = {"thorough": False}
    chosen = nd.suggest(image, nd.CoherenceEnhancing(), **options)
    monkeypatch.setattr(selection, "mark_thin_structure", lambda patches, probes: None)
    before = nd.suggest(image, nd.CoherenceEnhancing(), **options)
    assert (chosen.model, chosen.time) == (before.model, before.time)
