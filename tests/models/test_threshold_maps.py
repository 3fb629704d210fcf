"""Maps of thresholds: where the factors lie, which maps are valid, and what they do to a run."""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion.backends import get_backend
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.grid import Place
from napari_diffusion.diagnostics.gradients import sample_gradients
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.problem import make_problem, unread_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.estimation import risk_curve
from napari_diffusion.estimation.patches import sample_patches
from napari_diffusion.models import BUILTIN, Model, param
from napari_diffusion.models.base import ThresholdMap, threshold_map
from napari_diffusion.operators.divergence import VoxelDiffusivity
from napari_diffusion.operators.threshold_map import in_words, write_reciprocals
from napari_diffusion.testing import laws

RNG = np.random.default_rng(12)
MODELS = [kind for kind in BUILTIN if any(p.is_map for p in nd.models.parameters(kind))]
#: Maps of one, two and three levels.
MAPS = [2.0 ** RNG.integers(-2, 3, shape) for shape in ((5,), (4, 3), (2, 1, 6))]


def reciprocals(nodes, shape, dtype=np.float64, place=None, backend="compiled"):
    """Return 1 / f at the voxels of an image, or of a part of it."""
    out = np.empty(shape, dtype)
    where = Place((0,) * nodes.ndim, shape) if place is None else place
    threshold_map = nd.PeronaMalik(kappa_map=nodes).kappa_map
    write_reciprocals(threshold_map, where, 0, shape[0], get_backend(backend, 3), out)
    return out


def interpolated(nodes, shape):
    """Interpolate along one axis after the other with `numpy.interp`, as the definition says."""
    values = nodes
    for axis, n in enumerate(shape):
        m = nodes.shape[axis]
        at_voxels, at_nodes = (np.arange(n) + 0.5) / n, (np.arange(m) + 0.5) / m
        values = np.apply_along_axis(lambda v: np.interp(at_voxels, at_nodes, v), axis, values)  # noqa: B023
    return values


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        (nodes, shape)
        for nodes in MAPS
        for shape in ((7,), (40,), (9, 31), (1, 12), (5, 4, 3), (20, 3, 17), (1, 1, 8))
        if len(shape) == nodes.ndim
    ],
    ids=str,
)
def test_factors_are_linear_between_nodes_and_constant_beyond_them(nodes, shape):
    expected = interpolated(nodes, shape)
    for backend, (dtype, rounding) in itertools.product(
        ("compiled", "reference"), ((np.float64, 1e-13), (np.float32, 1e-6))
    ):
        factors = 1 / reciprocals(nodes, shape, dtype, backend=backend)
        np.testing.assert_allclose(factors, expected, rtol=rounding)


def test_factors_of_equal_neighbours_are_exact_and_flip_with_the_map():
    shape = (9, 31, 14)
    equal = np.full((2, 4, 3), 0.3)
    assert (reciprocals(equal, shape) == 1 / 0.3).all()
    nodes = 2.0 ** RNG.integers(-2, 3, equal.shape)
    for axis in range(3):
        flipped = reciprocals(np.flip(nodes, axis), shape)
        np.testing.assert_array_equal(flipped, np.flip(reciprocals(nodes, shape), axis))


def test_factors_stay_between_those_of_very_unequal_neighbours():
    nodes = np.array([[1e-9, 1e9, 1e-9]])
    pairs = (nodes, (1, 1005)), (nodes.T, (1005, 1))  # some voxels lie exactly at a node
    for (values, shape), dtype in itertools.product(pairs, (np.float32, np.float64)):
        factors = 1 / reciprocals(values, shape, dtype)
        assert factors.min() >= 1e-9 * (1 - 1e-6)
        assert factors.max() <= 1e9 * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factors_of_a_part_have_the_bits_of_the_whole(dtype):
    nodes, shape = RNG.uniform(0.5, 4, (4, 3, 5)), (13, 30, 37)
    whole = reciprocals(nodes, shape, dtype)
    for _ in range(20):
        low = [int(RNG.integers(0, n)) for n in shape]
        high = [int(RNG.integers(a + 1, n + 1)) for a, n in zip(low, shape, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        part = reciprocals(nodes, whole[box].shape, dtype, Place(tuple(low), shape))
        np.testing.assert_array_equal(part, whole[box])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([[1, 2], [3]], "grid"),
        ("abc", "grid"),
        (5.0, "grid"),
        ([True, False], "grid"),
        ([["1", "2"]], "grid"),
        ({1: 2}, "grid"),
        ([1j], "grid"),
        ([], "4096"),
        (np.ones((65, 65)), "4096"),
        ([1, 0], "> 0"),
        ([1, -2.5], "-2.5"),
        ([1, np.nan], "nan"),
        ([1, np.inf], "inf"),
        ([1, 1e-10], "1e-10"),
    ],
)
def test_invalid_maps_are_refused_in_one_sentence(values, named):
    with pytest.raises(ValueError, match="kappa_map") as caught:
        nd.PeronaMalik(kappa_map=values)
    check_sentence(caught.value, "kappa_map", named)


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.name)
def test_arrays_and_lists_become_equal_models(kind):
    nodes = [[0.5, 1], [1, 4]]
    models = [kind(kappa_map=values) for values in (nodes, np.array(nodes), np.float32(nodes))]
    assert models[0].kappa_map == ((0.5, 1.0), (1.0, 4.0))
    assert len(set(models)) == 1
    assert models[0] != kind()
    assert in_words(models[0].kappa_map) == "2×2 factors from 0.5 to 4"


def calls(image, model):
    """Return functions that use the model on the image."""
    region = (0,) * image.ndim
    return {
        "diffuse": lambda: nd.diffuse(image, model, time=1.0),
        "plan": lambda: nd.plan(image, model, time=1.0),
        "evolve": lambda: nd.evolve(image, model, time=1.0),
        "preview": lambda: nd.preview(image, model, region=region, time=1.0),
        "conductance": lambda: nd.conductance(image, model),
        "integration error": lambda: nd.integration_error(image, model, time=1.0),
        "recipe": lambda: nd.Recipe(model, 1.0).diffuse(image),
        "suggest": lambda: nd.suggest(image, model),
    }


@pytest.mark.parametrize("name", calls(np.zeros(3), None))
def test_map_with_another_number_of_axes_is_refused_before_the_work(name):
    image = RNG.normal(100, 5, (20, 21, 22)).astype(np.float32)
    with pytest.raises(ValueError, match="kappa_map") as caught:
        calls(image, nd.PeronaMalik(kappa_map=MAPS[1]))[name]()
    check_sentence(caught.value, "2 levels", "3 axes")


def test_levels_have_the_order_of_the_given_axes():
    image = RNG.normal(100, 20, (3, 20, 24)).astype(np.float32)
    model = nd.PeronaMalik(kappa=15.0, kappa_map=MAPS[1])
    turned = dataclasses.replace(model, kappa_map=MAPS[1].T)
    options = {"time": 2.0, "spacing": (2.0, 1.0)}
    expected = nd.diffuse(image, model, axes=(1, 2), **options)
    result = nd.diffuse(image, turned, axes=(2, 1), time=2.0, spacing=(1.0, 2.0))
    np.testing.assert_array_equal(result, expected)
    recipe = nd.Recipe(model, 2.0, spacing=(2.0, 1.0), axes=(1, 2), axis_names=("y", "x"))
    swapped = recipe.on(("t", "x", "y")).diffuse(image.transpose(0, 2, 1))
    np.testing.assert_allclose(swapped.transpose(0, 2, 1), expected, atol=1e-4)


def test_recipe_keeps_the_map_as_json_python_and_words_but_no_command(tmp_path):
    model = nd.TotalVariation(kappa=3.4, kappa_map=MAPS[2])
    recipe = nd.Recipe(model, 2.0, unit="micrometer")
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    assert nd.Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.in_unit("nanometer").model.kappa_map == model.kappa_map
    assert "kappa_map of 2×1×6 factors" in recipe.describe()
    image = RNG.normal(100, 20, (6, 7, 8)).astype(np.float32)
    names = {"image": image}
    exec(recipe.to_python(), names)
    np.testing.assert_array_equal(names["result"], recipe.diffuse(image))
    with pytest.raises(ValueError, match="--recipe") as caught:
        recipe.to_command()
    check_sentence(caught.value, "kappa_map")
    without = nd.Recipe(nd.TotalVariation(), 2.0)
    assert "kappa_map" not in without.to_json() + without.to_python() + without.to_command()


def test_stronger_noise_is_smoothed_as_much_as_weaker_noise():
    """Both halves hold stripes in noise; contrast and noise are 8 times larger in the right half.

    One threshold either keeps the noise of the right half, or blurs the stripes of the left half.
    """
    clean = np.tile(np.where(np.arange(64) % 32 < 16, 0.0, 300.0), (96, 2))
    scale = np.where(np.arange(128) < 64, 1.0, 8.0)
    image = (clean + RNG.normal(size=clean.shape)) * scale

    def errors(model):
        """Return the error in both halves, as a share of the noise."""
        error = (nd.diffuse(image, model, time=4.0) - clean * scale) / scale
        return [np.sqrt(np.mean(error[:, box] ** 2)) for box in (slice(0, 48), slice(80, 128))]

    plain = nd.PeronaMalik(kappa=4.0)
    mapped = dataclasses.replace(plain, kappa_map=[[1.0, 1.0, 8.0, 8.0]])
    assert max(errors(mapped)) < 0.15
    assert errors(plain)[1] > 0.2
    assert errors(dataclasses.replace(plain, kappa=32.0))[0] > 1


def test_suggestion_tries_the_map_at_the_place_of_each_patch(monkeypatch):
    image = RNG.normal(100, 5, (3, 300, 320))
    problems, make = [], risk_curve.make_problem

    def record(*arguments):
        problems.append(make(*arguments))
        return problems[-1]

    monkeypatch.setattr(risk_curve, "make_problem", record)
    model = nd.PeronaMalik(kappa_map=[[1.0, 1.0, 8.0, 8.0]])
    result = nd.suggest(image, model, axes=(1, 2), thorough=False)
    assert result.model.kappa_map == model.kappa_map
    assert {problem.place.shape for problem in problems} == {image.shape[1:]}
    ramp = np.add.outer(1000.0 * np.arange(300), np.arange(320))
    recipe = RecipeFields(model, 1.0)
    patches = sample_patches([make_problem(np.array([ramp] * 3), recipe, Geometry(axes=(1, 2)))])
    assert len({patch.place.first for patch in patches}) > 1
    for patch in patches:
        assert patch.field.flat[0] == 1000 * patch.place.first[0] + patch.place.first[1]


def test_patch_at_its_place_has_the_bits_of_the_image():
    image = RNG.normal(100, 20, (2, 40, 44)).astype(np.float32)
    model = nd.PeronaMalik(kappa=15.0, kappa_map=MAPS[1])
    recipe, geometry = RecipeFields(model, 0.2, scheme="explicit"), Geometry(axes=(1, 2))
    problem = make_problem(image, recipe, geometry)
    whole, halo = run(problem), nd.plan(image, model, time=0.2, axes=(1, 2), scheme="explicit").halo
    corner = (17, 13)
    place = problem.place.moved(corner)
    assert place == Place(corner, (40, 44), (0, 1))
    part = run(make_problem(image[:, 17:33, 13:40], recipe, geometry, Domain(place=place)))
    inner = tuple(slice(h, -h) for h in halo)
    np.testing.assert_array_equal(part[:, *inner], whole[:, 17:33, 13:40][:, *inner])


@pytest.mark.parametrize("shape", [(150, 140), (20, 70, 75)])
def test_integration_error_uses_the_map_at_the_patch(shape):
    """The central patch of 64 voxels per axis lies where the factors are 1."""
    image = RNG.normal(100, 20, shape).astype(np.float32)
    nodes = np.full((1,) * (len(shape) - 1) + (9,), 50.0)
    nodes[..., 1:-1] = 1.0
    nodes = nodes if len(shape) == 2 else np.ones((1, 1, 1))
    plain = nd.PeronaMalik(sigma=1.0)
    expected = nd.integration_error(image, plain, time=4.0, scheme="explicit", largest=32)
    mapped = dataclasses.replace(plain, kappa_map=nodes)
    error = nd.integration_error(image, mapped, time=4.0, scheme="explicit", largest=32)
    assert error == pytest.approx(expected, rel=1e-3)


def test_conductance_of_a_region_is_that_of_the_image():
    image = RNG.normal(100, 20, (12, 20, 24)).astype(np.float32)
    for kind in MODELS:
        model = kind(kappa_map=MAPS[2])
        whole = nd.conductance(image, model)
        region = (7, slice(4, 15), slice(9, 21))
        np.testing.assert_array_equal(nd.conductance(image, model, region=region), whole[region])
        without = nd.coherence if kind is nd.CoherenceEnhancing else nd.conductance
        assert np.abs(without(image, model) - without(image, kind())).max() > 0.01


def test_gradients_for_a_threshold_are_divided_by_the_factors():
    """The widget compares them with one threshold."""
    image = RNG.normal(100, 20, (12, 20, 24)).astype(np.float32)
    recipe = RecipeFields(nd.PeronaMalik(kappa_map=[[[4.0, 4.0]]]), 0.0)
    problem = unread_problem(image, recipe, Geometry(), Domain())
    relative = sample_gradients(problem, 0.7).magnitudes
    np.testing.assert_allclose(relative, nd.gradients(image, sigma=0.7).magnitudes / 4, rtol=1e-6)


@pytest.mark.parametrize("model", [nd.PeronaMalik(sigma=1.0), nd.TotalVariation(epsilon=0.2)])
def test_error_of_time_integration_with_a_map_is_that_of_its_thresholds(model):
    image = np.asarray(laws.CASES[0].picture(), float)

    def error(kind):
        limit = nd.plan(image, kind, time=3.0).max_step
        fine = nd.diffuse(image, kind, time=3.0, scheme=nd.schemes.Explicit(step=limit / 40))
        return np.sqrt(np.mean((nd.diffuse(image, kind, time=3.0) - fine) ** 2))

    factors = np.unique(MAPS[1])
    largest = max(error(dataclasses.replace(model, kappa=model.kappa * f)) for f in factors)
    assert 0 < error(dataclasses.replace(model, kappa_map=MAPS[1])) <= largest


def test_stable_step_does_not_depend_on_the_map():
    """g does not exceed its maximum at any threshold; the flux of total variation does."""
    image = np.zeros((20, 21))
    for kind in MODELS:
        steps = {nd.plan(image, kind(kappa_map=m), time=1.0).max_step for m in (None, MAPS[1])}
        assert len(steps) == 1


@pytest.mark.parametrize("model", [*(kind() for kind in MODELS), nd.PeronaMalik(sigma=1.0)])
def test_plan_names_the_kernels_of_a_map(model):
    """A map of ones needs the kernels of a run without a map; any other map needs more."""
    image, ones = np.zeros((20, 21)), np.ones(MAPS[1].shape)
    plain, unit, mapped = (
        nd.plan(image, dataclasses.replace(model, kappa_map=m), time=1.0).kernel_key()
        for m in (None, ones, MAPS[1])
    )
    assert plain == unit
    assert plain != mapped


def test_function_as_diffusivity_takes_the_map():
    image = RNG.normal(100, 20, (20, 24))
    for sigma in (0.0, 1.0):
        options = {"kappa": 15.0, "sigma": sigma, "kappa_map": MAPS[1]}
        own = nd.PeronaMalik(diffusivity=lambda x: 1 / (1 + x**2), **options)
        run = {"time": 1.0, "scheme": "explicit"}  # "auto" takes more steps for a function
        result = nd.diffuse(image, own, **run)
        expected = nd.diffuse(image, nd.PeronaMalik(**options), backend="reference", **run)
        np.testing.assert_allclose(result, expected, atol=1e-10)


@dataclass(frozen=True, kw_only=True)
class Squared(Model):
    """A model of another package: it declares the map and divides its squares by it."""

    name = "squared"
    title = "Squared"
    summary = "Smooths weak gradients."

    slope: float = param(10.0, "Threshold.", unit="intensity/length", gt=0)
    slope_map: ThresholdMap | None = threshold_map("slope")

    def operator(self, f):
        q = f.relative(f.grad2(0.0), self.slope_map)
        return VoxelDiffusivity(1 / (1 + q / self.slope**2) ** 2)


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_model_of_another_package_passes_the_laws_with_a_map(law):
    for model, case in itertools.product((Squared(), Squared(slope_map=MAPS[2])), laws.CASES):
        if case.fits(model):
            law(model, case)


@pytest.mark.parametrize("kind", [nd.EdgeEnhancing, nd.CoherenceEnhancing, nd.Hybrid])
def test_values_too_large_for_a_local_threshold_are_refused(kind):
    """Squares of gradients in units of the smallest local threshold would overflow."""
    image = (RNG.normal(size=(20, 24)) * 1e15).astype(np.float32)
    model = kind(kappa=1.0, **({"contrast": 1.0} if kind is nd.Hybrid else {}))
    assert np.isfinite(nd.diffuse(image, model, time=0.1)).all()
    mapped = dataclasses.replace(model, kappa_map=[[1e-9, 1.0]])
    for call in (nd.diffuse, nd.conductance):
        with pytest.raises(ValueError, match="thresholds") as caught:
            call(image, mapped, **({"time": 0.1} if call is nd.diffuse else {}))
        check_sentence(caught.value, "raise the thresholds")


def test_huge_and_tiny_thresholds_stay_finite_with_a_map():
    image = RNG.normal(100, 20, (20, 24)).astype(np.float32)
    for kind, kappa in itertools.product(MODELS, (1e-12, 1e12)):
        model = kind(kappa=kappa, kappa_map=[[1e-9, 1.0], [1.0, 1e9]])
        for backend in ("compiled", "reference"):
            try:
                result = nd.diffuse(image, model, time=0.5, backend=backend)
            except ValueError as error:  # values are too large for tiny thresholds of a tensor
                check_sentence(error, "thresholds")
                continue
            assert np.isfinite(result).all()
            assert image.min() - 10 <= result.min() <= result.max() <= image.max() + 10


@pytest.mark.parametrize("kind", MODELS)
def test_image_without_a_voxel_stays_as_it_is(kind):
    model = kind(kappa_map=np.ones((2, 3, 2)) * 2)
    assert nd.diffuse(np.zeros((0, 3, 3), np.float32), model, time=0.1).shape == (0, 3, 3)
