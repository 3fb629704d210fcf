"""Roles of the axes of a file: from its metadata, and from what the user says about them."""

from pathlib import Path

import numpy as np
import pytest

from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.core.geometry import Geometry
from napari_diffusion.io.axes import AxisAssignment, AxisRequest, resolve_axes
from napari_diffusion.io.volume import Volume

FILE = Path("folder") / "a.tif"
SHAPE = (2, 3, 4, 5, 6)


def volume(axes, path=FILE, **fields):
    spacing = tuple(0.5 if letter in "XYZ" else None for letter in axes)
    return Volume(np.zeros(SHAPE[: len(axes)]), axes, spacing, path=path, **fields)


def plain(axes, **fields):
    """Return a volume without voxel size, as of a plain TIFF."""
    return Volume(np.zeros(SHAPE[: len(axes)]), axes, (None,) * len(axes), path=FILE, **fields)


def test_axes_of_space_are_smoothed_by_default():
    assignment = resolve_axes(volume("TCZYX", unit="micrometer"), AxisRequest())
    assert assignment == AxisAssignment("TCZYX", (2, 3, 4), None, (0.5, 0.5, 0.5), "micrometer")


@pytest.mark.parametrize(
    ("axes", "requested", "letters", "smoothed"),
    [
        ("IYX", ("Z", "Y", "X"), "ZYX", (0, 1, 2)),
        ("IYX", ("z", "y", "x"), "ZYX", (0, 1, 2)),
        ("QQYX", ("Z", "Y", "X"), "QZYX", (1, 2, 3)),
        ("QQQYX", ("Z", "Y", "X"), "QQZYX", (2, 3, 4)),
        ("QYX", ("Y", "X"), "QYX", (1, 2)),
        ("QYX", (0, 1, 2), "QYX", (0, 1, 2)),
        ("QYX", (-1, "Y"), "QYX", (2, 1)),
        ("ZYX", ("X", "Z"), "ZYX", (2, 0)),
    ],
)
def test_named_axes_are_smoothed_and_the_last_unknown_axis_gets_the_letter(
    axes, requested, letters, smoothed
):
    assignment = resolve_axes(plain(axes), AxisRequest(axes=requested))
    assert (assignment.letters, assignment.axes) == (letters, smoothed)


@pytest.mark.parametrize(
    ("planes", "letters"),
    [((5, 1), "ZQYX"), ((1, 5), "QZYX"), ((30, 2), "ZQYX"), ((2, 30), "QZYX"), ((1, 1), "QZYX")],
)
def test_an_axis_of_one_plane_or_of_a_few_channels_gets_no_letter(planes, letters):
    image = Volume(np.zeros((*planes, 64, 64), np.uint8), "QQYX", (None,) * 4, path=FILE)
    assert resolve_axes(image, AxisRequest(axes=("z", "y", "x"))).letters == letters


@pytest.mark.parametrize("channel_axis", ["C", "c", 0, -3])
def test_channel_axis_is_given_by_letter_or_number(channel_axis):
    assignment = resolve_axes(volume("CYX"), AxisRequest(channel_axis=channel_axis))
    assert (assignment.axes, assignment.channel_axis) == ((1, 2), 0)


@pytest.mark.parametrize(
    ("request_", "sizes", "unit"),
    [
        (AxisRequest(), (0.5, 0.5), "micrometer"),
        (AxisRequest(unit="nm"), (500.0, 500.0), "nanometer"),
        (AxisRequest(spacing=(2.0,)), (2.0, 2.0), "micrometer"),
        (AxisRequest(spacing=(2.0, 3.0), unit="pixel"), (2.0, 3.0), "pixel"),
    ],
)
def test_requested_voxel_size_and_unit_take_precedence(request_, sizes, unit):
    assignment = resolve_axes(volume("YX", unit="micrometer"), request_)
    assert assignment.spacing == pytest.approx(sizes)
    assert assignment.unit == unit


@pytest.mark.parametrize(
    ("image", "request_", "reason", "remedy"),
    [
        (
            plain("QYX"),
            AxisRequest(),
            "it does not say what its 2 planes are",
            Remedy.NAME_PLANES,
        ),
        (
            plain("YX", unit="micrometer"),
            AxisRequest(),
            "it gives no voxel size along Y",
            Remedy.GIVE_VOXEL_SIZE,
        ),
        (
            plain("YX"),
            AxisRequest(unit="mm"),
            "its voxel size in pixel cannot be converted to mm",
            Remedy.GIVE_VOXEL_SIZE,
        ),
        (
            volume("YX", unit="micrometer"),
            AxisRequest(unit="pixel"),
            "its voxel size in µm cannot be converted to pixel",
            Remedy.GIVE_VOXEL_SIZE,
        ),
        (
            volume("ZYX"),
            AxisRequest(spacing=(1.0, 2.0)),
            "2 voxel sizes were given for 3 smoothed axes",
            Remedy.GIVE_VOXEL_SIZE,
        ),
        (
            volume("ZYX"),
            AxisRequest(axes=("T",)),
            "it has no axis T, its axes are Z, Y, X",
            None,
        ),
        (volume("YX"), AxisRequest(channel_axis=2), "it has no axis 2, its axes are Y, X", None),
        (volume("YX"), AxisRequest(channel_axis=-3), "it has no axis -3, its axes are Y, X", None),
        (volume("YX"), AxisRequest(axes=("XY",)), "it has no axis XY, its axes are Y, X", None),
        (
            volume("YX"),
            AxisRequest(axes=("X", 1)),
            (
                "the axes to smooth along must be different axes, without the channel axis, "
                "got X, X of Y, X"
            ),
            None,
        ),
        (
            volume("CYX"),
            AxisRequest(axes=("C", "Y"), channel_axis="C"),
            (
                "the axes to smooth along must be different axes, without the channel axis, "
                "got C, Y of C, Y, X"
            ),
            None,
        ),
        (
            volume("TC"),
            AxisRequest(),
            (
                "the axes to smooth along must be different axes, without the channel axis, "
                "got none of T, C"
            ),
            None,
        ),
    ],
)
def test_refusal_says_what_is_wrong_with_which_file(image, request_, reason, remedy):
    with pytest.raises(InputError) as caught:
        resolve_axes(image, request_)
    error = caught.value
    assert (error.description, error.remedy, error.path) == (reason, remedy, FILE)


def test_image_without_a_file_is_called_the_image():
    with pytest.raises(InputError, match=r"^The image: it has no axis T") as caught:
        resolve_axes(volume("YX", path=None), AxisRequest(axes=("T",)))
    assert caught.value.path is None


def test_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="not a unit of length"):
        resolve_axes(volume("YX"), AxisRequest(unit="furlong per fortnight"))


@pytest.mark.parametrize(
    ("shape", "letters"),
    [
        ((60, 2, 64, 64), "ZQYX"),
        ((2, 60, 64, 64), "QZYX"),
        ((5, 3, 64, 64), "QZYX"),
        ((3, 64, 64), "ZYX"),
    ],
)
def test_planes_are_not_looked_for_among_channels(shape, letters):
    """A stack of 60 planes with 2 channels has 60 planes, in any order of the axes."""
    axes = "Q" * (len(shape) - 2) + "YX"
    image = Volume(np.zeros(shape, "u1"), axes, (None,) * len(shape), path=FILE)
    assert resolve_axes(image, AxisRequest(axes=("Z", "Y", "X"))).letters == letters


def test_opacity_is_copied_along_the_channel_axis_of_the_file():
    image = Volume(np.zeros((4, 5, 4)), "YXS", (1.0, 1.0, None), channel_axis=2, alpha=3, path=FILE)
    assignment = resolve_axes(image, AxisRequest())
    assert assignment.channel_weights == (1.0, 1.0, 1.0, None)
    assert assignment.geometry == Geometry((1.0, 1.0), (0, 1), 2, (1.0, 1.0, 1.0, None))
    other = resolve_axes(image, AxisRequest(axes=("X", "S"), channel_axis="Y", spacing=(1.0,)))
    assert other.channel_weights is None


def test_axis_of_one_voxel_needs_no_voxel_size():
    image = Volume(np.zeros((1, 5, 4)), "ZYX", (None, 2.0, 3.0), "millimeter", path=FILE)
    assert resolve_axes(image, AxisRequest()).spacing == (1.0, 2.0, 3.0)
