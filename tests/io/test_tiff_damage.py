"""Damaged TIFF files: the right pixels, or one sentence; never a smaller image or zeros."""

import logging
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile

from napari_diffusion import io
from napari_diffusion.core.errors import DescribedError, InputError, NotEnoughMemory
from napari_diffusion.core.resources import FreeMemory, format_bytes
from napari_diffusion.io import compressed, tiff, tiff_pages

RNG = np.random.default_rng(0)
NOISE = RNG.integers(1, 60_000, (8, 60, 64)).astype(np.uint16)
Z, Y, X = np.mgrid[:8, :60, :64]
SMOOTH = (1 + 50 * Z + 7 * Y + 3 * X).astype(np.uint16)
COLOURS = RNG.integers(1, 255, (4, 40, 44, 3)).astype(np.uint8)
GREY = {"photometric": "minisblack"}
OME = GREY | {"ome": True, "metadata": {"axes": "ZYX"}}
SHAPED = GREY | {"metadata": {"axes": "ZYX"}}
IMAGEJ = {"imagej": True, "metadata": {"axes": "ZYX", "unit": "um", "spacing": 2.0}}
PLAIN = GREY | {"metadata": None}
#: Number of random damages of each file.
DAMAGES = 40
#: Stacks by name: name of the file, pixels, arguments of tifffile's writer.
STACKS = {
    "plain": ("a.tif", NOISE, PLAIN),
    "strips": ("a.tif", NOISE, PLAIN | {"rowsperstrip": 16}),
    "BigTIFF": ("a.tif", NOISE, PLAIN | {"bigtiff": True}),
    "big-endian": ("a.tif", NOISE, PLAIN | {"byteorder": ">"}),
    "tiles": ("a.tif", NOISE, SHAPED | {"tile": (32, 32)}),
    "shaped": ("a.tif", NOISE, SHAPED),
    "shaped, one page": ("a.tif", NOISE, SHAPED | {"truncate": True}),
    "ImageJ": ("a.tif", NOISE, IMAGEJ),
    "ImageJ, one page": ("a.tif", NOISE, IMAGEJ | {"truncate": True}),
    "OME": ("a.ome.tif", NOISE, OME),
    "RGB": ("a.tif", COLOURS, {"photometric": "rgb", "metadata": None}),
    "planar RGB": (
        "a.tif",
        COLOURS.transpose(0, 3, 1, 2).copy(),
        {"photometric": "rgb", "planarconfig": "separate", "metadata": None},
    ),
    "deflate": ("a.tif", SMOOTH, PLAIN | {"compression": "zlib"}),
    "OME, deflate": ("a.ome.tif", SMOOTH, OME | {"compression": "zlib", "predictor": True}),
    "LZW": ("a.tif", SMOOTH, PLAIN | {"compression": "lzw"}),
    "PackBits": ("a.tif", SMOOTH, SHAPED | {"compression": "packbits"}),
}


@pytest.fixture
def silent(monkeypatch):
    """Fail when the decoder writes a log line."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)
    assert lines == []


def stack(kind, folder):
    name, data, options = STACKS[kind]
    tifffile.imwrite(folder / name, data, **options)
    return folder / name, data


def read_or_refuse(path):
    """Return the volume, or ``None`` if the file is refused with one sentence."""
    refusal = None
    try:
        return io.read(path)
    except DescribedError as error:
        refusal = error
    assert refusal.path == path
    assert "\n" not in str(refusal)
    assert str(refusal).endswith(".")
    return None


@pytest.mark.parametrize("kind", STACKS)
def test_truncated_stack_is_refused(kind, tmp_path, silent):
    path, data = stack(kind, tmp_path)
    whole = path.read_bytes()
    np.testing.assert_array_equal(io.read(path).data, data)
    for stop in {min(50_000, len(whole) * 3 // 4), *RNG.integers(0, len(whole), DAMAGES).tolist()}:
        path.write_bytes(whole[:stop])
        volume = read_or_refuse(path)
        # A cut in a tag that holds no pixels and no axes is no loss.
        assert volume is None or stop > 0.97 * len(whole)
        if volume is not None:
            np.testing.assert_array_equal(volume.data, data)


@pytest.mark.parametrize("kind", ["plain", "ImageJ", "ImageJ, one page", "OME", "deflate"])
def test_truncated_stack_is_called_so(kind, tmp_path):
    path, _ = stack(kind, tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(InputError, match="the file ends before its image does; it is damaged"):
        io.read(path)


@pytest.mark.parametrize("kind", STACKS)
def test_changed_byte_beside_the_pixels_keeps_the_shape(kind, tmp_path, silent):
    """Each byte of headers and tags may be damaged, and some of the bits of each."""
    path, data = stack(kind, tmp_path)
    whole = path.read_bytes()
    is_pixel = np.zeros(len(whole), bool)
    with tifffile.TiffFile(path) as tif:
        for page in tif.pages:
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                is_pixel[offset : offset + count] = True
        if "one page" in kind:
            is_pixel[tif.pages[0].dataoffsets[0] :] = True
    places = np.flatnonzero(~is_pixel)
    refused = 0
    for place in RNG.choice(places, DAMAGES):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(RNG.integers(8))
        path.write_bytes(damaged)
        volume = read_or_refuse(path)
        refused += volume is None
        if volume is not None:
            # A page that a changed tag calls a thumbnail is left out, which is said.
            assert volume.shape == data.shape or any("left out" in note for note in volume.notes)
            assert volume.data.dtype.itemsize == data.dtype.itemsize
    assert 0 < refused < DAMAGES


@pytest.mark.parametrize("kind", ["deflate", "OME, deflate"])
def test_changed_byte_in_deflated_pixels_is_refused(kind, tmp_path, silent):
    path, data = stack(kind, tmp_path)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        spans = [(page.dataoffsets[0], page.databytecounts[0]) for page in tif.pages]
    for _ in range(DAMAGES):
        offset, count = spans[int(RNG.integers(len(spans)))]
        damaged = bytearray(whole)
        damaged[offset + int(RNG.integers(count))] ^= 1 << int(RNG.integers(8))
        path.write_bytes(damaged)
        volume = read_or_refuse(path)
        if volume is not None:  # bits of the header that say nothing about the pixels
            np.testing.assert_array_equal(volume.data, data)


# Headers that promise another image


@pytest.mark.parametrize("kind", ["ImageJ", "ImageJ, one page"])
@pytest.mark.parametrize(("old", "new"), [(b"images=8", b"images=9"), (b"slices=8", b"slices=4")])
def test_number_of_planes_of_imagej_is_checked(kind, old, new, tmp_path, silent):
    path, _ = stack(kind, tmp_path)
    path.write_bytes(path.read_bytes().replace(old, new))
    assert read_or_refuse(path) is None


@pytest.mark.skipif(os.name == "nt", reason="Files of Windows are not sparse by themselves")
def test_stack_beyond_4_gib_has_one_page(tmp_path):
    """ImageJ writes it so. The file is sparse: only two of its bytes are on the disk."""
    path, planes = tmp_path / "a.tif", 70_000
    text = f"ImageJ=1.53k\nimages={planes}\nframes={planes}\nhyperstack=true\n".encode()
    page = np.zeros((200, 160), np.uint16)
    tifffile.imwrite(path, page, description=text, byteorder=">", **PLAIN)
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.truncate(start + planes * page.nbytes)
        file.seek(start + (planes - 1) * page.nbytes)
        file.write(b"\1\2")
    volume = io.read(path)
    assert (volume.axes, volume.shape) == ("TYX", (planes, 200, 160))
    assert volume.data[-1, 0, 0] == 258
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    with pytest.raises(InputError, match="the file ends before its image does"):
        io.read(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_imagej_header_with_more_planes_than_pages_is_refused(compression, tmp_path):
    """Acquisition software splits a stack, and each file describes the whole stack."""
    text = b"ImageJ=1.53k\nimages=12\nframes=12\nhyperstack=true\n"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, NOISE, compression=compression, description=text, **PLAIN)
    with pytest.raises(InputError):
        io.read(path)
    text = text.replace(b"12", b"8")
    tifffile.imwrite(path, NOISE, compression=compression, description=text, **PLAIN)
    volume = io.read(path)
    assert volume.axes == "TYX"
    np.testing.assert_array_equal(volume.data, NOISE)


def test_stack_with_one_page_and_no_text_is_refused(tmp_path):
    """The text with the number of planes is lost, and the file is longer than its page."""
    path, _ = stack("ImageJ, one page", tmp_path)
    path.write_bytes(path.read_bytes().replace(b"ImageJ=", b"imagej="))
    with pytest.raises(InputError, match="describes one plane, and it holds 8"):
        io.read(path)


@pytest.mark.parametrize("kind", ["OME", "ImageJ", "shaped"])
def test_text_with_other_bytes_is_refused(kind, tmp_path):
    """Without it, axes and voxel size would be lost."""
    path, _ = stack(kind, tmp_path)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages[0].tags[270]
    place = tag.valueoffset + len(tag.value) - 9  # no character of any encoding of the decoder
    path.write_bytes(whole[:place] + b"\x8f" * 8 + whole[place + 8 :])
    with pytest.raises(InputError, match="damaged"):
        io.read(path)


def tag_place(path, code, page=0):
    with tifffile.TiffFile(path) as tif:
        return tif.pages[page].tags[code].valueoffset


def patched(path, code, value, layout="<I", page=0):
    """Overwrite the first bytes of the value of a tag."""
    content, place = bytearray(path.read_bytes()), tag_place(path, code, page)
    struct.pack_into(layout, content, place, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("code", [273, 279])
@pytest.mark.parametrize("kind", ["strips", "deflate"])
def test_strip_without_bytes_is_refused(code, kind, tmp_path):
    path, _ = stack(kind, tmp_path)
    patched(path, code, 0, page=3)
    with pytest.raises(InputError, match=r"of the \d+ strips or tiles of its planes are not"):
        io.read(path)


@pytest.mark.parametrize("kind", ["strips", "deflate"])
def test_strip_beyond_the_end_is_refused(kind, tmp_path):
    path, _ = stack(kind, tmp_path)
    patched(path, 273, path.stat().st_size - 10, page=3)
    with pytest.raises(InputError, match="ends before its image"):
        io.read(path)


def test_strip_on_the_tags_of_another_page_is_refused(tmp_path):
    path, _ = stack("strips", tmp_path)
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[1].offset  # the pages follow their pixels
        assert place > tif.pages[7].dataoffsets[-1]
    patched(path, 273, place - 1000, page=3)
    with pytest.raises(InputError, match="overlap"):
        io.read(path)


@pytest.mark.parametrize("code", [256, 257, 258, 259, 277])
def test_page_that_is_stored_in_another_way_is_refused(code, tmp_path):
    path, _ = stack("ImageJ", tmp_path)
    with tifffile.TiffFile(path) as tif:
        old = int(tif.pages[4].tags[code].value)
        layout = tif.byteorder + ("I" if int(tif.pages[4].tags[code].dtype) == 4 else "H")
    patched(path, code, old + 1, layout, page=4)
    with pytest.raises(InputError, match="its pages differ in"):
        io.read(path)


@pytest.mark.parametrize("following", [0, 8, 9])
def test_list_of_pages_without_end_is_refused(following, tmp_path):
    path, _ = stack("plain", tmp_path)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        last = tif.pages[-1].offset
        count = struct.unpack_from("<H", content, last)[0]
    struct.pack_into("<I", content, last + 2 + 12 * count, following)
    path.write_bytes(content)
    if following:
        with pytest.raises(InputError):
            io.read(path)
    else:
        np.testing.assert_array_equal(io.read(path).data, NOISE)


# Memory


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("side", [2**20, 2**24])
def test_size_beyond_the_file_is_refused_before_memory_is_taken(compression, side, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SMOOTH[0], compression=compression, rowsperstrip=60, **PLAIN)
    for code in (256, 257, 278):
        patched(path, code, side)
    tracemalloc.start()
    with pytest.raises((InputError, NotEnoughMemory)) as caught:
        io.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6
    assert caught.value.path == path
    if isinstance(caught.value, NotEnoughMemory):
        assert format_bytes(side**2 * 2) in str(caught.value)


@pytest.fixture(params=["imagecodecs", "standard library"])
def codecs(request, monkeypatch):
    """Decode with imagecodecs, and as without it."""
    if request.param == "standard library":
        module = pytest.importorskip("tifffile._imagecodecs")
        monkeypatch.setattr(tifffile.tifffile, "imagecodecs", module)
        monkeypatch.setattr(tifffile.TIFF.DECOMPRESSORS, "_codecs", {})
        monkeypatch.setattr(tiff, "find_spec", lambda name: None)
    return request.param


def test_strip_that_expands_without_end_is_refused(codecs, tmp_path):
    """200 MB of zeros are 200 kB in the file."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SMOOTH[0], compression="zlib", rowsperstrip=60, **PLAIN)
    bomb = zlib.compress(bytes(200_000_000), 9)
    end = path.stat().st_size
    path.write_bytes(path.read_bytes() + bomb)
    patched(patched(path, 273, end), 279, len(bomb))
    tracemalloc.start()
    with pytest.raises(InputError):
        io.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_standard_library_decodes_the_same_pixels(codecs, compression, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SMOOTH, compression=compression, rowsperstrip=7, **PLAIN)
    np.testing.assert_array_equal(io.read(tmp_path / "a.tif").data, SMOOTH)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "lzma", "zstd", "packbits"])
def test_narrower_image_than_its_strips_is_refused(compression, tmp_path):
    """The rows would be sheared."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SMOOTH[0], compression=compression, rowsperstrip=60, **PLAIN)
    patched(path, 256, 60)
    with pytest.raises(InputError):
        io.read(path)


def test_image_larger_than_the_memory_names_file_and_size(tmp_path, monkeypatch):
    path, _ = stack("deflate", tmp_path)
    monkeypatch.setattr(compressed, "free_memory", lambda: FreeMemory(500))
    with pytest.raises(NotEnoughMemory, match="60 KiB of memory, and 500 B are free") as caught:
        io.read(path)
    assert caught.value.path == path


def test_every_ratio_of_compression_can_be_reached():
    """The limits do not refuse an image of one value."""
    size = 10**5
    for compression, ratio in tiff_pages._LARGEST_RATIOS.items():
        packed = tifffile.TIFF.COMPRESSORS[compression](bytes(size))
        assert size <= ratio * (len(packed) + 1)
