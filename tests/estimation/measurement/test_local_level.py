"""Noise that differs from place to place: its map, and what stands on it."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import skimage.data

import napari_diffusion as nd
from helpers.noisy import blocks, patch_of, smooth_scene, white
from napari_diffusion.backends import get_backend
from napari_diffusion.core.grid import Place
from napari_diffusion.estimation.measurement.local_level import measure_level_map
from napari_diffusion.estimation.measurement.noise import measure_noise
from napari_diffusion.estimation.noise.level_map import LevelMap
from napari_diffusion.operators.threshold_map import write_reciprocals

#: Rises from 1 to 4 in the middle.
RATIO = 4.0


def random_map(nodes, seed=0):
    """Map of factors from 0.3 to 3, and the same as an array."""
    factors = np.random.default_rng(seed).uniform(0.3, 3.0, nodes)
    return LevelMap(tuple(factors.ravel().tolist()), tuple(nodes)), factors


def measured(image):
    """Noise of an image of one channel that is one patch."""
    ((noise,),) = measure_noise([patch_of(image[None])], None, "auto").values()
    return noise


def hill(shape):
    """Level from 1 at the border to `RATIO` in the middle."""
    x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return 1 + (RATIO - 1) * np.exp(-2.5 * sum(c**2 for c in x))


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [((3,), (17,)), ((4, 1), (9, 31)), ((8, 5), (6, 40)), ((2, 3, 4), (7, 12, 9))],
    ids=str,
)
def test_factors_are_those_of_a_map_of_thresholds(nodes, shape):
    """The level at a voxel and the threshold there follow from the map in the same way."""
    level_map, factors = random_map(nodes)
    reciprocals = np.empty(shape)
    place = Place((0,) * len(shape), shape)
    kappa_map = nd.PeronaMalik(kappa_map=factors).kappa_map
    write_reciprocals(kappa_map, place, 0, shape[0], get_backend("reference", 3), reciprocals)
    values = level_map.on((0,) * len(shape), shape, shape)
    np.testing.assert_allclose(values, 1 / reciprocals, rtol=1e-12)


def test_parts_of_a_map_are_the_whole():
    level_map, _ = random_map((3, 4, 2), 1)
    whole = (12, 20, 9)
    values = level_map.on((0, 0, 0), whole, whole)
    for first, shape in (
        ((0, 0, 0), (12, 1, 9)),
        ((5, 13, 2), (7, 7, 3)),
        ((11, 0, 8), (1, 20, 1)),
    ):
        box = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
        np.testing.assert_array_equal(level_map.on(first, shape, whole), values[box])


def test_nested_factors_are_those_of_the_map():
    level_map, factors = random_map((2, 3, 4), 2)
    np.testing.assert_allclose(np.array(level_map.nested(range(factors.ndim))), factors, rtol=6e-3)
    np.testing.assert_array_equal(np.array(level_map.times(2.0).grid), 2 * factors)
    assert level_map.ratio == pytest.approx(factors.max() / factors.min(), rel=1e-15)


@pytest.mark.parametrize("shape", [(110, 120), (24, 40, 40)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("width", [0.0, 0.7], ids=["white", "blurred"])
def test_constant_level_gives_no_map(shape, width):
    """Over 20 noises on a smooth picture with edges."""
    clean = smooth_scene(shape) + 80 * (np.indices(shape)[-1] > shape[-1] / 2)
    for seed in range(20):
        field = white(shape, seed + 30)
        if width:
            field = scipy.ndimage.gaussian_filter(field, width)
        assert measured(clean + 10 * field / field.std()).level_map is None


def test_noise_shared_over_more_than_a_voxel_gives_no_map():
    """Edges of a photograph have far more residual than such noise, whose level is the same."""
    photograph = skimage.data.camera()[:300, 100:400].astype(float)
    field = scipy.ndimage.gaussian_filter(white(photograph.shape, 3), 1.2)
    noise = measured(photograph + 15 * field / field.std())
    assert noise.origin == "noise"
    assert noise.level_map is None
    assert 5 < noise.sigma < 20


@pytest.mark.parametrize("size", [96, 128, 150])
def test_steps_as_far_apart_as_blocks_give_no_map(size):
    """A map of few blocks beside edges follows their scatter, and predicts no other block."""
    for seed in range(6):
        image = blocks((size, size)) + 12 * white((size, size), seed)
        assert measured(image).level_map is None


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shape", [(160, 160), (24, 56, 56)], ids=["2-D", "3-D"])
def test_level_four_times_higher_in_the_middle_is_mapped(shape, seed):
    """The root mean square is within 5 %, and nearly every place within a third of its level.

    A map has at most eight nodes along an axis, and each is measured on some hundred voxels.
    """
    level = 4 * hill(shape)
    noise = measured(smooth_scene(shape) + level * white(shape, seed + 50))
    assert noise.kind == "gaussian"
    assert noise.sigma == pytest.approx(np.sqrt(np.mean(level**2)), rel=0.05)
    local = noise.sigma * noise.level_map.on((0,) * len(shape), shape, shape)
    inner = tuple(slice(n // 8, -(n // 8)) for n in shape)
    ratio = (local / level)[inner]
    assert np.sqrt(np.mean(np.log(ratio) ** 2)) < 0.15
    assert np.quantile(ratio, 0.01) > 0.66
    assert np.quantile(ratio, 0.99) < 1.5


def test_map_has_a_root_mean_square_of_one():
    """The level of the noise is then its root mean square, whatever the map."""
    shape = (160, 160)
    noise = measured(smooth_scene(shape) + 4 * hill(shape) * white(shape, 7))
    factors = noise.level_map.on((0, 0), shape, shape)
    assert np.sqrt(np.mean(factors**2)) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("exponent", [-30, 20])
def test_map_does_not_depend_on_the_unit_of_intensity(exponent):
    """A power of two scales every number exactly."""
    shape, scale = (120, 120), 2.0**exponent
    image = smooth_scene(shape) + 4 * hill(shape) * white(shape, 9)
    plain, scaled = measured(image), measured(scale * image)
    assert plain.level_map == scaled.level_map
    assert scaled.sigma == scale * plain.sigma


def test_parts_of_an_image_give_one_map():
    """Patches know their place in the image: the map is that of the image, not of a patch."""
    shape = (160, 160)
    image = smooth_scene(shape) + 4 * hill(shape) * white(shape, 11)
    whole = patch_of(image[None])
    halves = [
        dataclasses.replace(
            patch_of(image[None, k * 80 : (k + 1) * 80]), first=(80 * k, 0), whole=shape
        )
        for k in (0, 1)
    ]
    noise = measured(image).as_gaussian()
    noise = dataclasses.replace(noise, level_map=None)
    maps = [measure_level_map(patches, 0, [noise] * len(patches)) for patches in ([whole], halves)]
    first, second = (level_map.on((0, 0), shape, shape) for level_map in maps)
    assert np.quantile(np.abs(np.log(first / second)), 0.9) < 0.1


def test_threshold_follows_the_level():
    """The threshold is as many times higher in the middle as the noise; a run accepts the map."""
    shape = (128, 128)
    level = 5 * hill(shape)
    image = (smooth_scene(shape) + level * white(shape, 3)).astype("f4")
    result = nd.suggest(image, nd.PeronaMalik(), thorough=False)
    threshold = result.model.kappa * LevelMap(
        tuple(np.ravel(result.model.kappa_map).tolist()), np.shape(result.model.kappa_map)
    ).on((0, 0), shape, shape)
    ratio = threshold[56:72, 56:72].mean() / threshold[:10, :10].mean()
    assert ratio == pytest.approx(level[56:72, 56:72].mean() / level[:10, :10].mean(), rel=0.33)
    assert any("differs from place to place" in text for text in result.warnings)
    assert any("kappa_map = " in text for text in result.reasons)
    assert np.isfinite(nd.diffuse(image, result.model, time=result.time)).all()


@pytest.mark.parametrize("fixed", ["kappa", "kappa_map"])
def test_fixed_threshold_gets_no_map(fixed):
    shape = (96, 96)
    image = (smooth_scene(shape) + 5 * hill(shape) * white(shape, 3)).astype("f4")
    result = nd.suggest(image, nd.PeronaMalik(kappa=7.0), thorough=False, fixed=[fixed])
    assert result.noise.level_map is not None
    assert result.model.kappa_map is None
