"""Units of length in files: each has its true size, or the file is refused with a sentence."""

from fractions import Fraction

import numpy as np
import pytest
import tifffile

from helpers.omexml import pixels_of
from napari_diffusion import io
from napari_diffusion.core import units
from napari_diffusion.io.volume import Volume

INCH = Fraction(254, 10_000)
PREFIXES = {"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1}
PREFIXES |= {"": 0, "d": -1, "c": -2, "m": -3, "µ": -6, "n": -9, "p": -12, "f": -15, "a": -18}
PREFIXES |= {"z": -21, "y": -24}
#: All units of length of the OME schema 2016-06 [m], but for the line.
OME_METERS = {f"{prefix}m": Fraction(10) ** power for prefix, power in PREFIXES.items()}
OME_METERS |= {"Å": Fraction(1, 10**10), "thou": INCH / 1000, "in": INCH, "ft": 12 * INCH}
OME_METERS |= {"yd": 36 * INCH, "mi": 63360 * INCH, "pt": INCH / 72}
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
    assert volume.spacing == (2.0, 0.5, 0.25)
    accuracy = 1e-11 if symbol == "pc" else 2e-15
    size = units.factor(volume.unit, "m")
    assert size == pytest.approx(float(OME_METERS[symbol]), rel=accuracy)


@pytest.mark.parametrize("unit", ["pixel", "reference frame"])
def test_ome_file_without_a_length_is_in_pixels(unit, tmp_path):
    assert io.read(write_ome(tmp_path / "a.ome.tif", unit)).unit == "pixel"


@pytest.mark.parametrize("unit", ["li", "s", "10**10**8*m", "parrot", "m2"])
def test_ome_file_in_an_unknown_unit_is_refused_with_a_sentence(unit, tmp_path):
    path = write_ome(tmp_path / "a.ome.tif", unit)
    with pytest.raises(ValueError, match=r"a\.ome\.tif.*cannot be read as TIFF") as error:
        io.read(path)
    assert repr(unit) in str(error.value)
    assert "known here" in str(error.value)


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


@pytest.mark.parametrize(("unit", "size"), [("foot", 609.6), ("kilometer", 2e6), ("pixel", 2.0)])
def test_nifti_file_is_written_in_one_of_its_units(unit, size, tmp_path):
    like = Volume(IMAGE, "ZYX", (2.0, 2.0, 2.0), unit, None)
    io.write(tmp_path / "a.nii", IMAGE, like, None)
    volume = io.read(tmp_path / "a.nii")
    assert volume.spacing == pytest.approx((size,) * 3, rel=1e-7)
    assert volume.unit == "millimeter"
