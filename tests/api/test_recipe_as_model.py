"""A recipe in place of the model: the same bits, and no option beside it."""

import dataclasses
import functools
import threading

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion.schemes import Explicit

REGULARISED = nd.PeronaMalik(kappa=9.0, sigma=0.7)
#: Recipes in which every option of a run and every record of an image has another value than by
#: default.
RECIPES = {
    "defaults": nd.Recipe(nd.Linear(), 1.5),
    "scheme": nd.Recipe(REGULARISED, 2.0, scheme=Explicit(step=0.05)),
    "tolerance": nd.Recipe(REGULARISED, 2.0, scheme="rkl2", tolerance=1e-4, unit="nm"),
    "strict": nd.Recipe(nd.EdgeEnhancing(), 0.6, strict=True),
    "nan, preserve_dtype": nd.Recipe(REGULARISED, 0.8, nan="mask", preserve_dtype=True),
    "spacing": nd.Recipe(REGULARISED, 0.8, spacing=(2.0, 1.0, 0.5)),
    "axes": nd.Recipe(REGULARISED, 0.8, spacing=(0.5, 2.0), axes=(2, 0), axis_names=("x", "z")),
    "channel_axis": nd.Recipe(REGULARISED, 0.8, channel_axis=1),
}
#: A recipe without a default value.
OTHER = nd.Recipe(
    nd.Linear(),
    1.5,
    scheme="explicit",
    tolerance=1e-2,
    strict=True,
    nan="mask",
    preserve_dtype=True,
)
REGION = (slice(1, 6), 3, slice(None))
FUNCTIONS = {
    "diffuse": nd.diffuse,
    "evolve": nd.evolve,
    "plan": nd.plan,
    "preview": functools.partial(nd.preview, region=REGION),
}
each_function = pytest.mark.parametrize("function", FUNCTIONS)


def picture(name="defaults"):
    values = 60 * (np.indices((8, 7, 9)).sum(0) > 11) + 20.0
    values += 5 * np.random.default_rng(14).normal(size=values.shape)
    return values.astype("u1" if "preserve_dtype" in name else "f4")


def keywords(recipe):
    """The recipe as keywords of `nd.diffuse`."""
    names = ("time", "scheme", "tolerance", "strict", "nan", "preserve_dtype", "spacing", "axes")
    return {name: getattr(recipe, name) for name in (*names, "channel_axis")}


def contents(states):
    return [(state.time, state.fraction, state.frame, state.image.tobytes()) for state in states]


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_gives_the_run_of_its_own_method_and_of_its_options(name):
    image, recipe = picture(name), RECIPES[name]
    expected, options = recipe.diffuse(image), keywords(recipe)
    np.testing.assert_array_equal(nd.diffuse(image, recipe), expected, strict=True)
    np.testing.assert_array_equal(nd.diffuse(image, recipe.model, **options), expected, strict=True)
    assert np.abs(expected - image.astype(float)).max() > 1
    states = contents(nd.evolve(image, recipe))
    assert states == contents(recipe.evolve(image))
    assert states == contents(nd.evolve(image, recipe.model, **options))
    assert states[-1][-1] == expected.tobytes()
    plan = nd.plan(image, recipe)
    assert plan.describe() == nd.plan(image, recipe.model, **options).describe()
    assert plan.stages == nd.plan(image, recipe.model, **options).stages
    part = nd.preview(image, recipe.model, region=REGION, **options)
    np.testing.assert_array_equal(nd.preview(image, recipe, region=REGION), part, strict=True)
    draft = nd.preview(image, recipe.model, region=REGION, draft=True, **options)
    np.testing.assert_array_equal(nd.preview(image, recipe, region=REGION, draft=True), draft)


def test_geometry_regions_and_execution_beside_a_recipe_are_those_of_its_own_method():
    image, recipe = picture(), RECIPES["spacing"]
    labels, shares = 1 + np.indices(image.shape)[0] // 4, []
    options = [
        {"spacing": (1.0, 3.0, 2.0)},
        {"axes": (0, 2), "spacing": 2.0},
        {"spacing": (1.0, 2.0), "channel_axis": 0, "channel_weights": np.arange(1.0, 9.0)},
        {"mask": labels > 1},
        {"labels": labels},
        {"threads": 1, "backend": "reference"},
    ]
    usual = recipe.diffuse(image)
    for given in options:
        expected = recipe.diffuse(image, **given)
        np.testing.assert_array_equal(nd.diffuse(image, recipe, **given), expected, strict=True)
        assert "threads" in given or not np.array_equal(expected, usual)
    nd.diffuse(image, recipe, progress=shares.append, threads=1)
    assert shares[-1] == 1
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(nd.Cancelled):
        nd.diffuse(image, recipe, cancel=cancel)


@each_function
@pytest.mark.parametrize(
    "option",
    [
        {"time": 1.0},
        {"time": 0},
        {"scheme": "explicit"},
        {"scheme": Explicit(step=0.1)},
        {"tolerance": 1e-4},
        {"tolerance": np.ones(2)},
        {"strict": True},
        {"nan": "mask"},
        {"preserve_dtype": True},
        # values that are the defaults, and not those of the recipe
        {"scheme": "auto"},
        {"tolerance": 1e-3},
        {"strict": False},
        {"nan": "raise"},
        {"preserve_dtype": False},
    ],
    ids=str,
)
def test_option_beside_a_recipe_is_refused_by_name(function, option):
    (name,) = option
    with pytest.raises(TypeError, match=f"^{name} is already set by the recipe") as caught:
        FUNCTIONS[function](picture(), OTHER, **option)
    with pytest.raises(TypeError, match=f"^{name} is already set by the recipe"):
        FUNCTIONS[function](image=picture(), model=OTHER, **option)
    check_sentence(caught.value, f"dataclasses.replace(recipe, {name}=...)")


@each_function
def test_missing_time_is_refused(function):
    with pytest.raises(TypeError, match=r"^time is missing: give the diffusion time") as caught:
        FUNCTIONS[function](picture(), nd.Linear())
    check_sentence(caught.value)


@each_function
def test_recipe_with_labels_needs_labels_or_a_mask(function):
    """Without them it would smooth across the borders that its maker kept."""
    image, recipe = picture(), dataclasses.replace(RECIPES["defaults"], labels="cells")
    with pytest.raises(ValueError, match="smooths within 'cells'") as caught:
        FUNCTIONS[function](image, recipe)
    check_sentence(caught.value, "give labels or a mask")
    labels = 1 + np.indices(image.shape)[0] // 4
    for given in ({"labels": labels}, {"mask": labels > 1}):
        FUNCTIONS[function](image, recipe, **given)


def test_spacing_is_1_if_it_is_not_given():
    image = picture()
    expected = nd.diffuse(image, REGULARISED, time=0.8, spacing=1.0)
    for given in ({}, {"spacing": None}):
        result = nd.diffuse(image, REGULARISED, time=0.8, **given)
        np.testing.assert_array_equal(result, expected, strict=True)


def test_recorded_voxel_sizes_are_matched_by_axis():
    image = np.random.default_rng(5).normal(size=(9, 7))
    recipe = nd.Recipe(nd.PeronaMalik(), 0.5, axes=(1, 0), spacing=(1.0, 3.0))
    expected = nd.diffuse(image, nd.PeronaMalik(), time=0.5, axes=(0, 1), spacing=(3.0, 1.0))
    np.testing.assert_array_equal(nd.diffuse(image, recipe), expected)
    np.testing.assert_array_equal(nd.diffuse(image, recipe, axes=(0, 1)), expected)
    np.testing.assert_array_equal(recipe.diffuse(image, axes=(0, 1)), expected)
    with pytest.raises(ValueError, match=r"records the voxel size along the axes \(1, 0\)"):
        nd.diffuse(image, recipe, axes=(0,))


def test_code_of_a_recipe_from_numpy_values_runs():
    image = np.random.default_rng(6).normal(size=(9, 7))
    recipe = nd.Recipe(
        nd.PeronaMalik(kappa=np.float64(2.0)),
        np.float32(0.5),
        spacing=np.array([2.0, 0.5]),
        axes=np.array([0, 1]),
        axis_names=np.array(["y", "x"]),
    )
    namespace = {"image": image}
    exec(recipe.to_python(), namespace)
    np.testing.assert_array_equal(namespace["result"], recipe.diffuse(image))
