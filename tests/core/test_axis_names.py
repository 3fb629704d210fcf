"""The table of axis names, and the rule for the axes of space."""

import pytest

from napari_diffusion.core.axes.names import AxisKind, assumptions, kind_of, space_axes

KINDS = {
    AxisKind.SPACE: "x Y z_um X(px) Z-plane slices rows axis_x focus",
    AxisKind.TIME: "t TIME timepoint time_point Frames dim_t Zeit time_s",
    AxisKind.CHANNEL: "c channels band Lambda channel_name Kanal",
    AxisKind.POSITION: "tile Round scene field_of_view imaging_round well",
    AxisKind.MEASUREMENT: "echo TE b-value bvec gradient",
    AxisKind.UNKNOWN: "foo 轴 x_position tile_z",
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names.split()]
)
def test_kind_of_a_name(kind, name):
    assert kind_of(name) is kind


@pytest.mark.parametrize(
    ("names", "shape", "expected"),
    [
        ([None] * 4, (60, 2, 256, 256), (0, 2, 3)),
        ([None] * 3, (4, 31, 32), (1, 2)),
        ([None] * 3, (4, 31, 31), (0, 1, 2)),  # 4 · 8 > 31: a stack of small planes
        ([None] * 3, (5, 64, 64), (0, 1, 2)),
        ([None] * 3, (1, 64, 64), (1, 2)),
        ([None] * 3, (0, 64, 64), (0, 1, 2)),
        ([None] * 3, (1, 1, 1), (1, 2)),
        (["foo", "y", "x"], (9, 9, 9), (1, 2)),
        (["foo", "bar"], (9, 9), (0, 1)),
        (["dim_0", "dim_1", "dim_2"], (9, 9, 9), (0, 1, 2)),
        (["t", "c"], (9, 9), (0, 1)),
    ],
)
def test_axes_of_space(names, shape, expected):
    assert space_axes(names, shape, [False] * len(shape)) == expected


def test_a_length_marks_an_axis_of_space():
    assert space_axes([None] * 3, (2, 64, 64), [True] * 3) == (0, 1, 2)
    assert space_axes([None] * 3, (64, 64, 64), [False, True, True]) == (1, 2)
    assert space_axes(["t", "y", "x"], (64, 64, 64), [True] * 3) == (1, 2)


def test_an_axis_that_the_user_has_set_is_no_assumption():
    names, shape, lengths = [None] * 3, (2, 64, 64), [False] * 3
    assert "taken as channels" in assumptions(names, shape, lengths, (1, 2))[0]
    assert assumptions(names, shape, lengths, (0, 1, 2)) == ()
    assert "taken as z" in assumptions([None] * 3, (9, 64, 64), lengths, (0, 1, 2))[0]
    assert assumptions([None] * 3, (9, 64, 64), lengths, (1, 2)) == ()
