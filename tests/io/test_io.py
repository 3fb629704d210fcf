"""Files: metadata are read and kept, and files are written completely or not at all."""

import errno
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.files import RECIPE, result_of
from napari_diffusion import io
from napari_diffusion.io import atomic, phantoms, pictures, samples
from napari_diffusion.io.volume import Volume

DATA = Path(nibabel.__file__).parent / "tests" / "data"
NIFTI = [
    "anatomical.nii",
    "example4d.nii.gz",
    "example_nifti2.nii.gz",
    "functional.nii",
    "reoriented_anat_moved.nii",
    "standard.nii.gz",
]


def nifti(path, data, slope=None, inter=None, header=None):
    image = nibabel.Nifti1Image(data, None, header)
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    return path


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.npy"
    np.save(path, np.arange(60, dtype=np.uint16).reshape(3, 4, 5))
    return io.read(path)


# NIfTI


@pytest.mark.parametrize("name", NIFTI)
def test_nifti_header_is_kept(name, tmp_path):
    volume = io.read(DATA / name)
    data = result_of(volume)
    target = tmp_path / f"out{''.join(Path(name).suffixes)}"
    io.write(target, data, volume, RECIPE)
    old, new = nibabel.load(DATA / name), nibabel.load(target)
    assert type(new) is type(old)
    np.testing.assert_array_equal(new.affine, old.affine)
    np.testing.assert_array_equal(np.asarray(new.dataobj), data)  # NaN included
    assert new.get_data_dtype().newbyteorder("=") == np.float32
    changed = {"datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter"}
    for field in set(old.header.keys()) - changed:
        assert new.header[field].tobytes() == old.header[field].tobytes(), field
    comments = [extension.get_content() for extension in new.header.extensions]
    assert comments[:-1] == [extension.get_content() for extension in old.header.extensions]
    assert new.header.extensions[-1].get_code() == 6
    assert json.loads(bytes(comments[-1]).rstrip(b"\0")) == json.loads(RECIPE.to_json())
    assert io.sidecar_of(target).read_text(encoding="utf-8").strip() == RECIPE.to_json()


@pytest.mark.parametrize("name", NIFTI)
def test_nifti_dtype_is_kept_with_preserve_dtype(name, tmp_path):
    volume = io.read(DATA / name)
    target = tmp_path / f"out{''.join(Path(name).suffixes)}"
    io.write(target, np.asarray(volume.data).astype(np.float32), volume, preserve_dtype=True)
    old, new = nibabel.load(DATA / name), nibabel.load(target)
    assert new.get_data_dtype() == old.get_data_dtype()  # byte order included
    np.testing.assert_array_equal(np.asarray(new.dataobj), np.asarray(old.dataobj))


@pytest.mark.parametrize(
    ("name", "axes", "spacing", "time_step"),
    [
        ("anatomical.nii", "XYZ", (2.0, 2.0, 2.0), None),
        ("functional.nii", "XYZT", (4.0, 4.0, 8.0, None), 2.0),
        ("standard.nii.gz", "XYZ", (1.0, 3.0, 2.0), None),
    ],
)
def test_nifti_metadata_are_read(name, axes, spacing, time_step):
    volume = io.read(DATA / name)
    assert (volume.axes, volume.spacing, volume.time_step) == (axes, spacing, time_step)
    assert volume.unit == "millimeter"  # the default for standard.nii.gz, which has no unit
    assert volume.channel_axis is None
    # functional.nii has a scale: a product and a sum in float32 are rounded by 2**-24 each
    np.testing.assert_allclose(
        volume.data, np.asarray(nibabel.load(DATA / name).dataobj), rtol=2**-22
    )


def test_nifti_unit_is_read(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("micron", "msec")
    header.set_data_shape((2, 3, 4, 5))
    header.set_zooms((0.5, 0.5, 2.0, 40.0))
    volume = io.read(nifti(tmp_path / "a.nii", np.zeros((2, 3, 4, 5), np.int16), header=header))
    assert (volume.unit, volume.spacing) == ("micrometer", (0.5, 0.5, 2.0, None))
    assert volume.time_step == pytest.approx(0.04)


def test_scaled_nifti_is_read_in_real_units_and_written_back_unchanged(tmp_path):
    raw = np.array([[[-5, 0, 7, 32767]]], np.int16)
    volume = io.read(nifti(tmp_path / "a.nii", raw, 0.25, 100.0))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, raw * 0.25 + 100.0)
    io.write(tmp_path / "float.nii", volume.data, volume)
    np.testing.assert_array_equal(
        np.asarray(nibabel.load(tmp_path / "float.nii").dataobj), volume.data
    )
    shifted = volume.data + np.float32(0.1)  # less than half a step
    io.write(tmp_path / "same.nii", shifted, volume, preserve_dtype=True)
    same = nibabel.load(tmp_path / "same.nii")
    np.testing.assert_array_equal(same.dataobj.get_unscaled(), raw)
    assert (same.dataobj.slope, same.dataobj.inter) == (0.25, 100.0)


def test_nifti_colours_are_one_coupled_axis(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3), dtype=np.uint8)
    structured = colours.view([(name, "u1") for name in "RGB"])[..., 0]
    nibabel.save(nibabel.Nifti1Image(structured, np.eye(4)), tmp_path / "rgb.nii")
    volume = io.read(tmp_path / "rgb.nii")
    assert (volume.axes, volume.channel_axis) == ("XYZS", 3)
    np.testing.assert_array_equal(volume.data, colours)
    io.write(tmp_path / "same.nii", colours, volume, preserve_dtype=True)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "same.nii").dataobj, structured)
    io.write(tmp_path / "float.nii", colours.astype(np.float32), volume)
    again = io.read(tmp_path / "float.nii")  # NIfTI has no floating-point colour, but vectors
    assert (again.shape, again.channel_axis) == ((4, 5, 6, 1, 3), 4)
    np.testing.assert_array_equal(again.data[..., 0, :], colours)


@pytest.mark.parametrize("name", ["row_major.dconn.nii"])
def test_cifti_file_is_refused(name):
    with pytest.raises(ValueError, match="no volume"):
        io.read(DATA / name)


def test_uncompressed_files_are_memory_mapped(stack):
    assert isinstance(io.read(DATA / "anatomical.nii").data, np.memmap)
    assert isinstance(stack.data, np.memmap)


# Between formats


def test_volume_converts_between_formats(tmp_path):
    source = io.read(DATA / "functional.nii")
    io.write(tmp_path / "a.ome.tif", source.data, source)
    middle = io.read(tmp_path / "a.ome.tif")
    assert (middle.axes, middle.spacing) == ("TZYX", (None, 8.0, 4.0, 4.0))
    assert (middle.unit, middle.time_step) == ("millimeter", 2.0)
    np.testing.assert_array_equal(middle.data, np.asarray(source.data).T)
    io.write(tmp_path / "b.nii.gz", middle.data, middle, preserve_dtype=True)
    back = io.read(tmp_path / "b.nii.gz")
    for field in ("axes", "spacing", "unit", "time_step"):
        assert getattr(back, field) == getattr(source, field), field
    np.testing.assert_array_equal(back.data, source.data)
    assert back.data.dtype == source.data.dtype


# Writing is all or nothing


def half_written(path, data, like, recipe):
    path.write_bytes(b"half")
    raise half_written.error


@pytest.fixture
def broken_disk(monkeypatch):
    """Make every writer fail halfway with an error that the test chooses."""

    def fail(error):
        half_written.error = error
        formats = tuple(replace(file_format, write=half_written) for file_format in io.FORMATS)
        monkeypatch.setattr(io.REGISTRY, "builtin", formats)

    return fail


@pytest.mark.parametrize("name", ["out.npy", "out.nii", "out.nii.gz", "out.tif"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), io.WriteError),
        (RuntimeError("bug"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_failed_write_leaves_folder_unchanged(name, error, raised, stack, tmp_path, broken_disk):
    folder = tmp_path / "results"
    folder.mkdir()
    broken_disk(error)
    with pytest.raises(raised) as caught:
        io.write(folder / name, stack.data, stack, RECIPE)
    assert list(folder.iterdir()) == []
    (folder / name).write_bytes(b"old")
    with pytest.raises(raised):
        io.write(folder / name, stack.data, stack, RECIPE, overwrite=True)
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_bytes() == b"old"
    if raised is io.WriteError:
        assert name in str(caught.value)
        assert "No space left" in str(caught.value)
        assert "bytes free" in str(caught.value)


def test_failed_rename_leaves_folder_unchanged(stack, tmp_path, monkeypatch):
    def refuse(*names):
        raise PermissionError(errno.EACCES, "Permission denied")

    target = tmp_path / "out.npy"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(io.WriteError, match=r"Permission denied.*bytes free"):
        io.write(target, stack.data, stack, RECIPE, overwrite=True)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "stack.npy"]


def test_file_is_synced_before_it_gets_its_final_name(stack, tmp_path, monkeypatch):
    events = []
    sync, move, link = os.fsync, os.replace, os.link
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("move"), move(*names)))
    monkeypatch.setattr(os, "link", lambda *names: (events.append("link"), link(*names)))
    io.write(tmp_path / "out.npy", stack.data, stack)
    assert events[:2] == ["sync", "link"]
    io.write(tmp_path / "out.npy", stack.data, stack, overwrite=True)
    assert events[3:5] == ["sync", "move"]


def test_temporary_file_is_in_the_target_folder(tmp_path):
    """A rename between disks is a copy, which is not atomic."""
    with atomic.replacing(tmp_path / "a.tif", ".tif") as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"new")
    assert (tmp_path / "a.tif").read_bytes() == b"new"


def test_existing_file_is_only_replaced_with_overwrite(stack, tmp_path):
    target = tmp_path / "out.npy"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="exists already"):
        io.write(target, stack.data, stack, RECIPE)
    assert target.read_bytes() == b"old"
    io.write(target, stack.data, stack, RECIPE, overwrite=True)
    np.testing.assert_array_equal(np.load(target), stack.data)
    target.unlink()
    with pytest.raises(FileExistsError, match=r"recipe\.json"):  # an old recipe is kept, too
        io.write(target, stack.data, stack, RECIPE)


def test_source_is_never_the_target(stack, tmp_path):
    before = stack.path.read_bytes()
    (tmp_path / "link.npy").symlink_to(stack.path)
    os.link(stack.path, tmp_path / "hard.npy")
    for target in (
        stack.path,
        tmp_path / "." / "stack.npy",
        tmp_path / "link.npy",
        tmp_path / "hard.npy",
    ):
        with pytest.raises(ValueError, match="source"):
            io.write(target, stack.data, stack, overwrite=True)
    assert stack.path.read_bytes() == before


def test_symbolic_link_at_the_target_is_followed(stack, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / "real.npy"
    real.write_bytes(b"old")
    (tmp_path / "out.npy").symlink_to(real)
    io.write(tmp_path / "out.npy", stack.data, stack, overwrite=True)
    assert (tmp_path / "out.npy").is_symlink()
    np.testing.assert_array_equal(np.load(real), stack.data)


def test_link_that_leads_to_no_file_is_a_name_in_use(stack, tmp_path):
    """Somebody else may have made it, so that a result is written to another folder."""
    (tmp_path / "elsewhere").mkdir()
    for name in ("out.npy", "out.npy.recipe.json"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere" / "file")
        with pytest.raises(FileExistsError, match="exists already"):
            io.write(tmp_path / "out.npy", stack.data, stack, RECIPE)
        (tmp_path / name).unlink()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("name", ["out.npy", "out.npy.recipe.json"])
def test_file_that_appears_while_a_result_is_written_is_not_replaced(
    name, has_links, checked, stack, tmp_path, monkeypatch
):
    """The last question comes with the renaming itself; some disks have no second names."""

    def refuse(*names):
        raise OSError(errno.EPERM, "Operation not permitted")

    @contextmanager
    def appearing():
        (tmp_path / name).write_bytes(b"somebody's")
        yield

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError, match="has appeared during the run"):
        io.write(
            tmp_path / "out.npy", stack.data, stack, RECIPE, checked=checked, commit=appearing()
        )
    assert (tmp_path / name).read_bytes() == b"somebody's"
    assert {path.name for path in tmp_path.iterdir()} == {name, "stack.npy"}


@pytest.mark.parametrize("name", ["out.npy", "out.npy.recipe.json"])
def test_checked_result_does_not_replace_a_file_that_has_appeared_since(name, stack, tmp_path):
    io.check_target(tmp_path / "out.npy", stack, stack.data.dtype, RECIPE)
    (tmp_path / name).write_bytes(b"somebody's")
    with pytest.raises(FileExistsError, match="exists already"):
        io.write(tmp_path / "out.npy", stack.data, stack, RECIPE, checked=True)
    assert (tmp_path / name).read_bytes() == b"somebody's"


def test_impossible_targets_are_detected_before_the_run(stack, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="one such as"):
        io.check_target(tmp_path / "out.png", stack, np.float32)
    with pytest.raises(io.WriteError, match="does not exist"):
        io.check_target(tmp_path / "no" / "out.npy", stack, np.float32)
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(FileExistsError, match="folder"):
        io.check_target(tmp_path / "folder.npy", stack, np.float32, overwrite=True)
    with pytest.raises(ValueError, match="int64"):
        io.check_target(tmp_path / "out.ome.tif", stack, np.int64)
    monkeypatch.setattr(io, "free_bytes", lambda folder: 100)
    with pytest.raises(io.WriteError, match=r"needs 368 bytes, and 100 bytes are free"):
        io.check_target(tmp_path / "out.npy", stack, np.float32)


@pytest.mark.parametrize("name", ["bad.nii", "bad.nii.gz", "bad.tif", "bad.npy"])
@pytest.mark.parametrize("content", [b"", b"this is no image", b"\x00" * 400])
def test_damaged_file_is_an_error_of_one_sentence(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: cannot be read as") as caught:
        io.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_error_for_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(io.MissingLibraryError, match=r"nibabel: pip install"):
        io.read(DATA / "anatomical.nii")


# Samples, pictures


def test_mri_sample_is_the_scan_oriented_for_display():
    series, spacing, unit = samples.mri_4d()
    assert (series.shape, spacing, unit) == ((2, 24, 96, 128), (2.0, 2.2, 2.0, 2.0), "millimeter")
    image = nibabel.load(samples.mri_file())
    # World coordinates increase to the patient's right, front and top. Columns of the sample run to
    # the right, rows to the back, planes to the top.
    right, front, top = np.asarray(image.affine[:3, :3]).diagonal() > 0
    turned = np.asarray(image.dataobj)[
        :: 1 if right else -1, :: -1 if front else 1, :: 1 if top else -1
    ]
    np.testing.assert_array_equal(series, turned.T)
    volume, step, unit = samples.mri()
    assert (step, unit, volume.shape) == ((2.2, 2.0, 2.0), "millimeter", (24, 96, 128))
    np.testing.assert_array_equal(volume, series[0])


def test_simulated_stack_has_the_documented_noise():
    microscope = phantoms.Microscope(gain=20.0, offset=200.0, read_noise=15.0)
    settings = {"nuclei": 8, "filaments": 8, "microscope": microscope}
    stack = phantoms.confocal((12, 64, 64), **settings)
    again = phantoms.confocal((12, 64, 64), **settings)
    np.testing.assert_array_equal(stack.noisy, again.noisy)
    assert stack.noisy.dtype == np.uint16
    # Poisson noise of n photons has variance n, in grey levels gain² n = gain (truth - offset).
    sigma = np.sqrt(20.0 * (stack.truth - 200.0) + 15.0**2)
    residual = (stack.noisy - stack.truth) / sigma
    assert abs(residual.mean()) < 5 / np.sqrt(residual.size)  # five standard errors
    assert abs(residual.std() - 1.0) < 0.03  # skew and rounding move it by about 0.01
    assert np.ptp(stack.truth) > 10 * 15.0  # the objects are brighter than the noise


def test_simulated_objects_do_not_depend_on_the_voxel_size():
    coarse = phantoms.confocal((10, 40, 40), (1.0, 0.4, 0.4), nuclei=12, filaments=0, seed=3)
    fine = phantoms.confocal((20, 80, 80), (0.5, 0.2, 0.2), nuclei=12, filaments=0, seed=3)
    # The same volume with half the voxel size has the same mean; borders of nuclei differ slightly.
    assert coarse.truth.mean() == pytest.approx(fine.truth.mean(), rel=0.05)


def test_picture_shows_both_planes_and_their_difference(tmp_path):
    from PIL import Image

    plane = np.linspace(0, 100, 30 * 20).reshape(30, 20)
    pictures.side_by_side(tmp_path / "a.png", plane, plane.copy(), (2.0, 1.0))
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    rows, columns = picture.shape
    third = columns // 3
    # Pixels are shown with their true proportions.
    assert rows / third == pytest.approx(30 * 2.0 / (20 * 1.0), rel=0.05)
    np.testing.assert_array_equal(picture[:, : third - 6], picture[:, third + 2 : 2 * third - 4])
    assert np.unique(picture[:, -third // 2 :]).tolist() == [127]  # no difference


@pytest.mark.parametrize(
    ("shape", "axes"), [((40_000, 3), "YX"), ((2, 3, 40_000), "ZYX"), ((40_000,), "X")]
)
def test_axis_that_is_too_long_for_nifti_1_is_written_as_nifti_2(shape, axes, tmp_path, capfd):
    values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    volume = Volume(values, axes, (1.0,) * len(shape))
    io.write(tmp_path / "a.nii", values, volume)
    image = nibabel.load(tmp_path / "a.nii")
    assert isinstance(image, nibabel.Nifti2Image)
    np.testing.assert_array_equal(np.squeeze(np.asarray(image.dataobj)), np.squeeze(values.T))
    assert capfd.readouterr() == ("", "")
