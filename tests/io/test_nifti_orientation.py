"""Voxel size and orientation of NIfTI: the affine decides, and contradictions are reported."""

import struct

import nibabel
import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.axes import AxisRequest, resolve_axes

DATA = np.random.default_rng(0).normal(100, 10, (6, 5, 4)).astype("f4")
AFFINE = np.array(
    [[2.0, 0.0, 0.0, -7.0], [0.0, 2.0, 0.0, 3.0], [0.0, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]]
)
PIXDIM = 76


def save(path, sform=AFFINE, qform=AFFINE, data=DATA, unit="mm"):
    """Write a file with a sform and a qform, each ``None`` for the code 0."""
    image = nibabel.Nifti1Image(data, np.eye(4))
    for setter, matrix in ((image.set_sform, sform), (image.set_qform, qform)):
        setter(np.eye(4) if matrix is None else matrix, 0 if matrix is None else 1)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def set_pixdim(path, **sizes):
    """Replace voxel sizes in a file by their numbers, as ``_1=0.0``."""
    content = bytearray(path.read_bytes())
    for name, size in sizes.items():
        struct.pack_into("<f", content, PIXDIM + 4 * int(name[1:]), size)
    path.write_bytes(content)
    return path


def test_consistent_header_is_read_without_a_note(tmp_path):
    volume = io.read(save(tmp_path / "a.nii"))
    assert (volume.spacing, volume.notes, volume.size_remark) == ((2.0, 2.0, 3.0), (), "")
    np.testing.assert_array_equal(volume.affine, AFFINE)


def test_voxel_size_of_the_sform_is_used_and_both_are_told(tmp_path):
    volume = io.read(save(tmp_path / "a.nii", np.diag([3.0, 3.0, 4.0, 1.0]), None))
    assert volume.spacing == (3.0, 3.0, 4.0)
    words = "voxel size 3 x 3 x 4 mm and its pixdim 1 x 1 x 1 mm; that of the affine is used"
    assert words in volume.size_remark
    (note,) = resolve_axes(volume, AxisRequest()).notes
    assert note.startswith("Its affine gives the voxel size 3 x 3 x 4 mm")
    assert resolve_axes(volume, AxisRequest(spacing=(1.0,))).notes == ()


def test_sform_takes_precedence_over_the_qform(tmp_path):
    volume = io.read(save(tmp_path / "a.nii", np.diag([3.0, 3.0, 4.0, 1.0]), AFFINE))
    assert volume.spacing == (3.0, 3.0, 4.0)
    np.testing.assert_array_equal(volume.affine, np.diag([3.0, 3.0, 4.0, 1.0]))
    assert "its pixdim 2 x 2 x 3 mm" in volume.size_remark


def test_qform_is_used_without_a_sform(tmp_path):
    volume = io.read(save(tmp_path / "a.nii", None))
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert (volume.notes, volume.size_remark) == ((), "")


def test_file_without_codes_has_no_orientation(tmp_path):
    volume = io.read(set_pixdim(save(tmp_path / "a.nii", None, None), _1=2.0, _2=2.0, _3=3.0))
    assert volume.affine is None
    assert (volume.spacing, volume.notes, volume.size_remark) == ((2.0, 2.0, 3.0), (), "")


@pytest.mark.parametrize("size", [0.0, float("nan"), float("inf"), 7.0])
@pytest.mark.parametrize("qform", [AFFINE, None])
def test_wrong_pixdim_is_replaced_by_the_affine(tmp_path, size, qform):
    path = set_pixdim(save(tmp_path / "a.nii", AFFINE, qform), _3=size)
    volume = io.read(path)
    assert volume.spacing == pytest.approx((2.0, 2.0, 3.0))
    assert f"voxel size 2 x 2 x 3 mm and its pixdim 2 x 2 x {size:g} mm" in (
        volume.size_remark.replace("1 x 1 x", "2 x 2 x")  # without a qform, pixdim is 1 x 1
    )


def test_negative_pixdim_is_a_length(tmp_path):
    assert io.read(set_pixdim(save(tmp_path / "a.nii"), _1=-2.0)).spacing == (2.0, 2.0, 3.0)
    path = set_pixdim(save(tmp_path / "b.nii", None, None), _1=-2.0)
    volume = io.read(path)
    assert volume.spacing == (2.0, 1.0, 1.0)
    assert volume.size_remark == "its pixdim is negative, -2 x 1 x 1 mm; the sign is ignored"


@pytest.mark.parametrize("size", [0.0, float("nan")])
def test_file_without_any_voxel_size_asks_for_it(tmp_path, size):
    path = set_pixdim(save(tmp_path / "a.nii", None, None), _3=size)
    with pytest.raises(InputError) as caught:
        resolve_axes(io.read(path), AxisRequest())
    assert caught.value.description == (
        f"it gives no voxel size along Z (its pixdim is 1 x 1 x {size:g}, and it has no affine)"
    )
    assert caught.value.remedy is Remedy.GIVE_VOXEL_SIZE
    assignment = resolve_axes(io.read(path), AxisRequest(spacing=(1.0, 1.0, 2.0)))
    assert assignment.spacing == (1.0, 1.0, 2.0)


def test_voxel_size_along_an_axis_of_one_voxel_does_not_matter(tmp_path):
    sform = AFFINE.copy()
    sform[:, 2] = 0.0
    path = set_pixdim(save(tmp_path / "a.nii", sform, None, DATA[:, :, :1]), _3=0.0, _1=2.0, _2=2.0)
    volume = io.read(path)
    assert volume.size_remark == ""
    assert resolve_axes(volume, AxisRequest()).spacing[:2] == (2.0, 2.0)
    path = set_pixdim(save(tmp_path / "b.nii", None, None, DATA[:, :, :1]), _3=0.0)
    assert len(resolve_axes(io.read(path), AxisRequest()).spacing) == 3


@pytest.mark.parametrize("entry", [0.0, float("nan")])
def test_sform_without_a_volume_is_ignored_and_told(tmp_path, entry):
    path = save(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<12f", content, 280, *[entry] * 12)
    path.write_bytes(content)
    volume = io.read(path)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.notes == ("Its sform maps voxels to no volume and is ignored.",)


def test_sheared_axes_are_told(tmp_path):
    sform = AFFINE.copy()
    sform[1, 2] = 3.0  # 45 degrees between y and z
    volume = io.read(save(tmp_path / "a.nii", sform, None))
    assert volume.spacing == pytest.approx((2.0, 2.0, np.sqrt(18.0)))
    assert "not orthogonal, by 45 degrees" in volume.notes[0]
    plane = io.read(save(tmp_path / "b.nii", sform, None, DATA[:, :, :1]))
    assert plane.notes == ()


def test_oblique_axes_keep_the_voxel_size_of_pixdim(tmp_path):
    """The lengths of the columns have rounding errors that nobody wants to read."""
    turn = nibabel.eulerangles.euler2mat(0.2, 0.3, 0.4)
    affine = AFFINE.copy()
    affine[:3, :3] = turn @ AFFINE[:3, :3]
    volume = io.read(save(tmp_path / "a.nii", affine, affine))
    assert (volume.spacing, volume.notes, volume.size_remark) == ((2.0, 2.0, 3.0), (), "")


def test_quaternion_that_is_rounded_up_is_a_rotation(tmp_path):
    """nibabel refuses it."""
    path = save(tmp_path / "a.nii", None, np.diag([2.0, -2.0, -3.0, 1.0]))
    content = bytearray(path.read_bytes())
    struct.pack_into("<3f", content, 256, 1.000001, 0.0, 0.0)
    path.write_bytes(content)
    np.testing.assert_allclose(
        io.read(path).affine, np.diag([2.0, -2.0, -3.0, 1.0]), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("unit", "name", "assumed"),
    [
        ("mm", "millimeter", False),
        ("micron", "micrometer", False),
        ("meter", "meter", False),
        ("unknown", "millimeter", True),
    ],
)
def test_assumed_unit_is_told(tmp_path, unit, name, assumed):
    volume = io.read(save(tmp_path / "a.nii", unit=unit))
    assert (volume.unit, volume.unit_is_assumed) == (name, assumed)
    notes = resolve_axes(volume, AxisRequest()).notes
    assert notes == (("It gives no unit of length; mm is assumed.",) if assumed else ())
    given = AxisRequest(spacing=(1.0,), unit="um")
    assert resolve_axes(volume, given).notes == ()


@pytest.mark.parametrize("code", [5, 7, 47])
def test_unknown_code_of_a_unit_is_no_unit(tmp_path, code):
    path = save(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[123] = code
    path.write_bytes(content)
    volume = io.read(path)
    assert volume.unit_is_assumed
    assert volume.time_step is None


@pytest.mark.parametrize(
    ("unit", "step", "seconds"),
    [
        ("sec", 2.0, 2.0),
        ("msec", 2000.0, 2.0),
        ("usec", 5e5, 0.5),
        ("unknown", 2.0, 2.0),
        ("hz", 2.0, None),
        ("sec", 0.0, None),
        ("sec", float("nan"), None),
    ],
)
def test_repetition_time_is_read_in_seconds(tmp_path, unit, step, seconds):
    image = nibabel.Nifti1Image(np.ones((3, 4, 5, 2), "f4"), AFFINE)
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, tmp_path / "a.nii")
    path = set_pixdim(tmp_path / "a.nii", _4=step)
    assert io.read(path).time_step == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_written_header_agrees_with_the_voxel_size_of_the_run(tmp_path, suffix, capfd):
    """No line of nibabel's log reaches the terminal."""
    path = set_pixdim(save(tmp_path / "a.nii"), _3=0.0)
    out = tmp_path / f"out{suffix}"
    assert main(["run", str(path), str(out), "--model", "linear", "--time", "2"]) == 0
    shown = capfd.readouterr()
    assert "setting 0 dims" not in shown.out + shown.err
    assert (
        "Note: Its affine gives the voxel size 2 x 2 x 3 mm and its pixdim 2 x 2 x 0" in shown.err
    )
    written = nibabel.load(out)
    assert written.header.get_zooms() == (2.0, 2.0, 3.0)
    np.testing.assert_array_equal(written.affine, AFFINE)
    expected = nd.diffuse(DATA, nd.Linear(), time=2.0, spacing=(2.0, 2.0, 3.0))
    np.testing.assert_array_equal(np.asarray(written.dataobj), expected)


@pytest.mark.parametrize(
    ("options", "size"), [(["--spacing", "2"], 2.0), (["--spacing", "2", "--unit", "um"], 0.002)]
)
def test_given_voxel_size_is_written_where_the_file_has_none(tmp_path, options, size, capfd):
    path = set_pixdim(save(tmp_path / "a.nii", None, None), _1=0.0, _2=0.0, _3=0.0)
    out = tmp_path / "b.nii"
    assert main(["run", str(path), str(out), "--model", "linear", "--time", "2", *options]) == 0
    assert nibabel.load(out).header.get_zooms() == pytest.approx((size,) * 3)
    assert "setting 0 dims" not in capfd.readouterr().err


def test_unknown_voxel_size_is_not_written_as_a_number(tmp_path):
    path = set_pixdim(save(tmp_path / "a.nii", None, None), _3=0.0)
    io.write(tmp_path / "b.nii", DATA, io.read(path))
    assert io.read(tmp_path / "b.nii").spacing == (1.0, 1.0, None)


def test_written_header_keeps_two_orientations(tmp_path):
    """pixdim belongs to a valid qform, which the sform contradicts."""
    volume = io.read(save(tmp_path / "a.nii", np.diag([3.0, 3.0, 4.0, 1.0]), AFFINE))
    io.write(tmp_path / "b.nii", DATA, volume)
    written = nibabel.load(tmp_path / "b.nii").header
    np.testing.assert_array_equal(written.get_sform(), np.diag([3.0, 3.0, 4.0, 1.0]))
    np.testing.assert_allclose(written.get_qform(), AFFINE)
