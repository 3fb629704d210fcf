"""Samples of a TIFF: grey, colours, detectors and opacity; other colour spaces are refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_diffusion as nd
from helpers.files import RECIPE, result_of
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.volume import Volume
from napari_diffusion.workflows.file_run import filter_file

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 255, (20, 22, 3)).astype(np.uint8)
ALPHA = RNG.integers(0, 255, (20, 22, 1)).astype(np.uint8)
RGBA, GREY_ALPHA = np.concatenate([RGB, ALPHA], -1), np.concatenate([RGB[..., :1], ALPHA], -1)
EDGES = nd.Recipe(nd.PeronaMalik(kappa=10.0), 2.0, unit="pixel")
#: Arguments of tifffile's writer by layout.
LAYOUTS = {
    "plain": ("a.tif", {"metadata": None}),
    "shaped": ("a.tif", {}),
    "OME": ("a.ome.tif", {"ome": True}),
    "ImageJ": ("a.tif", {"imagej": True}),
}


def layout_of(path):
    """Return what a viewer needs to show the samples, and the pages."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        extra = [int(value) for value in page.extrasamples]
        return len(tif.pages), page.shape, page.photometric.name, extra, int(page.planarconfig)


def write(folder, layout, data, photometric, extra, planar="contig"):
    name, options = LAYOUTS[layout]
    axes = "YXS" if planar == "contig" else "SYX"
    data = data if planar == "contig" else np.moveaxis(data, -1, 0).copy()
    metadata = options.get("metadata", {"axes": axes})
    options = options | {"photometric": photometric, "planarconfig": planar, "metadata": metadata}
    tifffile.imwrite(folder / name, data, extrasamples=extra, **options)
    return folder / name


def filtered(path):
    """Filter a file, and return its result with the samples last."""
    target = path.with_name("out" + path.name)
    filter_file(path, target, EDGES, overwrite=True)
    volume = io.read(target)
    assert layout_of(target) == layout_of(path)
    return np.moveaxis(np.asarray(volume.data), volume.axes.index("S"), -1)


# Opacity


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opacity_is_copied_and_does_not_change_the_colours(layout, extra, planar, tmp_path):
    if layout == "ImageJ" and planar == "separate":
        planar = "contig"  # ImageJ has no planes of samples
    without = filtered(write(tmp_path, layout, RGB, "rgb", None, planar))
    path = write(tmp_path, layout, RGBA, "rgb", [extra], planar)
    assert io.read(path).alpha == 3
    result = filtered(path)
    np.testing.assert_array_equal(result[..., :3], without)
    np.testing.assert_array_equal(result[..., 3:], ALPHA)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize("layout", ["plain", "shaped", "OME"])
def test_opacity_beside_grey_is_copied(layout, extra, planar, tmp_path):
    path = write(tmp_path, layout, GREY_ALPHA, "minisblack", [extra], planar)
    assert io.read(path).alpha == 1
    result = filtered(path)
    np.testing.assert_array_equal(result[..., 1:], ALPHA)
    grey = nd.diffuse(RGB[..., 0], nd.PeronaMalik(kappa=10.0), time=2.0)
    # The kernel for several channels rounds in another order: 1e-6 of the range.
    np.testing.assert_allclose(result[..., 0], grey, rtol=0, atol=255e-6)


def test_opacity_of_pillow_is_copied(tmp_path):
    Image.fromarray(RGBA).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(filtered(tmp_path / "a.tif")[..., 3:], ALPHA)


def test_fourth_sample_without_a_kind_is_the_opacity(tmp_path):
    """OpenCV writes such files."""
    path = write(tmp_path, "plain", RGBA, "rgb", [2])
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[0].tags["ExtraSamples"].offset
    content = bytearray(path.read_bytes())
    content[place : place + 2] = (65000).to_bytes(2, "little")
    path.write_bytes(content)
    volume = io.read(path)
    assert volume.alpha == 3
    assert "opacity" in volume.notes[0]


def test_unspecified_sample_is_data(tmp_path):
    """The standard says so, and near infrared is stored like this."""
    path = write(tmp_path, "plain", RGBA, "rgb", [0])
    volume = io.read(path)
    assert (volume.alpha, volume.channel_weights) == (None, None)
    assert "not declared as opacity" in volume.notes[0]
    result = filtered(path)
    expected = nd.diffuse(RGBA, nd.PeronaMalik(kappa=10.0), time=2.0, channel_axis=2)
    np.testing.assert_array_equal(result, expected)


def test_opacity_behind_other_samples_is_known(tmp_path):
    data = np.concatenate([RGB, ALPHA, ALPHA], -1)
    assert io.read(write(tmp_path, "plain", data, "rgb", [0, 2])).alpha == 4
    assert io.read(write(tmp_path, "plain", data, "rgb", [1, 0])).alpha == 3


def test_opacity_of_another_format_is_written(tmp_path):
    like = Volume(RGBA, "YXS", (1.0, 1.0, None), channel_axis=2, alpha=3)
    io.write(tmp_path / "out.tif", RGBA, like)
    assert layout_of(tmp_path / "out.tif")[2:4] == ("RGB", [2])
    assert io.read(tmp_path / "out.tif").alpha == 3


# Detectors


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", ["plain", "shaped", "OME"])
def test_grey_samples_stay_grey_samples(layout, samples, planar, tmp_path):
    data = RNG.integers(0, 255, (20, 22, samples)).astype(np.uint8)
    path = write(tmp_path, layout, data, "minisblack", [0] * (samples - 1), planar)
    volume = io.read(path)
    assert (volume.alpha, volume.channel_axis, samples in volume.shape) == (None, None, True)
    for name in (f"o{path.name}", "o.ome.tif"):
        io.write(tmp_path / name, result_of(volume), volume, RECIPE)
        again = io.read(tmp_path / name)
        assert (again.alpha, again.axes) == (None, volume.axes if name[1] == "a" else again.axes)
        assert layout_of(tmp_path / name)[2:4] == ("MINISBLACK", [0] * (samples - 1))
    assert layout_of(tmp_path / f"o{path.name}") == layout_of(path)


@pytest.mark.parametrize("samples", [2, 3, 30])
def test_detectors_are_filtered_one_by_one_unless_the_user_couples_them(samples, tmp_path):
    data = RNG.normal(100, 10, (20, 22, samples)).astype(np.float32)
    path = write(tmp_path, "plain", data, "minisblack", [0] * (samples - 1), "contig")
    model, options = nd.PeronaMalik(kappa=5.0), ["--model", "perona-malik", "--kappa", "5"]
    words = ["run", str(path), str(tmp_path / "out.npy"), *options, "--time", "1", "--quiet"]
    assert main(words) == 0
    alone = [nd.diffuse(data[..., k], model, time=1.0) for k in range(samples)]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.stack(alone, -1))
    assert main([*words, "--channel-axis", "S", "--overwrite"]) == 0
    together = nd.diffuse(data, model, time=1.0, channel_axis=-1)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), together)


def test_texts_of_later_pages_are_said_to_be_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for k in range(3):
            tags = [(285, "s", 0, f"channel {k}", True)]
            file.write(np.zeros((8, 9), np.uint8), metadata=None, contiguous=False, extratags=tags)
    (note,) = io.read(tmp_path / "a.tif").notes
    assert note == "Its pages have a name each; a result keeps those of the first."
    io.write(tmp_path / "b.tif", np.zeros((3, 8, 9), np.uint8), io.read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].tags["PageName"].value == "channel 0"


def test_two_samples_called_rgb_are_grey(tmp_path):
    """ITK calls every image of several samples RGB."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.ascontiguousarray(RGB[..., :2]), isVector=True)
    sitk.WriteImage(image, tmp_path / "a.tif")
    volume = io.read(tmp_path / "a.tif")
    io.write(tmp_path / "out.tif", result_of(volume), volume)
    np.testing.assert_array_equal(io.read(tmp_path / "out.tif").data, result_of(volume))


# Colour spaces


@pytest.mark.parametrize("mode", ["CMYK", "Lab", "YCbCr"])
def test_other_colour_spaces_are_refused_with_their_name(mode, tmp_path):
    Image.fromarray(RGB).convert("LAB" if mode == "Lab" else mode).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=mode) as caught:
        io.read(tmp_path / "a.tif")
    assert caught.value.remedy is Remedy.CONVERT_COLOURS
    assert io.read_metadata(tmp_path / "a.tif") is None


@pytest.mark.parametrize("photometric", [4, 9, 10, 32803, 32844, 32845, 34892, 51177, 7])
def test_each_colour_space_has_a_sentence(photometric, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB[..., 0], photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[0].tags[262].valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 2] = photometric.to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="convert it to grey or RGB"):
        io.read(path)


def test_jpeg_colours_are_rgb(tmp_path):
    smooth = np.asarray(Image.fromarray(RGB[:4, :4]).resize((64, 48), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    volume = io.read(tmp_path / "a.tif")
    io.write(tmp_path / "out.tif", volume.data, volume, preserve_dtype=True)
    assert layout_of(tmp_path / "out.tif")[2] == "RGB"
    with Image.open(tmp_path / "a.tif") as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    assert abs(np.asarray(volume.data) - expected).max() <= 3  # two decoders of JPEG


def test_file_without_a_colour_space_is_not_inverted(tmp_path):
    """The decoder takes it for black on white."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB[..., 0], photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[0].tags[262].offset
    content = bytearray(path.read_bytes())
    content[place : place + 2] = (65000).to_bytes(2, "little")
    path.write_bytes(content)
    volume = io.read(path)
    io.write(tmp_path / "out.tif", volume.data, volume, preserve_dtype=True)
    assert layout_of(tmp_path / "out.tif")[2] == "MINISBLACK"


@pytest.mark.parametrize("layout", ["plain", "shaped"])
def test_inverted_grey_stays_inverted(layout, tmp_path):
    name, options = LAYOUTS[layout]
    tifffile.imwrite(tmp_path / name, RGB[..., 0], photometric="miniswhite", **options)
    volume = io.read(tmp_path / name)
    io.write(tmp_path / "out.tif", volume.data, volume, preserve_dtype=True)
    assert layout_of(tmp_path / "out.tif") == layout_of(tmp_path / name)
    np.testing.assert_array_equal(io.read(tmp_path / "out.tif").data, RGB[..., 0])


# Palettes

RAMP = np.arange(256)
ZERO = 0 * RAMP


def write_palette(path, data, colours, **options):
    table = np.broadcast_to(colours, (3, np.shape(colours)[-1])).astype(np.uint16)
    options = {"metadata": None} | options
    tifffile.imwrite(path, data, photometric="palette", colormap=table, **options)
    return path


@pytest.mark.parametrize(
    ("colours", "photometric", "notes"),
    [
        (RAMP * 257, "MINISBLACK", 0),
        (RAMP * 256, "MINISBLACK", 0),
        (RAMP, "MINISBLACK", 0),  # some programs do not scale 8-bit colours
        (RAMP[::-1] * 257, "MINISWHITE", 0),
        ([ZERO, RAMP * 257, ZERO], "MINISBLACK", 1),  # green, as fluorescence is shown
        ([RAMP * 257, RAMP * 128, ZERO], "MINISBLACK", 1),
    ],
)
def test_ramp_of_one_colour_is_read_as_grey(colours, photometric, notes, tmp_path):
    path = write_palette(tmp_path / "a.tif", RGB[..., 0], colours)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.data, RGB[..., 0])
    assert (volume.axes, len(volume.notes)) == ("YX", notes)
    io.write(tmp_path / "out.tif", result_of(volume), volume)
    assert layout_of(tmp_path / "out.tif")[2] == photometric


def test_ramp_of_16_bits_is_read_as_grey(tmp_path):
    data = RNG.integers(0, 2**16, (20, 22)).astype(np.uint16)
    path = write_palette(tmp_path / "a.tif", data, np.arange(2**16))
    np.testing.assert_array_equal(io.read(path).data, data)


@pytest.mark.parametrize(
    "colours",
    [
        RNG.integers(0, 2**16, (3, 256)),
        ZERO,
        [RAMP * 257, ZERO, RAMP[::-1] * 257],  # from blue to red
        65535 * np.sqrt(RAMP / 255),
        np.where(RAMP < 250, RAMP, 0) * 257,
    ],
)
def test_other_palettes_are_refused(colours, tmp_path):
    path = write_palette(tmp_path / "a.tif", RGB[..., 0], colours)
    with pytest.raises(InputError, match="palette") as caught:
        io.read(path)
    assert caught.value.remedy is Remedy.CONVERT_COLOURS


def test_lookup_table_of_imagej_only_shows_the_intensities(tmp_path):
    """ImageJ saves 8-bit images with a lookup table as palette images."""
    fire = np.clip([3 * RAMP, 3 * RAMP - 255, 3 * RAMP - 510], 0, 255) * 257
    stack = np.stack([RGB[..., 0]] * 3)
    options = {"imagej": True, "metadata": {"axes": "ZYX"}}
    volume = io.read(write_palette(tmp_path / "a.tif", stack, fire, **options))
    np.testing.assert_array_equal(volume.data, stack)
    assert "lookup table" in volume.notes[0]
    random = RNG.integers(0, 2**16, (3, 256))
    with pytest.raises(InputError, match="palette"):
        io.read(write_palette(tmp_path / "b.tif", stack, random, **options))
