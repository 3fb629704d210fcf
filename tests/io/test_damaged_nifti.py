"""A NIfTI file is read completely and as it was written, or it is refused in one sentence."""

import gzip
import struct

import nibabel
import numpy as np
import pytest

from napari_diffusion import io
from napari_diffusion.core.errors import InputError, NotEnoughMemory, Remedy
from napari_diffusion.core.resources import FreeMemory, format_bytes
from napari_diffusion.io import compressed
from napari_diffusion.io.compressed import ALLOWED_REST

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (12, 11, 10)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).normal(100, 10, SHAPE).astype("f4")


@pytest.fixture(scope="module")
def plain(values, tmp_path_factory):
    """Return the content of a file without compression."""
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    image = nibabel.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path.read_bytes()


def changed(content, place, pattern, *numbers):
    """Return the content with some numbers of its header replaced."""
    block = bytearray(content)
    struct.pack_into(f"<{pattern}", block, place, *numbers)
    return bytes(block)


def flipped(content, place):
    """Return the content with one flipped bit."""
    block = bytearray(content)
    block[place] ^= 0x40
    return bytes(block)


def refusal(path, content):
    """Write a file, and return the error of reading it."""
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        io.read(path)
    assert caught.value.path == path
    return caught.value


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda z: flipped(z, len(z) // 2), "have a wrong checksum or frame (CRC"),
        (lambda z: flipped(z, len(z) - 8), "have a wrong checksum or frame (CRC"),
        (lambda z: flipped(z, len(z) - 1), "have a wrong checksum or frame (Incorrect"),
        (lambda z: z + b"garbage", "have a wrong checksum or frame (Not a gzipped file"),
        (lambda z: z[:-1], "end too early"),
        (lambda z: z[:-8], "end too early"),
        (lambda z: z[: len(z) // 2], "end too early"),
        (lambda z: z[:10], "end too early"),
    ],
)
def test_damaged_compressed_file_is_refused(plain, tmp_path, damage, reason):
    """The stream is not compressed, so that no damage makes it undecodable."""
    error = refusal(tmp_path / "a.nii.gz", damage(gzip.compress(plain, 0)))
    assert error.description.startswith("cannot be read as NIfTI: damaged: its compressed data ")
    assert reason in error.description
    assert error.remedy is Remedy.REPLACE_DAMAGED


def test_every_flipped_bit_is_noticed(values, plain, tmp_path):
    """Only a bit of the header of gzip, such as the time of the file, may be of no importance."""
    whole, path = gzip.compress(plain), tmp_path / "a.nii.gz"
    rng = np.random.default_rng(0)
    for place in rng.integers(10, len(whole), 60):
        refusal(path, flipped(whole, place))


@pytest.mark.parametrize(
    "content",
    [
        lambda plain: gzip.compress(plain),
        lambda plain: gzip.compress(plain, 0) + bytes(512),
        lambda plain: gzip.compress(plain[:3000]) + gzip.compress(plain[3000:]),
        lambda plain: gzip.compress(plain + bytes(512)),
        lambda plain: plain,  # the suffix is wrong, and the content decides
    ],
    ids=["one member", "padded stream", "two members", "padded content", "no compression"],
)
def test_whole_file_is_read(values, plain, tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content(plain))
    volume = io.read(path)
    np.testing.assert_array_equal(volume.data, values)
    assert volume.notes == ()


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_bytes_after_the_image_are_told(values, plain, tmp_path, compress):
    path = tmp_path / ("a.nii.gz" if compress is gzip.compress else "a.nii")
    path.write_bytes(compress(plain + b"x" * 100))
    volume = io.read(path)
    np.testing.assert_array_equal(volume.data, values)
    assert volume.notes == ("100 bytes follow its image; they are left out.",)


def test_stream_that_goes_on_is_not_decompressed(plain, tmp_path, monkeypatch):
    """A small file may hold terabytes; only a little more than the image is decompressed."""
    taken, read = [], gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda file, count=-1: (taken.append(count), read(file, count))[1]
    )
    bomb = gzip.compress(plain + bytes(20 * ALLOWED_REST))
    error = refusal(tmp_path / "a.nii.gz", bomb)
    assert "goes on for more than 1,048,576 bytes after the image" in error.description
    assert sum(taken) < len(plain) + 2 * ALLOWED_REST


@pytest.mark.parametrize("count", [0, 4, 100, 347, 348, 352, -1])
def test_short_file_is_refused_with_its_size(plain, tmp_path, count):
    content = plain[:count]
    error = refusal(tmp_path / "a.nii", content)
    assert error.description.startswith("cannot be read as NIfTI: damaged: ")
    assert f"{len(content):,}" in error.description


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_impossible_size_is_refused_before_memory_is_taken(
    values, plain, tmp_path, monkeypatch, suffix, version
):
    content = changed(plain, 40, "8h", 5, 32767, 32767, 32767, 3, 1, 1, 1)
    size = 32767**3 * 3 * 4 + 352
    if version == 2:
        nibabel.save(nibabel.Nifti2Image(values, AFFINE), tmp_path / "b.nii")
        content = changed((tmp_path / "b.nii").read_bytes(), 16, "2q", 3, 2**61)
        size = 2**61 * 11 * 10 * 4 + 544
    content = gzip.compress(content) if suffix.endswith("gz") else content
    monkeypatch.setattr(np, "empty", lambda *args, **keywords: pytest.fail("memory was taken"))
    error = refusal(tmp_path / f"a{suffix}", content)
    assert f"its header declares {size:,} bytes" in error.description
    assert f"{len(content):,}" in error.description
    assert error.remedy is Remedy.REPLACE_DAMAGED


def test_file_that_does_not_fit_into_the_memory_is_refused(plain, tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(plain))
    monkeypatch.setattr(compressed, "free_memory", lambda: FreeMemory(500))
    with pytest.raises(NotEnoughMemory) as caught:
        io.read(path)
    assert caught.value.path == path
    needed = format_bytes(int(np.prod(SHAPE)) * 4)
    assert caught.value.description.startswith(f"its pixels need {needed} of memory, and 500 B")


@pytest.mark.parametrize(
    ("place", "pattern", "numbers", "reason"),
    [
        (42, "h", (0,), "declares 0 x 11 x 10 samples"),
        (42, "h", (-12,), "declares -12 x 11 x 10 samples"),
        (40, "h", (0,), "declares 0 axes"),
        (40, "h", (9,), "declares 9 axes"),
        (108, "f", (float("nan"),), "begins at byte nan"),
        (108, "f", (float("inf"),), "begins at byte inf"),
        (108, "f", (-352.0,), "begins at byte -352"),
        (108, "f", (0.0,), "begins at byte 0"),
        (108, "f", (352.5,), "begins at byte 352.5"),
        (70, "h", (0,), "declares the data type 0"),
        (70, "h", (1,), "declares the data type 1"),
        (70, "h", (9999,), "declares the data type 9999"),
        (70, "h", (32,), "declares 10,912 bytes, and it has 5,632"),
        (112, "2f", (2.0, float("nan")), "scales its values by 2 and adds nan"),
        (344, "4s", (b"ni1\0",), "whose image is in an .img file"),
        (344, "4s", (b"\0\0\0\0",), "an Analyze header"),
        (68, "h", (3001,), "it is a CIFTI file, which is no volume"),
    ],
)
def test_impossible_header_is_refused(plain, tmp_path, place, pattern, numbers, reason):
    error = refusal(tmp_path / "a.nii", changed(plain, place, pattern, *numbers))
    assert reason in error.description


@pytest.mark.parametrize(
    "size", [0, -5, 17, 2**30], ids=["no size", "negative", "odd", "larger than the file"]
)
def test_damaged_extension_is_refused(plain, tmp_path, size):
    content = changed(plain, 108, "f", 368.0)
    extension = struct.pack("<2i", size, 6) + b"comment\0"
    error = refusal(tmp_path / "a.nii", content[:348] + b"\1\0\0\0" + extension + content[352:])
    assert "an extension of its header cannot be read" in error.description


def test_flag_of_an_extension_without_one_is_harmless(values, plain, tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(changed(plain, 348, "4B", 1, 0, 0, 0))
    np.testing.assert_array_equal(io.read(path).data, values)


def test_line_ends_changed_by_a_copy_are_noticed(values, tmp_path):
    nibabel.save(nibabel.Nifti2Image(values, AFFINE), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    error = refusal(tmp_path / "a.nii", content[:8] + b"\n\n\n\n" + content[12:])
    assert "copied as a text" in error.description


@pytest.mark.parametrize("image_class", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_number_type_and_byte_order_is_read(tmp_path, image_class, order, dtype, suffix):
    data = np.random.default_rng(1).integers(0, 100, (4, 3, 2, 5)).astype(order + dtype)
    header = image_class.header_class(endianness=order)
    header.set_data_dtype(dtype)
    nibabel.save(image_class(data, AFFINE, header), tmp_path / f"a{suffix}")
    volume = io.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.data, data)
    assert volume.axes == "XYZT"
    assert volume.stored.newbyteorder("=") == np.dtype(dtype)


@pytest.mark.parametrize(
    ("slope", "inter", "scaled"),
    [(0.0, 5.0, False), (float("nan"), 5.0, False), (float("inf"), 0.0, False), (2.0, 5.0, True)],
)
def test_scale_that_is_no_number_is_none(values, plain, tmp_path, slope, inter, scaled):
    path = tmp_path / "a.nii"
    path.write_bytes(changed(plain, 112, "2f", slope, inter))
    expected = values.astype("f4") * np.float32(2) + np.float32(5) if scaled else values
    np.testing.assert_array_equal(io.read(path).data, expected)


@pytest.mark.parametrize(("slope", "inter"), [(3e38, 0.0), (1.0, 3e38), (3e38, -3e38)])
def test_scale_beyond_the_range_of_numbers_gives_infinite_values(plain, tmp_path, slope, inter):
    """A run refuses them; no warning of NumPy is printed before."""
    path, content = tmp_path / "a.nii", changed(plain, 112, "2f", slope, inter)
    path.write_bytes(content.replace(content[352:356], struct.pack("<f", 3e38)))
    assert not np.isfinite(io.read(path).data).all()


def test_damaged_mask_is_refused(values, plain, tmp_path):
    """Masks and labels are read by the same function as images."""
    from napari_diffusion.cli import main

    (tmp_path / "a.nii").write_bytes(plain)
    whole = gzip.compress(plain, 0)
    (tmp_path / "m.nii.gz").write_bytes(flipped(whole, len(whole) // 2))
    for option in ("--mask", "--labels"):
        words = ["--model", "linear", "--time", "2", option, str(tmp_path / "m.nii.gz")]
        assert main(["run", str(tmp_path / "a.nii"), str(tmp_path / "o.nii"), *words]) == 2
    assert not (tmp_path / "o.nii").exists()


def test_memory_for_real_values_is_that_of_float32(values, tmp_path, monkeypatch):
    path, count = tmp_path / "a.nii", values.size
    image = nibabel.Nifti1Image(np.zeros(values.shape, np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 1)
    nibabel.save(image, path)
    monkeypatch.setattr(compressed, "free_memory", lambda: FreeMemory(4 * count))
    assert io.read(path).data.dtype == np.float32
    monkeypatch.setattr(compressed, "free_memory", lambda: FreeMemory(4 * count - 1))
    with pytest.raises(NotEnoughMemory):
        io.read(path)
