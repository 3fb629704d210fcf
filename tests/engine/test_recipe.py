"""Recipes give the same run from JSON, in another unit, as Python, and with external models."""

import dataclasses
import json
import shlex
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion.engine.recipe import RECIPE_FORMAT
from napari_diffusion.schemes import BUILTIN, FSI, RKL2, Explicit

RECIPES = {
    "linear": nd.Recipe(nd.Linear(), 2.0, unit="micrometer"),
    "classic": nd.Recipe(
        nd.PeronaMalik(kappa=12.5, diffusivity="tukey"), 1.1, unit="millimeter", scheme="explicit"
    ),
    "regularised": nd.Recipe(
        nd.PeronaMalik(kappa=9.0, sigma=0.7), 0.8, unit="nanometer", tolerance=1e-4, strict=True
    ),
    "step": nd.Recipe(
        nd.PeronaMalik(kappa=9.0, sigma=0.7),
        0.8,
        scheme=Explicit(step=0.05),
        nan="mask",
        preserve_dtype=True,
    ),
    "supersteps": nd.Recipe(
        nd.PeronaMalik(kappa=9.0, sigma=0.7),
        4.0,
        scheme=RKL2(supersteps=3),
        spacing=(1.5, 0.5, 1.0),
    ),
    "cycles": nd.Recipe(
        nd.PeronaMalik(kappa=9.0, sigma=0.7),
        4.0,
        scheme=FSI(cycles=2),
        spacing=(1.5, 0.5),
        axes=(0, 2),
        channel_axis=1,
    ),
}


def picture(shape=(9, 8, 7)):
    noise = 5 * np.random.default_rng(14).normal(size=shape)
    return (60 * (np.indices(shape).sum(0) > 11) + noise).astype("f4")


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip_keeps_the_recipe(name, tmp_path):
    recipe = RECIPES[name]
    again = nd.Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert type(again.scheme) is type(recipe.scheme)
    recipe.save(tmp_path / "recipe.json")
    assert nd.Recipe.load(tmp_path / "recipe.json") == recipe
    np.testing.assert_array_equal(again.diffuse(picture()), recipe.diffuse(picture()))
    json.loads(recipe.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_json_round_trip_keeps_every_scheme_and_field():
    for cls in BUILTIN:
        for value in (None, 3):
            options = {field.name: value for field in dataclasses.fields(cls)}
            recipe = nd.Recipe(nd.PeronaMalik(sigma=1.0), 0.5, scheme=cls(**options))
            assert nd.Recipe.from_json(recipe.to_json()).scheme == cls(**options)
    plain = json.loads(RECIPES["cycles"].to_json())
    assert plain["version"]
    assert plain["parameters"] == {"kappa": 9.0, "diffusivity": "rational", "sigma": 0.7}
    assert (plain["spacing"], plain["axes"], plain["channel_axis"]) == ([1.5, 0.5], [0, 2], 1)


def test_numpy_numbers_become_json():
    """Layers give spacing and axes as NumPy numbers."""
    recipe = nd.Recipe(
        nd.Linear(),
        np.float32(2),
        spacing=tuple(np.array([1.5, 0.5])),
        axes=tuple(np.array([0, 2])),
    )
    again = nd.Recipe.from_json(recipe.to_json())
    assert (again.time, again.spacing, again.axes) == (2.0, (1.5, 0.5), (0, 2))


def test_recipe_gives_the_result_of_diffuse():
    image, recipe = picture(), RECIPES["classic"]
    expected = nd.diffuse(image, recipe.model, time=1.1, spacing=(2, 1, 1), scheme="explicit")
    np.testing.assert_array_equal(recipe.diffuse(image, spacing=(2, 1, 1)), expected)
    *_, last = recipe.evolve(image, spacing=(2, 1, 1))
    np.testing.assert_array_equal(last.image, expected)
    shares = []
    recipe.diffuse(image, spacing=(2, 1, 1), progress=shares.append, threads=1)
    assert shares[-1] == 1
    # The spacing of the recipe is the default.
    made = RECIPES["supersteps"]
    np.testing.assert_array_equal(made.diffuse(image), made.diffuse(image, spacing=(1.5, 0.5, 1.0)))
    assert np.abs(made.diffuse(image) - made.diffuse(image, spacing=1.0)).max() > 0.1


@pytest.mark.parametrize("name", ["linear", "classic", "regularised", "step with a unit"])
def test_recipe_in_another_unit_gives_the_same_result(name):
    """Lengths times 1000, times times 10^6, thresholds divided by 1000: to rounding of float32."""
    recipe = RECIPES.get(name) or dataclasses.replace(
        RECIPES["step"], unit="millimeter", preserve_dtype=False, spacing=(1.0, 0.5, 2.0)
    )
    finer_units = {
        "micrometer": "nanometer",
        "millimeter": "micrometer",
        "nanometer": "picometer",
    }
    finer = finer_units[recipe.unit]
    converted = recipe.in_unit(finer)
    assert converted.unit == finer
    assert converted.time == pytest.approx(1e6 * recipe.time, rel=1e-12)
    spacing = (1.5, 0.8, 1.0)
    image = picture()
    expected = recipe.diffuse(image, spacing=spacing)
    result = converted.diffuse(image, spacing=[1000 * h for h in spacing])
    np.testing.assert_allclose(result, expected, rtol=0, atol=3e-6 * 80)
    if recipe.spacing:
        assert converted.spacing == pytest.approx([1000 * h for h in recipe.spacing])
        assert converted.scheme.step == pytest.approx(1e6 * recipe.scheme.step)
    back = converted.in_unit(recipe.unit)
    assert back.model.__class__ is recipe.model.__class__
    for parameter in nd.models.parameters(recipe.model):
        value = getattr(recipe.model, parameter.name)
        assert getattr(back.model, parameter.name) == (
            pytest.approx(value, rel=1e-12) if parameter.type is float else value
        )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("pixel", "micrometer", "A recipe in pixel cannot be used on an image in micrometer"),
        ("micrometer", "pixel", "A recipe in micrometer cannot be used on an image in pixel"),
        ("micrometer", "second", "'second' is not a unit of length"),
        ("mm", "parsley", "'parsley' is not a unit of length"),
    ],
)
def test_conversion_to_other_units_is_refused_in_one_sentence(old, new, words):
    recipe = nd.Recipe(nd.Linear(), 1.0, unit=old)
    with pytest.raises(ValueError, match=words) as caught:
        recipe.in_unit(new)
    check_sentence(caught.value, new)


@pytest.mark.parametrize(
    ("old", "new", "remedy"),
    [
        ("pixel", "nanometer", "count the image in pixels too"),
        ("nanometer", "pixel", "give the image a voxel size"),
    ],
)
def test_conversion_between_pixel_and_length_is_refused_with_a_remedy(old, new, remedy):
    message = f"on an image in {new}: {remedy}, or make a new recipe in {new}"
    with pytest.raises(ValueError, match=message):
        nd.Recipe(nd.Linear(), 1.0, unit=old).in_unit(new)


def test_conversion_to_the_same_unit_changes_nothing():
    assert RECIPES["linear"].in_unit("micrometer") == RECIPES["linear"]
    assert nd.Recipe(nd.Linear(), 1.0).in_unit("pixel") == nd.Recipe(nd.Linear(), 1.0)


@pytest.mark.parametrize("name", RECIPES)
def test_python_code_gives_the_same_bits(name):
    image, recipe = picture(), RECIPES[name]
    names = {"volume": image}
    exec(recipe.to_python("volume"), names)
    np.testing.assert_array_equal(names["result"], recipe.diffuse(image))
    assert names["result"].dtype == recipe.diffuse(image).dtype


def test_python_code_imports_an_external_model_from_its_package():
    """The model is not in ``nd``."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class External(nd.Linear):
        name = "external"

    code = nd.Recipe(External(), 1.0).to_python()
    assert f"from {__name__} import External\n" in code
    assert "nd.diffuse(image, External()," in code


@pytest.mark.parametrize("name", ["linear", "classic", "regularised"])
def test_command_line_is_split_by_a_shell(name):
    words = shlex.split(RECIPES[name].to_command("my volume.tif", "out.tif"))
    assert words[:2] == ["napari-diffusion", "run"]
    assert words[2:4] == ["my volume.tif", "out.tif"]
    assert words[words.index("--model") + 1] == RECIPES[name].model.name
    assert float(words[words.index("--time") + 1]) == RECIPES[name].time


def test_command_line_of_a_scheme_with_options_is_refused():
    """A command without the options would run another scheme."""
    with pytest.raises(ValueError, match="JSON") as caught:
        RECIPES["step"].to_command()
    check_sentence(caught.value, "Explicit(step=0.05)")


GOOD = json.loads(RECIPES["classic"].to_json())
HOSTILE = {
    "nothing": "",
    "no JSON": "{model: linear}",
    "cut off": RECIPES["classic"].to_json()[:60],
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "empty": "{}",
    "no model": json.dumps({"time": 1}),
    "no time": json.dumps({"model": "linear"}),
    "unknown model": json.dumps(GOOD | {"model": "gauss"}),
    "model null": json.dumps(GOOD | {"model": None}),
    "model list": json.dumps(GOOD | {"model": ["linear"]}),
    "unknown parameter": json.dumps(GOOD | {"parameters": {"kapa": 3}}),
    "parameter text": json.dumps(GOOD | {"parameters": {"kappa": "high"}}),
    "parameter negative": json.dumps(GOOD | {"parameters": {"kappa": -3}}),
    "parameter NaN": json.dumps(GOOD | {"parameters": {"kappa": float("nan")}}),
    "parameters list": json.dumps(GOOD | {"parameters": [3]}),
    "parameters null": json.dumps(GOOD | {"parameters": None}),
    "unknown field": json.dumps(GOOD | {"colour": "red"}),
    "unknown scheme": json.dumps(GOOD | {"scheme": {"name": "euler"}}),
    "scheme auto with numbers": json.dumps(GOOD | {"scheme": {"name": "auto"}}),
    "scheme without name": json.dumps(GOOD | {"scheme": {"step": 0.1}}),
    "scheme with unknown option": json.dumps(GOOD | {"scheme": {"name": "explicit", "steps": 3}}),
    "spacing number": json.dumps(GOOD | {"spacing": 3}),
    "deep": "[" * 100_000,
    "huge number": json.dumps(GOOD).replace("1.1", "1" * 5000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused_in_one_sentence(name):
    with pytest.raises((ValueError, TypeError)) as caught:
        nd.Recipe.from_json(HOSTILE[name])
    assert type(caught.value) in (ValueError, TypeError)
    check_sentence(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"time": "long"},
        {"time": -1},
        {"time": None},
        {"nan": "skip"},
        {"tolerance": 0},
        {"scheme": "euler"},
        {"axes": [0, 9]},
        {"spacing": [0]},
    ],
    ids=str,
)
def test_hostile_values_are_refused_by_the_recipe_or_its_run(change):
    with pytest.raises((ValueError, TypeError)) as caught:
        nd.Recipe.from_json(json.dumps(GOOD | change)).diffuse(picture())
    check_sentence(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"\x89PNG\r\n"])
def test_file_without_a_recipe_is_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(ValueError, match="recipe") as caught:
        nd.Recipe.load(tmp_path / "recipe.json")
    assert type(caught.value) is ValueError
    check_sentence(caught.value)


# --- format -----------------------------------------------------------------------------------


def test_saved_recipe_has_a_format_number():
    assert RECIPES["classic"].to_dict()["format"] == RECIPE_FORMAT == 1


def test_recipe_without_a_format_number_is_read():
    plain = RECIPES["classic"].to_dict()
    del plain["format"]
    assert nd.Recipe.from_dict(plain) == RECIPES["classic"]


@pytest.mark.parametrize("number", [2, 10**9])
def test_recipe_of_a_later_format_is_refused(number):
    plain = RECIPES["classic"].to_dict() | {"format": number}
    with pytest.raises(ValueError, match="update napari-diffusion") as caught:
        nd.Recipe.from_dict(plain)
    check_sentence(caught.value, str(number), "up to 1")


@pytest.mark.parametrize("number", [-1, 1.0, True, "1", None], ids=str)
def test_format_must_be_a_whole_number(number):
    plain = RECIPES["classic"].to_dict() | {"format": number}
    with pytest.raises(ValueError, match="format must be a whole number") as caught:
        nd.Recipe.from_dict(plain)
    check_sentence(caught.value, repr(number))


# --- models of other packages -----------------------------------------------------------------

PLUGIN = '''
from dataclasses import dataclass
from napari_diffusion import Model
from napari_diffusion.operators import Diffusivity, FaceDiffusivity
from napari_diffusion.models import param


@dataclass(frozen=True, kw_only=True)
class Sharp(Model):
    """Preserves edges above a threshold, by the biweight."""

    name = "sharp"
    title = "Sharp"
    summary = "Keeps edges."
    edge: float = param(12.0, "Edge threshold.", unit="intensity/length", gt=0)

    def operator(self, f):
        return FaceDiffusivity(Diffusivity("tukey", self.edge))


@dataclass(frozen=True, kw_only=True)
class Leaky(Sharp):
    """Breaks the law of units: its threshold does not scale with the image."""

    name = "leaky"

    def operator(self, f):
        return FaceDiffusivity(Diffusivity("tukey", 12.0))
'''
CHECK = """
    import json
    import numpy as np
    import napari_diffusion as nd
    from napari_diffusion import testing

    cls = nd.models.get("sharp")
    testing.check_model(cls())
    try:
        testing.check_model(nd.models.get("leaky")())
        message = ""
    except AssertionError as error:
        message = str(error)
    image = np.random.default_rng(0).normal(50, 9, (20, 21))
    recipe = nd.Recipe.from_json(nd.Recipe(cls(edge=20.0), 1.0, scheme="explicit").to_json())
    names = {"image": image}
    exec(recipe.to_python(), names)
    result = recipe.diffuse(image)
    builtin = nd.PeronaMalik(kappa=20.0, diffusivity="tukey")
    expected = nd.diffuse(image, builtin, time=1.0, scheme="explicit")
    print(json.dumps({
        "names": [model.name for model in nd.models.all_models()],
        "builtin": [model.name for model in nd.models.BUILTIN],
        "message": message,
        "equal": bool(np.array_equal(result, expected)),
        "python": bool(np.array_equal(names["result"], result)),
    }))
"""


def test_external_model_is_listed_checked_and_run(tmp_path):
    """An entry point suffices: the model is listed, checked by the laws, saved in recipes and run.

    The check names the law that a wrong model breaks.
    """
    (tmp_path / "sharp_model.py").write_text(PLUGIN)
    info = tmp_path / "sharp_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sharp-model\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[napari_diffusion.models]\nsharp = sharp_model:Sharp\nleaky = sharp_model:Leaky\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + textwrap.dedent(CHECK)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["names"] == [*report["builtin"], "sharp", "leaky"]
    assert "sharp" not in report["builtin"]
    assert "Leaky breaks the law units_are_true" in report["message"]
    assert report["equal"]
    assert report["python"]
