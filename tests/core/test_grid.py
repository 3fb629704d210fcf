"""Largest explicit step of a grid."""

import math

import pytest

from napari_diffusion.core.grid import Grid


def test_largest_step_is_that_of_the_axes_with_inner_faces():
    """1 / (2 g (1/2² + 1/0.5²)); an axis of one voxel has no inner face."""
    volume = Grid((1, 8, 5), (0.1, 2.0, 0.5))
    assert volume.inverse_square_sum == 4.25
    assert volume.max_step(3.0) == pytest.approx(1 / 25.5, rel=1e-15)
    assert volume.max_step(3.0) == Grid((8, 5), (2.0, 0.5)).max_step(3.0)


@pytest.mark.parametrize(("axes", "step"), [(1, 1 / 2), (2, 1 / 4), (3, 1 / 6)])
def test_largest_step_of_unit_voxels_is_half_over_the_number_of_axes(axes, step):
    assert Grid((9,) * axes, (1.0,) * axes).max_step(1.0) == step


def test_step_is_unlimited_where_nothing_diffuses():
    assert Grid((4, 4), (1.0, 1.0)).max_step(0.0) == math.inf
    assert Grid((1, 1), (1.0, 1.0)).max_step(1.0) == math.inf
