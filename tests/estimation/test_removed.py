"""What a run has removed: its level, and the test for structure in it."""

import math

import dask.array
import numpy as np
import pytest
from scipy import ndimage

import napari_diffusion as nd
from napari_diffusion.core.geometry import Geometry
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.estimation.measurement.removed import (
    MAX_CHANCE,
    MAX_VOXELS,
    measure_removed,
    structure_share,
)


def removed(image, result, spacing=1.0, **geometry):
    """Measure what was removed from an image."""
    problem = make_problem(image, RecipeFields(nd.Linear(), 1.0), Geometry(spacing, **geometry))
    return measure_removed(problem, result)


def share_of(part):
    """Share of structure in a removed part of two or three fine axes."""
    axes = tuple(range(part.ndim))
    return structure_share([(np.asarray(part, np.float32), np.ones(part.shape, bool), axes)])


def high_pass(noise, sigma):
    """What a Gaussian removes of noise."""
    return noise - ndimage.gaussian_filter(noise, sigma, mode="nearest")


NOISES = {
    "normal": lambda rng, shape: rng.normal(0, 10, shape),
    "few photons": lambda rng, shape: rng.poisson(3, shape) - 3.0,
    "uneven": lambda rng, shape: (
        rng.normal(0, 1, shape) * np.exp(3 * np.sin(np.indices(shape)[-1] / 9))
    ),
    "shared": lambda rng, shape: ndimage.gaussian_filter(rng.normal(0, 10, shape), 1.0),
}


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("shape", [(192, 192), (32, 32, 32)])
def test_pure_noise_raises_no_alarm(kind, shape):
    # Each of the two tests of a part has the probability MAX_CHANCE of an alarm: of 30 parts, 0.12
    # are expected, and 2 or more have a probability of 0.7 %.
    alarms = 0
    for seed in range(10):
        noise = NOISES[kind](np.random.default_rng(seed), shape)
        alarms += sum(share_of(high_pass(noise, sigma)) > 0 for sigma in (0.7, 1.5, 4.0))
    assert MAX_CHANCE * 2 * 30 < 0.2
    assert alarms <= 1


@pytest.mark.parametrize("angle", [0, 13, 45, 77, 90])
def test_edge_that_was_smoothed_is_seen_at_every_angle(angle):
    y, x = np.indices((192, 192)) - 96.0
    side = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle)) > 0
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(0, 10, side.shape)
        assert share_of(high_pass(40.0 * side + noise, 2.0)) > 0


def test_smoothed_sphere_is_seen_in_a_volume():
    distance = np.sqrt(sum((axis - 23.5) ** 2 for axis in np.indices((48, 48, 48))))
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 10, distance.shape)
        assert share_of(high_pass(30.0 * (distance < 15) + noise, 2.0)) > 0


def test_share_is_that_of_the_blocks_with_structure():
    part = np.random.default_rng(0).normal(0, 1, (256, 256))
    part[:, :64] += 3 * np.sign(np.sin(np.arange(64) / 2))  # a quarter is full of lines
    assert share_of(part) == pytest.approx(0.25, abs=0.05)


def test_share_does_not_depend_on_the_scale_of_the_intensity():
    part = high_pass(
        50.0 * (np.indices((128, 128))[0] > 60)
        + np.random.default_rng(0).normal(0, 10, (128, 128)),
        2.0,
    )
    share = share_of(part)
    assert share > 0
    for factor in (1e-6, 1024.0, -1.0):
        assert share_of(factor * part) == pytest.approx(share)


def test_edge_preserving_run_keeps_the_edge_that_a_gaussian_loses():
    edge = np.where(np.indices((160, 160))[1] > 80, 160.0, 100.0)
    image = (edge + np.random.default_rng(0).normal(0, 10, edge.shape)).astype(np.float32)
    kept = nd.diffuse(image, nd.PeronaMalik(kappa=3.0, sigma=1.0), time=4.0)
    lost = nd.diffuse(image, nd.Linear(), time=4.0)
    assert removed(image, kept).has_structure is False
    assert removed(image, lost).has_structure is True


def test_level_and_noise_are_standard_deviations():
    image = np.random.default_rng(0).normal(100, 10, (128, 128)).astype(np.float32)
    result = nd.diffuse(image, nd.Linear(), time=1.0)
    answer = removed(image, result)
    assert answer.level == pytest.approx((image - result).std(), rel=0.01)
    assert answer.noise == pytest.approx(10, rel=0.05)
    assert not answer.has_structure


def test_nothing_removed_is_no_structure():
    image = np.random.default_rng(0).normal(100, 10, (96, 96)).astype(np.float32)
    answer = removed(image, image)
    assert answer.level == 0
    assert answer.has_structure is None


def test_image_without_noise_has_none():
    image = np.zeros((64, 64), np.float32)
    image[:, 32:] = 1
    assert math.isnan(removed(image, nd.diffuse(image, nd.Linear(), time=1.0)).noise)


def test_lines_and_small_images_cannot_be_tested():
    rng = np.random.default_rng(0)
    for shape in ((500,), (12, 12)):
        image = rng.normal(100, 10, shape).astype(np.float32)
        answer = removed(image, nd.diffuse(image, nd.Linear(), time=1.0))
        assert answer.has_structure is None


def test_values_that_are_not_finite_do_not_count():
    image = np.random.default_rng(0).normal(100, 10, (128, 128)).astype(np.float32)
    image[40:60, 40:60] = np.nan
    result = nd.diffuse(image, nd.Linear(), time=1.0, nan="mask")
    answer = removed(image, result)
    assert answer.level == pytest.approx(np.nanstd(image - result), rel=0.02)
    assert not answer.has_structure


def test_colours_and_frames_are_read():
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (4, 64, 64, 3)).astype(np.float32)
    options = {"axes": (1, 2), "channel_axis": 3}
    result = nd.diffuse(image, nd.Linear(), time=1.0, **options)
    answer = removed(image, result, **options)
    assert answer.level == pytest.approx((image - result).std(), rel=0.02)
    assert answer.has_structure is False


def test_part_of_a_large_image_is_read():
    touched = [0]

    def count(block):
        touched[0] += block.size
        return np.random.default_rng(block.size).normal(100, 10, block.shape).astype(np.float32)

    lazy = dask.array.zeros((512, 512, 512), np.float32, chunks=32).map_blocks(
        count, dtype=np.float32, meta=np.zeros((0, 0, 0), np.float32)
    )
    answer = removed(lazy, dask.array.zeros_like(lazy))
    assert answer.level > 0
    # A box touches up to eight chunks of 32 voxels; the noise is read in other boxes.
    assert touched[0] < 20 * MAX_VOXELS < lazy.size / 6
