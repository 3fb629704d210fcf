"""Names of axes: one table says what each name stands for, and which axes are space."""

import pytest

from napari_diffusion.core.axes.names import AxisKind, describe_axes, kind_of, space_axes


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (AxisKind.SPACE, ["x", "Y", "z", "z (um)", "Z [µm]", "planes", "rows", "slice", "depth"]),
        (
            AxisKind.TIME,
            ["t", "T", "time", "timepoint", "time_points", "Frames", "volume"],
        ),
        (AxisKind.CHANNEL, ["c", "channel", "Channels", "channel_axis", "lambda", "band"]),
        (AxisKind.SAMPLE, ["rgb", "samples"]),
        (AxisKind.POSITION, ["tile", "scene", "round", "position 3", "view", "well", "subject"]),
        (AxisKind.MEASUREMENT, ["echo", "echoes", "direction", "bval", "lifetime", "flip angle"]),
        (AxisKind.UNKNOWN, ["q", "something", "foo bar"]),
    ],
)
def test_names_of_microscopy_and_mri_are_known(kind, names):
    assert {name: kind_of(name) for name in names} == dict.fromkeys(names, kind)


@pytest.mark.parametrize(
    ("names", "shape", "axes"),
    [
        (["t", "c", "z", "y", "x"], (2, 3, 5, 6, 7), (2, 3, 4)),
        (["timepoint", "y", "x"], (9, 64, 64), (1, 2)),
        (["foo", "y", "x"], (9, 64, 64), (1, 2)),
        (["tile", "z", "y", "x"], (9, 9, 64, 64), (1, 2, 3)),
        ([None] * 4, (60, 2, 256, 256), (0, 2, 3)),
        ([None] * 4, (2, 60, 256, 256), (1, 2, 3)),
        ([None] * 3, (60, 256, 256), (0, 1, 2)),
        ([None] * 3, (256, 256, 3), (0, 1)),
        ([None] * 3, (4, 5, 6), (0, 1, 2)),
    ],
)
def test_axes_of_space_are_those_with_a_name_or_with_samples_of_space(names, shape, axes):
    assert space_axes(names, shape, [False] * len(shape)) == axes


def test_axis_with_a_length_is_space_and_then_one_without_is_not():
    assert space_axes([None] * 3, (3, 64, 64), [True] * 3) == (0, 1, 2)
    assert space_axes([None] * 3, (60, 64, 64), [False, True, True]) == (1, 2)


@pytest.mark.parametrize(
    ("names", "shape", "axes", "coupled", "text"),
    [
        (("z", "y", "x"), (5, 6, 7), (0, 1, 2), None, "3-D: z, y, x"),
        (
            ("t", "c", "z", "y", "x"),
            (5, 2, 9, 8, 7),
            (2, 3, 4),
            None,
            "3-D: z, y, x; 5 time points and 2 channels separately",
        ),
        (
            ("c", "z", "y", "x"),
            (2, 9, 8, 7),
            (2, 3),
            0,
            "2-D: y, x; 2 channels together; 9 planes separately",
        ),
        ((None, "y", "x"), (4, 8, 7), (1, 2), None, "2-D: y, x; 4 images separately"),
        (("t", "y", "x"), (1, 8, 7), (1, 2), None, "2-D: y, x"),
    ],
)
def test_axes_of_a_run_are_described_in_words(names, shape, axes, coupled, text):
    assert describe_axes(names, shape, axes, coupled) == text
