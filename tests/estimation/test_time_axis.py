"""Only an axis of time repeats an object: channels, stains and depths are not subtracted."""

import numpy as np
import pytest
import scipy.ndimage

import napari_diffusion as nd
from helpers.noisy import blocks, white
from napari_diffusion.core.axes.names import time_axes

SHAPE = (128, 128)


def texture(seed=4):
    """Fine detail in every voxel, in which a frame alone shows no noise."""
    detail = scipy.ndimage.gaussian_filter(white(SHAPE, seed), 0.7)
    return 100 + 30 * detail / detail.std()


def noise_of(stack, **options):
    """Noise of a suggestion whose time is given, so that nothing is searched."""
    axes = tuple(range(stack.ndim - 2, stack.ndim))
    return nd.suggest(stack.astype("f4"), nd.Linear(), axes=axes, fwhm=2.0, **options).noise


def test_stains_of_different_contrast_are_not_subtracted():
    """One object in two stains, three times as strong in one: the difference is anatomy."""
    stains = np.stack([texture(), 3 * texture()]) + 5 * white((2, *SHAPE))
    assert not noise_of(stains).between_frames
    twice = np.stack([texture(), texture()]) + 5 * white((2, *SHAPE))
    assert noise_of(twice).between_frames


@pytest.mark.parametrize(("time_axis", "is_repeated"), [(0, True), (1, False), (-4, True)])
def test_named_axis_of_time_decides(time_axis, is_repeated):
    """Two times and two stains: the same stain is subtracted, or none where z is named time.

    Axis 1 has two objects.
    """
    objects = np.stack([texture(4), texture(5)])
    stack = np.stack([objects, objects]) + 5 * white((2, 2, *SHAPE))
    noise = noise_of(stack, time_axis=time_axis)
    assert noise.between_frames is is_repeated
    assert (noise.sigma == pytest.approx(5, rel=0.1)) is is_repeated


@pytest.mark.parametrize("time_axis", [1, 2])
def test_diffusing_axis_and_axis_of_one_entry_repeat_nothing(time_axis):
    stack = np.stack([texture(), texture()])[:, None] + 5 * white((2, 1, *SHAPE))
    assert not noise_of(stack, time_axis=time_axis).between_frames


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("tzyx", (0,)),
        ("zcyx", ()),
        ("ztyx", (1,)),
        (["time", "channel", "y", "x"], (0,)),
        (["repetition?", "y", "x"], None),
        (["", "y", "x"], None),
    ],
    ids=str,
)
def test_axes_of_time_are_known_by_their_names(names, expected):
    """None where the name of an axis says nothing: the first frame axis may then be time."""
    assert time_axes(list(names)) == expected


def test_time_axis_changes_nothing_where_a_frame_is_calm():
    frames = (blocks((2, 64, 64))[:1] + 6 * white((2, 64, 64))).astype("f4")
    plain = nd.suggest(frames, nd.Linear(), axes=(1, 2), thorough=False)
    named = nd.suggest(frames, nd.Linear(), axes=(1, 2), thorough=False, time_axis=0)
    assert (plain.time, plain.noise) == (named.time, named.noise)
