"""Impulses that share a value are recognised in busy surroundings, and nothing else is."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.noise_cases import CASES
from helpers.problems import problem_of
from napari_diffusion.estimation.patches import sample_patches
from napari_diffusion.operators.impulses.search import find_impulses, stand_out

BY_NAME = {case.name: case for case in CASES}
SALT = BY_NAME["camera, salt and pepper 3 %"]


def marks_of(image):
    """Impulses of the single patch of an image, and those that the search of a run finds."""
    problem, _ = problem_of(image, nd.Linear(), time=0.0)
    (patch,) = sample_patches([problem])
    axes = tuple(axis for axis, n in enumerate(patch.valid.shape) if n > 1)
    alone = find_impulses(patch.field, patch.valid.astype(np.uint8), axes)
    marks = np.zeros(alone.shape, bool) if patch.impulses is None else patch.impulses
    return marks.reshape(image.shape), alone.reshape(image.shape)


@pytest.mark.parametrize("seed", [10, 11])
def test_salt_and_pepper_is_found_among_texture(seed):
    """Of the squared error, impulses that are missed have a fiftieth; the search leaves a fifth."""
    image, clean = SALT.noisy(seed), SALT.scene()
    true, squares = np.isin(image, (0, 255)), (image - clean) ** 2
    marks, alone = marks_of(image)
    assert squares[true & ~alone].sum() > 0.15 * squares.sum()
    assert squares[true & ~marks].sum() < 0.02 * squares.sum()
    np.testing.assert_array_equal(marks & ~true, alone & ~true)


@pytest.mark.parametrize("seed", [10, 11])
def test_salt_and_pepper_of_8_bits_spares_the_picture(seed):
    """Values of 0 and 255 that noise and limits make are no impulses."""
    image = np.clip(np.round(SALT.noisy(seed)), 0, 255).astype(np.uint8)
    rng = np.random.default_rng(101 * (seed + 1))
    rng.normal(size=image.shape)
    draw = rng.random(image.shape)
    true = (draw < 0.015) | (draw > 0.985)
    assert set(np.unique(image[true])) == {0, 255}
    marks, alone = marks_of(image)
    assert (marks & true).sum() > 1.2 * (alone & true).sum()
    assert (marks & ~true).mean() <= 1e-4


def dark_with_dead_voxels(shape=(96, 96)):
    """Objects of 90 on a background of counts that is cut off at 0, with 20 dead voxels in them."""
    rng = np.random.default_rng(4)
    y, x = np.indices(shape)
    inside = (x // 24 + y // 24) % 2 == 1
    image = np.maximum(np.round(np.where(inside, 90, 2) + 4 * rng.normal(size=shape)), 0)
    dead = rng.choice(np.flatnonzero(inside), 20, replace=False)
    image.reshape(-1)[dead] = 0
    return image.astype(np.uint8), dead


def test_background_with_the_value_of_dead_voxels_is_spared():
    image, dead = dark_with_dead_voxels()
    marks, alone = marks_of(image)
    assert alone.reshape(-1)[dead].sum() >= 10
    np.testing.assert_array_equal(marks, alone)


@pytest.mark.parametrize(
    "name",
    [
        "saturated at 220",
        "cut off below 0",
        "8 bit, noise of 0.45 levels",
        "cells, below 1 photon",
        "cells, hot pixels 0.3 %",
    ],
)
def test_other_values_that_repeat_are_no_impulses(name):
    """Saturated, cut-off and whole numbers, photons, and hot pixels that are all found."""
    case = BY_NAME[name]
    image = case.noisy(10)
    problem, _ = problem_of(image, nd.Linear(), time=0.0)
    for patch in sample_patches([problem]):
        alone = find_impulses(patch.field, patch.valid.astype(np.uint8), (0, 1, 2))
        marks = np.zeros(alone.shape, bool) if patch.impulses is None else patch.impulses
        np.testing.assert_array_equal(marks, alone)


def test_place_stands_out_from_usable_voxels_only():
    """Noise of 1: a distance of 8 stands out and one of 2 does not, beside places left out."""
    image = 100 + np.random.default_rng(2).normal(size=(40, 40)).astype(np.float32)
    usable = np.ones(image.shape, bool)
    for row, value in ((10, 108.0), (20, 92.0), (30, 102.0)):
        image[row, 20], image[row, 21:23], usable[row, 20:23] = value, value, False
    places = np.ravel_multi_index(([10, 20, 30], [20] * 3), image.shape)
    np.testing.assert_array_equal(stand_out(image, usable, (0, 1), places), [True, True, False])
    usable[8:13, 18:23] = False
    assert not stand_out(image, usable, (0, 1), places)[0]  # no neighbour is usable
