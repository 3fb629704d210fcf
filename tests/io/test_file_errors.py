"""Every error about a file carries its path, apart from the reason."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_diffusion import io
from napari_diffusion.core.errors import (
    InputError,
    Remedy,
    SourceLocked,
    SourceMissing,
    TargetExists,
    WriteError,
)
from napari_diffusion.io import tiff
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.io.regions import read_regions
from napari_diffusion.io.volume import Volume


@pytest.fixture
def image(tmp_path):
    """Write a small image without voxel size, and return it."""
    np.save(tmp_path / "image.npy", np.arange(12.0).reshape(3, 4) / 8)
    return io.read(tmp_path / "image.npy")


@pytest.mark.parametrize("as_text", [False, True])
def test_missing_file_has_a_path(tmp_path, as_text):
    path = tmp_path / "none.npy"
    with pytest.raises(SourceMissing) as caught:
        io.read(str(path) if as_text else path)
    assert caught.value.path == path
    assert str(caught.value) == f"{path}: there is no such file."
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(
        SourceMissing, match=r"folder\.npy: this is a folder, not a file; name a file in it\.$"
    ):
        io.read(tmp_path / "folder.npy")


def test_unreadable_file_has_a_path(image, monkeypatch):
    def refuse(*args, **keywords):
        raise PermissionError(13, "Permission denied", str(image.path))

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(SourceLocked) as caught:
        io.read(image.path)
    assert caught.value.path == image.path
    assert caught.value.description == "no permission to read this file"


@pytest.mark.parametrize("name", ["a.jpg", "recipe.json", ".npy"])
def test_unknown_suffix_has_a_path(tmp_path, name):
    for path in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(InputError) as caught:
            io.format_of(path)
        assert caught.value.path == Path(path)
        assert caught.value.description.startswith("the suffix of the name chooses the format")
        assert caught.value.description.count(", ") < len(list(io.REGISTRY))  # one for each


def test_unknown_format_is_to_be_converted(tmp_path):
    (tmp_path / "a.par").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        io.read(tmp_path / "a.par")
    assert caught.value.remedy is Remedy.CONVERT_FORMAT


def test_missing_file_without_a_known_suffix_is_missing(tmp_path):
    with pytest.raises(SourceMissing, match="there is no such file"):
        io.read(tmp_path / "no_such_name")


@pytest.mark.parametrize(
    ("raised", "reason", "remedy"),
    [
        (ValueError("two\nlines."), "two lines", None),
        (OSError(5, "Input/output error", "image.npy"), "Input/output error", None),
        (InputError("it is a map", Remedy.CONVERT_COLOURS), "it is a map", Remedy.CONVERT_COLOURS),
        (EOFError(), "EOFError", None),
    ],
)
def test_reason_of_a_decoder_is_kept_apart_from_the_path(
    image, monkeypatch, raised, reason, remedy
):
    def fail(path):
        raise raised

    formats = tuple(replace(file_format, read=fail) for file_format in io.FORMATS)
    monkeypatch.setattr(io.REGISTRY, "builtin", formats)
    with pytest.raises(InputError) as caught:
        io.read(image.path)
    error = caught.value
    assert error.description == f"cannot be read as NumPy: {reason}"
    assert (error.remedy, error.path) == (remedy, image.path)


def test_reason_that_names_the_file_is_not_cut(image, monkeypatch):
    def fail(path):
        raise ValueError(f"{path}: odd")

    formats = tuple(replace(file_format, read=fail) for file_format in io.FORMATS)
    monkeypatch.setattr(io.REGISTRY, "builtin", formats)
    with pytest.raises(InputError) as caught:
        io.read(image.path)
    assert caught.value.description == f"cannot be read as NumPy: {image.path}: odd"


def test_tiff_of_several_images_names_the_remedy(tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for size in (8, 9):
            tif.write(np.zeros((size, 8), "u1"), metadata={"axes": "YX"})
    with pytest.raises(InputError) as caught:
        io.read(path)
    assert (caught.value.remedy, caught.value.path) == (Remedy.SAVE_ONE_IMAGE, path)


def test_compression_without_its_library_names_the_library(tmp_path, monkeypatch):
    """The tag is changed to a compression that is decoded by imagecodecs at best."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8), "u1"), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        place = tif.pages.first.tags["Compression"].valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 2] = int(tifffile.COMPRESSION.JPEG_99).to_bytes(2, "little")
    path.write_bytes(content)
    monkeypatch.setattr(tiff, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"\(JPEG_99\) needs the library imagecodecs") as caught:
        io.read(path)
    assert (caught.value.remedy, caught.value.path) == (Remedy.INSTALL_IMAGECODECS, path)
    monkeypatch.setattr(tiff, "find_spec", lambda name: object())
    with pytest.raises(InputError) as caught:
        io.read(path)
    assert caught.value.remedy is None


def test_target_errors_have_a_path_and_a_remedy(image, tmp_path):
    target = tmp_path / "out.npy"
    expected = []

    def refuse(kind, path, remedy, **keywords):
        with pytest.raises(kind) as caught:
            io.check_target(path, image, np.float64, **keywords)
        expected.append(caught.value)
        assert (caught.value.path, caught.value.remedy) == (path, remedy)

    refuse(InputError, image.path, Remedy.CHOOSE_ANOTHER_NAME, overwrite=True)
    (tmp_path / "folder.npy").mkdir()
    refuse(TargetExists, tmp_path / "folder.npy", Remedy.CHOOSE_ANOTHER_NAME, overwrite=True)
    refuse(WriteError, tmp_path / "no" / "out.npy", None)
    io.sidecar_of(target).write_bytes(b"")
    with pytest.raises(TargetExists) as caught:
        io.check_target(target, image, np.float64)
    assert caught.value.path == io.sidecar_of(target)
    assert caught.value.remedy is Remedy.ALLOW_OVERWRITING
    target.write_bytes(b"")
    refuse(TargetExists, target, Remedy.ALLOW_OVERWRITING)
    assert len(expected) == 4


@pytest.mark.parametrize(
    ("name", "axes", "dtype", "remedy"),
    [
        ("out.ome.tif", "YX", np.int64, Remedy.WRITE_FLOATING_POINT),
        ("out.tif", "TVUWYX", np.float32, Remedy.WRITE_ANOTHER_FORMAT),
        ("out.nii", "ABCDEFGH", np.float32, Remedy.WRITE_ANOTHER_FORMAT),
    ],
)
def test_format_that_cannot_hold_a_result_is_named_with_the_target(
    tmp_path, name, axes, dtype, remedy
):
    like = Volume(np.zeros((2,) * len(axes)), axes, (None,) * len(axes))
    with pytest.raises(InputError) as caught:
        io.check_target(tmp_path / name, like, dtype)
    assert (caught.value.path, caught.value.remedy) == (tmp_path / name, remedy)


def test_failed_write_has_a_path(image, tmp_path, monkeypatch):
    def refuse(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(WriteError) as caught:
        io.write(tmp_path / "out.npy", image.data, image)
    assert caught.value.path == tmp_path / "out.npy"
    assert caught.value.description.startswith("cannot be written: No space left on device (")


def test_result_of_another_shape_has_a_path(image, tmp_path):
    with pytest.raises(InputError, match=r"has shape \(2, 2\) and its source \(3, 4\)") as caught:
        io.write(tmp_path / "out.npy", np.zeros((2, 2)), image)
    assert caught.value.path == tmp_path / "out.npy"


def test_labels_that_are_no_whole_numbers_have_a_path(image):
    with pytest.raises(InputError, match=r"labels must hold whole numbers, got 0\.125") as caught:
        read_regions("labels", image.path, image, resolve_axes(image, AxisRequest()))
    assert caught.value.path == image.path
