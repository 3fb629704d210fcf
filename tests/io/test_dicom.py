"""A DICOM series becomes the volume that its positions describe, or is refused in one sentence."""

import gzip
import shutil
from pathlib import Path
from warnings import catch_warnings, simplefilter

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from helpers.dicom_series import PIXELS, STEP, write_series
from helpers.files import RECIPE
from napari_diffusion import io
from napari_diffusion.core.errors import InputError, SourceMissing


def test_series_is_sorted_by_position(tmp_path):
    """Neither the names, the numbers of the instances nor the thickness decide."""
    volume = io.read(write_series(tmp_path / "series"))
    np.testing.assert_array_equal(volume.data, PIXELS)
    assert (volume.axes, volume.unit) == ("ZYX", "millimeter")
    assert volume.spacing == (STEP, 0.5, 0.75)


def test_simpleitk_reads_the_series_in_the_same_place(tmp_path):
    folder = write_series(tmp_path / "series")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    volume = io.read(folder)
    assert sitk.GetArrayFromImage(image).shape == volume.shape
    for index in ((0, 0, 0), (3, 2, 1), (3, 4, 5)):
        place = np.diag([-1, -1, 1]) @ image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], place, atol=1e-9)
        assert image[index] == volume.data[index[::-1]]


def test_result_is_a_nifti_file_in_the_same_place_without_names(tmp_path):
    volume = io.read(write_series(tmp_path / "series"))
    target = tmp_path / io.result_name(tmp_path / "series")
    assert target.name == "series.nii.gz"
    io.write(target, np.asarray(volume.data), volume, RECIPE)
    result = io.read(target)
    np.testing.assert_allclose(result.affine, volume.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(result.data).T, PIXELS)
    assert b"Doe" not in gzip.decompress(target.read_bytes())


def test_one_file_stands_for_its_series(tmp_path):
    folder = write_series(tmp_path / "series")
    write_series(folder, range(3), uid="1.2.4")
    np.testing.assert_array_equal(io.read(folder / "1.2.3-0.dcm").data, PIXELS)
    np.testing.assert_array_equal(io.read(folder / "1.2.4-0.dcm").data, PIXELS[:3])
    assert len(io.members_of(folder / "1.2.3-0.dcm")) == 6


def test_folder_with_several_series_is_refused(tmp_path):
    folder = write_series(tmp_path / "series")
    write_series(folder, range(3), uid="1.2.4")
    with pytest.raises(InputError, match=r"2 series.*name a file of the series") as caught:
        io.read(folder)
    assert str(caught.value).count("\n") == 0


def test_one_file_is_not_in_the_plural(tmp_path):
    folder = write_series(tmp_path / "series", range(1))
    write_series(folder, range(3), uid="1.2.4")
    with pytest.raises(InputError, match=r"\(1 file\), .* \(3 files\)|\(3 files\), .* \(1 file\)"):
        io.read(folder)


def test_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(SourceMissing, match="this is a folder, not a file"):
        io.read(tmp_path)


def test_each_slice_has_its_own_scale(tmp_path):
    """As in PET."""
    folder = write_series(
        tmp_path / "series", RescaleSlope=lambda i: 0.5 + i, RescaleIntercept=lambda i: -i
    )
    volume = io.read(folder)
    expected = [PIXELS[i].astype(np.float64) * (0.5 + i) - i for i in range(6)]
    np.testing.assert_array_equal(volume.data, np.float32(expected))
    assert any("different scale factors" in note for note in volume.notes)


def test_missing_slice_is_refused(tmp_path):
    folder = write_series(tmp_path / "series", [0, 1, 2, 4, 5])
    with pytest.raises(InputError, match=r"slices are missing between .*: they are 5 mm apart"):
        io.read(folder)


def test_slices_at_the_same_place_are_refused(tmp_path):
    folder = write_series(tmp_path / "series")
    shutil.copy(folder / "1.2.3-0.dcm", folder / "copy.dcm")
    with pytest.raises(InputError, match="are at the same place"):
        io.read(folder)


def test_slices_of_uneven_distance_are_refused(tmp_path):
    move = lambda i: [10.0, 20.0 + 2.5 * i + 0.2 * (i == 3), 30.0]  # noqa: E731
    with pytest.raises(InputError, match="mm apart"):
        io.read(write_series(tmp_path / "series", ImagePositionPatient=move))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "different directions"),
        ("PixelSpacing", [1, 1], "different sizes of a pixel"),
        ("PixelRepresentation", 0, "differ in PixelRepresentation"),
        ("ImagePositionPatient", None, "have a position and others"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(name, value, reason, tmp_path):
    folder = write_series(tmp_path / "series")
    path = folder / "1.2.3-1.dcm"
    data = pydicom.dcmread(path)
    setattr(data, name, value)
    data.save_as(path)
    with pytest.raises(InputError, match=reason):
        io.read(folder)


def test_sheared_slices_of_a_tilted_gantry_are_noted(tmp_path):
    tilted = lambda i: [10.0, 20.0 + 2.5 * i, 30.0 + 0.5 * i]  # noqa: E731
    volume = io.read(write_series(tmp_path / "series", ImagePositionPatient=tilted))
    np.testing.assert_allclose(volume.affine[:3, 2], [0, -2.5, 0.5])
    assert any("not orthogonal, by 11 degrees" in note for note in volume.notes)


def test_mosaic_is_refused(tmp_path):
    kind = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    with pytest.raises(InputError, match=r"Siemens mosaic.*dcm2niix"):
        io.read(write_series(tmp_path / "series", ImageType=kind))


def test_truncated_slice_is_refused(tmp_path):
    folder = write_series(tmp_path / "series")
    path = folder / "1.2.3-1.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"pixels of 1\.2\.3-1\.dcm cannot be decoded"):
        io.read(folder)


FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_of_pydicom_is_read_as_by_pydicom_or_refused(path, tmp_path):
    """Each in a folder of its own, because a file stands for its series."""
    copied = Path(shutil.copy(path, tmp_path))
    try:
        volume = io.read(copied)
    except (InputError, io.MissingLibraryError) as error:
        message = str(error)
    else:
        with catch_warnings():
            simplefilter("ignore")  # of files that the standard does not allow
            data = pydicom.dcmread(path)
            scale = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
            expected = data.pixel_array * scale[0] + scale[1]
        np.testing.assert_allclose(volume.data, expected, rtol=2.0**-23)
        message = "."
    assert message.endswith(".")
    assert "\n" not in message


def test_files_of_pydicom_are_enough():
    assert len(FILES) > 50
