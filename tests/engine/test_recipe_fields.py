"""A recipe checks its values when it is made; models and schemes of other packages are saved."""

import dataclasses
import json

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import entry_points
from helpers.entry_points import Foreign, Relaxed
from helpers.hostile import check_sentence
from napari_diffusion import models
from napari_diffusion.cli import main
from napari_diffusion.core import units
from napari_diffusion.engine.recipe_fields import RecipeFields

HUGE = 10**400


def picture(shape=(9, 8, 7)):
    noise = 5 * np.random.default_rng(14).normal(size=shape)
    return (60 * (np.indices(shape).sum(0) > 11) + noise).astype("f4")


@pytest.fixture
def foreign(monkeypatch):
    """The model and the scheme of another package are registered."""
    entry_points.register(monkeypatch, models=entry_points.MODEL, schemes=entry_points.SCHEME)


# --- values -----------------------------------------------------------------------------------

REFUSED = [
    (
        {"model": "linear"},
        TypeError,
        "model must be a diffusion model such as nd.Linear(), got str",
    ),
    ({"model": nd.Linear}, TypeError, "got type"),
    ({"time": -1.5}, ValueError, "time must be >= 0 and finite [length²], got -1.5"),
    ({"time": np.nan}, ValueError, "got nan"),
    ({"time": np.inf}, ValueError, "got inf"),
    ({"time": HUGE}, ValueError, "time must be >= 0 and finite"),
    (
        {"time": None},
        TypeError,
        "time is missing: give the diffusion time [length²]",
    ),
    ({"time": "2"}, TypeError, "got '2'"),
    ({"time": True}, TypeError, "got True"),
    ({"time": [1.0]}, TypeError, "got [1.0]"),
    ({"unit": "second"}, ValueError, "'second' is not a unit of length"),
    ({"unit": 3}, TypeError, "A unit must be text"),
    ({"scheme": "euler"}, ValueError, "There is no scheme named 'euler'; the schemes are auto,"),
    ({"scheme": None}, TypeError, "scheme must be a name or one of nd.schemes, got NoneType"),
    ({"scheme": nd.schemes.Explicit}, TypeError, "got type"),
    ({"tolerance": 0}, ValueError, "tolerance must be > 0 and finite, got 0"),
    ({"tolerance": np.inf}, ValueError, "got inf"),
    ({"fidelity_length": 0.0}, ValueError, "fidelity_length must be >= 1e-12"),
    ({"fidelity_length": "2"}, TypeError, "fidelity_length must be a number [length], got '2'"),
    ({"fidelity_length": True, "time": None}, TypeError, "fidelity_length must be a number"),
    ({"tolerance": "low"}, TypeError, "tolerance must be a number, got 'low'"),
    ({"strict": 1}, TypeError, "strict must be True or False, got 1"),
    ({"strict": "no"}, TypeError, "got 'no'"),
    ({"preserve_dtype": None}, TypeError, "preserve_dtype must be True or False, got None"),
    ({"impulses": "fill"}, ValueError, "impulses must be one of keep, mask, got 'fill'"),
    ({"transform": "log"}, ValueError, "transform must be one of none, anscombe, got 'log'"),
    ({"gain": 0.0}, ValueError, "gain must be > 0 and finite [intensity], got 0.0"),
    ({"offset": np.inf}, ValueError, "offset must be finite [intensity], got inf"),
    ({"read_noise": -1.0}, ValueError, "read_noise must be >= 0 and finite [intensity], got -1.0"),
    ({"nan": "skip"}, ValueError, "nan must be one of raise, mask, got 'skip'"),
    ({"spacing": 2.0}, ValueError, "spacing must be a list of numbers > 0, got 2.0"),
    ({"spacing": (1.0, 0.0)}, ValueError, "got (1.0, 0.0)"),
    ({"spacing": (1.0, np.nan)}, ValueError, "spacing must be a list of numbers > 0"),
    ({"spacing": "11"}, ValueError, "got '11'"),
    ({"axes": (0, 0)}, ValueError, "axes must be a list of different whole numbers, got"),
    ({"axes": (0.0, 1.0)}, ValueError, "axes must be a list of different whole numbers, got"),
    ({"axes": (True, False)}, ValueError, "axes must be a list of different whole numbers, got"),
    ({"channel_axis": 1.5}, ValueError, "channel_axis must be a whole number, got 1.5"),
    ({"axis_names": "zy"}, ValueError, "axis_names must be a list of different names, got 'zy'"),
    ({"axis_names": ("z", 1)}, ValueError, "axis_names must be a list of different names, got"),
    ({"labels": 3}, ValueError, "labels must be the name of labels, got 3"),
    ({"guide": 3}, ValueError, "guide must be the name of an image, got 3"),
    ({"guide_weight": 0.0}, ValueError, "guide_weight must be > 0 and <= 1 and finite, got 0.0"),
    ({"guide_weight": 1.5}, ValueError, "got 1.5"),
    ({"remarks": "one"}, ValueError, "remarks must be a list of sentences, got 'one'"),
    (
        {"computed_on": "gpu"},
        ValueError,
        "computed_on must be a list of names of devices, got 'gpu'",
    ),
    ({"version": 3}, ValueError, "version must be text, got 3"),
    (
        {"spacing": (1.0, 2.0, 3.0), "axes": (0, 1)},
        ValueError,
        "spacing must have one entry for each of the 2 axes, got 3",
    ),
    (
        {"axis_names": ("y",), "axes": (0, 1)},
        ValueError,
        "axis_names must have one entry for each of the 2 axes, got 1",
    ),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED, ids=lambda value: str(value)[:50])
def test_invalid_value_is_refused_when_the_recipe_is_made(change, kind, message):
    for refuse in (
        lambda: nd.Recipe(**{"model": nd.Linear(), "time": 1.0} | change),
        lambda: dataclasses.replace(nd.Recipe(nd.Linear(), 1.0), **change),
    ):
        with pytest.raises(kind) as caught:
            refuse()
        assert type(caught.value) is kind
        check_sentence(caught.value, message)


def test_every_field_is_checked():
    """The table above has a row for each."""
    tried = set().union(*(change for change, _, _ in REFUSED))
    assert tried == {field.name for field in dataclasses.fields(RecipeFields)}


def test_values_are_stored_in_their_declared_form():
    recipe = nd.Recipe(
        nd.Linear(),
        np.float32(2),
        "µm",
        strict=np.bool_(True),
        tolerance=1,
        spacing=np.array([1.5, 0.5]),
        axes=[np.int64(0), np.int64(2)],
        channel_axis=np.int64(1),
        axis_names=["z", "x"],
    )
    assert (recipe.time, type(recipe.time)) == (2.0, float)
    assert (recipe.tolerance, type(recipe.tolerance)) == (1.0, float)
    assert recipe.strict is True
    assert recipe.unit == "micrometer"
    assert recipe.spacing == (1.5, 0.5)
    assert (recipe.axes, recipe.axis_names) == ((0, 2), ("z", "x"))
    assert (recipe.channel_axis, type(recipe.channel_axis)) == (1, int)


@pytest.mark.parametrize("name", ["unit", "model", "version", "axis_names", "spacings"])
def test_only_options_of_a_run_are_taken(name):
    """A unit would not convert the lengths, and names of axes would not choose them."""
    recipe = nd.Recipe(nd.Linear(), 1.0, "micrometer")
    for run in (recipe.diffuse, recipe.evolve):
        with pytest.raises(TypeError, match=f"'{name}' is no option of a run") as caught:
            run(picture(), **{name: "mm"})
        check_sentence(caught.value)


# --- schemes and models of other packages ------------------------------------------------------


@pytest.mark.parametrize(
    "scheme", [Relaxed(), Relaxed(share=0.3), Relaxed(share=1, longest=0.01)], ids=str
)
def test_scheme_of_another_package_survives_json(scheme, foreign, tmp_path):
    recipe = nd.Recipe(nd.PeronaMalik(kappa=9.0), 0.5, "micrometer", scheme=scheme)
    plain = json.loads(recipe.to_json())
    assert plain["scheme"] == {
        "name": "relaxed",
        "share": scheme.share,
        "longest": scheme.longest,
    }
    again = nd.Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.scheme == scheme
    assert type(again.scheme.share) is float
    recipe.save(tmp_path / "recipe.json")
    assert nd.Recipe.load(tmp_path / "recipe.json") == recipe
    names = {"image": picture()}
    exec(recipe.to_python(), names)
    np.testing.assert_array_equal(names["result"], recipe.diffuse(picture()))
    plan = nd.plan(picture(), again)
    assert plan.steps == len(list(scheme.stages(0.5, plan.max_step, 1e-3))) > 1


def test_scheme_of_another_package_has_a_name(foreign, tmp_path, monkeypatch):
    recipe = nd.Recipe(nd.PeronaMalik(kappa=9.0), 0.5, scheme="relaxed")
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    expected = nd.diffuse(picture(), recipe.model, time=0.5, scheme=Relaxed())
    np.testing.assert_array_equal(recipe.diffuse(picture()), expected)
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", picture())
    words = ["--model", "perona-malik", "--kappa", "9", "--time", "0.5", "--axes", "ZYX"]
    assert main(["run", "in.npy", "out.npy", *words, "--scheme", "relaxed", "--quiet"]) == 0
    np.testing.assert_array_equal(np.load("out.npy"), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0}, "Relaxed: share must be > 0 and <= 1 and finite, got 0"),
        ({"share": 1.5}, "Relaxed: share must be > 0 and <= 1 and finite, got 1.5"),
        ({"share": "half"}, "Relaxed: share must be a number, got 'half'"),
        ({"longest": -1}, "Relaxed: longest must be > 0 and finite [length²], got -1"),
        ({"shares": 0.5}, "'shares' is no option of the scheme relaxed"),
    ],
    ids=str,
)
def test_options_of_a_scheme_of_another_package_are_checked(options, message, foreign):
    plain = nd.Recipe(nd.Linear(), 1.0).to_dict() | {"scheme": {"name": "relaxed"} | options}
    with pytest.raises(ValueError, match=r"^In the recipe, ") as caught:
        nd.Recipe.from_dict(plain)
    check_sentence(caught.value, message)


def test_recipe_with_a_scheme_that_is_not_installed_is_refused(monkeypatch):
    text = nd.Recipe(nd.Linear(), 1.0, scheme=Relaxed()).to_json()
    with pytest.raises(ValueError, match="no scheme named 'relaxed'") as caught:
        nd.Recipe.from_json(text)
    check_sentence(caught.value, "explicit")


def test_conversion_of_units_follows_the_declarations_of_another_package(foreign):
    recipe = nd.Recipe(
        Foreign(energy=90.0, frequency=1.6),
        1.2,
        "micrometer",
        scheme=Relaxed(share=0.4, longest=0.03),
        spacing=(1.0, 0.5, 0.8),
    )
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    finer = recipe.in_unit("nanometer")
    assert finer.model.energy == pytest.approx(90e-6, rel=1e-12)
    assert finer.model.frequency == pytest.approx(1.6e-3, rel=1e-12)
    assert finer.scheme.share == 0.4
    assert finer.scheme.longest == pytest.approx(0.03e6, rel=1e-12)
    assert finer.spacing == pytest.approx((1000.0, 500.0, 800.0), rel=1e-12)
    assert (finer.time, finer.unit) == (pytest.approx(1.2e6, rel=1e-12), "nanometer")
    assert nd.plan(picture(), finer).steps == nd.plan(picture(), recipe).steps
    image, result = picture(), recipe.diffuse(picture())
    assert np.abs(result - image).max() > 1
    # Lengths times 1000: to rounding of float32.
    np.testing.assert_allclose(finer.diffuse(image), result, rtol=0, atol=3e-6 * 80)
    back = finer.in_unit("micrometer")
    for name in ("energy", "frequency"):
        value = getattr(recipe.model, name)
        assert getattr(back.model, name) == pytest.approx(value, rel=1e-12)
    assert "energy 90.0 intensity²/µm²" in recipe.describe()
    assert "frequency 1.6 1/µm" in recipe.describe()


@pytest.mark.parametrize("unit", ["lenght", "length^x", "um", "", "2*length", None])
def test_declaration_of_an_unknown_unit_is_refused(unit):
    """It would be converted as a pure number."""
    with pytest.raises(ValueError, match="is not the unit of a parameter") as caught:
        models.param(1.0, "Size.", unit=unit)
    check_sentence(caught.value, repr(unit), "'intensity/length'")


# --- files ------------------------------------------------------------------------------------


def test_file_with_a_byte_order_mark_is_read(tmp_path):
    """Editors of Windows write it."""
    recipe = nd.Recipe(nd.PeronaMalik(kappa=9.0), 0.5, "micrometer", labels="Zellen über 3 µm")
    text = recipe.to_json()
    (tmp_path / "recipe.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert nd.Recipe.load(tmp_path / "recipe.json") == recipe
    assert nd.Recipe.from_json("\ufeff" + text) == recipe


@pytest.mark.parametrize("unit", ["10**10**8*meter", "9" * 10**7 + " m", "m**9**9**9"])
def test_unit_in_a_file_is_not_computed(unit, tmp_path, monkeypatch):
    """Its power of ten, a number of 10^8 digits, would take minutes."""
    monkeypatch.setattr(units, "_registry", lambda: pytest.fail("pint was asked"))
    text = json.dumps(nd.Recipe(nd.Linear(), 1.0).to_dict() | {"unit": unit})
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="is not a unit of length") as caught:
        nd.Recipe.load(tmp_path / "recipe.json")
    check_sentence(caught.value, "In the recipe, '")
