"""Units of length and time in files: each has its true size, or the file gives no size."""

from fractions import Fraction

import numpy as np
import pytest
import tifffile

from helpers.omexml import pixels_of
from napari_diffusion import io
from napari_diffusion.core import units
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io import ome
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.io.volume import Volume

INCH = Fraction(254, 10_000)
PREFIXES = {"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1}
PREFIXES |= {"": 0, "d": -1, "c": -2, "m": -3, "µ": -6, "n": -9, "p": -12, "f": -15, "a": -18}
PREFIXES |= {"z": -21, "y": -24}
#: All units of length of the OME schema 2016-06 [m].
OME_METERS = {f"{prefix}m": Fraction(10) ** power for prefix, power in PREFIXES.items()}
OME_METERS |= {"Å": Fraction(1, 10**10), "thou": INCH / 1000, "in": INCH, "ft": 12 * INCH}
OME_METERS |= {"yd": 36 * INCH, "mi": 63360 * INCH, "pt": INCH / 72, "li": INCH / 12}
OME_METERS |= {"ua": Fraction(149_597_870_700), "ly": Fraction(9_460_730_472_580_800)}
# pint takes the tangent of one second of arc for the angle: 1e-11 less.
OME_METERS |= {"pc": Fraction(30_856_775_814_913_673)}

IMAGE = np.ones((2, 4, 5), np.float32)


def write_ome(path, unit):
    metadata = {"axes": "ZYX"}
    for letter, size in zip("ZYX", (2.0, 0.5, 0.25), strict=True):
        metadata |= {f"PhysicalSize{letter}": size, f"PhysicalSize{letter}Unit": unit}
    tifffile.imwrite(path, IMAGE, ome=True, metadata=metadata)
    return path


@pytest.mark.parametrize("symbol", OME_METERS)
def test_unit_of_an_ome_file_has_its_true_size(symbol, tmp_path):
    volume = io.read(write_ome(tmp_path / "a.ome.tif", symbol))
    accuracy = 1e-11 if symbol == "pc" else 2e-15
    for own, size in zip(volume.spacing, (2.0, 0.5, 0.25), strict=True):
        length = own * units.factor(volume.unit, "m")
        assert length == pytest.approx(size * float(OME_METERS[symbol]), rel=accuracy)


@pytest.mark.parametrize("unit", ["pixel", "reference frame"])
def test_ome_file_without_a_length_is_in_pixels(unit, tmp_path):
    assert io.read(write_ome(tmp_path / "a.ome.tif", unit)).unit == "pixel"


def refusal(volume):
    """Return what is said when a run needs the voxel size of a volume."""
    with pytest.raises(InputError) as caught:
        resolve_axes(volume, AxisRequest())
    assert caught.value.remedy is Remedy.GIVE_VOXEL_SIZE
    return str(caught.value)


@pytest.mark.parametrize("unit", ["s", "10**10**8*m", "parrot", "m2", ""])
def test_ome_file_in_an_unknown_unit_has_no_voxel_size(unit, tmp_path):
    volume = io.read(write_ome(tmp_path / "a.ome.tif", unit))
    assert volume.spacing == (None, None, None)
    assert repr(unit) in refusal(volume)
    assert repr(unit) in volume.notes[0]
    given = resolve_axes(volume, AxisRequest(spacing=(2.0,), unit="nm"))
    assert (given.spacing, given.unit) == ((2.0,) * 3, "nanometer")


@pytest.mark.parametrize("unit", ["parrot", "pixel", "reference frame"])
def test_ome_size_beside_a_length_has_a_length_or_none(unit, tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 2.0, "PhysicalSizeZUnit": unit}
    metadata |= {f"PhysicalSize{letter}": 0.5 for letter in "XY"}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, ome=True, metadata=metadata)
    volume = io.read(tmp_path / "a.ome.tif")
    assert (volume.spacing, volume.unit) == ((None, 0.5, 0.5), "micrometer")
    assert repr(unit) in refusal(volume)


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "half", "", "0,5"])
def test_ome_size_that_is_no_positive_number_is_unknown(size):
    pixels = f'<Pixels PhysicalSizeX="{size}" PhysicalSizeY="0.5" SizeX="1"/>'
    fields = ome.volume_fields(f"<OME><Image>{pixels}</Image></OME>", "YX")
    assert (fields["spacing"], fields["unit"]) == ((0.5, None), "micrometer")


def test_unit_without_a_voxel_size_is_ignored(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeZUnit": "parrot"}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, ome=True, metadata=metadata)
    assert io.read(tmp_path / "a.ome.tif").unit == "pixel"


def test_sizes_in_different_units_are_converted_to_the_first(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 3.0, "PhysicalSizeXUnit": "ft"}
    metadata |= {"PhysicalSizeY": 1.0, "PhysicalSizeYUnit": "mi"}
    metadata |= {"PhysicalSizeZ": 36.0, "PhysicalSizeZUnit": "in"}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, ome=True, metadata=metadata)
    volume = io.read(tmp_path / "a.ome.tif")
    assert (volume.spacing, volume.unit) == ((3.0, 5280.0, 3.0), "foot")


@pytest.mark.parametrize(
    ("unit", "symbol", "size"),
    [
        *((units.canonical(symbol), symbol, 2.0) for symbol in ("ft", "km", "ly", "thou", "fm")),
        ("megameter", "Mm", 2.0),
        ("astronomical_unit", "ua", 2.0),
        ("point", "pt", 2.0),
        # Not in OME's schema.
        ("css_pixel", "µm", 2 * 25400 / 96),
        ("femtometer", "µm", 2e-9),
        ("microfoot", "µm", 0.6096),
    ],
)
def test_ome_file_is_written_in_a_unit_of_its_schema(unit, symbol, size, tmp_path):
    like = Volume(IMAGE, "ZYX", (2.0, 2.0, 2.0), unit, None)
    io.write(tmp_path / "a.ome.tif", IMAGE, like, None)
    pixels = pixels_of(tmp_path / "a.ome.tif")
    assert pixels.get("PhysicalSizeXUnit") == symbol
    assert float(pixels.get("PhysicalSizeX")) == pytest.approx(size, rel=1e-14)
    volume = io.read(tmp_path / "a.ome.tif")
    in_unit = volume.spacing[0] * units.factor(volume.unit, unit)
    assert in_unit == pytest.approx(2.0, rel=1e-14)


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("inches", "inch"),
        ("km", "kilometer"),
        ("feet", "foot"),
        ("\\u00B5m", "micrometer"),
        # No unit of length: the voxel size keeps its proportions.
        ("ms", "pixel"),
        ("sec", "pixel"),
        ("parrot", "pixel"),
        ("10**10**8*m", "pixel"),
    ],
)
def test_unit_of_an_imagej_file_is_known_or_the_pixel(written, unit, tmp_path):
    metadata = {"axes": "ZYX", "unit": written, "spacing": 2.0}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(4, 2), metadata=metadata)
    volume = io.read(tmp_path / "a.tif")
    assert (volume.spacing, volume.unit) == ((2.0, 0.5, 0.25), unit)


@pytest.mark.parametrize(
    ("units_of_file", "spacing", "unit"),
    [
        ({"unit": "nm", "zunit": "micron"}, (2000.0, 0.5, 0.25), "nanometer"),
        ({"unit": "micron", "zunit": "nm"}, (0.002, 0.5, 0.25), "micrometer"),
        ({"unit": "micron", "yunit": "nm"}, (2.0, 0.0005, 0.25), "micrometer"),
        ({"unit": "mm", "yunit": "cm", "zunit": "\\u00B5m"}, (0.002, 5.0, 0.25), "millimeter"),
        ({"unit": "\\u00C5", "zunit": "nm"}, (20.0, 0.5, 0.25), "angstrom"),
        ({"unit": "inch", "zunit": "mm"}, (2 / 25.4, 0.5, 0.25), "inch"),
        ({"unit": "micron", "zunit": "pixel"}, (None, 0.5, 0.25), "micrometer"),
        ({"unit": "pixel", "zunit": "micron"}, (2.0, None, None), "micrometer"),
        ({"unit": "parrot", "yunit": "um"}, (None, 0.5, None), "micrometer"),
        ({"unit": "pixel", "zunit": "parrot"}, (2.0, 0.5, 0.25), "pixel"),
    ],
)
def test_each_axis_of_an_imagej_file_has_its_unit(units_of_file, spacing, unit, tmp_path):
    metadata = {"axes": "ZYX", "spacing": 2.0} | units_of_file
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(4, 2), metadata=metadata)
    volume = io.read(tmp_path / "a.tif")
    assert (volume.spacing, volume.unit) == (tuple(map(close, spacing)), unit)
    unknown = [letter for letter, size in zip("ZYX", spacing, strict=True) if size is None]
    for letter in unknown:
        assert letter in volume.notes[0]
        assert "is no length" in refusal(volume)
    for name in ("out.tif", "out.ome.tif"):
        io.write(tmp_path / name, IMAGE, volume)
        again = io.read(tmp_path / name)
        known = spacing if unit != "pixel" or name == "out.tif" else (1.0, 1.0, 1.0)
        assert (again.spacing, again.unit) == (tuple(map(close, known)), unit)


def close(size):
    return None if size is None else pytest.approx(size, rel=1e-15)


def test_unit_of_an_axis_that_the_file_does_not_have_is_ignored(tmp_path):
    metadata = {"axes": "YX", "unit": "pixel", "zunit": "micron"}
    options = {"imagej": True, "resolution": (4, 2), "metadata": metadata}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE[0], **options)
    volume = io.read(tmp_path / "a.tif")
    assert (volume.spacing, volume.unit, volume.notes) == ((0.5, 0.25), "pixel", ())


@pytest.mark.parametrize(
    ("resolution_unit", "spacing", "unit"),
    [
        ("NONE", (2.0, 0.5, 0.25), "pixel"),
        ("INCH", (2.0, 1.0, 1.0), "pixel"),  # dots per inch are the size in print
        ("CENTIMETER", (2.0, 0.5, 0.25), "centimeter"),
    ],
)
def test_imagej_file_without_a_unit_has_that_of_its_tags(resolution_unit, spacing, unit, tmp_path):
    options = {"resolution": (4, 2), "resolutionunit": resolution_unit}
    metadata = {"axes": "ZYX", "spacing": 2.0}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, metadata=metadata, **options)
    volume = io.read(tmp_path / "a.tif")
    assert (volume.spacing, volume.unit) == (spacing, unit)


@pytest.mark.parametrize("spacing", ["x", 0, "nan", -2.0])
def test_imagej_spacing_is_a_positive_number(spacing, tmp_path):
    metadata = {"axes": "ZYX", "unit": "um", "spacing": spacing}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(4, 2), metadata=metadata)
    expected = 2.0 if spacing == -2.0 else 1.0
    assert io.read(tmp_path / "a.tif").spacing == (expected, 0.5, 0.25)


SECONDS = {"sec": 1.0, "s": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "Sec": 1.0}
SECONDS |= {"\\u00B5s": 1e-6, "us": 1e-6, "ns": 1e-9, "min": 60.0, "minutes": 60.0, "h": 3600.0}
SECONDS |= {"hours": 3600.0, "hr": 3600.0, "day": 86400.0, "d": 86400.0}


@pytest.mark.parametrize("unit", SECONDS)
def test_frame_interval_of_an_imagej_file_is_in_its_unit(unit, tmp_path):
    metadata = {"axes": "TYX", "finterval": 0.5, "tunit": unit, "fps": 7.0}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, metadata=metadata)
    volume = io.read(tmp_path / "a.tif")
    assert volume.time_step == 0.5 * SECONDS[unit]
    io.write(tmp_path / "out.tif", IMAGE, volume)
    assert io.read(tmp_path / "out.tif").time_step == volume.time_step


@pytest.mark.parametrize("unit", ["frames", "parrot", "um"])
def test_frame_interval_in_an_unknown_unit_is_left_out(unit, tmp_path):
    metadata = {"axes": "TYX", "finterval": 0.5, "tunit": unit}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, metadata=metadata)
    volume = io.read(tmp_path / "a.tif")
    assert volume.time_step is None
    assert unit in volume.notes[0]


def test_playback_speed_is_no_frame_interval(tmp_path):
    metadata = {"axes": "TYX", "fps": 7.0}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, metadata=metadata)
    assert io.read(tmp_path / "a.tif").time_step is None


OME_SECONDS = {f"{prefix}s": float(f"1e{power}") for prefix, power in PREFIXES.items()}
OME_SECONDS |= {"min": 60.0, "h": 3600.0, "d": 86400.0}


@pytest.mark.parametrize("unit", [*OME_SECONDS, "frame", "parrot"])
def test_time_step_of_an_ome_file_is_in_its_unit(unit, tmp_path):
    metadata = {"axes": "TYX", "TimeIncrement": 0.5, "TimeIncrementUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, ome=True, metadata=metadata)
    volume = io.read(tmp_path / "a.ome.tif")
    size = OME_SECONDS.get(unit)
    assert volume.time_step == (None if size is None else 0.5 * size)
    assert len(volume.notes) == (size is None)


@pytest.mark.parametrize(("unit", "size"), [("foot", 609.6), ("kilometer", 2e6), ("pixel", 2.0)])
def test_nifti_file_is_written_in_one_of_its_units(unit, size, tmp_path):
    like = Volume(IMAGE, "ZYX", (2.0, 2.0, 2.0), unit, None)
    io.write(tmp_path / "a.nii", IMAGE, like, None)
    volume = io.read(tmp_path / "a.nii")
    assert volume.spacing == pytest.approx((size,) * 3, rel=1e-7)
    assert volume.unit == "millimeter"
