"""Axes, voxel size and unit of a file that napari's reader ignores."""

import numpy as np
import pytest
import tifffile

from helpers.viewer import wait_until_settled

IMAGEJ = {"unit": "um", "spacing": 2.0, "finterval": 30.0}


@pytest.mark.parametrize(
    ("axes", "written", "expected"),
    [
        ("ZCYX", IMAGEJ, ((2.0, 1.0, 0.5, 0.5), "µm", (0, 2, 3))),
        ("TZYX", IMAGEJ, ((30.0, 2.0, 0.5, 0.5), "µm", (1, 2, 3))),
        ("TYX", {}, ((1.0, 1.0, 1.0), "pixel", (1, 2))),
        ("ZYX", {}, None),  # the default for three axes
        ("plain", {}, None),
    ],
)
def test_axes_that_napari_ignores_are_read_from_the_file(
    open_alone, tmp_path, qtbot, axes, written, expected
):
    sizes = {"T": 3, "Z": 4, "C": 2, "Y": 10, "X": 12}
    shape = [sizes[letter] for letter in ("ZYX" if axes == "plain" else axes)]
    image = np.random.default_rng(0).random(shape, np.float32)
    if axes == "plain":
        options = {"metadata": None, "photometric": "minisblack"}
    else:
        options = {"imagej": True, "metadata": {"axes": axes, **written}}
    if written:
        options["resolution"] = (2.0, 2.0)
    tifffile.imwrite(tmp_path / "a.tif", image, **options)
    viewer, widget = open_alone("Isotropic diffusion")
    widget.root_native_widget.window().show()
    (layer,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    wait_until_settled(qtbot, widget)
    button = widget.form.table.use_file_axes
    assert button.visible == (expected is not None)
    if expected is None:
        return
    button.native.click()
    wait_until_settled(qtbot, widget)
    scale, unit, smoothed = expected
    assert not button.visible
    assert tuple(layer.axis_labels) == tuple(axes.lower())
    np.testing.assert_allclose(layer.scale, scale)
    assert widget.form.table.axes == smoothed
    assert widget.form.table.unit == unit
    np.testing.assert_allclose(widget.form.table.spacing, [scale[i] for i in smoothed])
    units = [f"{unit:~P}" for unit in layer.units]
    of_time = [unit for unit, letter in zip(units, axes, strict=True) if letter == "T"]
    assert of_time == ["s" if written else "pixel"] * ("T" in axes)


@pytest.mark.parametrize(
    "own", [{"scale": (2, 1, 1)}, {"units": ("um",) * 3}, {"axis_labels": "tyx"}]
)
def test_layer_with_its_own_metadata_keeps_it(open_alone, tmp_path, qtbot, own):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((4, 5, 6), np.float32),
        imagej=True,
        metadata={"axes": "ZYX", **IMAGEJ},
    )
    viewer, widget = open_alone("Isotropic diffusion")
    widget.root_native_widget.window().show()
    (layer,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    wait_until_settled(qtbot, widget)
    assert widget.form.table.use_file_axes.visible
    for name, value in own.items():
        setattr(layer, name, value)
    wait_until_settled(qtbot, widget)
    assert not widget.form.table.use_file_axes.visible


def test_file_of_another_image_is_ignored(open_alone, tmp_path, qtbot):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((4, 5, 6), np.float32),
        imagej=True,
        metadata={"axes": "ZYX", **IMAGEJ},
    )
    viewer, widget = open_alone("Isotropic diffusion")
    widget.root_native_widget.window().show()
    (layer,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    layer.data = np.zeros((3, 5, 6), np.float32)
    wait_until_settled(qtbot, widget)
    assert not widget.form.table.use_file_axes.visible
    (tmp_path / "a.tif").write_bytes(b"II*\0damaged")
    layer.data = np.zeros((4, 5, 6), np.float32)
    wait_until_settled(qtbot, widget)
    assert not widget.form.table.use_file_axes.visible
