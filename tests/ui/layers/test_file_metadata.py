"""Axes, voxel size and unit that a file says and napari's reader leaves out."""

import numpy as np
import pytest
import tifffile

IMAGEJ = {"unit": "um", "spacing": 2.0, "finterval": 30.0}


@pytest.mark.parametrize(
    ("axes", "written", "expected"),
    [
        ("ZCYX", IMAGEJ, ((2.0, 1.0, 0.5, 0.5), "µm", (0, 2, 3))),
        ("TZYX", IMAGEJ, ((30.0, 2.0, 0.5, 0.5), "µm", (1, 2, 3))),
        ("TYX", {}, ((1.0, 1.0, 1.0), "pixel", (1, 2))),
        ("ZYX", {}, None),  # which is what is assumed of three axes
        ("plain", {}, None),
    ],
)
def test_what_napari_leaves_out_of_a_tiff_is_taken_from_the_file(
    open_alone, tmp_path, settled, axes, written, expected
):
    sizes = {"T": 3, "Z": 4, "C": 2, "Y": 10, "X": 12}
    image = np.random.default_rng(0).random(
        [sizes[letter] for letter in ("ZYX" if axes == "plain" else axes)], np.float32
    )
    how = (
        {"metadata": None, "photometric": "minisblack"}
        if axes == "plain"
        else {"imagej": True, "metadata": {"axes": axes, **written}}
    )
    if written:
        how["resolution"] = (2.0, 2.0)
    tifffile.imwrite(tmp_path / "a.tif", image, **how)
    viewer, widget = open_alone("Isotropic diffusion")
    widget.root_native_widget.window().show()
    (layer,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    settled(widget)
    button = widget.form.table.take
    assert button.visible == (expected is not None)
    if expected is None:
        return
    button.native.click()
    settled(widget)
    scale, unit, smoothed = expected
    assert not button.visible
    assert tuple(layer.axis_labels) == tuple(axes.lower())
    np.testing.assert_allclose(layer.scale, scale)
    assert widget.form.table.axes == smoothed
    assert widget.form.table.unit == unit
    np.testing.assert_allclose(widget.form.table.spacing, [scale[i] for i in smoothed])
    assert [
        f"{unit:~P}" for unit, letter in zip(layer.units, axes, strict=True) if letter == "T"
    ] == (["s"] if "T" in axes and written else ["pixel"] * ("T" in axes))


@pytest.mark.parametrize(
    "look", [{"scale": (2, 1, 1)}, {"units": ("um",) * 3}, {"axis_labels": "tyx"}]
)
def test_a_layer_that_says_something_itself_is_heeded(open_alone, tmp_path, settled, look):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((4, 5, 6), np.float32),
        imagej=True,
        metadata={"axes": "ZYX", **IMAGEJ},
    )
    viewer, widget = open_alone("Isotropic diffusion")
    widget.root_native_widget.window().show()
    (layer,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    settled(widget)
    assert widget.form.table.take.visible
    for name, value in look.items():
        setattr(layer, name, value)
    settled(widget)
    assert not widget.form.table.take.visible


def test_a_file_of_another_image_is_not_asked(open_alone, tmp_path, settled):
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
    settled(widget)
    assert not widget.form.table.take.visible
    (tmp_path / "a.tif").write_bytes(b"II*\0damaged")
    layer.data = np.zeros((4, 5, 6), np.float32)
    settled(widget)
    assert not widget.form.table.take.visible
