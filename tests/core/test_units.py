"""Units of length: their names, and conversion factors that are exact."""

import pytest

from napari_diffusion.core import units


@pytest.mark.parametrize(
    "name", ["µm", "μm", "um", "micron", "microns", "micrometer", "Micrometre", "\\u00B5m"]
)
def test_micrometre_has_many_names(name):
    assert units.canonical(name) == "micrometer"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        (" mm ", "millimeter"),
        ("Metres", "meter"),
        ("\N{ANGSTROM SIGN}", "angstrom"),
        ("\N{LATIN CAPITAL LETTER A WITH RING ABOVE}", "angstrom"),
        ('"', "inch"),
        ("in", "inch"),
        ("voxel", "pixel"),
        ("reference frame", "pixel"),
    ],
)
def test_aliases_of_file_formats_have_one_name(name, unit):
    assert units.canonical(name) == unit


def test_lengths_convert():
    assert units.factor("mm", "µm") == 1000.0
    assert units.factor("nm", "µm") == 0.001
    with pytest.raises(ValueError, match="pixel"):
        units.factor("pixel", "µm")
    with pytest.raises(ValueError, match="furlong"):
        units.canonical("furlong")


@pytest.mark.parametrize(
    ("old", "new", "factor"),
    [
        ("in", "mm", 25.4),
        ("in", "cm", 2.54),
        ("Å", "nm", 0.1),
        ("m", "pm", 1e12),
        ("pm", "m", 1e-12),
        ("cm", "µm", 1e4),
        ("µm", "micron", 1.0),
        ("pixel", "voxel", 1.0),
    ],
)
def test_factor_is_the_number_that_python_reads(old, new, factor):
    """A factor is one correctly rounded quotient, and so is a number in decimal notation."""
    assert units.factor(old, new) == factor


@pytest.mark.parametrize("pair", [("pixel", "mm"), ("mm", "pixel"), ("voxel", "in")])
def test_pixel_converts_to_no_length(pair):
    with pytest.raises(ValueError, match="pixel has no length"):
        units.factor(*pair)


def test_symbol_is_the_short_form():
    assert [units.symbol(name) for name in ("micron", "inch", "voxel")] == ["µm", "in", "pixel"]
