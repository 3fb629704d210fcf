"""Conversion of layers to arguments, and of results to layers, without a window."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

import napari_diffusion as nd
from napari_diffusion.ui.layers import axes, new_layers, style


def image(shape, **options):
    return Image(np.zeros(shape, np.float32), **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1, 2, 3)),
        ({"axis_labels": "tzyx"}, (1, 2, 3)),
        ({"axis_labels": "ztyx"}, (0, 2, 3)),
        ({"axis_labels": ("z", "Channel", "y", "x")}, (0, 2, 3)),
        ({"axis_labels": ("time", "position", "y", "x")}, (2, 3)),
        ({"units": ("s", "um", "um", "um")}, (1, 2, 3)),
        ({"units": ("um", "um", "um", "s")}, (0, 1, 2)),
        ({"units": ("pixel", "pixel", "mm", "um")}, (2, 3)),
        ({"axis_labels": "tzyx", "units": ("um", "um", "um", "um")}, (1, 2, 3)),
        ({"units": ("s", "s", "s", "s")}, (2, 3)),
    ],
)
def test_default_axes_are_those_of_space(options, expected):
    assert axes.diffusing_by_default(axes.layer_axes(image((2, 3, 4, 5), **options))) == expected


def test_plain_image_is_smoothed_along_both_axes():
    assert axes.diffusing_by_default(axes.layer_axes(image((4, 5)))) == (0, 1)


def test_axis_labelled_like_a_nameless_axis_keeps_its_name():
    labelled = axes.layer_axes(image((4, 5), axis_labels=("axis 1", "x")))
    assert axes.names_of(labelled) == ("axis 1", "x")
    nameless = axes.layer_axes(image((4, 5)))
    assert [axis.name for axis in nameless] == ["axis 0", "axis 1"]
    assert axes.names_of(nameless) is None
    recipe = nd.Recipe(nd.Linear(), 1.0, axes=(0,), axis_names=("axis 1",))
    assert axes.axes_of_recipe(recipe, labelled, 2) == (0,)
    assert axes.axes_of_recipe(recipe, nameless, 2) == (0,)  # by number, not by the shown name


def test_colour_channels_are_not_an_axis():
    layer = Image(np.zeros((4, 5, 3), np.uint8), rgb=True)
    assert [(axis.name, axis.size) for axis in axes.layer_axes(layer)] == [
        ("axis 0", 4),
        ("axis 1", 5),
    ]
    assert axes.channel_axis_of(layer) == -1
    assert axes.channel_axis_of(image((4, 5, 3))) is None


def test_sizes_in_different_units_are_converted_to_one():
    own = axes.layer_axes(image((2, 3, 4), units=("mm", "um", "nm"), scale=(0.002, 0.5, 100)))
    unit = axes.common_unit(own)
    assert unit == "nm"
    assert [axes.size_in(axis, unit) for axis in own] == [2000, 500, 100]


def test_incompatible_units_are_pixels():
    own = axes.layer_axes(image((3, 4), units=("pixel", "um"), scale=(2, 0.5)))
    unit = axes.common_unit(own)
    assert unit == "pixel"
    assert [axes.size_in(axis, unit) for axis in own] == [2, 0.5]


def test_negative_scale_is_a_positive_size():
    axis, _ = axes.layer_axes(image((3, 4), units=("um", "um"), scale=(-2, 0.5)))
    assert axes.size_in(axis, "um") == 2


def test_multiscale_layer_gives_its_full_resolution():
    full = np.arange(64, dtype=np.float32).reshape(8, 8)
    layer = Image([full, full[::2, ::2]], multiscale=True)
    assert np.asarray(axes.array_of(layer)).shape == (8, 8)
    assert [axis.size for axis in axes.layer_axes(layer)] == [8, 8]


STYLE = {
    "scale": (2.0, 0.5, 0.25),
    "translate": (1.0, 2.0, 3.0),
    "rotate": 30.0,
    "shear": (0.1, 0.2, 0.3),
    "affine": np.diag((2.0, 3.0, 4.0, 1.0)),
    "units": ("mm", "um", "um"),
    "axis_labels": ("z", "y", "x"),
    "colormap": "magma",
    "contrast_limits": (-3.0, 12.0),
    "gamma": 0.7,
    "opacity": 0.6,
    "blending": "additive",
    "rendering": "iso",
    "iso_threshold": 4.0,
    "interpolation2d": "cubic",
    "interpolation3d": "nearest",
    "depiction": "plane",
    "metadata": {"patient": 7},
}


def test_result_has_the_style_of_its_source():
    viewer = ViewerModel()
    source = viewer.add_image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), name="brain", **STYLE)
    source.contrast_limits_range = (-100, 500)
    result = new_layers.add_result(
        viewer,
        np.zeros((3, 4, 5), np.float32),
        style.LayerStyle.of(source),
        "edge-preserving κ 3.4",
        {"source": "brain"},
    )
    assert result.name == "brain, edge-preserving κ 3.4"
    assert viewer.layers[-1] is result
    before, after = source.as_layer_data_tuple()[1], result.as_layer_data_tuple()[1]
    compared = [key for key in before if key not in ("name", "metadata")]
    assert [key for key in compared if not _equal(before[key], after[key])] == []
    assert list(result.contrast_limits_range) == [-100, 500]
    assert result.metadata == {"patient": 7, "napari-diffusion": {"source": "brain"}}
    assert source.metadata == {"patient": 7}


def _equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    sequences = np.ndarray | list | tuple
    one, other = (
        np.asarray(value) if isinstance(value, sequences) else value for value in (one, other)
    )
    return np.all(one == other)


def test_names_of_results_are_unique():
    viewer = ViewerModel()
    own = style.LayerStyle.of(viewer.add_image(np.zeros((4, 4)), name="a"))
    names = [new_layers.add_result(viewer, np.zeros((4, 4)), own, "TV", {}).name for _ in range(3)]
    assert names == ["a, TV", "a, TV (2)", "a, TV (3)"]


def test_result_of_a_multiscale_layer_is_one_array():
    viewer = ViewerModel()
    full = np.zeros((8, 8), np.float32)
    own = style.LayerStyle.of(viewer.add_image([full, full[::2, ::2]], multiscale=True))
    result = new_layers.add_result(viewer, np.ones((8, 8), np.float32), own, "TV", {})
    assert not result.multiscale
    assert result.data.shape == (8, 8)


def test_result_of_a_hidden_layer_is_visible():
    viewer = ViewerModel()
    own = style.LayerStyle.of(viewer.add_image(np.zeros((4, 4)), visible=False))
    assert new_layers.add_result(viewer, np.zeros((4, 4)), own, "TV", {}).visible
