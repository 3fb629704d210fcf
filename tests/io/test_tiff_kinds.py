"""Kinds of TIFF files: pyramids, volumes in one page, other programs' layouts, kept tags."""

import struct
from pathlib import Path

import numpy as np
import pytest
import skimage
import tifffile

from helpers.files import RECIPE, result_of
from napari_diffusion import io
from napari_diffusion.core.errors import InputError, Remedy

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4095, (4, 64, 96)).astype(np.uint16)
COLOURS = RNG.integers(0, 255, (64, 96, 3)).astype(np.uint8)
PLAIN = {"photometric": "minisblack", "metadata": None}


def write_pyramid(path, kind, compression=None):
    options = {"photometric": "minisblack", "tile": (32, 32), "compression": compression}
    metadata = None if kind == "plain" else {"axes": "ZYX"}
    with tifffile.TiffWriter(path, ome=kind == "OME", shaped=kind == "shaped") as tif:
        tif.write(STACK, subifds=2, metadata=metadata, **options)
        for step in (2, 4):
            smaller = STACK[:, ::step, ::step]
            tif.write(smaller, subfiletype=1, metadata=None, **options)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["OME", "shaped", "plain"])
def test_pyramid_is_read_at_full_resolution(kind, compression, tmp_path):
    path = tmp_path / ("a.ome.tif" if kind == "OME" else "a.tif")
    write_pyramid(path, kind, compression)
    volume = io.read(path)
    assert volume.axes == ("IYX" if kind == "plain" else "ZYX")
    assert any("pyramid" in note for note in volume.notes)
    np.testing.assert_array_equal(volume.data, STACK)
    io.write(tmp_path / f"out{path.name}", result_of(volume), volume, RECIPE)
    again = io.read(tmp_path / f"out{path.name}")
    assert (again.axes, again.notes) == (volume.axes, ())
    np.testing.assert_array_equal(again.data, result_of(volume))


@pytest.mark.parametrize(
    ("data", "subfiletype", "photometric"),
    [
        (COLOURS[::4, ::4], 1, "rgb"),  # a thumbnail
        (COLOURS[:30, :30], 1, "rgb"),
        (COLOURS[..., 0] > 5, 4, "minisblack"),  # a transparency mask
    ],
)
def test_thumbnail_and_mask_are_left_out(data, subfiletype, photometric, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif", shaped=False) as tif:
        tif.write(COLOURS, photometric="rgb", metadata=None)
        tif.write(data, photometric=photometric, subfiletype=subfiletype, metadata=None)
    volume = io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data, COLOURS)
    assert len(volume.notes) == 1


def test_digital_slide_is_read_at_full_resolution(tmp_path):
    text = "Aperio Image Library"
    slide = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif", shaped=False) as tif:
        tif.write(COLOURS, tile=(32, 32), description=f"{text} v10\n|MPP = 0.5", **slide)
        tif.write(COLOURS[::4, ::4], description=text, **slide)
        tif.write(COLOURS[::2, ::2], tile=(32, 32), description=text, **slide)
        tif.write(COLOURS[:30, :30], subfiletype=1, description=f"{text} label", **slide)
        tif.write(COLOURS[:20, :30], subfiletype=9, description=f"{text} macro", **slide)
    volume = io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data, COLOURS)
    io.write(tmp_path / "out.tif", volume.data, volume, preserve_dtype=True)
    np.testing.assert_array_equal(io.read(tmp_path / "out.tif").data, COLOURS)


def test_images_of_several_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif", shaped=False) as tif:
        tif.write(STACK[0], **PLAIN)
        tif.write(STACK[0, :10], **PLAIN)
    with pytest.raises(InputError, match="2 separate images") as caught:
        io.read(tmp_path / "a.tif")
    assert caught.value.remedy is Remedy.SAVE_ONE_IMAGE


@pytest.mark.parametrize("tile", [None, (4, 32, 32)])
def test_volume_in_one_page_keeps_its_axes(tile, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, volumetric=True, tile=tile, **PLAIN)
    volume = io.read(tmp_path / "a.tif")
    assert volume.axes == "ZYX"
    io.write(tmp_path / "out.tif", result_of(volume), volume, RECIPE)
    again = io.read(tmp_path / "out.tif")
    assert again.axes == "ZYX"
    np.testing.assert_array_equal(again.data, result_of(volume))


def write_metamorph(path, planes):
    """Write a MetaMorph stack: one page, with the planes one behind the other."""
    numbers = [n for i in range(planes) for n in (2 * i, 1, 2_450_000 + i, 1000 * i, 2_450_000, 0)]
    tags = [(33628, 4, planes, (0,) * planes, True), (33629, 5, 3 * planes, numbers, True)]
    tifffile.imwrite(path, STACK[:1], extratags=tags, **PLAIN)
    content = path.read_bytes()
    place = content.find(struct.pack("<HH", 33629, 5)) + 4
    content = content[:place] + struct.pack("<I", planes) + content[place + 4 :]
    path.write_bytes(content + STACK[1:planes].tobytes())


def test_metamorph_stack_keeps_its_planes_and_axes(tmp_path):
    write_metamorph(tmp_path / "a.tif", 4)
    volume = io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data, STACK)
    io.write(tmp_path / "out.tif", result_of(volume), volume)
    assert io.read(tmp_path / "out.tif").axes == volume.axes
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-1000])
    with pytest.raises(InputError, match="ends before its image"):
        io.read(tmp_path / "a.tif")


def test_files_of_scikit_image_are_read():
    paths = list(Path(skimage.__file__).parent.glob("data/*.tif"))
    assert paths
    for path in paths:
        np.testing.assert_array_equal(io.read(path).data, tifffile.imread(path))


# Samples


@pytest.mark.parametrize("bits", [4, 6, 10, 12, 14])
def test_packed_samples_are_unpacked(bits, tmp_path):
    data = (STACK[0] % 2**bits).astype(np.uint16)
    # The bits of each row, the highest one first, without gaps; not every tifffile can write them.
    places = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    rows = np.packbits((data[..., None] >> places & 1).reshape(len(data), -1), axis=1)
    tifffile.imwrite(tmp_path / "a.tif", rows.astype(np.uint8), **PLAIN)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for code, value in ((256, data.shape[1]), (258, bits)):
            struct.pack_into("<H", content, tif.pages[0].tags[code].valueoffset, value)
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(io.read(tmp_path / "a.tif").data, data)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u4", "u8", "f2", "f4", "f8", "?"])
def test_every_type_is_kept(dtype, tmp_path):
    data = (STACK[0] // 2).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", data, **PLAIN)
    volume = io.read(tmp_path / "a.tif")
    assert volume.data.dtype == dtype
    io.check_target(tmp_path / "out.tif", volume, volume.data.dtype, preserve_dtype=True)
    io.write(tmp_path / "out.tif", volume.data, volume, preserve_dtype=True)
    again = io.read(tmp_path / "out.tif").data
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, data)


def test_reversed_bits_are_put_in_order(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], extratags=[(65000, 3, 1, 2, True)], **PLAIN)
    entry = "<HHIH"
    content = path.read_bytes().replace(
        struct.pack(entry, 65000, 3, 1, 2), struct.pack(entry, 266, 3, 1, 2)
    )
    path.write_bytes(content)
    bits = np.unpackbits(STACK[0].view(np.uint8).reshape(-1, 1), axis=1)
    expected = np.packbits(bits[:, ::-1]).view(np.uint16).reshape(64, 96)
    np.testing.assert_array_equal(io.read(path).data, expected)


def test_complex_numbers_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK.astype(np.complex64), **PLAIN)
    with pytest.raises(InputError, match="complex64 values are no image of real numbers"):
        io.read(tmp_path / "a.tif")


# Tags


def tags_of(path, codes):
    with tifffile.TiffFile(path) as tif:
        return [[page.tags.valueof(code) for code in codes] for page in tif.pages]


@pytest.mark.parametrize("target", ["out.tif", "out.ome.tif"])
@pytest.mark.parametrize("kind", ["plain", "ImageJ"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_each_page_keeps_its_orientation(orientation, kind, target, tmp_path):
    options = PLAIN if kind == "plain" else {"imagej": True, "metadata": {"axes": "ZYX"}}
    tag = (274, 3, 1, orientation, False)
    tifffile.imwrite(tmp_path / "a.tif", STACK, extratags=[tag], **options)
    volume = io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data, STACK)  # napari does not turn images
    io.write(tmp_path / target, result_of(volume), volume)
    assert tags_of(tmp_path / target, [274]) == [[orientation]] * 4


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_place_on_the_earth_is_kept(byteorder, tmp_path):
    tags = [
        (33550, 12, 3, (10.0, 10.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 6e6, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
        (34737, 2, 0, "WGS 84|", True),
        (42113, 2, 0, "0", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], extratags=tags, byteorder=byteorder, **PLAIN)
    volume = io.read(tmp_path / "a.tif")
    assert (volume.spacing, volume.unit) == ((1.0, 1.0), "pixel")
    io.write(tmp_path / "out.tif", result_of(volume), volume)
    codes = [code for code, *_ in tags]
    assert tags_of(tmp_path / "out.tif", codes) == tags_of(tmp_path / "a.tif", codes)


@pytest.mark.parametrize("is_geotiff", [True, False])
def test_tiles_are_left_out_in_maps_only(is_geotiff, tmp_path):
    path = tmp_path / "a.tif"
    tags = [(34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True)] if is_geotiff else []
    tifffile.imwrite(path, STACK[0], tile=(32, 32), extratags=tags, **PLAIN)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        for code in (324, 325):
            place = tif.pages[0].tags[code].valueoffset
            content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    if not is_geotiff:
        with pytest.raises(InputError, match="are not in the file"):
            io.read(path)
        return
    volume = io.read(path)
    assert any("tiles are not in the file and count as 0" in note for note in volume.notes)
