"""Axes, voxel size and unit of a file that napari's reader ignores."""

import nibabel
import numpy as np
import pytest
import tifffile
from napari.layers import Image
from napari.layers._source import Source

from helpers.viewer import wait_until_settled
from napari_diffusion.cli import main

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


def oriented(path):
    """Write a NIfTI file without a unit, and return its array with z first."""
    image = np.random.default_rng(0).random((12, 10, 6), np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([-0.5, 0.5, 2.0, 1.0])), path)
    return image.T


def show(viewer, widget, qtbot, array, path, **options):
    layer = Image(array, **options)
    layer._source = Source(path=str(path))
    viewer.add_layer(layer)
    wait_until_settled(qtbot, widget)
    return layer


def test_axes_line_says_of_the_file_what_info_says(open_alone, tmp_path, qtbot, capsys):
    """The array may be turned, as other readers do."""
    viewer, widget = open_alone("Isotropic diffusion")
    show(viewer, widget, qtbot, oriented(tmp_path / "a.nii"), tmp_path / "a.nii")
    words = widget.form.table.words
    brief = "NIfTI; x 0.5 mm, y 0.5 mm, z 2 mm (unit assumed); x to the left, y to the front, "
    brief += "z to the head."
    assert words.value.splitlines()[-2:] == [
        f"The file says: {brief}",
        "It gives no unit of length; mm is assumed.",
    ]
    assert main(["info", str(tmp_path / "a.nii")]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()[1:]]
    shown = words.tooltip.split("\n\n")[1].splitlines()
    names = ", ".join(line.split(":")[0] for line in shown)
    assert names == (
        "format, axes, voxel size, values, orientation, memory, smoothed, in napari, note"
    )
    for line in shown:
        name, _, text = line.partition(": ")
        expected = f"{name:12}{text}"
        # The values themselves are not read for the widget.
        assert expected in lines or any(each.startswith(expected) for each in lines)


@pytest.mark.parametrize("kind", ["other shape", "other file", "no file"])
def test_axes_line_says_nothing_of_a_file_with_another_image(open_alone, tmp_path, qtbot, kind):
    viewer, widget = open_alone("Isotropic diffusion")
    array, path = oriented(tmp_path / "a.nii"), tmp_path / "a.nii"
    if kind == "other shape":
        array = array[1:]
    elif kind == "other file":
        path.write_bytes(b"broken")
    else:
        path.unlink()
    show(viewer, widget, qtbot, array, path)
    assert "The file says" not in widget.form.table.words.value
    assert "\n" not in widget.form.table.words.tooltip


def test_words_of_a_file_go_with_its_layer(open_alone, tmp_path, qtbot):
    viewer, widget = open_alone("Isotropic diffusion")
    show(viewer, widget, qtbot, oriented(tmp_path / "a.nii"), tmp_path / "a.nii")
    viewer.add_image(np.zeros((6, 10, 12), np.float32))
    wait_until_settled(qtbot, widget)
    assert "The file says" not in widget.form.table.words.value


def test_turned_axes_of_a_file_are_not_offered_to_a_layer(open_alone, tmp_path, qtbot):
    """A cube does not show whether its reader has turned it."""
    cube = np.random.default_rng(0).random((8, 8, 8), np.float32)
    nibabel.save(nibabel.Nifti1Image(cube, np.diag([0.5, 0.5, 2.0, 1.0])), tmp_path / "a.nii")
    viewer, widget = open_alone("Isotropic diffusion")
    widget.root_native_widget.window().show()
    show(viewer, widget, qtbot, cube.T, tmp_path / "a.nii")
    assert not widget.form.table.use_file_axes.visible


def test_voxel_size_that_a_reader_of_nifti_leaves_out_is_offered(open_alone, tmp_path, qtbot):
    """napari-nibabel gives the array in the order of the file, and nothing else."""
    array = oriented(tmp_path / "a.nii").T
    viewer, widget = open_alone("Isotropic diffusion")
    widget.root_native_widget.window().show()
    layer = show(viewer, widget, qtbot, array, tmp_path / "a.nii")
    button = widget.form.table.use_file_axes
    assert button.visible
    button.native.click()
    wait_until_settled(qtbot, widget)
    assert tuple(layer.axis_labels) == ("x", "y", "z")
    np.testing.assert_allclose(layer.scale, (0.5, 0.5, 2.0))
    assert widget.form.table.unit == "mm"
