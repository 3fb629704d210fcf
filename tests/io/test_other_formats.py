"""Files that other libraries write are read exactly, and results keep what the format holds."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from helpers.files import RECIPE
from helpers.written_volumes import AFFINE, KINDS, ORIGIN, PIXELS, SIZES, write
from napari_diffusion import io
from napari_diffusion.core.errors import InputError, NotEnoughMemory
from napari_diffusion.core.resources import FreeMemory
from napari_diffusion.io import compressed

#: Formats of results that hold a volume of every kind of file.
TARGETS = [".nii", ".nii.gz", ".nii.bz2", ".nrrd", ".mha", ".mgz", ".mgh", ".mrc"]
#: Rounding of a voxel size and an origin in float32.
FLOAT32 = 1e-6


def in_zyx(volume):
    """Return the values of a volume along z, y and x."""
    order = [volume.axes.index(letter) for letter in "ZYX"]
    rest = [i for i in range(len(volume.axes)) if i not in order]
    return np.asarray(volume.data).transpose(rest + order).reshape(PIXELS.shape)


def sizes_of(volume):
    return tuple(volume.spacing[volume.axes.index(letter)] for letter in "XYZ")


def test_the_table_has_at_least_twelve_kinds():
    assert len(KINDS) >= 12


@pytest.mark.parametrize("name", KINDS)
def test_file_of_another_library_is_read_exactly(name, tmp_path):
    path = write(name, tmp_path)
    volume = io.read(path)
    np.testing.assert_array_equal(in_zyx(volume), PIXELS)
    np.testing.assert_allclose(sizes_of(volume), SIZES, rtol=FLOAT32)
    assert volume.unit == KINDS[name][3]
    assert (volume.affine is not None) == KINDS[name][2]
    if volume.affine is not None:
        np.testing.assert_allclose(volume.affine, AFFINE, rtol=0, atol=FLOAT32 * 30)


@pytest.mark.parametrize("name", KINDS)
def test_result_keeps_values_size_and_orientation_in_its_own_format(name, tmp_path):
    volume = io.read(write(name, tmp_path))
    target = tmp_path / f"result{KINDS[name][4]}"
    data = np.asarray(volume.data) + 1
    (written, _) = io.write(target, data, volume, RECIPE)
    result = io.read(written)
    np.testing.assert_array_equal(in_zyx(result), PIXELS + 1)
    assert sizes_of(result) == sizes_of(volume)
    assert result.unit == volume.unit
    if volume.affine is not None:
        np.testing.assert_allclose(result.affine, volume.affine, rtol=0, atol=FLOAT32 * 30)


@pytest.mark.parametrize("suffix", TARGETS)
@pytest.mark.parametrize("name", KINDS)
def test_size_and_orientation_survive_a_change_of_format(name, suffix, tmp_path):
    volume = io.read(write(name, tmp_path))
    target = tmp_path / f"result{suffix}"
    io.write(target, np.asarray(volume.data), volume)
    result = io.read(target)
    np.testing.assert_array_equal(in_zyx(result), PIXELS)
    scale = {"millimeter": 1.0, "angstrom": 1e-7}
    sizes = np.array(sizes_of(result)) * scale[result.unit]
    np.testing.assert_allclose(sizes, np.array(SIZES) * scale[volume.unit], rtol=1e-5)
    if volume.affine is not None and suffix != ".mrc":
        np.testing.assert_allclose(result.affine, AFFINE, rtol=0, atol=FLOAT32 * 30)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name][2]])
def test_simpleitk_reads_a_result_in_the_same_place(name, suffix, tmp_path):
    volume = io.read(write(name, tmp_path))
    target = tmp_path / f"result{suffix}"
    io.write(target, np.asarray(volume.data), volume)
    image = sitk.ReadImage(str(target))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), PIXELS)
    np.testing.assert_allclose(image.GetSpacing(), SIZES, rtol=FLOAT32)
    for index in ((0, 0, 0), (6, 5, 4)):
        place = image.TransformIndexToPhysicalPoint(index)
        expected = np.diag([-1, -1, 1, 1]) @ AFFINE @ [*index, 1]
        np.testing.assert_allclose(place, expected[:3], atol=FLOAT32 * 30)
    np.testing.assert_allclose(image.GetOrigin(), ORIGIN, atol=FLOAT32 * 30)


@pytest.mark.parametrize("suffix", [".mgz", ".nii", ".nii.bz2"])
def test_nibabel_reads_a_result_in_the_same_place(suffix, tmp_path):
    volume = io.read(write("NRRD, raw", tmp_path))
    target = tmp_path / f"result{suffix}"
    io.write(target, np.asarray(volume.data), volume)
    image = nibabel.load(target)
    np.testing.assert_array_equal(np.asarray(image.dataobj), PIXELS.T)
    np.testing.assert_allclose(image.affine, AFFINE, rtol=0, atol=FLOAT32 * 30)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".nrrd", ".mgh", ".mrc", ".mha"])
@pytest.mark.parametrize("name", KINDS)
def test_size_of_a_result_is_known_before_it_is_written(name, suffix, dtype, tmp_path):
    volume = io.read(write(name, tmp_path))
    target = tmp_path / f"result{suffix}"
    file_format, _ = io.format_of(target)
    stored = file_format.storable(np.dtype(dtype), volume, suffix)
    size = file_format.dry_write(target, stored, volume, RECIPE.to_json())
    assert not target.exists()
    io.write(target, np.asarray(volume.data).astype(dtype), volume, RECIPE)
    if suffix == ".mha":  # SimpleITK writes the header only with the values
        assert size - 4096 - len(RECIPE.to_json()) <= target.stat().st_size <= size
    else:
        assert target.stat().st_size == size


#: A byte of the scan parameters, or a digit of the last number, is missing.
ENDS_IN_TIME = {("MGH", 0.999), ("NRRD, text", 0.999)}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_file_that_ends_early_is_refused_in_one_sentence(name, share, tmp_path):
    path = write(name, tmp_path)
    detached = {"a.nhdr": "a.raw.gz", "a.mhd": "a.raw", "a.hdr": "a.img"}
    longest = path.with_name(detached.get(path.name, path.name))
    content = longest.read_bytes()
    longest.write_bytes(content[: int(len(content) * share)])
    if (name, share) in ENDS_IN_TIME:
        np.testing.assert_allclose(in_zyx(io.read(path)).ravel()[:-1], PIXELS.ravel()[:-1])
        return
    with pytest.raises(InputError) as caught:
        io.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    assert "Traceback" not in message


def outcome(path):
    """Return whether a file is read as a small image or refused in one sentence."""
    try:
        return "image" if io.read(path).data.size < 1_000_000 else "large image"
    except (InputError, MemoryError, OSError) as error:
        return "sentence" if "\n" not in str(error) else "several lines"


@pytest.mark.parametrize("name", KINDS)
def test_damaged_bytes_end_in_an_image_or_one_sentence(name, tmp_path):
    path = write(name, tmp_path)
    header = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        block = bytearray(header)
        for place in rng.integers(0, min(len(block), 400), 3):
            block[place] = int(rng.integers(0, 256))
        path.write_bytes(block)
        assert outcome(path) in ("image", "sentence")


COMPRESSED = ["NIfTI, bzip2", "MGZ", "NRRD, gzip", "NRRD, bzip2", "MRC, gzip", "MetaImage, packed"]


@pytest.mark.parametrize("name", COMPRESSED)
def test_file_that_does_not_fit_into_the_memory_is_refused(name, tmp_path, monkeypatch):
    path = write(name, tmp_path)
    monkeypatch.setattr(compressed, "free_memory", lambda: FreeMemory(PIXELS.nbytes - 1))
    with pytest.raises(NotEnoughMemory):
        io.read(path)


def test_packed_metaimage_without_the_size_of_its_stream_is_read(tmp_path):
    """SimpleITK 2.5 returns arbitrary values for it."""
    path = write("MetaImage, packed", tmp_path)
    content = path.read_bytes()
    start = content.index(b"CompressedDataSize")
    path.write_bytes(content[:start] + content[content.index(b"\n", start) + 1 :])
    np.testing.assert_array_equal(in_zyx(io.read(path)), PIXELS)


@pytest.mark.parametrize("skipped", [-1, 5])
@pytest.mark.parametrize("order", ["True", "False"])
@pytest.mark.parametrize("kind", ["raw", "text"])
def test_metaimage_of_another_byte_order_or_in_words_is_read(kind, order, skipped, tmp_path):
    fields = {"NDims": 3, "DimSize": "7 6 5", "ElementType": "MET_FLOAT", "HeaderSize": skipped}
    fields |= {"BinaryData": kind == "raw", "BinaryDataByteOrderMSB": order}
    header = "".join(f"{name} = {value}\n" for name, value in fields.items())
    (tmp_path / "a.mhd").write_text(f"ObjectType = Image\n{header}ElementDataFile = a.raw\n")
    if kind == "raw":
        stored = PIXELS.astype(">f4" if order == "True" else "<f4").tobytes()
    else:
        stored = " ".join(map(repr, PIXELS.ravel().tolist())).encode() + b"\n"
        (tmp_path / "a.mhd").write_text(
            (tmp_path / "a.mhd").read_text().replace(f"HeaderSize = {skipped}", "HeaderSize = 0")
        )
        skipped = 0
    (tmp_path / "a.raw").write_bytes(b" " * max(skipped, 0) + stored)
    read = in_zyx(io.read(tmp_path / "a.mhd"))
    np.testing.assert_array_equal(read, PIXELS)
    if kind == "raw":
        image = sitk.ReadImage(tmp_path / "a.mhd")
        np.testing.assert_array_equal(read, sitk.GetArrayFromImage(image))


@pytest.mark.parametrize(
    "line",
    ["BinaryData =derMSB = False", "CompressedData = Trux", "Offset = 1 nan 2", "Offset = 1e999"],
)
def test_field_of_metaimage_that_is_not_clear_is_refused_without_a_message(line, tmp_path, capfd):
    """MetaIO prints its own messages."""
    path = write("MetaImage", tmp_path)
    name = line.split()[0]
    lines = path.read_bytes().split(b"\n")
    lines = [line.encode() if own.startswith(name.encode() + b" =") else own for own in lines]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match="is not clear"):
        io.read(path)
    assert capfd.readouterr() == ("", "")


def test_stream_behind_the_header_of_a_nrrd_file_is_bounded(tmp_path):
    """A file of 20 kB would take 20 MB."""
    path = write("NRRD, raw", tmp_path)
    content = path.read_bytes()
    header = content[: content.index(b"\n\n") + 2].replace(b"encoding: raw", b"encoding: gzip")
    path.write_bytes(header + gzip.compress(PIXELS.tobytes() + bytes(20 << 20)))
    with pytest.raises(InputError, match="goes on for more than"):
        io.read(path)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd", ".img", ".hdr", ".dcm", ".mrc.gz"])
def test_kind_that_is_only_read_is_refused_before_the_run(suffix, tmp_path):
    volume = io.read(write("NIfTI", tmp_path))
    with pytest.raises(InputError, match=r"write NIfTI or \.npy"):
        io.check_target(tmp_path / f"result{suffix}", volume, np.float32)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".mgz", "i8"), (".mgz", "u4"), (".mrc", "i4"), (".mrc", "u8")]
)
def test_numbers_that_a_format_lacks_are_refused_before_the_run(suffix, dtype, tmp_path):
    volume = io.read(write("NIfTI", tmp_path))
    with pytest.raises(InputError, match="holds no"):
        io.check_target(tmp_path / f"result{suffix}", volume, np.dtype(dtype))


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
@pytest.mark.parametrize("name", ["../secret.raw", "/etc/hostname", "sub/../../secret.raw"])
def test_header_cannot_name_a_file_of_another_folder(suffix, name, tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.raw").write_bytes(bytes(1000))
    if suffix == ".nhdr":
        text = f"NRRD0005\ntype: uchar\ndimension: 1\nsizes: 5\nencoding: raw\ndata file: {name}\n"
    else:
        text = (
            "ObjectType = Image\nNDims = 2\nDimSize = 5 5\nElementType = MET_UCHAR\n"
            f"ElementDataFile = {name}\n"
        )
    (folder / f"a{suffix}").write_text(text)
    with pytest.raises(InputError, match="in another folder"):
        io.read(folder / f"a{suffix}")
