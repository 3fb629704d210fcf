"""The aim of a choice: what boundaries keep, what a segmentation gains, what changes nothing."""

import math

import numpy as np
import pytest
import skimage.filters

import napari_diffusion as nd
from helpers.hostile import check_sentence
from helpers.noisy import blocks, white
from helpers.segmented import by_brightness, by_walls, cells, errors, membranes
from napari_diffusion.estimation.aims import MIN_CONTRAST, otsu_threshold, structure_of
from napari_diffusion.estimation.patches import Patch


def filtered(image, **options):
    result = nd.suggest(image, **options)
    return result, nd.diffuse(image, result.model, time=result.time)


def contrast(image, clean):
    """Mean share of the contrast that the boundaries of the noise-free image have."""
    gradients = [np.stack(np.gradient(u.astype(float))) for u in (clean, image)]
    square = np.sum(gradients[0] ** 2, axis=0)
    magnitude = np.sqrt(square)
    places = magnitude > skimage.filters.threshold_otsu(magnitude)
    shares = np.sum(gradients[0] * gradients[1], axis=0)[places] / square[places]
    return np.clip(shares, 0, 1).mean()


@pytest.mark.parametrize(
    ("data", "percent", "segment", "factor"),
    [
        (membranes((160, 160), 21), 10, by_walls, 0.5),
        (membranes((160, 160), 22), 20, by_walls, 0.8),
        (cells((160, 160), 23), 10, by_brightness, 0.9),
    ],
    ids=["membranes 10 %", "membranes 20 %", "cells 10 %"],
)
def test_watershed_errs_less_with_the_aim_and_boundaries_keep_their_contrast(
    data, percent, segment, factor
):
    """The variation of information falls by the factor.

    Boundaries of the noise-free image keep the share of the contrast that they have at least error.
    """
    image = data.noisy(percent, 1)
    (_, least), (_, even) = (filtered(image, aim=aim) for aim in ("error", "segmentation"))
    information = [errors(segment(u), data.labels)[0] for u in (least, even)]
    assert information[1] < factor * information[0]
    assert contrast(even, data.clean) > MIN_CONTRAST * contrast(least, data.clean)


def test_regions_in_a_volume_are_more_even():
    data = membranes((20, 48, 48), 5)
    image = data.noisy(20, 5)
    (_, least), (_, even) = (filtered(image, aim=aim) for aim in ("error", "segmentation"))
    inside = data.clean > 0.9 * np.percentile(data.clean, 90)
    assert even[inside].std() < 0.9 * least[inside].std()
    assert contrast(even, data.clean) > MIN_CONTRAST * contrast(least, data.clean)


def test_aim_error_is_the_default():
    image = (blocks((72, 72)) + 8 * white((72, 72))).astype("f4")
    assert nd.suggest(image, aim="error") == nd.suggest(image)


@pytest.mark.parametrize("model", [nd.Linear(), nd.PeronaMalik()], ids=str)
def test_named_model_smooths_more_for_a_segmentation(model):
    """Fixed parameters stay, so that the time alone is longer."""
    image = membranes((96, 96), 2).noisy(10, 2)
    fixed = [p for p in ("kappa", "sigma") if hasattr(model, p)]
    least, even = (nd.suggest(image, model, aim=a, fixed=fixed) for a in ("error", "segmentation"))
    assert even.model == least.model == model
    assert even.time > least.time
    assert even.gain < least.gain
    assert f"keep {100 * MIN_CONTRAST:.0f} % of the contrast" in even.report


#: Changes of an image, and their factors on intensity and length.
CHANGES = {
    "factor": (lambda u: 4 * u, 4.0, 1.0),
    "offset": (lambda u: u + 512, 1.0, 1.0),
    "flip": (lambda u: u[::-1], 1.0, 1.0),
    "transposed": (lambda u: u.T, 1.0, 1.0),
    "unit of length": (lambda u: u, 1.0, 0.25),
}


@pytest.fixture(scope="module")
def plain():
    """The suggestion for the image before a change."""
    image = membranes((96, 96), 2).noisy(10, 2)
    return nd.suggest(image, nd.PeronaMalik(), aim="segmentation")


@pytest.mark.parametrize("name", CHANGES)
def test_aim_depends_on_no_unit_and_no_orientation(plain, name):
    """Tolerances are the steps of thresholds, scales and times, as another probe may decide."""
    change, intensity, length = CHANGES[name]
    image = change(membranes((96, 96), 2).noisy(10, 2)).astype("f4")
    other = nd.suggest(image, nd.PeronaMalik(), aim="segmentation", spacing=length)
    assert other.time / length**2 == pytest.approx(plain.time, rel=0.3)
    kappa = other.model.kappa * length / intensity
    assert kappa == pytest.approx(plain.model.kappa, rel=0.02)
    assert other.model.sigma / length == pytest.approx(plain.model.sigma, abs=0.36)


def test_voxels_outside_the_mask_have_no_boundaries():
    image = membranes((96, 96), 2).noisy(10, 2)
    mask = np.zeros(image.shape, bool)
    mask[:, :60] = True
    wild = np.where(mask, image, 1e4 * white(image.shape, 2)).astype("f4")
    options = {"aim": "segmentation", "thorough": False, "mask": mask}
    first, second = (nd.suggest(u, nd.PeronaMalik(), **options) for u in (image, wild))
    assert (first.model, first.time) == (second.model, second.time)


def test_regions_have_no_boundary_beside_them():
    """A step between the columns 9 and 10 has its central differences there, and no others."""
    image = np.zeros((1, 20, 20))
    image[..., 10:] = 8.0
    everywhere, size = np.ones((20, 20), bool), (20, 20)
    patch = Patch(
        image, None, everywhere, everywhere, (1.0, 1.0), 0, (0, 0), size, size, (1.0, 1.0)
    )
    structure = structure_of([image], [patch])
    columns = [
        np.flatnonzero(places[0].all(axis=0))
        for places in (structure.boundaries[0][None], structure.regions[0][None])
    ]
    assert columns[0].tolist() == [9, 10]
    assert columns[1].tolist() == [*range(8), *range(12, 20)]
    assert structure.contrast([image]) == 1.0
    assert structure.contrast([image / 2]) == pytest.approx(0.5)
    assert structure.relief([image]) == 0.0


def test_pure_noise_has_a_choice():
    result = nd.suggest(white((64, 64)).astype("f4"), nd.PeronaMalik(), aim="segmentation")
    assert math.isfinite(result.time)
    assert math.isfinite(result.gain)


def test_threshold_is_that_of_otsu():
    values = np.concatenate([white(4000, 1), 5 + 0.5 * white(1000, 2)])
    step = np.ptp(values) / 256
    expected = skimage.filters.threshold_otsu(values)
    assert otsu_threshold(values) == pytest.approx(expected, abs=1.01 * step)
    assert otsu_threshold(np.full(9, 3.0)) == 3.0


@pytest.mark.parametrize(
    "options",
    [
        {"aim": "beauty"},
        {"aim": "segmentation", "fwhm": 2.0},
        {"aim": "segmentation", "noise_reduction": 2.0},
    ],
    ids=str,
)
def test_error_of_an_aim_is_one_sentence(options):
    with pytest.raises(ValueError, match="aim") as caught:
        nd.suggest(blocks((30, 30)) + 8 * white((30, 30)), nd.PeronaMalik(), **options)
    check_sentence(caught.value)


def test_warning_that_detail_is_removed_for_even_regions():
    """Little noise, and texture ten times as strong inside the membranes."""
    image = membranes((96, 96), 2).noisy(1, 2)
    even = nd.suggest(image, nd.PeronaMalik(), aim="segmentation")
    assert even.gain < 0
    assert any("more detail is removed than there was noise" in text for text in even.warnings)
    assert not any("already smooth" in text for text in even.warnings)
