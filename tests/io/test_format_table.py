"""Files that other programs write: each format with each data type, and files of other packages.

A file is filtered exactly as its array is, or it is refused in one sentence that names it.
"""

from pathlib import Path
from warnings import catch_warnings, simplefilter

import nibabel
import numpy as np
import pytest
import skimage
import tifffile

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.workflows.file_run import filter_file

RECIPE = nd.Recipe(nd.PeronaMalik(kappa=20.0, sigma=0.0), time=1.0, nan="mask")
INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">u2", ">i2", ">i4"]
FLOATS = ["f2", "f4", "f8", ">f4", ">f8"]
REFUSED = ["c8", "c16"]
SHAPE = (3, 9, 8)


def pixels(dtype):
    """Return a stack with the extreme values of its type; floats have a NaN, too."""
    dtype = np.dtype(dtype)
    numbers = np.random.default_rng(5).integers(0, 100, SHAPE)
    data = numbers.astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        # Integers of 64 bits are filtered as float64, which holds these two exactly.
        low, high = max(limits.min, -(2**53)), min(limits.max, 2**53)
        data[0, 0, :2] = low, high
    elif dtype.kind == "f":
        data[1, 2, 3] = np.nan
    return data


def write_nifti(kind):
    def write(path, data):
        affine = np.diag([0.5, 0.5, 2.0, 1.0])
        image = kind(data.T, affine, dtype=data.dtype)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_slope_inter(1, 0)
        nibabel.save(image, path)

    return write


def write_tiff(**options):
    def write(path, data):
        grey = {"photometric": "minisblack"} | options
        byteorder = ">" if data.dtype.byteorder == ">" else "<"
        tifffile.imwrite(path, data, byteorder=byteorder, **grey)

    return write


#: Name of a layout: suffix, writer, data types that the format has.
LAYOUTS = {
    "NIfTI-1": (".nii", write_nifti(nibabel.Nifti1Image), "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8 c8 c16"),
    "NIfTI-2": (".nii", write_nifti(nibabel.Nifti2Image), "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8 c8"),
    "compressed NIfTI": (".nii.gz", write_nifti(nibabel.Nifti1Image), "u1 i2 u2 i4 f4 f8 c8"),
    "NumPy": (".npy", np.save, " ".join([*INTEGERS, *FLOATS, *REFUSED])),
    "NumPy, Fortran order": (
        ".npy",
        lambda path, data: np.save(path, np.asfortranarray(data)),
        "u1 i2 >i2 f4 f8",
    ),
    "plain TIFF": (".tif", write_tiff(metadata=None), " ".join([*INTEGERS, *FLOATS, *REFUSED])),
    "shaped TIFF": (
        ".tif",
        write_tiff(metadata={"axes": "ZYX"}),
        " ".join([*INTEGERS, *FLOATS, *REFUSED]),
    ),
    "ImageJ TIFF": (
        ".tif",
        write_tiff(imagej=True, metadata={"axes": "ZYX"}),
        "u1 u2 f4 >u2 >f4",
    ),
    "OME-TIFF": (
        ".ome.tif",
        write_tiff(ome=True, metadata={"axes": "ZYX"}),
        "u1 i1 u2 i2 u4 i4 f4 f8 >u2 >f4 c8",
    ),
    "BigTIFF": (".tif", write_tiff(bigtiff=True, metadata={"axes": "ZYX"}), "u1 >u2 i4 f4 f8 c8"),
    "tiled TIFF": (
        ".tif",
        write_tiff(tile=(16, 16), compression="zlib", metadata={"axes": "ZYX"}),
        "u1 u2 >i2 f2 f4 f8 c8",
    ),
    "predicted TIFF": (
        ".tif",
        write_tiff(compression="zlib", predictor=True, metadata={"axes": "ZYX"}),
        "u1 u2 i2 u4",
    ),
}
ROWS = [
    pytest.param(suffix, write, dtype, id=f"{name}, {dtype}")
    for name, (suffix, write, dtypes) in LAYOUTS.items()
    for dtype in dtypes.split()
]


def test_the_table_has_at_least_eighty_rows():
    assert len(ROWS) >= 80


@pytest.mark.parametrize(("suffix", "write", "dtype"), ROWS)
def test_file_is_filtered_as_its_array_or_refused(suffix, write, dtype, tmp_path):
    data, source, target = pixels(dtype), tmp_path / f"in{suffix}", tmp_path / "out.npy"
    write(source, data)
    before = source.read_bytes()
    if dtype in REFUSED:
        with pytest.raises(ValueError, match=f"in{suffix}: .*complex") as caught:
            io.read(source)
        assert is_one_sentence(str(caught.value))
        return
    volume = io.read(source)
    spacing = (0.5, 0.5, 2.0) if volume.format == "NIfTI" else (1.0, 1.0, 1.0)
    array = data.T if volume.format == "NIfTI" else data
    np.testing.assert_array_equal(np.asarray(volume.data), array)
    # Pages of a plain TIFF and the axes of an array have no names: a recipe may number them.
    recipe = nd.Recipe(RECIPE.model, RECIPE.time, nan="mask", axes=(0, 1, 2), spacing=(1.0,) * 3)
    if volume.unit != "pixel":
        recipe = nd.Recipe(RECIPE.model, RECIPE.time, nan="mask", unit=volume.unit)
    filter_file(source, target, recipe)
    expected = nd.diffuse(array, RECIPE.model, time=RECIPE.time, spacing=spacing, nan="mask")
    np.testing.assert_array_equal(np.load(target), expected)
    assert source.read_bytes() == before


def is_one_sentence(message):
    """Whether a message is one line that ends with one period, and no report of a program."""
    return message.endswith(".") and "\n" not in message and "Traceback" not in message


NIBABEL = Path(nibabel.__file__).parent / "tests" / "data"
SKIMAGE = Path(skimage.__file__).parent / "data"
NUMPY = Path(np.__file__).parent / "lib" / "tests" / "data"
PACKAGE_FILES = sorted(
    path
    for folder in (NIBABEL, SKIMAGE, NUMPY)
    if folder.is_dir()  # a distribution may leave out the data of tests
    for path in folder.iterdir()
    if path.name.endswith((".nii", ".nii.gz", ".tif", ".tiff", ".npy"))
)


def reference_pixels(path):
    """Return the pixels of a file as the library of its format reads them."""
    if path.name.endswith((".nii", ".nii.gz")):
        return np.asarray(nibabel.load(path).dataobj)
    if path.suffix in (".tif", ".tiff"):
        return tifffile.imread(path)
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # a header that Python 2 has written
        return np.load(path)


#: Files that are refused, with a part of the sentence.
NO_VOLUMES = {
    "row_major.dconn.nii": "no volume",
    "py2-objarr.npy": "cannot be read as NumPy",
    "py3-objarr.npy": "cannot be read as NumPy",
    "py2-np0-objarr.npy": "cannot be read as NumPy",
}


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=lambda path: path.name)
def test_file_of_another_package_is_read_exactly_or_refused(path):
    if path.name in NO_VOLUMES:
        with pytest.raises(ValueError, match=NO_VOLUMES[path.name]) as caught:
            io.read(path)
        assert is_one_sentence(str(caught.value))
        return
    volume, expected = io.read(path), reference_pixels(path)
    # Values with a slope and an intercept are rounded to the 24 bits of float32, twice.
    scaled = volume.scaling != (1.0, 0.0)
    tolerance = 2.0**-23 * np.abs(expected).max() if scaled else 0.0
    difference = np.abs(np.asarray(volume.data, float) - expected.astype(float))
    assert np.nan_to_num(difference).max() <= tolerance
    np.testing.assert_array_equal(np.isnan(volume.data), np.isnan(expected))
    assert len(volume.axes) == expected.ndim
