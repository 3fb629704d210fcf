"""Runs that make photon noise uniform."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import napari_diffusion as nd
from napari_diffusion.cli.app import cli
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.transforms.anscombe import restore, stabilise
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.estimation.measurement.photons import photon_values

RNG = np.random.default_rng(4)
NUMBERS = {"gain": 2.0, "offset": 40.0, "read_noise": 3.0}
OPTIONS = {"transform": "anscombe"} | NUMBERS
MODELS = [nd.Linear(), nd.PeronaMalik(kappa=2.0, sigma=0.7), nd.EdgeEnhancing(kappa=2.0)]
named = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def counts(shape, low=1.0, high=40.0):
    """Photons of a step, with gain, offset and read noise."""
    rate = np.where(np.arange(shape[-1]) < shape[-1] // 2, low, high)
    values = 2.0 * RNG.poisson(np.broadcast_to(rate, shape)) + 40 + 3 * RNG.normal(size=shape)
    return values.astype(np.float32)


def between(run, image):
    """Result of a run of the transformed image, transformed back."""
    u = image.copy()
    stabilise(u, *NUMBERS.values())
    u = np.ascontiguousarray(run(u))
    restore(u, *NUMBERS.values())
    return u


@named
def test_run_lies_between_the_transform_and_its_inverse(model):
    """Bit for bit, in frames and in stacks of frames too."""
    for shape, axes in (((9, 12, 10), None), ((40, 6, 8), (1, 2))):
        image = counts(shape)
        expected = between(lambda u, a=axes: nd.diffuse(u, model, time=1.0, axes=a), image)
        result = nd.diffuse(image, model, time=1.0, axes=axes, **OPTIONS)
        np.testing.assert_array_equal(result, expected)


def test_regions_and_nan_stay_as_they_are():
    image, labels = counts((16, 18)), np.indices((16, 18)).sum(0) // 9
    image[3, 4] = np.nan
    result = nd.diffuse(image, MODELS[1], time=1.0, labels=labels, nan="mask", **OPTIONS)
    np.testing.assert_array_equal(result[labels == 0], image[labels == 0])
    assert np.isnan(result).sum() == 1
    part = nd.diffuse(image, MODELS[1], time=1.0, mask=labels == 1, nan="mask", **OPTIONS)
    np.testing.assert_array_equal(result[labels == 1], part[labels == 1])


@named
def test_blocks_and_passes_do_not_change_a_bit(model):
    image = counts((14, 20, 16))
    recipe = RecipeFields(model, 1.0, **OPTIONS)
    labels = np.indices(image.shape).sum(0) // 6 % 3
    for regions in (None, labels):
        problem = make_problem(image, recipe, Geometry(1.0), Domain(labels=regions))
        whole = nd.diffuse(image, model, time=1.0, labels=regions, **OPTIONS)
        np.testing.assert_array_equal(run_in_blocks(problem, (1,), (7, 20, 8)), whole)


def test_preview_shows_what_the_run_gives():
    image = counts((24, 32, 32))
    options = {"time": 1.0} | OPTIONS
    whole = nd.diffuse(image, MODELS[1], **options)
    seen = nd.preview(image, MODELS[1], region=(12, slice(None), slice(None)), **options)
    np.testing.assert_allclose(np.squeeze(seen), whole[12], rtol=0, atol=0.05)


def test_run_of_time_0_changes_nothing():
    image = counts((9, 8))
    for options in ({}, {"impulses": "mask"}):
        result = nd.diffuse(image, nd.Linear(), time=0.0, **OPTIONS, **options)
        repaired = nd.diffuse(image, nd.Linear(), time=0.0, **options)
        np.testing.assert_array_equal(result, repaired)
    positive = np.abs(image)
    result = nd.diffuse(positive, nd.Rician(sigma_noise=5.0), time=0.0, impulses="mask")
    repaired = nd.diffuse(positive, nd.Linear(), time=0.0, impulses="mask")
    np.testing.assert_array_equal(result, repaired)


@pytest.mark.parametrize("rate", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("read", [0.0, 0.5])
def test_mean_is_biased_by_less_than_half_a_per_cent(rate, read):
    """After strong smoothing; the standard error of the mean is below 0.1 %."""
    shape = (2000, 1000) if rate < 10 else (500, 500)
    values = 3.0 * RNG.poisson(rate, shape) + 10 + 3 * read * RNG.normal(size=shape)
    numbers = {"transform": "anscombe", "gain": 3.0, "offset": 10.0, "read_noise": 3 * read}
    result = nd.diffuse(values.astype("f4"), nd.Linear(), time=50.0, **numbers)
    assert result.mean(dtype=float) - 10 == pytest.approx(3 * rate, rel=5e-3)


def test_one_threshold_serves_dark_and_bright_regions():
    """The same share of the noise is left in both; without the transform, twice as much or more."""
    image = counts((96, 192), 5.0, 500.0)
    halves = (slice(8, -8), slice(8, 88)), (slice(8, -8), slice(104, -8))

    def left(u):
        return [u[half].std() / image[half].std() for half in halves]

    model = nd.PeronaMalik(kappa=1.5, sigma=0.5)
    dark, bright = left(nd.diffuse(image, model, time=3.0, **OPTIONS))
    assert dark == pytest.approx(bright, rel=0.15)
    own = 1.5 * np.sqrt(2 * 2 * 5 + 9)  # 1.5 times the noise of the dark half
    dark, bright = left(nd.diffuse(image, replace(model, kappa=own), time=3.0))
    assert bright > 2 * dark


@pytest.mark.parametrize("axes", [None, (1, 2)])
@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ({"gain": 1e9}, "would lose the values"),  # rounding errors are larger than the image
        ({"offset": 1e6}, "would lose the values"),  # everything is below the offset
        ({"offset": -1e12}, "would lose the values"),
        ({"gain": 1e-300}, "check"),
        ({"gain": 1e300, "offset": 1e300}, "would lose the values"),
    ],
)
def test_numbers_with_which_the_image_would_be_lost_are_refused(numbers, match, axes):
    """In frames, and in stacks of frames too."""
    with pytest.raises(ValueError, match=match):
        nd.diffuse(
            counts((40, 6, 8)), MODELS[1], time=1.0, axes=axes, transform="anscombe", **numbers
        )


def test_limits_of_values_are_those_of_the_transformed_image():
    """Thresholds are in units of the noise, whatever the unit of intensity."""
    image, numbers = counts((12, 10)), {"gain": 2.0, "offset": 40.0, "read_noise": 3.0}
    result = nd.diffuse(image, MODELS[1], time=1.0, transform="anscombe", **numbers)
    scale = 2.0**90
    scaled = {name: scale * value for name, value in numbers.items()}
    other = nd.diffuse(image * scale, MODELS[1], time=1.0, transform="anscombe", **scaled)
    np.testing.assert_allclose(other / scale, result, rtol=1e-5)


def test_model_with_its_own_transform_is_refused():
    with pytest.raises(ValueError, match="leave out transform"):
        nd.diffuse(np.ones((4, 4)), nd.Rician(), time=1.0, transform="anscombe")


@pytest.fixture(scope="module")
def cells():
    """Discs on a background that gets a hundred times as bright, in photons."""
    x = np.indices((192, 192))
    rate = 2 * 10 ** (x[1] / 96) * (1 + (np.square(x % 48 - 24).sum(0) < 150))
    values = 2.0 * np.random.default_rng(8).poisson(rate) + 3 * RNG.normal(size=rate.shape)
    return values.astype("f4"), 2.0 * rate


def test_suggestion_measures_the_numbers_and_gains_more(cells):
    image, truth = cells
    model, time = suggestion = nd.suggest(image, nd.PeronaMalik(), transform="anscombe")
    options = suggestion.options
    assert options["gain"] == pytest.approx(2.0, rel=0.1)
    assert options["read_noise"] ** 2 - options["gain"] * options["offset"] == pytest.approx(
        9, abs=9
    )
    assert suggestion.noise.sigma == pytest.approx(1, abs=0.1)
    assert suggestion.noise.kind == "gaussian"
    with_transform = nd.diffuse(image, model, time=time, **options)
    plain, plain_time = nd.suggest(image, nd.PeronaMalik())
    without = nd.diffuse(image, plain, time=plain_time)
    errors = [np.mean(np.square(u - truth)) for u in (with_transform, without)]
    assert errors[0] < 0.85 * errors[1]
    given = nd.suggest(image, nd.PeronaMalik(), **(options | {"gain": 2.0}))
    assert given.options == options | {"gain": 2.0}


def test_noise_that_does_not_grow_is_no_photon_noise():
    image = RNG.normal(100, 5, (64, 64)) - 300.0 * (np.indices((64, 64))[1] > 30)
    with pytest.raises(ValueError, match="does not grow"):
        nd.suggest(image, nd.PeronaMalik(), transform="anscombe")
    assert photon_values(nd.suggest(image, nd.PeronaMalik()).noise) == {}


def test_recipe_keeps_the_transform():
    recipe = nd.Recipe(nd.PeronaMalik(kappa=1.5), 2.0, **OPTIONS)
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    assert "--transform anscombe --gain 2.0 --offset 40.0 --read-noise 3.0" in recipe.to_command()
    assert "transform='anscombe', gain=2.0" in recipe.to_python()
    image = counts((12, 9))
    result = recipe.diffuse(image)
    np.testing.assert_array_equal(result, nd.diffuse(image, recipe.model, time=2.0, **OPTIONS))


def test_command_line_measures_the_numbers_for_auto(cells, tmp_path):
    np.save(tmp_path / "in.npy", cells[0])
    source, target = tmp_path / "in.npy", tmp_path / "out.npy"
    words = ["run", str(source), str(target), "--auto", "--model", "perona-malik", "--axes", "YX"]
    done = CliRunner().invoke(cli, [*words, "--transform", "anscombe", "--offset", "0"])
    assert done.exit_code == 0, done.output
    recipe = json.loads(next(tmp_path.glob("out*.json")).read_text())
    recipe = recipe.get("recipe", recipe)
    assert (recipe["transform"], recipe["offset"]) == ("anscombe", 0.0)
    assert recipe["gain"] == pytest.approx(2.0, rel=0.1)
    result = nd.Recipe.from_dict(recipe).diffuse(cells[0])
    np.testing.assert_array_equal(np.load(target), result)


def test_domain_of_a_gradient_histogram_is_that_of_the_threshold():
    """Gradients for the threshold are those of the transformed image."""
    from napari_diffusion.diagnostics.gradients import sample_gradients

    image = counts((20, 20))
    u = image.copy()
    stabilise(u, *NUMBERS.values())
    measured = [
        sample_gradients(make_problem(values, recipe, Geometry(1.0), Domain()), 0.0).magnitudes
        for values, recipe in (
            (image, RecipeFields(nd.Linear(), 0.0, **OPTIONS)),
            (u, RecipeFields(nd.Linear(), 0.0)),
        )
    ]
    np.testing.assert_array_equal(*measured)
