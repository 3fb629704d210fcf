"""Search for hot and dead voxels: what is an impulse, and what is not."""

import itertools

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.impulses.search import (
    find_impulses,
    impulse_axes,
    impulses_of_planes,
)

VOLUME, PLANE = (1, 90, 110, 100), (1, 1000, 1, 1000)


def impulses_in(image, regions=None, spacing=None):
    """Impulses of one channel with at least three axes."""
    image = np.asarray(image, np.float32)
    grid = Grid(image.shape, spacing or (1.0,) * image.ndim)
    return find_impulses(image[None], regions, impulse_axes(grid))[0]


def anatomy(seed=3, shape=(28, 88, 88)):
    """Three levels, 60, 150 and 240, in blobs of about 15 voxels with slightly blurred edges."""
    field = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 6.0)
    levels = np.digitize(field / field.std(), [-0.4, 0.5]).astype(float)
    return 60 + 90 * ndi.gaussian_filter(levels, 0.8)


def with_impulses(share, seed):
    """Anatomy with noise of 10, and as many voxels of 0 as of 400; with their mask."""
    random, clean = np.random.default_rng(seed), anatomy()
    draw = random.random(clean.shape)
    noisy = clean + 10 * random.normal(size=clean.shape)
    noisy[draw < share / 2] = 0
    noisy[draw > 1 - share / 2] = 400
    return noisy, (draw < share / 2) | (draw > 1 - share / 2)


@pytest.mark.parametrize(("share", "lowest"), [(0.001, 0.95), (0.01, 0.95), (0.05, 0.6)])
def test_impulses_in_noise_are_found(share, lowest):
    """At 5 %, every seventh impulse has two neighbours of its kind, and looks like a line."""
    pairs = [with_impulses(share, seed) for seed in (1, 2)]
    marks = [impulses_in(image) for image, _ in pairs]
    hits = np.concatenate([m[true] for m, (_, true) in zip(marks, pairs, strict=True)])
    false = np.concatenate([m[~true] for m, (_, true) in zip(marks, pairs, strict=True)])
    assert hits.mean() >= lowest
    assert false.mean() <= 1e-5


NOISE = {
    "Gaussian": lambda r, shape: r.normal(size=shape),
    "Rayleigh": lambda r, shape: np.hypot(r.normal(size=shape), r.normal(size=shape)),
    "Rician": lambda r, shape: np.hypot(2 + r.normal(size=shape), r.normal(size=shape)),
    "speckle of 1 look": lambda r, shape: r.gamma(1, size=shape),
    "speckle of 4 looks": lambda r, shape: r.gamma(4, size=shape),
    "multiplicative": lambda r, shape: 1 + 0.2 * r.normal(size=shape),
    "Poisson 0.05": lambda r, shape: r.poisson(0.05, size=shape),
    "Poisson 0.4": lambda r, shape: r.poisson(0.4, size=shape),
    "Poisson 0.7": lambda r, shape: r.poisson(0.7, size=shape),
    "Poisson 3": lambda r, shape: r.poisson(3, size=shape),
    "Poisson 30": lambda r, shape: r.poisson(30, size=shape),
    "rounded": lambda r, shape: np.round(0.5 * r.normal(size=shape)),
    "shared by neighbours": lambda r, shape: ndi.gaussian_filter(r.normal(size=shape), 0.8),
    "uniform": lambda r, shape: r.random(size=shape),
}


@pytest.mark.parametrize("shape", [VOLUME, PLANE], ids=["volume", "plane"])
@pytest.mark.parametrize("kind", NOISE)
def test_noise_alone_has_at_most_one_impulse_per_hundred_thousand_voxels(kind, shape):
    noise = NOISE[kind](np.random.default_rng(5), shape[1:])
    assert impulses_in(noise).mean() <= 1e-5


@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (1, -1)])
@pytest.mark.parametrize("offset", [(0, 0, 1), (0, 1, 1), (1, 1, 1), (0, 1, -1)])
def test_adjacent_pairs_are_found(signs, offset):
    image = np.random.default_rng(1).normal(100, 5, (30, 30, 30))
    pairs = [((9 * i + 5, 9 * j + 5, 9 * k + 5)) for i, j, k in np.ndindex(3, 3, 3)]
    for place in pairs:
        image[place] = 100 + 200 * signs[0]
        image[tuple(np.add(place, offset))] = 100 + 200 * signs[1]
    marks = impulses_in(image)
    assert all(marks[place] and marks[tuple(np.add(place, offset))] for place in pairs)
    assert marks.sum() == 2 * len(pairs)


def structures():
    """Bright and dark structures of the height 100 that are no impulses, without noise."""
    grid = np.indices((40, 40, 40)) - 20.0
    line, diagonal = np.zeros((2, 40, 40, 40))
    line[20, 20, 8:30] = 100
    diagonal[np.arange(8, 30), np.arange(8, 30), np.arange(8, 30)] = 100
    sheet, cube, corner, three = np.zeros((4, 40, 40, 40))
    sheet[20, 6:34, 6:34] = 100
    cube[14:26, 14:26, 14:26] = 100
    corner[:20, :20, :20] = 100
    three[20, 20, 18:21] = 100
    yield from {
        "line": line,
        "diagonal line": diagonal,
        "line of three voxels": three,
        "sheet": sheet,
        "cube": cube,
        "corner": corner,
        "ball": 100.0 * (np.sum(grid**2, axis=0) < 30),
    }.items()
    for shift in ((0, 0, 0), (0.5, 0, 0), (0.25, 0.25, 0), (0.5, 0.5, 0.3)):
        squares = sum((x - s) ** 2 for x, s in zip(grid, shift, strict=True))
        yield f"spot with sigma 0.8 at {shift}", 100 * np.exp(-squares / (2 * 0.8**2))


@pytest.mark.parametrize("sign", [1, -1], ids=["bright", "dark"])
@pytest.mark.parametrize(("name", "structure"), list(structures()))
def test_thin_and_sharp_structures_are_kept(name, structure, sign):
    """Structures at 10 to 50 times the noise, each in 4 draws of it."""
    for seed, noise in itertools.product(range(4), (2.0, 5.0, 10.0)):
        random = np.random.default_rng(seed)
        image = 200 + sign * structure + noise * random.normal(size=structure.shape)
        marks = impulses_in(image) & (structure > 10)
        assert not marks.any(), f"{name}, noise {noise}: {np.argwhere(marks)}"


def test_counts_on_a_background_of_zeros_are_kept():
    """Where most adjacent voxels are equal, the noise is unknown."""
    image = np.zeros((20, 20, 20))
    image[::4, ::5, ::3] = np.arange(1, 141).reshape(5, 4, 7)
    assert not impulses_in(image).any()


def test_single_values_among_equal_ones_are_kept():
    image = np.random.default_rng(1).choice([-1, 0, 1], size=(30, 30, 30), p=[0.02, 0.96, 0.02])
    image[5::9, 5::9, 5::9] = 60
    assert not impulses_in(image).any()


def test_saturated_voxels_are_kept():
    ramp = np.linspace(100, 300, 60)
    image = ramp + np.random.default_rng(2).normal(0, 20, (30, 60, 60))
    assert not impulses_in(np.clip(np.round(image), 0, 255)).any()


def noisy_box(seed=0, shape=(20, 24, 22)):
    image = np.random.default_rng(seed).integers(-30, 30, shape).astype(np.float32)
    for place in ((3, 4, 5), (10, 11, 12), (10, 11, 13), (19, 0, 21), (7, 20, 3)):
        image[place] = 500 if sum(place) % 2 else -500
    return image


def test_flips_and_permutations_of_the_axes_move_the_impulses():
    image = noisy_box()
    marks = impulses_in(image)
    assert marks.any()
    for axes in itertools.permutations(range(3)):
        np.testing.assert_array_equal(impulses_in(image.transpose(axes)), marks.transpose(axes))
    for axis in range(3):
        np.testing.assert_array_equal(impulses_in(np.flip(image, axis)), np.flip(marks, axis))


@pytest.mark.parametrize(("gain", "offset"), [(1, 1000), (4, 0), (0.125, -64), (3, 17)])
def test_offset_and_gain_change_nothing(gain, offset):
    image = noisy_box()
    np.testing.assert_array_equal(impulses_in(gain * image + offset), impulses_in(image))


def test_channels_are_searched_by_themselves():
    channels = np.stack([noisy_box(seed) for seed in range(3)])
    together = find_impulses(channels, None, (0, 1, 2))
    for channel, marks in zip(channels, together, strict=True):
        np.testing.assert_array_equal(impulses_in(channel), marks)


def test_only_voxels_of_the_same_region_are_compared():
    """What other regions hold changes nothing, and no impulse lies outside."""
    image, regions = noisy_box(), np.indices((20, 24, 22))[1] // 8
    image[5, 8, 5] = 600  # beside another region
    changed = np.where(regions == 1, image, 1e4)
    marks = impulses_in(image, regions)
    assert marks[5, 8, 5]
    np.testing.assert_array_equal(impulses_in(changed, regions)[regions == 1], marks[regions == 1])
    assert not marks[regions == 0].any()


def test_values_that_are_not_finite_never_count():
    image = noisy_box()
    image[5, 5, 5], image[10, 10, 12], image[4, 4, 5] = np.nan, np.inf, -np.inf
    outside = np.isfinite(image)
    marks = impulses_in(image)
    assert marks[10, 11, 12]
    assert not marks[~outside].any()
    np.testing.assert_array_equal(marks, impulses_in(np.where(outside, image, 7), outside))


def test_only_axes_with_voxels_of_about_the_same_size_are_compared():
    assert impulse_axes(Grid((9, 9, 9), (1.0, 1.5, 1.0))) == (0, 1, 2)
    assert impulse_axes(Grid((9, 9, 9), (3.0, 1.0, 1.2))) == (1, 2)
    assert impulse_axes(Grid((2, 9, 9), (1.0, 1.0, 1.0))) == (1, 2)
    assert impulse_axes(Grid((9, 1, 9), (1.0, 1.0, 1.0))) == (0, 2)
    assert impulse_axes(Grid((1, 1, 99), (1.0, 1.0, 1.0))) == ()
    planes = np.random.default_rng(3).normal(size=(3, 40, 40))
    planes[1, 20, 20] = 30
    marks = impulses_in(planes, spacing=(5.0, 1.0, 1.0))
    for plane, own in zip(planes, marks, strict=True):
        np.testing.assert_array_equal(impulses_in(plane[None], spacing=(5.0, 1.0, 1.0))[0], own)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2), (0, 2)])
def test_planes_can_be_searched_apart(axes):
    image = np.random.default_rng(4).normal(size=(1, 40, 26, 26)).astype(np.float32)
    image[np.random.default_rng(5).random(image.shape) < 0.01] = 20
    whole = find_impulses(image, None, axes)
    assert whole.any()
    for lo, hi in ((0, 1), (7, 12), (30, 40)):
        part = impulses_of_planes(image, None, axes, lo, hi)
        np.testing.assert_array_equal(part, whole[:, lo:hi])
