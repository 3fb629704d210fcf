"""Files from strangers: what a header declares takes no memory, and reaches no other file.

Each is refused in one sentence. The memory is measured by NumPy's and Python's own counter, and the
address space of a process of its own is limited where a library allocates.
"""

import bz2
import gzip
import io as streams
import os
import sys
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.uid import DeflatedExplicitVRLittleEndian

from helpers.dicom_series import write_series
from helpers.written_volumes import write
from napari_diffusion import io
from napari_diffusion.core.errors import InputError, NotEnoughMemory
from napari_diffusion.core.resources import FreeMemory
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import dicom
from napari_diffusion.models import Linear

MIB = 1 << 20


def refused(path, kind=InputError, at_most=64 * MIB):
    """Return the sentence with which a file is refused, and check the memory that it took."""
    tracemalloc.start()
    try:
        with pytest.raises(kind) as caught:
            io.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    assert peak < at_most
    return message


#: Shapes of headers that no file can have.
SHAPES = [(2**31 - 1, 2**31 - 1, 2**31 - 1), (1 << 20, 1 << 20, 1), (-1, 5, 5), (0, 5, 5)]


def nrrd_text(shape, **fields):
    own = {"type": "uchar", "dimension": 3, "sizes": " ".join(map(str, shape)), "encoding": "raw"}
    return "NRRD0005\n" + "".join(f"{k}: {v}\n" for k, v in (own | fields).items()) + "\n"


def meta_text(shape, last="LOCAL", extra="", **fields):
    own = {"NDims": 3, "DimSize": " ".join(map(str, shape)), "ElementType": "MET_UCHAR"}
    lines = "".join(f"{k} = {v}\n" for k, v in (own | fields).items())
    return f"ObjectType = Image\n{lines}{extra}ElementDataFile = {last}\n"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "text"])
def test_impossible_shape_of_nrrd(shape, encoding, tmp_path):
    content = {"gzip": gzip.compress, "bzip2": bz2.compress}.get(encoding, bytes)(bytes(125))
    text = nrrd_text(shape, encoding=encoding)
    (tmp_path / "a.nrrd").write_bytes(text.encode() + content)
    refused(tmp_path / "a.nrrd")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("packed", ["True", "False"])
def test_impossible_shape_of_metaimage(shape, packed, tmp_path):
    content = zlib.compress(bytes(125)) if packed == "True" else bytes(125)
    text = meta_text(shape, CompressedData=packed)
    (tmp_path / "a.mha").write_bytes(text.encode() + content)
    refused(tmp_path / "a.mha")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("name", ["MRC", "MGH"])
def test_impossible_shape_in_a_binary_header(name, shape, pack, tmp_path):
    path = write(name, tmp_path)
    content = bytearray(path.read_bytes())
    start, order = (0, "<i4") if name == "MRC" else (4, ">i4")
    content[start : start + 12] = np.array(shape, order).tobytes()
    suffix = {bytes: "", gzip.compress: ".gz", bz2.compress: ".bz2"}[pack]
    packed = path.with_name(f"{path.name}{suffix}" if name == "MRC" else path.name)
    packed.write_bytes(pack(bytes(content)))
    refused(packed)


@pytest.mark.parametrize("shape", ["(-1, 5)", "(4611686018427387904, 4)", "(1099511627776, 5)"])
def test_impossible_shape_of_numpy(shape, tmp_path):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"
    block = streams.BytesIO()
    block.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    (tmp_path / "a.npy").write_bytes(block.getvalue() + bytes(64))
    refused(tmp_path / "a.npy")


@pytest.mark.parametrize("offset", ["9" * 15, "9" * 30, "-2", "-9999999999"])
def test_offset_of_nrrd_beyond_its_file(offset, tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(125))
    fields = {"byte skip": offset, "data file": "a.raw"}
    (tmp_path / "a.nhdr").write_text(nrrd_text((5, 5, 5), **fields))
    refused(tmp_path / "a.nhdr")


@pytest.mark.parametrize("offset", ["1000", "-1000000", "9" * 12])
def test_offset_of_metaimage_beyond_its_file(offset, tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(130))
    (tmp_path / "a.mhd").write_text(meta_text((5, 5, 5), "a.raw", HeaderSize=offset))
    refused(tmp_path / "a.mhd")


def test_extended_header_of_mrc_takes_no_memory_beyond_the_free(tmp_path, monkeypatch):
    path = write("MRC", tmp_path)
    content = bytearray(path.read_bytes())
    content[92:96] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(1 << 31)  # a hole of the disk
    monkeypatch.setattr("napari_diffusion.io.compressed.free_memory", lambda: FreeMemory(MIB))
    refused(path, NotEnoughMemory)


def test_bytes_in_front_of_a_packed_image_are_read_in_parts(tmp_path):
    """A header of 348 bytes declares any number of them."""
    path = write("NIfTI pair", tmp_path)
    header = bytearray(path.with_suffix(".hdr").read_bytes())
    header[108:112] = np.float32(1 << 27).tobytes()
    path.with_suffix(".hdr").write_bytes(header)
    packed = tmp_path / "a.img.bz2"
    packed.write_bytes(bz2.compress(bytes(1 << 26)) + bytes(1000))
    path.unlink()
    refused(packed)


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ("dimsize = 2 2 2\n", "LOCAL"),
        ("DimSize = 2 2 2\n", "LOCAL"),
        ("ElementDataFile: ../secret.raw = x\n", "LOCAL"),
        ("DimSize: 9 9 9 = x\n", "LOCAL"),
        ("elementdatafile = LOCAL\n", "../secret.raw"),
    ],
)
def test_header_that_two_readers_read_differently_is_refused(before, last, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(b"\x07" * 1000)
    text = meta_text((5, 5, 5), last, before)
    (folder / "a.mha").write_bytes(text.encode() + bytes(1000))
    assert "not clear" in refused(folder / "a.mha")


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows asks for a right to make links")
def test_link_to_another_folder_is_not_followed_by_a_header(suffix, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(125))
    (folder / "a.raw").symlink_to(tmp_path / "secret.raw")
    shape = (5, 5, 5)
    text = meta_text(shape, "a.raw") if suffix == ".mhd" else nrrd_text(shape, datafile="a.raw")
    (folder / f"a{suffix}").write_text(text)
    assert "in another folder" in refused(folder / f"a{suffix}")


def deflated(path, content):
    """Write a DICOM file whose elements after the first group are deflated."""
    source = next(write_series(path.parent / "source", range(1)).iterdir())
    data = pydicom.dcmread(source)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain = streams.BytesIO()
    data.save_as(plain, implicit_vr=False, little_endian=True, enforce_file_format=True)
    start = plain.getvalue().index(b"1.2.840.10008.1.2.1.99")
    end = 132 + 12 + int.from_bytes(plain.getvalue()[140:144], "little")
    assert start < end
    coder = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = coder.compress(content) if content is not None else b""
    path.write_bytes(
        plain.getvalue() if content is None else plain.getvalue()[:end] + packed + coder.flush()
    )
    return path


def test_deflated_dicom_is_read(tmp_path):
    path = deflated(tmp_path / "a.dcm", None)
    plain = io.read(next((tmp_path / "source").iterdir()))
    np.testing.assert_array_equal(io.read(path).data, plain.data)


def test_deflated_bomb_is_not_inflated_beyond_the_free_memory(tmp_path, monkeypatch):
    path = deflated(tmp_path / "a.dcm", bytes(128 * MIB))
    assert path.stat().st_size < MIB
    monkeypatch.setattr(dicom, "free_memory", lambda: FreeMemory(16 * MIB))
    assert "deflated content" in refused(path, NotEnoughMemory)


@pytest.mark.parametrize("count", [2**31 - 1, 10**7, 0, -5])
def test_number_of_frames_that_a_file_cannot_hold(count, tmp_path):
    folder = write_series(tmp_path / "series", range(1), NumberOfFrames=count)
    path = next(folder.iterdir())
    if count == 0:  # pydicom's own files have it; it means one
        assert io.read(path).shape == (5, 4)
    else:
        assert f"declares {count:,} frames" in refused(path)


def test_file_of_many_frames_needs_its_memory_twice(tmp_path, monkeypatch):
    content = np.zeros((100, 5, 4), np.int16).tobytes()
    folder = write_series(
        tmp_path / "series",
        range(1),
        NumberOfFrames=100,
        PixelData=content,
        ImagePositionPatient=None,
    )
    monkeypatch.setattr("napari_diffusion.io.compressed.free_memory", lambda: FreeMemory(250_000))
    path = next(folder.iterdir())
    assert io.read(path).shape[0] == 100
    monkeypatch.setattr(dicom, "_SLICE_BYTES", 0)
    monkeypatch.setattr(
        "napari_diffusion.io.compressed.free_memory", lambda: FreeMemory(2 * len(content) - 1)
    )
    refused(path, NotEnoughMemory)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_pipe_beside_a_dicom_file_is_not_opened(tmp_path):
    folder = write_series(tmp_path / "series", range(3))
    os.mkfifo(folder / "a-pipe")  # to open it would wait for ever
    assert io.read(folder).shape == (3, 5, 4)


def test_nested_elements_of_dicom_end_in_a_sentence(tmp_path):
    path = next(write_series(tmp_path / "series", range(1)).iterdir())
    begin = b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    content = path.read_bytes()
    path.write_bytes(
        content[: 132 + 12 + int.from_bytes(content[140:144], "little")] + begin * 5000
    )
    refused(path)


def test_entities_of_xml_are_not_expanded_without_bound(tmp_path):
    names = "abcdefghijkl"
    entities = "".join(
        f'<!ENTITY {names[i + 1]} "{f"&{names[i]};" * 10}">' for i in range(len(names) - 1)
    )
    xml = (
        f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "{"x" * 100}">{entities}]>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" '
        f'Name="&{names[-1]};"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" '
        'SizeX="8" SizeY="8" SizeZ="1" SizeC="1" SizeT="1"><TiffData/></Pixels></Image></OME>'
    )
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), description=xml, metadata=None)
    refused(path)


def ome_xml(name, doctype="", files=""):
    return (
        f'<?xml version="1.0"?>{doctype}'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="8" SizeZ="1" '
        f'SizeC="1" SizeT="1"><Channel ID="Channel:0:0" Name="{name}"/>{files or "<TiffData/>"}'
        "</Pixels></Image></OME>"
    )


@pytest.mark.parametrize("kind", ["SYSTEM", 'PUBLIC "-//x//y"'])
def test_files_that_an_entity_names_are_not_read(kind, tmp_path):
    """Neither a file of the machine nor an address is opened."""
    (tmp_path / "secret").write_text("a secret")
    doctype = f'<!DOCTYPE OME [<!ENTITY x {kind} "{(tmp_path / "secret").as_uri()}">]>'
    for place in ("name", "element"):
        xml = ome_xml("&x;" if place == "name" else "a", doctype)
        if place == "element":
            xml = xml.replace("</Pixels>", "</Pixels><Description>&x;</Description>")
        path = tmp_path / f"{place}.ome.tif"
        tifffile.imwrite(path, np.zeros((8, 8), np.uint8), description=xml, metadata=None)
        try:
            volume = io.read(path)
        except InputError as error:
            said = str(error)
        else:
            said = f"{volume.channel_names} {volume.notes}"
        assert "a secret" not in said
        if said.startswith(str(path)):
            continue
        io.write(tmp_path / f"{place}-result.ome.tif", np.asarray(volume.data), volume)
        assert b"a secret" not in (tmp_path / f"{place}-result.ome.tif").read_bytes()


@pytest.mark.parametrize("name", ["../secret.ome.tif", "/secret.ome.tif", "sub/secret.ome.tif"])
def test_file_of_a_set_lies_in_the_folder_of_the_set(name, tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    secret = np.full((8, 8), 7, np.uint8)
    for other in (tmp_path, folder / "sub"):
        tifffile.imwrite(other / "secret.ome.tif", secret, description=ome_xml("b"), metadata=None)
    files = f'<TiffData IFD="0"><UUID FileName="{name}">urn:uuid:2</UUID></TiffData>'
    path = folder / "a.ome.tif"
    tifffile.imwrite(
        path, np.zeros((8, 8), np.uint8), description=ome_xml("a", files=files), metadata=None
    )
    try:
        values = np.asarray(io.read(path).data)
    except InputError:
        return
    assert (values != 7).all()


def test_recipe_opens_no_file(tmp_path, monkeypatch):
    """The name of labels is a name, whatever it looks like."""
    (tmp_path / "secret.npy").write_bytes(b"")
    text = Recipe(Linear(), 1.0, labels="../secret.npy", remarks=("file:///etc/passwd",)).to_json()
    opened = []
    monkeypatch.setattr("builtins.open", lambda *arguments, **_: opened.append(arguments))
    monkeypatch.setattr(os, "open", lambda *arguments, **_: opened.append(arguments))
    recipe = Recipe.from_json(text)
    assert recipe.labels == "../secret.npy"
    assert recipe.describe()
    assert not opened


def test_companion_of_an_ome_tiff_that_does_not_fit_into_the_memory_is_refused(
    tmp_path, monkeypatch
):
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:1"/></OME>'
    )
    with (tmp_path / "a.companion.ome").open("wb") as file:
        file.truncate(1 << 30)  # a hole of the disk
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), description=xml, metadata=None)
    monkeypatch.setattr("napari_diffusion.io.compressed.free_memory", lambda: FreeMemory(MIB))
    refused(path, NotEnoughMemory)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"model": ' * 50_000, "1" * 200_000, "null"])
def test_recipe_of_a_stranger_ends_in_a_sentence(text, tmp_path):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises((ValueError, TypeError)) as caught:
        Recipe.load(tmp_path / "recipe.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_huge_recipe_is_not_read(tmp_path):
    with (tmp_path / "recipe.json").open("wb") as file:
        file.truncate(1 << 40)  # a hole of the disk
    with pytest.raises(ValueError, match="more than 67,108,864 bytes"):
        Recipe.load(tmp_path / "recipe.json")


def test_pickles_are_never_loaded(tmp_path):
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    np.save(tmp_path / "a.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    refused(tmp_path / "a.npy")
    assert not marker.exists()
