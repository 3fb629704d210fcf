"""Stripes and lossy compression are recognised, and nothing else is taken for them."""

import dataclasses
import io

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from PIL import Image

import napari_diffusion as nd
from helpers import noise_models, noise_scenes
from helpers.noise_cases import CASES
from helpers.noisy import patch_of, smooth_scene, white
from napari_diffusion.estimation.measurement.artefacts import (
    compressed_level,
    find_stripes,
    is_compressed,
    stripe_offsets,
)
from napari_diffusion.estimation.measurement.lines import stripe_variance, variance_within_stripes
from napari_diffusion.estimation.measurement.noise import measure_noise
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.patterns import Stripes
from napari_diffusion.estimation.probes import make_probe

BY_NAME = {case.name: case for case in CASES}


def measured(image, spacing=None):
    ((noise,),) = measure_noise([patch_of(image[None], spacing)], None, "auto").values()
    return noise


def striped(shape, share, axes, seed):
    """Noise of unit variance, of which a share is constant along some axes."""
    lines = [1 if axis in axes else n for axis, n in enumerate(shape)]
    rng = np.random.default_rng(seed + 70)
    return np.sqrt(1 - share) * white(shape, seed) + np.sqrt(share) * rng.normal(size=lines)


@pytest.mark.parametrize(("axis", "share"), [(1, 0.25), (2, 0.25), (1, 0.5), (2, 0.7)])
def test_share_of_stripes_is_accurate(axis, share):
    """1120 lines in thick slices, in each of three noises, on a smooth picture.

    The relative scatter of the variance of stripes is 8 % for the flattest quarter of the lines if
    these are independent.
    """
    shape, rest = (8, 140, 140), Noise("gaussian", 10 * np.sqrt(1 - share), 0.1)
    shares = []
    for seed in range(3):
        image = smooth_scene(shape[1:]) / 4 + 10 * striped(shape, share, (axis,), seed)
        stripes = find_stripes([patch_of(image[None], (5.0, 1.0, 1.0))], 0, [rest])
        assert stripes.along == (axis,)
        shares.append(stripes.share)
    assert np.mean(shares) == pytest.approx(share, abs=0.05)
    assert np.ptp(shares) < 0.25


def test_level_of_noise_includes_the_stripes():
    image = smooth_scene((140, 140)) / 4 + 10 * striped((8, 140, 140), 0.5, (2,), 1)
    noise = measured(image, (5.0, 1.0, 1.0))
    assert noise.sigma == pytest.approx(10, rel=0.1)
    assert noise.pattern.share == pytest.approx(0.5, abs=0.1)


def test_stripes_of_a_volume_may_be_constant_along_two_axes():
    """Offsets of camera columns are constant along z and y."""
    noise = measured(10 * striped((20, 48, 90), 0.5, (0, 1), 3))
    assert noise.pattern.along == (0, 1)
    assert noise.pattern.share == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("is_whole", [False, True], ids=["continuous", "whole numbers"])
def test_variance_of_stripes_is_that_of_lines_without_the_noise_in_them(is_whole):
    """120 columns in each of 60 noises: the standard error of the mean is 0.5.

    The noise that is left in the mean of the calm voxels of a line is as strong as the stripes.
    """
    variances = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        image = 100 + 3 * rng.normal(size=120) + 12 * rng.normal(size=(8, 12, 120))
        patch = patch_of((np.round(image) if is_whole else image)[None])
        variances.append(stripe_variance([patch], 0, (0, 1), 2))
    assert np.mean(variances) == pytest.approx(9, abs=1.5)


def camera(columns, pixels, seed, shape=(20, 40, 56)):
    """White noise of 4 with offsets of columns and of pixels, and the offsets of the columns."""
    rng = np.random.default_rng(seed)
    offsets = columns * rng.normal(size=shape[2])
    plane = offsets + pixels * rng.normal(size=shape[1:])
    return 100 + plane + 4 * rng.normal(size=shape), offsets


def test_variance_of_few_columns_is_theirs():
    """All frequencies count but the slowest, so that 56 columns are known to a sixth.

    From the squares of second differences alone, the error would be more than a fifth.
    """
    errors = []
    for seed in range(12):
        image, offsets = camera(2.0, 0.0, seed)
        variance = stripe_variance([patch_of(image[None])], 0, (0, 1), 2)
        errors.append(variance / offsets.var() - 1)
    assert np.sqrt(np.mean(np.square(errors))) < 0.17


def test_offsets_of_columns_are_found_in_all_patches():
    """But for a constant, which is brightness. The columns 0 to 30 are in two patches."""
    image, offsets = camera(3.0, 0.0, 4)
    whole = patch_of(image[None])
    patches = [
        whole.part((slice(0, 20), slice(0, 40), slice(0, 31))),
        whole.part((slice(0, 20), slice(0, 20), slice(25, 56))),
    ]
    fields = stripe_offsets(patches, 0, [Noise("gaussian", 4.0, 0.1)] * 2)
    for patch, own, start in zip(patches, fields, (0, 25), strict=True):
        assert own.shape == patch.valid.shape
        assert np.ptp(own, axis=(0, 1)).max() == 0
        error = own[0, 0] - offsets[start : start + 31]
        assert error.std() < 0.4 * offsets.std()
        assert np.diff(error).std() < 0.2 * np.diff(offsets).std()
    assert (
        stripe_offsets([patch_of(4 * white((1, 20, 40, 56)))], 0, [Noise("gaussian", 4.0, 0.1)])
        is None
    )


def test_offsets_of_pixels_count_beside_those_of_columns():
    """They are the same in all planes, too, and raise the variance of the noise by their own."""
    stripes, levels = Stripes((0, 1), 0.3), []
    for pixels in (0.0, 2.0):
        image, offsets = camera(3.5, pixels, 3)
        patches = [patch_of(image[None])]
        variance = variance_within_stripes(patches, 0, stripes)
        assert variance == pytest.approx(pixels**2, abs=0.4)
        assert variance_within_stripes(patches, 0, Stripes((0,), 0.3)) == 0
        noise = measured(image)
        levels.append(noise.sigma**2)
        assert noise.pattern.share * noise.sigma**2 == pytest.approx(offsets.var(), rel=0.15)
    assert levels[0] == pytest.approx(16 + offsets.var(), rel=0.08)
    assert levels[1] - levels[0] == pytest.approx(4, rel=0.2)


def test_variance_of_stripes_needs_lines_across_which_they_vary():
    image = 10 * striped((20, 48, 90), 0.5, (0, 1), 3)
    patches = [patch_of(image[None])]
    assert stripe_variance(patches, 0, (0, 1), 2) == pytest.approx(50, rel=0.3)
    assert stripe_variance(patches, 0, (1, 2), 0) < 1
    assert stripe_variance([patch_of(image[None, ..., :9])], 0, (0, 1), 2) == 0
    assert stripe_variance([patch_of(image[None], (1.0, 1.0, 5.0))], 0, (0, 1), 2) == 0


@pytest.mark.parametrize("seed", [0, 103])
def test_stripes_and_photon_noise_are_separated(seed):
    """Columns of a camera: about 0.3 of the variance is theirs, the rest grows with the brightness.

    The share is that of 56 columns, and the growth that of some hundred calm voxels in cells.
    """
    case = BY_NAME["sCMOS, offsets of columns"]
    image, clean = case.noisy(seed), case.clean()
    columns = (image - clean).mean(axis=(0, 1)).var()
    noise = measured(image.astype("f4"))
    assert noise.kind == "poisson"
    assert noise.pattern.along == (0, 1)
    assert noise.sigma == pytest.approx(np.std(image - clean), rel=0.12)
    assert noise.pattern.share == pytest.approx(columns / np.var(image - clean), abs=0.1)


@pytest.mark.parametrize("width", [0.0, 0.6], ids=["white", "blurred"])
def test_noise_without_stripes_has_none(width):
    shape = (150, 150)
    for seed in range(4):
        field = white(shape, seed)
        if width:
            field = scipy.ndimage.gaussian_filter(field, width)
        noise = measured(smooth_scene(shape) + 10 * field / field.std())
        assert noise.pattern is None


@pytest.mark.parametrize("name", ["A folds, white noise", "wide folds", "photograph gravel"])
def test_folds_are_no_stripes(name):
    case = BY_NAME[name]
    assert measured(case.noisy(0).astype(float), case.spacing).pattern is None


def test_stripes_beside_much_stronger_noise_are_not_named():
    """They are measured where the noise is weakest, and are next to nothing of all noise."""
    shape = (150, 150)
    striped_half = np.arange(150) < 75
    image = np.where(striped_half, striped(shape, 0.5, (1,), 1).T, 40 * white(shape, 2)).T
    noise = Noise("gaussian", 30.0, 0.1)
    assert find_stripes([patch_of(image[None])], 0, [Noise("gaussian", 1.0, 0.1)]) is not None
    assert find_stripes([patch_of(image[None])], 0, [noise]) is None


def test_rounded_shades_of_a_drawing_are_no_stripes():
    """Their contours run along one axis, and are at most half a grey level high."""
    drawing = skimage.data.logo()[100:300, 100:300, 1].astype(float)
    assert measured(drawing).pattern is None


def test_stripes_need_two_fine_axes():
    image = 10 * striped((200, 200), 0.6, (1,), 1)
    white_noise = Noise("gaussian", 8.0, 0.1)
    assert find_stripes([patch_of(image[None])], 0, [white_noise]) is not None
    assert find_stripes([patch_of(image[None], (1.0, 5.0))], 0, [white_noise]) is None
    assert find_stripes([patch_of(image[None])], 0, [None]) is None


@pytest.mark.parametrize("axis", [0, 1])
def test_probe_has_the_stripes_of_the_noise(axis):
    """Unit variance; the covariance of voxels of one line is the share, of others 0."""
    share = 0.4
    noise = Noise("gaussian", 3.0, 0.1, pattern=Stripes((axis,), share))
    patch = patch_of(3 * white((1, 400, 400)).astype("f4"))
    pattern = make_probe(patch, [noise], "sure", 0).pattern[0].astype(float)
    assert np.mean(pattern**2) == pytest.approx(1, rel=0.05)
    along, across = np.moveaxis(pattern, axis, 0), np.moveaxis(pattern, axis, 1)
    assert np.mean(along[50:] * along[:-50]) == pytest.approx(share, abs=0.06)
    assert np.mean(across[50:] * across[:-50]) == pytest.approx(0, abs=0.03)


# Compression


def photograph():
    """Part of a photograph, whose noise is that of the camera."""
    return noise_scenes.photograph("camera")()


def compressed(clean, quality, level=10, seed=0):
    add = noise_models.jpeg(noise_models.white(level), quality)
    return add(clean, np.random.default_rng(seed)).astype("f4")


@pytest.mark.parametrize("quality", [50, 75, 90])
@pytest.mark.parametrize("scene", ["photograph", "steps"])
def test_compression_is_recognised(scene, quality):
    clean = photograph() if scene == "photograph" else 40 + smooth_scene((224, 224)) / 2
    for seed in (0, 1):
        assert is_compressed([patch_of(compressed(clean, quality, seed=seed)[None])])


def test_compression_is_recognised_in_parts_that_start_anywhere():
    image = compressed(photograph(), 75)
    first = (3, 5)
    part = dataclasses.replace(patch_of(image[None, 3:150, 5:170]), first=first, whole=(224, 224))
    assert is_compressed([part])


@pytest.mark.parametrize(
    "name",
    [
        "photograph camera",
        "photograph gravel",
        "tissue",
        "8 bit, noise of 5 levels",
        "8 bit, noise of 0.45 levels",
        "head in exact zeros, white noise",
        "B head in exact zeros, noise shared by neighbours",
        "k-space filled with zeros, factors (1, 2, 2)",
        "folds, blurred 1.2",
        "E stripes along rows",
        "saturated at 220",
    ],
)
def test_other_images_are_not_compressed(name):
    case = BY_NAME[name]
    for seed in (0, 1):
        image = case.noisy(seed).astype("f4")
        assert not is_compressed([patch_of(image[None], case.spacing)])


def grid(kind, period, shape=(224, 224)):
    """Man-made picture whose edges are at the multiples of a period."""
    place = np.indices(shape) // period
    rng = np.random.default_rng(period)
    cells = rng.uniform(20, 200, [-(-n // period) for n in shape])
    return {
        "steps": 40 + 60 * (place.sum(axis=0) % 3),
        "checkerboard": 40 + 60 * (place.sum(axis=0) % 2),
        "pixels scaled up": cells[tuple(place)],
        "tiles of a detector": photograph() * (0.95 + cells[tuple(place)] / 2000),
        "lines between tiles": np.where((np.indices(shape) % period == 0).any(axis=0), 0.8, 1.0)
        * photograph(),
    }[kind]


@pytest.mark.parametrize("period", [5, 6, 8, 12, 16])
@pytest.mark.parametrize(
    "kind",
    ["steps", "checkerboard", "pixels scaled up", "tiles of a detector", "lines between tiles"],
)
def test_regular_grids_are_not_compressed(kind, period):
    """They have places that recur as the blocks of a compression do, and noise everywhere."""
    for level in (0.5, 2):
        image = grid(kind, period) + level * white((224, 224), 3)
        assert not is_compressed([patch_of(image[None].astype("f4"))])


@pytest.mark.parametrize("quality", [30, 75, 90])
def test_every_channel_of_a_compressed_colour_photograph_is_recognised(quality):
    """The colours are compressed in blocks of 16 pixels, the brightness in blocks of 8."""
    colours = skimage.data.astronaut()[64:320, 64:320]
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    decoded = np.moveaxis(np.asarray(Image.open(file)), -1, 0).astype("f4")
    assert [is_compressed([patch_of(decoded)], c) for c in range(3)] == [True] * 3
    assert not is_compressed([patch_of(decoded + 10 * white(decoded.shape).astype("f4"))])


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (9,), (3, 3), (12, 12, 12)], ids=str)
def test_small_images_are_not_called_compressed(shape):
    """Fewer than 60 blocks do not decide, whatever they contain."""
    clean = np.zeros(shape)
    image = clean if len(shape) == 1 else compressed(clean + 100, 50)
    assert not is_compressed([patch_of(image.astype("f4")[None])])


@pytest.mark.parametrize(("quality", "level"), [(50, 10), (50, 20), (75, 10), (90, 10)])
def test_level_of_compressed_noise_is_that_before_compression(quality, level):
    """Second differences contain a tenth of it at the quality 50."""
    for seed in (0, 1):
        patches = [patch_of(compressed(photograph(), quality, level, seed)[None])]
        measured_level = compressed_level(patches, 0, (0, 0))
        assert measured_level == pytest.approx(level, rel=0.25)


@pytest.mark.parametrize("quality", [50, 85])
@pytest.mark.parametrize("name", ["gravel", "grass", "brick"])
def test_texture_that_was_compressed_is_no_noise(name, quality):
    image = compressed(noise_scenes.photograph(name)(), quality, 0)
    assert compressed_level([patch_of(image[None])], 0, (0, 0)) < 3


def test_suggestion_for_a_compressed_image_removes_its_noise():
    """The loss against the best was 3.4 dB, and next to nothing was gained."""
    case = BY_NAME["camera, JPEG 50"]
    noisy = case.noisy(0)
    result = nd.suggest(noisy, nd.PeronaMalik(), **case.keywords)
    assert result.gain_interval is None
    smooth = nd.diffuse(noisy, result.model, time=result.time, **case.keywords)
    errors = [np.mean((image - case.clean()) ** 2) for image in (noisy, smooth)]
    assert 10 * np.log10(errors[0] / errors[1]) > 3
