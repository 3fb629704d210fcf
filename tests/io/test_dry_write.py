"""What a writer refuses is known before the run, and the dry write leaves nothing behind."""

import errno
import os
import time
from pathlib import Path
from warnings import catch_warnings, simplefilter

import nibabel
import numpy as np
import pytest
import tifffile

from helpers.files import RECIPE, result_of
from napari_diffusion import io
from napari_diffusion.io import atomic
from napari_diffusion.io.volume import Volume

PIXELS = np.arange(20 * 22, dtype=np.uint16).reshape(20, 22)
#: Text of tags that other programs write, with the tag.
ODD_TEXT = {
    "UTF-8 name": (315, "Müller".encode() + b"\0"),
    "Latin-1 name": (315, "Müller".encode("latin-1") + b"\0"),
    "Japanese": (271, "顕微鏡".encode("shift-jis") + b"\0"),
    "short date": (306, b"2019/11/27 16:11\0"),
    "date with a zone": (306, b"2019-11-27T16:11:00+01:00\0"),
    "date in words": (306, b"27. November 2019\0"),
    "several strings": (315, b"A. Smith\0B. Jones\0"),
    "control characters": (269, b"a\x01\x02\x7fb\0"),
    "one letter": (316, b"h\0"),
    "long text": (33432, b"x" * 70_000 + b"\0"),
}


def raw_tag(path, code):
    """Return the bytes of a tag of the first page."""
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages[0].tags[code]
        tif.filehandle.seek(tag.valueoffset)
        return tif.filehandle.read(tag.count)


@pytest.mark.parametrize("target", ["out.tif", "out.ome.tif"])
@pytest.mark.parametrize("name", ODD_TEXT)
def test_odd_text_of_a_tag_is_kept_byte_for_byte(name, target, tmp_path):
    code, text = ODD_TEXT[name]
    tags = [(code, 2, len(text), text, True)]
    tifffile.imwrite(tmp_path / "in.tif", PIXELS, metadata=None, extratags=tags)
    volume = io.read(tmp_path / "in.tif")
    io.check_target(tmp_path / target, volume, np.float32, RECIPE)
    io.write(tmp_path / target, result_of(volume), volume, RECIPE)
    assert raw_tag(tmp_path / target, code) == text


def test_tag_with_numbers_in_place_of_text_is_dropped(tmp_path):
    tags = [(315, 3, 2, (1, 2), True)]
    tifffile.imwrite(tmp_path / "in.tif", PIXELS, metadata=None, extratags=tags)
    volume = io.read(tmp_path / "in.tif")
    io.write(tmp_path / "out.tif", result_of(volume), volume)
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert 315 not in tif.pages[0].tags


def sources(folder):
    """Yield one source of each layout that has a header of its own."""
    stack = np.arange(3 * 6 * 5, dtype=np.uint16).reshape(3, 6, 5)
    grey = {"photometric": "minisblack"}
    tifffile.imwrite(folder / "plain.tif", stack, metadata=None, **grey)
    tifffile.imwrite(folder / "shaped.tif", stack, metadata={"axes": "ZYX"}, **grey)
    tifffile.imwrite(folder / "imagej.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "ome.ome.tif", stack, ome=True, metadata={"axes": "ZYX"})
    colours = np.zeros((6, 5, 3), np.uint8)
    tifffile.imwrite(folder / "rgb.tif", colours, photometric="rgb", metadata=None)
    nibabel.save(nibabel.Nifti1Image(stack, np.diag([2, 2, 3, 1.0])), folder / "one.nii")
    nibabel.save(nibabel.Nifti2Image(stack, np.eye(4)), folder / "two.nii")
    np.save(folder / "array.npy", stack)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".nii", ".npy"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_dry_write_gives_the_exact_size_for_every_source(suffix, dtype, tmp_path):
    (tmp_path / "in").mkdir()
    for source in sources(tmp_path / "in"):
        volume = io.read(source)
        target = tmp_path / f"{source.name}{suffix}"
        file_format, _ = io.format_of(target)
        size = file_format.dry_write(target, np.dtype(dtype), volume, RECIPE.to_json())
        assert not target.exists()
        io.write(target, np.asarray(volume.data).astype(dtype), volume, RECIPE)
        assert target.stat().st_size == size, source.name


def test_refusal_of_the_writer_is_known_before_the_run(tmp_path, monkeypatch):
    volume = Volume(PIXELS, "YX", (1.0, 1.0))

    def refuse(*arguments, **options):
        raise RuntimeError("no such tag")

    monkeypatch.setattr(tifffile, "imwrite", refuse)
    with pytest.raises(io.InputError, match=r"out.tif: the result cannot be written as TIFF: no"):
        io.check_target(tmp_path / "out.tif", volume, np.float32, RECIPE)
    assert list(tmp_path.iterdir()) == []


class Unwritable:
    """Replaces `Path.touch` on a disk that refuses every file."""

    def __init__(self, code):
        self.code = code

    def __call__(self, *arguments, **options):
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EDQUOT, errno.ENOSPC, errno.EACCES])
def test_folder_that_refuses_files_is_known_before_the_run(code, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "touch", Unwritable(code))
    with pytest.raises(io.WriteError, match=r"cannot be written: .*bytes free there"):
        io.check_target(tmp_path / "out.npy", Volume(PIXELS, "YX", (1.0, 1.0)), np.float32)


def test_name_that_the_disk_cannot_hold_is_known_before_the_run(tmp_path):
    volume = Volume(PIXELS, "YX", (1.0, 1.0))
    fits = "x" * 251 + ".npy"
    io.check_target(tmp_path / fits, volume, np.float32)
    with pytest.raises(io.WriteError, match=r"its name has 267 bytes, .* at most 255"):
        io.check_target(tmp_path / fits, volume, np.float32, RECIPE)  # the name of the recipe
    with pytest.raises(io.WriteError, match="its name has 256 bytes"):
        io.check_target(tmp_path / ("x" + fits), volume, np.float32)
    assert list(tmp_path.iterdir()) == []


def test_compressed_result_of_noise_needs_half_of_its_size(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).normal(size=(64, 64, 4)).astype(np.float32)
    volume = Volume(noise, "XYZ", (1.0, 1.0, 1.0))
    monkeypatch.setattr(io, "free_bytes", lambda folder: noise.nbytes // 3)
    with pytest.raises(io.WriteError, match="are free there"):
        io.check_target(tmp_path / "out.nii.gz", volume, np.float32)
    monkeypatch.setattr(io, "free_bytes", lambda folder: noise.nbytes)
    io.check_target(tmp_path / "out.nii.gz", volume, np.float32)


def test_compressed_result_of_scaled_noise_needs_half_of_its_size(tmp_path, monkeypatch):
    """The stored numbers count, not the real values, which round to a few whole numbers."""
    noise = np.random.default_rng(0).integers(-30_000, 30_000, (64, 64, 4)).astype(np.int16)
    scaling = {"stored": noise.dtype, "scaling": (1e-4, 0.0)}
    volume = Volume(noise * np.float32(1e-4), "XYZ", (1.0, 1.0, 1.0), **scaling)
    monkeypatch.setattr(io, "free_bytes", lambda folder: noise.nbytes // 3)
    with pytest.raises(io.WriteError, match="are free there"):
        io.check_target(tmp_path / "out.nii.gz", volume, np.int16, preserve_dtype=True)


def test_nan_is_no_warning_before_the_run(tmp_path):
    values = np.full((8, 8), np.nan, np.float32)
    volume = Volume(values, "XY", (1.0, 1.0), stored=np.dtype(np.int16), scaling=(2.0, 0.0))
    with catch_warnings():
        simplefilter("error")
        io.check_target(tmp_path / "out.nii.gz", volume, np.float32, preserve_dtype=True)


@pytest.mark.parametrize("shape", [(2**18, 2**18), (2**18, 2**18, 2), (2**30,)])
def test_only_a_part_of_a_large_image_is_compressed_before_the_run(shape, tmp_path, monkeypatch):
    image = np.broadcast_to(np.uint8(0), shape)
    monkeypatch.setattr(io, "free_bytes", lambda folder: 2**60)
    volume = Volume(image, "XYZ"[: len(shape)], (1.0,) * len(shape))
    io.check_target(tmp_path / "out.nii.gz", volume, np.float32)


def leave_temporary(folder, age):
    """Make the file that a killed run leaves behind, with a given age [s]."""
    path = folder / ".0123456789ab.partial.nii.gz"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_file_of_a_killed_run_is_removed_by_the_next_run(tmp_path):
    old = leave_temporary(tmp_path, atomic.ABANDONED_S + 60)
    io.write(tmp_path / "out.npy", PIXELS, Volume(PIXELS, "YX", (1.0, 1.0)))
    assert not old.exists()


def test_file_of_a_run_under_way_and_other_hidden_files_stay(tmp_path):
    young = leave_temporary(tmp_path, atomic.ABANDONED_S - 60)
    other = tmp_path / ".notes.partial"
    other.write_bytes(b"mine")
    os.utime(other, (0, 0))
    io.write(tmp_path / "out.npy", PIXELS, Volume(PIXELS, "YX", (1.0, 1.0)))
    assert young.exists()
    assert other.exists()


def test_file_of_a_killed_run_of_another_user_stays(tmp_path, monkeypatch):
    old = leave_temporary(tmp_path, atomic.ABANDONED_S + 60)
    monkeypatch.setattr(os, "getuid", lambda: old.stat().st_uid + 1, raising=False)
    io.write(tmp_path / "out.npy", PIXELS, Volume(PIXELS, "YX", (1.0, 1.0)))
    assert old.exists()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "old"])
def test_result_and_recipe_keep_their_old_content_together(is_new, links, tmp_path, monkeypatch):
    """Windows refuses to replace a recipe that an editor holds open."""
    volume, target = Volume(PIXELS, "YX", (1.0, 1.0)), tmp_path / "out.npy"
    if not is_new:
        target.write_bytes(b"old result")
        io.sidecar_of(target).write_bytes(b"old recipe")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace = os.replace

    def refuse(source, final):
        if Path(final) == io.sidecar_of(target):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        replace(source, final)

    def no_links(*arguments, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    if not links:  # as on a memory stick
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(io.WriteError, match="Permission denied"):
        io.write(target, PIXELS, volume, RECIPE, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_other_name_of_the_old_result_stays(tmp_path):
    volume, target = Volume(PIXELS, "YX", (1.0, 1.0)), tmp_path / "out.npy"
    for _ in range(2):
        io.write(target, PIXELS, volume, RECIPE, overwrite=True)
    assert sorted(tmp_path.iterdir()) == [target, io.sidecar_of(target)]
