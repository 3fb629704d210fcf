"""Affine transforms: voxel sizes are lengths, and a change of orientation keeps every voxel."""

import itertools

import numpy as np
import pytest

from napari_diffusion.core.axes.affine import (
    SAME_GRID,
    Reorientation,
    distance_of_grids,
    orthogonality_defect,
    reorientation_to,
    voxel_sizes,
)

RNG = np.random.default_rng(0)
SHAPE = (4, 3, 5)


def rotation(seed):
    """Return a random rotation."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def affine_of(linear, origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, origin
    return affine


GRID = affine_of(rotation(1) @ np.diag([2.0, 0.5, 3.0]), (7.0, -3.0, 11.0))
ORIENTATIONS = [
    Reorientation(order, flipped)
    for order in itertools.permutations(range(3))
    for flipped in itertools.product([False, True], repeat=3)
]


@pytest.mark.parametrize("seed", range(5))
def test_rotation_and_reflection_keep_voxel_sizes(seed):
    sizes = (2.0, 0.5, 3.0)
    linear = rotation(seed) @ np.diag(sizes)
    assert voxel_sizes(linear) == pytest.approx(sizes)
    assert voxel_sizes(-linear) == pytest.approx(sizes)
    assert orthogonality_defect(linear) < 1e-12


def test_voxel_sizes_of_fewer_axes_than_coordinates():
    assert voxel_sizes(np.array([[3.0, 0.0], [4.0, 0.0], [0.0, 2.0]])) == (5.0, 2.0)


@pytest.mark.parametrize("angle", [0.0, 1.0, 30.0, 45.0])
def test_defect_is_the_cosine_between_two_axes(angle):
    sheared = np.eye(3)
    sheared[:2, 1] = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    sheared[:, 2] *= 7.0
    assert orthogonality_defect(sheared) == pytest.approx(np.sin(np.radians(angle)))


def test_axes_without_a_direction_have_no_defect():
    assert orthogonality_defect(np.diag([1.0, 0.0, 2.0])) == 0.0
    assert orthogonality_defect(np.zeros((3, 0))) == 0.0


def test_distance_of_grids_is_counted_in_voxels():
    for i in range(3):
        moved = affine_of(GRID[:3, :3], GRID[:3, 3] + 0.25 * GRID[:3, i])
        assert distance_of_grids(GRID, moved, SHAPE) == pytest.approx(0.25)
    assert distance_of_grids(GRID, GRID, SHAPE) == 0.0


def test_distance_of_grids_is_that_at_the_farthest_corner():
    wider = GRID @ np.diag([1.0, 1.0, 1.01, 1.0])
    assert distance_of_grids(GRID, wider, SHAPE) == pytest.approx(0.01 * (SHAPE[2] - 1))
    assert distance_of_grids(GRID, wider, (4, 3, 1)) == pytest.approx(0.0)


@pytest.mark.parametrize("turn", ORIENTATIONS)
def test_every_orientation_is_found_and_turned_back(turn):
    """Each voxel of the turned array has the coordinates that it had before."""
    values = RNG.random(SHAPE)
    turned, affine = turn.apply_to(values), turn.affine_of(GRID, SHAPE)
    index = np.array([2, 1, 3]) % turned.shape
    place = affine @ [*index, 1.0]
    before = np.rint(np.linalg.solve(GRID, place))[:3].astype(int)
    assert turned[tuple(index)] == values[tuple(before)]
    back = reorientation_to(GRID, SHAPE, affine, turned.shape)
    np.testing.assert_array_equal(back.apply_to(turned), values)


@pytest.mark.parametrize(
    "other",
    [
        affine_of(GRID[:3, :3], GRID[:3, 3] + 0.5 * GRID[:3, 0]),
        GRID @ np.diag([1.5, 1.0, 1.0, 1.0]),
        affine_of(rotation(5) @ GRID[:3, :3], GRID[:3, 3]),
        affine_of(np.zeros((3, 3))),
    ],
    ids=["moved", "larger voxels", "rotated", "singular"],
)
def test_other_grids_have_no_reorientation(other):
    assert reorientation_to(GRID, SHAPE, other, SHAPE) is None


def test_grids_of_another_shape_have_no_reorientation():
    assert reorientation_to(GRID, SHAPE, GRID, (4, 3, 6)) is None


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_tolerance_is_the_distance_in_voxels(share):
    moved = affine_of(GRID[:3, :3], GRID[:3, 3] + share * SAME_GRID * GRID[:3, 1])
    assert (reorientation_to(GRID, SHAPE, moved, SHAPE) is not None) is (share < 1)
    assert reorientation_to(GRID, SHAPE, moved, SHAPE, 3 * SAME_GRID) is not None
