"""TIFF in four layouts: OME, ImageJ, "shaped" of tifffile, plain."""

import re

import numpy as np
import pytest
import tifffile

from helpers.files import RECIPE, result_of
from helpers.omexml import attributes, recipes
from napari_diffusion import io

RNG = np.random.default_rng(0)


def counts(*shape, dtype=np.uint16):
    return RNG.integers(0, 200, shape).astype(dtype)


def write_ome(path, data, axes, **metadata):
    for letter in "XY":
        metadata |= {f"PhysicalSize{letter}": 0.2, f"PhysicalSize{letter}Unit": "µm"}
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    metadata = {"axes": axes} | metadata
    tifffile.imwrite(path, data, ome=True, metadata=metadata, photometric=photometric)
    return path


# OME-TIFF


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_tiff_round_trip(compression, tmp_path):
    data = counts(2, 3, 4, 16, 18)
    channel = {"Name": ["DAPI", "α-tubulin", "GFP"]}
    plane = {"PositionX": [1.5] * 24, "PositionXUnit": ["µm"] * 24}
    metadata = {"PhysicalSizeZ": 0.5, "PhysicalSizeZUnit": "µm"}
    metadata |= {"TimeIncrement": 0.5, "TimeIncrementUnit": "min"}
    metadata |= {"Channel": channel, "Plane": plane}
    source = write_ome(tmp_path / "in.ome.tif", data, "TCZYX", **metadata)
    if compression:
        with tifffile.TiffFile(source) as tif:
            text = tif.ome_metadata
        options = {"photometric": "minisblack", "metadata": None, "description": text.encode()}
        tifffile.imwrite(source, data, compression=compression, **options)
    volume = io.read(source)
    assert (volume.axes, volume.unit) == ("TCZYX", "micrometer")
    assert volume.spacing == (None, None, 0.5, 0.2, 0.2)
    assert (volume.time_step, volume.channel_axis) == (30.0, None)
    assert volume.channel_names == ("DAPI", "α-tubulin", "GFP")
    np.testing.assert_array_equal(volume.data, data)
    target = tmp_path / "out.ome.tif"
    io.write(target, result_of(volume), volume, RECIPE)
    again = io.read(target)
    assert again.data.dtype == np.float32
    np.testing.assert_array_equal(again.data, result_of(volume))
    for name in ("axes", "spacing", "unit", "time_step", "channel_names"):
        assert getattr(again, name) == getattr(volume, name)
    (old, old_names), (new, new_names) = attributes(source), attributes(target)
    assert new["Type"] == "float"
    for name in ("Type", "BigEndian", "SignificantBits", "Interleaved"):
        old.pop(name, None)
        new.pop(name, None)
    assert new == old
    assert new_names == old_names
    with tifffile.TiffFile(target) as tif:
        text = tif.ome_metadata
        assert len(tif.pages) == 24
    assert text.count("<Plane ") == 24
    assert text.count("<TiffData") == 1  # those of the source may refer to another file
    assert 'PositionX="1.5"' in text
    assert recipes(target) == [RECIPE.to_json()]


def test_second_result_contains_both_recipes(tmp_path):
    first = io.read(write_ome(tmp_path / "in.ome.tif", counts(4, 8, 8), "ZYX"))
    io.write(tmp_path / "a.ome.tif", first.data, first, RECIPE)
    second = io.read(tmp_path / "a.ome.tif")
    io.write(tmp_path / "b.ome.tif", second.data, second, RECIPE)
    text = io.read(tmp_path / "b.ome.tif").header.description
    assert recipes(tmp_path / "b.ome.tif") == [RECIPE.to_json()] * 2
    assert len(set(re.findall(r'CommentAnnotation ID="(.*?)"', text))) == 2  # unique identifiers


def test_ome_units_are_converted_to_one(tmp_path):
    data = counts(4, 8, 8)
    size = {"PhysicalSizeZ": 500.0, "PhysicalSizeZUnit": "nm"}
    source = write_ome(tmp_path / "in.ome.tif", data, "ZYX", **size)
    volume = io.read(source)
    assert volume.unit == "micrometer"
    assert volume.spacing == (0.5, 0.2, 0.2)


def test_ome_axis_without_a_size_has_unknown_spacing(tmp_path):
    source = write_ome(tmp_path / "in.ome.tif", counts(4, 8, 8), "ZYX")
    assert io.read(source).spacing == (None, 0.2, 0.2)
    tifffile.imwrite(tmp_path / "none.ome.tif", counts(4, 8, 8), metadata={"axes": "ZYX"})
    none = io.read(tmp_path / "none.ome.tif")
    assert (none.unit, none.spacing) == ("pixel", (1.0, 1.0, 1.0))


def test_ome_colours_are_one_coupled_axis_and_stay_float(tmp_path):
    data = counts(5, 12, 16, 3, dtype=np.uint8)
    volume = io.read(write_ome(tmp_path / "in.ome.tif", data, "ZYXS"))
    assert (volume.axes, volume.channel_axis) == ("ZYXS", 3)
    io.write(tmp_path / "out.ome.tif", result_of(volume), volume, RECIPE)
    again = io.read(tmp_path / "out.ome.tif")
    assert (again.axes, again.channel_axis) == ("ZYXS", 3)
    np.testing.assert_array_equal(again.data, result_of(volume))


def test_file_of_several_images_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as tif:
        tif.write(counts(8, 8), metadata={"axes": "YX"})
        tif.write(counts(9, 9), metadata={"axes": "YX"})
    with pytest.raises(ValueError, match="2 separate images"):
        io.read(tmp_path / "two.ome.tif")


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (4, "holds no image; it is damaged"),
        (8, "ends before its image does; it is damaged"),
        (-10, "ends before its image does; it is damaged"),
    ],
)
def test_truncated_tiff_is_reported_as_damaged(tmp_path, stop, message):
    whole, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    tifffile.imwrite(whole, counts(8, 8))
    cut.write_bytes(whole.read_bytes()[:stop])
    with pytest.raises(ValueError, match=message):
        io.read(cut)


# ImageJ


IMAGEJ = {
    "spacing": 0.5,
    "unit": "um",
    "finterval": 2.5,
    "mode": "composite",
    "min": 3.0,
    "max": 150.0,
    "Info": "exposure = 100 ms",
}


def write_imagej(path, data, axes, **metadata):
    metadata = IMAGEJ | {"axes": axes} | metadata
    resolution = ((1000, 325), (1000, 325))
    tifffile.imwrite(path, data, imagej=True, resolution=resolution, metadata=metadata)
    return path


@pytest.mark.parametrize("preserve", [False, True])
def test_imagej_hyperstack_round_trip(preserve, tmp_path):
    data = counts(2, 3, 2, 16, 18)
    metadata = {"Labels": [f"plane {i}" for i in range(12)], "Ranges": (0.0, 1.0, 2.0, 3.0)}
    volume = io.read(write_imagej(tmp_path / "in.tif", data, "TZCYX", **metadata))
    assert (volume.axes, volume.unit, volume.time_step) == ("TZCYX", "micrometer", 2.5)
    assert volume.spacing == (None, 0.5, None, 0.325, 0.325)
    np.testing.assert_array_equal(volume.data, data)
    result = data if preserve else result_of(volume)
    io.write(tmp_path / "out.tif", result, volume, RECIPE, preserve_dtype=preserve)
    with (
        tifffile.TiffFile(tmp_path / "in.tif") as old,
        tifffile.TiffFile(tmp_path / "out.tif") as new,
    ):
        assert new.is_imagej
        assert new.series[0].axes == old.series[0].axes
        info = new.imagej_metadata.pop("Info")
        assert info.splitlines()[0] == old.imagej_metadata.pop("Info").strip()
        assert RECIPE.to_json() in info
        kept = {name: new.imagej_metadata[name] for name in old.imagej_metadata}
        assert kept == old.imagej_metadata
        assert new.pages[0].tags["XResolution"].value == old.pages[0].tags["XResolution"].value
        np.testing.assert_array_equal(new.asarray(), result)
        assert new.series[0].dtype == result.dtype


def test_signed_imagej_file_is_read_in_real_units(tmp_path):
    """ImageJ stores int16 as uint16 with a linear calibration."""
    real = np.array([[-32768, -5, 0], [1, 700, 32767]], np.int16)
    stored = (real.astype(int) + 32768).astype(np.uint16)
    calibration = {"cf": 0, "c0": -32768.0, "c1": 1.0, "vunit": "HU"}
    volume = io.read(write_imagej(tmp_path / "in.tif", stored, "YX", **calibration))
    np.testing.assert_array_equal(volume.data, real)
    io.write(tmp_path / "float.tif", volume.data, volume)
    np.testing.assert_array_equal(io.read(tmp_path / "float.tif").data, real)
    io.write(tmp_path / "same.tif", volume.data, volume, preserve_dtype=True)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "same.tif"), stored)
    np.testing.assert_array_equal(io.read(tmp_path / "same.tif").data, real)


@pytest.mark.parametrize(
    ("dtype", "axes", "kind"),
    [(np.float64, "ZYX", "ome"), (np.float32, "ZYX", "imagej"), (np.float32, "YXS", "ome")],
)
def test_imagej_result_becomes_ome_only_where_imagej_cannot_hold_it(dtype, axes, kind, tmp_path):
    data = counts(6, 12, 3, dtype=np.uint8)
    metadata = {"axes": axes, "unit": "um", "spacing": 0.5}
    tifffile.imwrite(tmp_path / "in.tif", data, imagej=True, resolution=(5, 5), metadata=metadata)
    volume = io.read(tmp_path / "in.tif")
    io.write(tmp_path / "out.tif", data.astype(dtype), volume, RECIPE)
    again = io.read(tmp_path / "out.tif")
    assert (again.header.kind, again.axes, again.data.dtype) == (kind, axes, dtype)
    assert (again.spacing, again.unit) == (volume.spacing, "micrometer")
    assert again.channel_axis == volume.channel_axis
    np.testing.assert_array_equal(again.data, data)


def test_unknown_imagej_unit_becomes_pixel(tmp_path):
    source = write_imagej(tmp_path / "a.tif", counts(3, 8, 8), "ZYX", unit="parrot")
    assert io.read(source).unit == "pixel"


# Plain and "shaped" TIFF


def test_plain_tiff_round_trip(tmp_path):
    data = counts(5, 10, 12)
    options = {
        "photometric": "minisblack",
        "resolution": ((50000, 1), (25000, 1)),
        "resolutionunit": "CENTIMETER",
        "extratags": [(315, 2, 0, "A. Smith", True)],
        "description": "exposure 100 ms",
        "datetime": "2020:01:02 03:04:05",
    }
    tifffile.imwrite(tmp_path / "in.tif", data, metadata=None, **options)
    volume = io.read(tmp_path / "in.tif")
    assert volume.axes == "IYX"  # pages of unknown kind
    assert volume.unit == "micrometer"
    assert volume.spacing == (None, pytest.approx(0.4), pytest.approx(0.2))
    io.write(tmp_path / "out.tif", result_of(volume), volume, RECIPE)
    with (
        tifffile.TiffFile(tmp_path / "in.tif") as old,
        tifffile.TiffFile(tmp_path / "out.tif") as new,
    ):
        assert new.series[0].axes == "IYX"
        np.testing.assert_array_equal(new.asarray(), result_of(volume))
        for name in ("XResolution", "YResolution", "ResolutionUnit", "Artist", "DateTime"):
            assert new.pages[0].tags[name].value == old.pages[0].tags[name].value
        lines = new.pages[0].description.splitlines()
        assert lines[0] == "exposure 100 ms"
        assert "recipe" in lines[1]


def test_dots_per_inch_are_not_a_voxel_size(tmp_path):
    options = {"metadata": None, "resolution": (300, 300), "resolutionunit": "INCH"}
    tifffile.imwrite(tmp_path / "a.tif", counts(8, 8), **options)
    volume = io.read(tmp_path / "a.tif")
    assert (volume.unit, volume.spacing) == ("pixel", (1.0, 1.0))
    io.write(tmp_path / "b.tif", volume.data, volume)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].tags["XResolution"].value == (300, 1)


def test_shaped_tiff_keeps_its_axes_and_metadata(tmp_path):
    data = counts(2, 5, 10, 12)
    metadata = {"axes": "TZYX", "sample": "fish 7"}
    tifffile.imwrite(tmp_path / "in.tif", data, photometric="minisblack", metadata=metadata)
    volume = io.read(tmp_path / "in.tif")
    assert (volume.axes, volume.unit, volume.spacing) == ("TZYX", "pixel", (None, 1.0, 1.0, 1.0))
    io.write(tmp_path / "out.tif", result_of(volume), volume, RECIPE)
    again = io.read(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.data, result_of(volume))
    assert again.axes == "TZYX"
    assert again.header.metadata["sample"] == "fish 7"
    assert RECIPE.to_json() in again.header.metadata.values()


@pytest.mark.parametrize("kind", ["plain", "imagej", "ome"])
def test_big_endian_files_are_read(kind, tmp_path):
    data = counts(4, 10, 12)
    options = {
        "plain": {"metadata": None},
        "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    }[kind]
    tifffile.imwrite(tmp_path / "in.tif", data, byteorder=">", photometric="minisblack", **options)
    volume = io.read(tmp_path / "in.tif")
    np.testing.assert_array_equal(volume.data, data)
    io.write(tmp_path / "out.tif", result_of(volume), volume)
    np.testing.assert_array_equal(io.read(tmp_path / "out.tif").data, result_of(volume))
    io.write(tmp_path / "same.tif", volume.data, volume, preserve_dtype=True)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "same.tif"), data)


@pytest.mark.parametrize("kind", ["plain", "shaped", "imagej"])
def test_suffix_chooses_ome(kind, tmp_path):
    metadata = {"plain": None, "shaped": {"axes": "QYX"}, "imagej": {"axes": "ZYX"}}[kind]
    options = {"metadata": metadata, "imagej": kind == "imagej"}
    tifffile.imwrite(tmp_path / "in.tif", counts(4, 10, 12), photometric="minisblack", **options)
    volume = io.read(tmp_path / "in.tif")
    io.write(tmp_path / "out.ome.tif", volume.data, volume, preserve_dtype=True)
    again = io.read(tmp_path / "out.ome.tif")
    assert again.header.kind == "ome"
    # An axis of unknown kind must not become a space axis.
    assert again.axes == ("ZYX" if kind == "imagej" else "TYX")
    np.testing.assert_array_equal(again.data, volume.data)


def test_narrow_image_is_not_interpreted_as_colours(tmp_path):
    np.save(tmp_path / "in.npy", counts(5, 7, 3, dtype=np.uint8))
    volume = io.read(tmp_path / "in.npy")
    io.write(tmp_path / "out.tif", result_of(volume), volume)
    again = io.read(tmp_path / "out.tif")
    assert (again.axes, again.channel_axis) == ("TYX", None)
    np.testing.assert_array_equal(again.data, result_of(volume))


def test_palette_image_is_refused(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", counts(8, 8, dtype=np.uint8), photometric="palette", colormap=colours
    )
    with pytest.raises(ValueError, match="palette"):
        io.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        (np.bool_, np.uint8),
        (np.float16, np.float32),
        (np.float64, np.float64),
        (np.int16, np.int16),
    ],
)
def test_result_has_the_next_dtype_that_ome_can_hold(dtype, stored, tmp_path):
    np.save(tmp_path / "in.npy", counts(7, 9).astype(dtype))
    volume = io.read(tmp_path / "in.npy")
    io.write(tmp_path / "out.tif", volume.data, volume)
    again = io.read(tmp_path / "out.tif").data
    assert again.dtype == stored
    np.testing.assert_array_equal(again, volume.data)
