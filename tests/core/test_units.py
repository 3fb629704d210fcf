"""Units of length: names, symbols, exact factors; and the declared units of parameters."""

import math
import subprocess
import sys
from fractions import Fraction

import pint
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_diffusion.core import units
from napari_diffusion.core.units import Dimension

#: Definitions of units in meters.
METERS = {
    "pm": Fraction(1, 10**12),
    "angstrom": Fraction(1, 10**10),
    "nm": Fraction(1, 10**9),
    "micron": Fraction(1, 10**6),
    "mm": Fraction(1, 1000),
    "cm": Fraction(1, 100),
    "in": Fraction(254, 10_000),
    "m": Fraction(1),
    "thou": Fraction(254, 10**7),
    "foot": Fraction(3048, 10_000),
    "yd": Fraction(9144, 10_000),
    "mile": Fraction(1_609_344, 1000),
    "nautical_mile": Fraction(1852),
    "km": Fraction(1000),
    "kilofoot": Fraction(3048, 10),
    "fm": Fraction(1, 10**15),
    "zm": Fraction(1, 10**21),
    "Mm": Fraction(10**6),
    "Pm": Fraction(10**15),
    "Ym": Fraction(10**24),
    "light_year": Fraction(299_792_458) * 86400 * Fraction(36525, 100),
    "astronomical_unit": Fraction(149_597_870_700),
}


@pytest.mark.parametrize(
    "name",
    ["µm", "μm", "um", "micron", "microns", "micrometer", "Micrometre", "\\u00B5m", "µ", "μ"],
)
def test_micrometre_has_many_names(name):
    assert units.canonical(name) == "micrometer"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        (" mm ", "millimeter"),
        ("MM", "millimeter"),
        ("Metres", "meter"),
        ("\N{ANGSTROM SIGN}", "angstrom"),
        ("\N{LATIN CAPITAL LETTER A WITH RING ABOVE}", "angstrom"),
        ("Ångström", "angstrom"),
        ('"', "inch"),
        ("in", "inch"),
        ("inches", "inch"),
        ("voxel", "pixel"),
        ("px", "pixel"),
        ("reference frame", "pixel"),
    ],
)
def test_aliases_of_file_formats_have_one_name(name, unit):
    assert units.canonical(name) == unit


@pytest.mark.parametrize(
    ("name", "unit", "symbol"),
    [
        ("km", "kilometer", "km"),
        ("kilometres", "kilometer", "km"),
        ("ft", "foot", "ft"),
        ("feet", "foot", "ft"),
        ("mile", "mile", "mi"),
        ("yd", "yard", "yd"),
        ("ly", "light_year", "ly"),
        ("am", "attometer", "am"),
        ("µft", "microfoot", "µft"),
        # Its symbol of the table is read in any case, but this one is another unit.
        ("Mm", "megameter", "Mm"),
        ("Pm", "petameter", "Pm"),
        # Their symbols in pint are read as other units here, or not at all.
        ("css_pixel", "css_pixel", "css_pixel"),
        ("femtometer", "femtometer", "femtometer"),
        ("bohr", "bohr", "bohr"),
    ],
)
def test_other_lengths_are_those_of_pint(name, unit, symbol):
    assert (units.canonical(name), units.symbol(name)) == (unit, symbol)


def test_symbol_is_the_short_form():
    assert [units.symbol(name) for name in ("micron", "inch", "voxel")] == ["µm", "in", "pixel"]


@pytest.mark.parametrize("greek", [True, False])
def test_symbols_have_the_micro_sign_whatever_pint_writes(monkeypatch, greek):
    written = "\N{GREEK SMALL LETTER MU}ft" if greek else "\N{MICRO SIGN}ft"
    monkeypatch.setattr(pint.Unit, "__format__", lambda unit, spec: written)
    assert units.symbol("microfoot") == "\N{MICRO SIGN}ft"
    assert units.symbol("um") == "\N{MICRO SIGN}m"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "furlongg",
        "second",
        "s",
        "ms",
        "min",
        "pint",
        "acre",
        "pt",
        "dot",
        "degC",
        "kilodegC",
        "decibel",
        "dimensionless",
        "kilo",
        "nan",
        "speed_of_light",
        "meter**2",
        "m^2",
        "m2",
        "m²",
        "10 m",
        "10**10**8*meter",
        "(m)",
        "m*m/m",
        "m.m",
        "m\nm",
        "foot\0",
        "().__class__",
        "__class__",
        "__import__('os')",
        "_",
        "米",
        "㎞",
        "km" * 10**6,
        "x" * 40,
    ],
)
def test_text_that_is_no_length_is_refused(text):
    """Nothing is computed: the power of ten, a number of 10^8 digits, would take minutes."""
    with pytest.raises(ValueError, match="is not a unit of length known here; use pm, Å") as error:
        units.canonical(text)
    assert str(error.value).startswith(repr(text)[:60])
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    "text", ["10**10**8*meter", "m m", "(m)", "m2", "m²", "m.m", "x" * 41, "㎞"]
)
def test_text_that_is_no_word_does_not_reach_pint(monkeypatch, text):
    monkeypatch.setattr(units, "_registry", lambda: pytest.fail("pint was asked"))
    with pytest.raises(ValueError, match="is not a unit of length"):
        units.canonical(text)


@pytest.mark.parametrize("value", [None, 3, b"m", ["m"]])
def test_unit_that_is_no_text_is_refused(value):
    with pytest.raises(TypeError, match="A unit must be text"):
        units.canonical(value)


@pytest.fixture
def own_registry():
    """A registry with units of its own, in place of the common one."""
    before = pint.get_application_registry().get()
    registry = pint.UnitRegistry()
    registry.define("depth = meter; offset: 5")
    registry.define("void = 0 * meter")
    registry.define("endless = inf * meter")
    registry.define("cell_2 = 3 * meter = _ = cell")
    registry.define("stride = 0.75 * meter")
    pint.set_application_registry(registry)
    yield registry
    pint.set_application_registry(before)


def test_units_of_the_application_registry_are_known(own_registry):
    assert units.canonical("strides") == "stride"
    assert units.factor("stride", "cm") == 75


@pytest.mark.parametrize("name", ["depth", "void", "endless", "cell"])
def test_a_length_that_is_no_multiple_of_the_meter_is_refused(own_registry, name):
    with pytest.raises(ValueError, match="is not a unit of length"):
        units.canonical(name)


def test_a_length_of_another_quantity_is_refused_in_a_context_that_converts_it(own_registry):
    with own_registry.context("spectroscopy"), pytest.raises(ValueError, match="hertz"):
        units.canonical("hertz")


def test_names_of_the_table_need_no_pint():
    code = (
        "import sys; from napari_diffusion.core import units; "
        "units.factor('Microns', 'inch'), units.symbol('voxel'), units.canonical(' Metres '); "
        "assert 'pint' not in sys.modules; units.canonical('km'); assert 'pint' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("new", METERS)
@pytest.mark.parametrize("old", METERS)
def test_factor_is_the_correctly_rounded_quotient_of_the_definitions(old, new):
    assert units.factor(old, new) == float(METERS[old] / METERS[new])


@pytest.mark.parametrize(
    ("old", "new", "factor"),
    [
        ("in", "mm", 25.4),
        ("in", "cm", 2.54),
        ("Å", "nm", 0.1),
        ("m", "pm", 1e12),
        ("pm", "m", 1e-12),
        ("cm", "µm", 1e4),
        ("mm", "µm", 1000.0),
        ("nm", "µm", 0.001),
        ("µm", "micron", 1.0),
        ("foot", "m", 0.3048),
        ("ft", "in", 12.0),
        ("mile", "ft", 5280.0),
        ("fm", "femtometer", 1.0),
        ("pixel", "voxel", 1.0),
    ],
)
def test_factor_is_the_number_that_python_reads(old, new, factor):
    """A factor is one correctly rounded quotient, and so is a number in decimal notation."""
    assert units.factor(old, new) == factor


@given(st.sampled_from(sorted(METERS)), st.sampled_from(sorted(METERS)))
def test_conversion_there_and_back_is_exact_but_for_one_rounding(old, new):
    assert units.factor(old, new) * units.factor(new, old) == pytest.approx(1, rel=2**-51)


@given(*[st.sampled_from(sorted(METERS))] * 3)
def test_conversion_by_way_of_another_unit_is_the_same(old, middle, new):
    by_way = units.factor(old, middle) * units.factor(middle, new)
    assert by_way == pytest.approx(units.factor(old, new), rel=2**-51)


@pytest.mark.parametrize("name", [*METERS, "pixel", "point", "fathom", "bohr", "survey_foot"])
def test_names_and_symbols_are_read_back(name):
    unit = units.canonical(name)
    assert units.canonical(unit) == unit
    assert units.canonical(units.symbol(unit)) == unit


@pytest.mark.parametrize("pair", [("pixel", "mm"), ("mm", "pixel"), ("voxel", "in"), ("px", "km")])
def test_pixel_converts_to_no_length(pair):
    with pytest.raises(ValueError, match="pixel has no length"):
        units.factor(*pair)


# ---- declared units


@pytest.mark.parametrize(
    ("text", "length", "intensity", "shown"),
    [
        ("1", 0, 0, ""),
        ("length", 1, 0, "µm"),
        ("length^2", 2, 0, "µm²"),
        ("intensity", 0, 1, "intensity"),
        ("intensity/length", -1, 1, "intensity/µm"),
        ("1/length", -1, 0, "1/µm"),
        ("1/length^2", -2, 0, "1/µm²"),
        ("length^-2", -2, 0, "1/µm²"),
        ("intensity^2/length^2", -2, 2, "intensity²/µm²"),
        ("intensity*length", 1, 1, "intensity·µm"),
        ("intensity * length / intensity", 1, 0, "µm"),
        ("1/intensity/length^3", -3, -1, "1/(intensity·µm³)"),
        ("length^10", 10, 0, "µm¹⁰"),
        ("length/length", 0, 0, ""),
    ],
)
def test_declared_unit_is_a_product_of_powers(text, length, intensity, shown):
    dimension = Dimension.parse(text)
    assert dimension == Dimension(length, intensity)
    assert dimension.text("µm") == shown


def test_declared_unit_is_shown_in_the_unit_of_the_data():
    assert Dimension.parse("intensity/length").text("pixel", "HU") == "HU/pixel"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lenght",
        "Length",
        "length^0.5",
        "length^",
        "length^x",
        "length^100",
        "length^²",
        "length**2",
        "length/length/",
        "/length",
        "length length",
        "length^2 2",
        "lengthlength",
        "length\n",
        "2",
        "1^2",
        "µm",
        "second",
        "length*" * 10**5,
        "().__class__",
        b"length",
        None,
        1,
        ["length"],
    ],
)
def test_declared_unit_that_is_no_such_product_is_refused(text):
    with pytest.raises(ValueError, match=r"such as '1', 'length', .*'intensity/length'") as error:
        Dimension.parse(text)
    assert str(error.value).startswith(f"{text!r:.60}")


PARTS = st.lists(
    st.tuples(
        st.sampled_from(["*", "/", " * ", " / "]),
        st.sampled_from(["length", "intensity", "1"]),
        st.integers(-9, 9),
    ),
    max_size=7,
)


@given(st.sampled_from(["1", "length", "intensity"]), PARTS)
def test_powers_of_a_product_add_up(first, parts):
    text, expected = first, {"length": 0, "intensity": 0, "1": 0} | {first: 1}
    for operator, base, power in parts:
        text += operator + base + ("" if base == "1" else f"^{power}")
        expected[base] += -power if "/" in operator else power
    assert Dimension.parse(text) == Dimension(expected["length"], expected["intensity"])


@given(st.integers(-9, 9), st.integers(-9, 9))
def test_declaration_of_a_dimension_is_read_back(length, intensity):
    text = f"length^{length}*intensity^{intensity}"
    assert Dimension.parse(text) == Dimension(length, intensity)


FACTORS = st.floats(1e-6, 1e6)


@given(FACTORS, FACTORS, st.integers(-3, 3), st.integers(-3, 3))
def test_factor_of_a_dimension_is_the_product_of_the_powers(x, y, length, intensity):
    exact = Fraction(x) ** length * Fraction(y) ** intensity
    factor = Dimension(length, intensity).factor(x, y)
    assert math.isclose(factor, exact, rel_tol=1e-14)
    assert Dimension(length).factor(x) == x**length
    assert Dimension(intensity=intensity).factor(x, y) == y**intensity


@given(FACTORS, st.integers(-4, 4))
def test_factor_there_and_back_is_one(x, power):
    assume(x != 1)
    dimension = Dimension(power)
    assert dimension.factor(x) * dimension.factor(1 / x) == pytest.approx(1, rel=1e-14)


def test_factor_of_a_dimension_is_that_of_python():
    assert Dimension(2).factor(0.1) == 0.1**2
    assert Dimension(-1, 1).factor(0.001) == 1000.0
    assert Dimension().factor(5.0, 7.0) == 1.0
    assert isinstance(Dimension(1).factor(2), float)
