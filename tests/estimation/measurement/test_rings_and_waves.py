"""Rings and waves in the noise are recognised, and nothing else is taken for them."""

import dataclasses

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import noise_scenes
from helpers.noise_cases import CASES
from helpers.noisy import patch_of, smooth_scene, white
from napari_diffusion.estimation.measurement.rings import find_rings
from napari_diffusion.estimation.measurement.waves import find_wave
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.patterns import Rings, Wave
from napari_diffusion.estimation.probes import make_probe

BY_NAME = {case.name: case for case in CASES}
NOISE = Noise("gaussian", 10.0, 0.1)


def ringed(shape, centre, seed, level=10.0, ring=12.0, scale=(1.0, 1.0)):
    """Smooth picture with white noise, and an error for every distance from a centre."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape[-2:])
    radius = np.hypot((y - centre[0]) * scale[0], (x - centre[1]) * scale[1])
    errors = ring * rng.normal(size=(*shape[:-2], int(radius.max()) + 2))
    below = np.floor(radius).astype(int)
    rings = errors[..., below] * (1 - radius + below) + errors[..., below + 1] * (radius - below)
    return smooth_scene(shape[-2:]) + level * rng.normal(size=shape) + rings


def waving(shape, seed, frequency=(0.15, 0.05), amplitude=10.0, level=10.0):
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    turns = frequency[0] * y + frequency[1] * x + rng.random()
    wave = amplitude * np.sin(2 * np.pi * turns)
    return smooth_scene(shape) + level * rng.normal(size=shape) + wave


@pytest.mark.parametrize("centre", [(79.5, 79.5), (92.0, 66.3)], ids=str)
def test_rings_are_found_with_their_centre_and_share(centre):
    """The variance of interpolated errors is two thirds of 12²: the share is 0.49."""
    shares = []
    for seed in range(3):
        rings = find_rings([patch_of(ringed((160, 160), centre, seed)[None])], 0, [NOISE])
        assert rings.centre == pytest.approx(centre, abs=1.5)
        shares.append(rings.share)
    assert np.mean(shares) == pytest.approx(96 / 196, abs=0.1)


def test_rings_beside_next_to_no_noise_are_the_picture():
    """Rings of five times the noise are 0.96 of all noise; those of three times it are 0.9."""
    patches = [patch_of(ringed((160, 160), (80.0, 80.0), 1)[None])]
    variance = NOISE.sigma**2 * (share := find_rings(patches, 0, [NOISE]).share) / (1 - share)
    for ratio, is_found in ((3, True), (5, False)):
        weak = Noise("gaussian", variance**0.5 / ratio, 0.1)
        assert (find_rings(patches, 0, [weak]) is not None) is is_found


def test_rings_are_round_in_units_of_length():
    image = ringed((160, 120), (80.0, 58.0), 1, scale=(1.0, 1.4))
    rings = find_rings([patch_of(image[None], (0.5, 0.7))], 0, [NOISE])
    assert rings.centre == pytest.approx((80.0, 58.0), abs=1.5)
    assert rings.scale == pytest.approx((1.0, 1.4))


def test_rings_are_found_in_parts_of_an_image():
    """The centre lies outside most of the parts."""
    image = ringed((160, 160), (85.0, 75.0), 2)
    parts = [
        dataclasses.replace(
            patch_of(image[None, y : y + 64, x : x + 64]), first=(y, x), whole=(160, 160)
        )
        for y in (0, 96)
        for x in (0, 96)
    ]
    assert find_rings(parts, 0, [NOISE] * 4).centre == pytest.approx((85.0, 75.0), abs=1.5)


@pytest.mark.parametrize("is_same", [True, False])
def test_planes_may_have_rings_of_their_own(is_same):
    shape = (160, 160) if is_same else (6, 160, 160)
    image = ringed(shape, (79.5, 79.5), 3, level=0.0)
    volume = np.broadcast_to(image, (6, 160, 160)) + 10 * white((6, 160, 160), 4)
    rings = find_rings([patch_of(volume[None], (5.0, 1.0, 1.0))], 0, [NOISE])
    assert rings.plane == (1, 2)
    assert rings.is_same is is_same
    assert rings.share == pytest.approx(96 / 196, abs=0.12)


@pytest.mark.parametrize("seed", range(6))
def test_white_noise_has_neither_rings_nor_a_wave(seed):
    patches = [patch_of((smooth_scene((128, 128)) + 10 * white((128, 128), seed))[None])]
    assert find_rings(patches, 0, [NOISE]) is None
    assert find_wave(patches, 0, [NOISE]) is None


@pytest.mark.parametrize(
    "name",
    [
        "tomogram, back projection",  # a round body around the centre
        "sCMOS, offsets of columns",
        "8 bit, noise of 0.45 levels",  # contours around hills
        "wide folds",
        "membranes",
        "photograph gravel",
        "E stripes along rows",
        "head, Rician 6 %",
    ],
)
def test_pictures_and_other_noise_have_neither_rings_nor_a_wave(name):
    case = BY_NAME[name]
    for seed in (0, 4):
        image = case.noisy(seed).astype(float)
        patches = [patch_of(image[None], case.spacing)]
        noises = [Noise("gaussian", float((image - case.clean()).std()), 0.1)]
        assert find_rings(patches, 0, noises) is None
        assert find_wave(patches, 0, noises) is None


@pytest.mark.parametrize("shape", [(500, 64), (600, 24)], ids=str)
def test_lines_across_a_narrow_image_are_no_rings(shape):
    """Far from the middle, arcs around it are as straight as the lines."""
    for seed in (0, 1):
        lines = 20 * np.random.default_rng(seed).normal(size=(shape[0], 1))
        patches = [patch_of((10 * white(shape, 1) + lines)[None])]
        assert find_rings(patches, 0, [NOISE]) is None


def test_outline_of_a_round_body_is_no_part_of_the_rings():
    """The outline crosses a quarter of the arcs, and is three times as strong as the rings.

    A few dozen errors scatter by a quarter. With the outline the share would be 0.33 to 0.45.
    """
    case, shares = BY_NAME["tomogram with rings"], []
    for seed in (1, 2, 3, 4):
        patches = [patch_of(case.noisy(seed)[None].astype(float))]
        shares.append(find_rings(patches, 0, [Noise("gaussian", 30.0, 0.3)]).share)
    true = 20**2 * 2 / 3
    assert np.mean(shares) == pytest.approx(true / (true + 30**2), abs=0.08)


def test_a_round_body_without_rings_has_none():
    clean = noise_scenes.tomogram((128, 128), 52)()
    for seed in range(4):
        patches = [patch_of((clean + 30 * white(clean.shape, seed))[None])]
        assert find_rings(patches, 0, [Noise("gaussian", 30.0, 0.3)]) is None


@pytest.mark.parametrize("frequency", [(0.15, 0.05), (0.08, -0.03), (0.0, 0.21)], ids=str)
def test_wave_is_found_with_its_frequency_and_share(frequency):
    """The variance of a sine of amplitude 10 is 50, beside noise of the variance 100."""
    patches = [patch_of(waving((160, 160), 5, frequency)[None])]
    wave = find_wave(patches, 0, [NOISE])
    own, opposite = np.array(wave.frequency), -np.array(wave.frequency)
    assert min(np.abs(own - frequency).max(), np.abs(opposite - frequency).max()) < 1 / 160
    assert wave.share == pytest.approx(1 / 3, abs=0.06)


def test_a_grating_is_the_picture():
    """A wave that is most of the variance of an image is what the image shows."""
    y, x = np.indices((160, 160))
    grating = 100 * np.sin(2 * np.pi * (0.15 * y + 0.05 * x))
    assert find_wave([patch_of((grating + 10 * white((160, 160)))[None])], 0, [NOISE]) is None


def test_regular_bricks_are_no_wave():
    """They are nearly periodic, but not in every part of the photograph."""
    image = noise_scenes.photograph("brick")() + 10 * white((224, 224))
    assert find_wave([patch_of(image[None])], 0, [NOISE]) is None


@pytest.mark.parametrize(
    "pattern",
    [
        Rings((0, 1), (190.0, 215.5), (1.0, 1.0), True, 0.4),
        Wave((0, 1), (0.15, 0.05), 0.4),
    ],
    ids=["rings", "wave"],
)
def test_probe_has_the_pattern_of_the_noise(pattern):
    """Unit variance; voxels of equal phase have the covariance of the share."""
    noise = Noise("gaussian", 3.0, 0.1, pattern=pattern)
    patch = patch_of(3 * white((1, 400, 400)).astype("f4"))
    probe = make_probe(patch, [noise], "sure", 0).pattern[0].astype(float)
    assert np.mean(probe**2) == pytest.approx(1, rel=0.05)
    if isinstance(pattern, Rings):
        mirrored = probe[::-1][19:], probe[:-19]  # 2 * 190 + 19 = 399: the same distance
    else:
        mirrored = probe[:-20], probe[20:]  # three whole periods
    assert np.mean(mirrored[0] * mirrored[1]) == pytest.approx(0.4, abs=0.06)
    assert np.mean(probe[:-10] * probe[10:]) < 0.15  # for the wave, one and a half periods


def test_sampled_rings_are_the_same_in_all_parts_of_a_box():
    """Rings in thick slices differ from plane to plane, or are the same in all."""
    for is_same in (True, False):
        rings = Rings((1, 2), (30.0, 20.0), (1.0, 1.0), is_same, 0.5)
        sample = rings.sample(np.random.default_rng(0), (0, 0, 0), (5, 61, 41))
        assert sample.shape == (1 if is_same else 5, 61, 41)
        np.testing.assert_allclose(sample, sample[:, ::-1, ::-1], atol=1e-12)
        assert np.var(sample) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize(
    ("name", "words"), [("slice with strong rings", "Rings"), ("camera with hum", "Waves")]
)
def test_pattern_is_named_and_counts_as_noise(name, words):
    """Without it, the gain was announced twice as high as it is, and the noise too low."""
    case = BY_NAME[name]
    noisy = case.noisy(0)
    result = nd.suggest(noisy, nd.PeronaMalik(), **case.keywords)
    assert any(line.startswith(words) for line in result.warnings)
    assert result.noise.sigma == pytest.approx(np.std(noisy - case.clean()), rel=0.12)
    smooth = nd.diffuse(noisy, result.model, time=result.time, **case.keywords)
    errors = [np.mean((image - case.clean()) ** 2) for image in (noisy, smooth)]
    assert result.gain_interval[0] < 10 * np.log10(errors[0] / errors[1]) < result.gain_interval[1]


def test_pattern_does_not_depend_on_the_unit_of_intensity():
    image = ringed((160, 160), (85.0, 75.0), 2)
    first, second = (
        find_rings([patch_of((f * image)[None])], 0, [NOISE.scaled(f)]) for f in (1.0, 2.0**-20)
    )
    assert first == second
    hum = waving((160, 160), 5)
    first, second = (
        find_wave([patch_of((f * hum)[None])], 0, [NOISE.scaled(f)]) for f in (1.0, 2.0**-20)
    )
    assert first == second
