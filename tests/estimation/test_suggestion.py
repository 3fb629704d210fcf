"""Suggestions: time and parameters of minimum error, targets, sampling, warnings."""

import math
import re

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import skimage.data

import napari_diffusion as nd
from helpers.hostile import check_sentence
from helpers.lazy_arrays import GeneratedNoise, RecordingArray
from helpers.noisy import blocks, evidence, patch_of, smooth_scene, white
from helpers.problems import problem_of
from napari_diffusion.estimation.noise.kinds import estimate_noise
from napari_diffusion.estimation.patches import MAX_VOXELS, PATCHES_READ, sample_patches
from napari_diffusion.estimation.report.words import SATURATED_SHARE, saturated_share
from napari_diffusion.estimation.risk import MIN_NOISE_SHARE


@pytest.mark.parametrize("sigma", [3.0, 12.0])
def test_time_minimises_the_error_of_a_wave(sigma):
    """A wave of wavelength 24 under linear diffusion, whose error is known for every time.

    The choice loses less than 0.05 dB.
    """
    k = np.arange(480)
    wave = 50 * np.cos(2 * np.pi * (k + 0.5) / 24)
    image = (wave + sigma * white((480, 480))).astype("f4")

    def error(time):
        removed = 1 - np.exp(-time * (2 - 2 * np.cos(2 * np.pi / 24)))
        return 1250 * removed**2 + sigma**2 * scipy.special.ive(0, 4 * time) ** 2

    result = nd.suggest(image, nd.Linear())
    best = error(np.geomspace(0.05, 50, 2000)).min()
    assert 10 * math.log10(error(result.time) / best) < 0.05
    assert result.gain == pytest.approx(10 * math.log10(sigma**2 / best), abs=1.0)


@pytest.mark.parametrize("model", ["auto", nd.Linear(), nd.PeronaMalik()], ids=str)
def test_reported_share_of_noise_agrees_with_independent_noise(model):
    """The part of the removed image that changes between two independent noises is noise.

    A filter that responds to the noise of the image responds to twice the noise, too.
    """
    clean = blocks((150, 150))
    images = [(clean + 10 * white(clean.shape, seed)).astype("f4") for seed in (1, 2)]
    result = nd.suggest(images[0], model)
    removed = [u - nd.diffuse(u, result.model, time=result.time) for u in images]
    share = np.mean((removed[0] - removed[1]) ** 2) / 2 / np.mean(removed[0] ** 2)
    assert result.noise_share == pytest.approx(share, abs=0.08)
    assert f"{100 * result.noise_share:.0f} % is noise" in result.summary


@pytest.mark.parametrize("criterion", ["sure", "decorrelation", "j-invariance"])
def test_every_criterion_smooths_and_keeps_edges(criterion):
    """The gain is at least 3 dB: with hidden voxels, edges beside them are blurred."""
    clean = blocks((96, 96))
    image = (clean + 12 * white(clean.shape)).astype("f4")
    model, time = nd.suggest(image, nd.PeronaMalik(sigma=0.5), criterion=criterion, fixed=["sigma"])
    result = nd.diffuse(image, model, time=time)
    assert np.mean((result - clean) ** 2) < 0.5 * 144


def test_time_for_correlated_noise_is_nearly_the_best():
    """Noise smoothed over 0.6 voxels, linear diffusion.

    The choice loses 0.25 dB against the best time; a choice for white noise loses 9.5 dB.
    """
    clean = smooth_scene()
    noise = scipy.ndimage.gaussian_filter(white(clean.shape), 0.6)
    image = (clean + 12 * noise / noise.std()).astype("f4")
    result = nd.suggest(image, nd.Linear())
    errors = [
        np.mean((nd.diffuse(image, nd.Linear(), time=time) - clean) ** 2)
        for time in (*np.geomspace(1, 60, 40), result.time)
    ]
    assert 10 * math.log10(errors[-1] / min(errors)) < 0.4


def test_search_beats_the_rule_of_thumb():
    clean = blocks((120, 120), height=150.0)
    image = (clean + 30 * white(clean.shape)).astype("f4")
    errors = []
    for thorough in (False, True):
        model, time = nd.suggest(image, nd.PeronaMalik(), thorough=thorough)
        errors.append(np.mean((nd.diffuse(image, model, time=time) - clean) ** 2))
    assert errors[1] < 0.95 * errors[0]


def test_model_is_chosen_too():
    """The model for sharp blocks keeps edges, and its lengths follow the voxel."""
    image = (blocks((72, 72), height=150.0) + 10 * white((72, 72))).astype("f4")
    result = nd.suggest(image, spacing=0.01)
    assert not result.model.isotropic
    assert "Model: " in result.report
    assert "Total variation" in result.report
    nd.diffuse(image, result.model, time=result.time, spacing=0.01)


def test_tensor_model_is_chosen_for_stripes():
    """A wave has an edge everywhere, along which only a tensor model removes noise.

    The gain over Perona-Malik is at least half a decibel.
    """
    y, x = np.indices((96, 96))
    clean = 30 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 10)
    image = (clean + 15 * white(clean.shape)).astype("f4")
    results = [nd.suggest(image), nd.suggest(image, nd.PeronaMalik())]
    assert isinstance(results[0].model, nd.EdgeEnhancing)
    filtered = [nd.diffuse(image, result.model, time=result.time) for result in results]
    errors = [np.mean((u - clean) ** 2) for u in filtered]
    assert errors[0] < 10**-0.05 * errors[1]


@pytest.mark.parametrize(
    "model",
    [nd.EdgeEnhancing(), nd.CoherenceEnhancing(), nd.Hybrid()],
    ids=lambda model: model.name,
)
def test_neighbourhoods_follow_the_voxel(model):
    """Voxels of 0.1: the default neighbourhood is a number of voxels, unless it is fixed."""
    image = (blocks((40, 40)) + 8 * white((40, 40))).astype("f4")
    options = {"spacing": 0.1, "thorough": False}
    assert nd.suggest(image, model, **options).model.rho == pytest.approx(0.1 * model.rho)
    assert nd.suggest(image, model, **options, fixed=["rho"]).model.rho == model.rho


def test_numbers_have_three_digits():
    """The report shows them without rounding. A time that a given width fixes is not rounded."""
    image = (blocks((60, 60)) + 8 * white((60, 60))).astype("f4")
    result = nd.suggest(image, nd.PeronaMalik(), spacing=0.7)
    for value in (result.model.kappa, result.model.sigma, result.time):
        assert value == float(f"{value:.3g}")
    assert f"time = {result.time:g} pixel²" in result.report
    fixed = nd.suggest(image, nd.PeronaMalik(), spacing=0.7, fwhm=3.21)
    assert fixed.time == pytest.approx((3.21 / 2.354820045) ** 2 / 2, rel=1e-9)


def test_flux_of_total_variation_counts_as_product_with_time():
    """A third of the flux, with three times the epsilon, for three times the time.

    The equation is then the same, and the results agree to rounding. With the same epsilon, it
    differs where gradients are of the order of epsilon kappa: by 0.3 % of the noise (measured).
    """
    image = (blocks((60, 60)) + 8 * white((60, 60))).astype("f4")
    result = nd.suggest(image, nd.TotalVariation())
    kappa, epsilon = result.model.kappa, result.model.epsilon
    filtered = nd.diffuse(image, result.model, time=result.time)
    for factor, tolerance in ((3, 1e-5), (1, 0.01)):
        model = nd.TotalVariation(kappa=kappa / 3, epsilon=factor * epsilon)
        other = nd.diffuse(image, model, time=3 * result.time)
        np.testing.assert_allclose(filtered.mean(), other.mean(), rtol=1e-5)
        assert np.std(filtered - other) < tolerance * 8


def test_same_image_gives_same_numbers():
    image = (blocks((80, 70)) + 8 * white((80, 70))).astype("f4")
    first = nd.suggest(image, nd.PeronaMalik())
    np.random.seed(5)  # noqa: NPY002 - other code may use NumPy's global random state
    assert nd.suggest(image, nd.PeronaMalik()) == first


def test_width_is_as_requested():
    image = (blocks((80, 70)) + 8 * white((80, 70))).astype("f4")
    result = nd.suggest(image, nd.PeronaMalik(), fwhm=4.0)
    assert nd.equivalent_sigma(result.time) == pytest.approx(4 / 2.3548, rel=1e-4)
    assert "as asked for" in result.report


def test_noise_reduction_is_as_requested():
    """A flat image, in which all that is left is noise.

    Consecutive times have the ratio 1.25, which is a seventh of the noise level in 2-D.
    """
    image = (100 + 5 * white((200, 200))).astype("f4")
    model, time = nd.suggest(image, nd.Linear(), noise_reduction=3.0)
    assert nd.diffuse(image, model, time=time).std() == pytest.approx(5 / 3, rel=0.15)


def test_other_images_share_the_choice():
    """The time for two images of different noise is between the times for each.

    Each image keeps its noise level: the flattest quarter of both would be the quiet image. The
    level of each image has an error of 4 %.
    """
    images = [
        (blocks((90, 90)) + sigma * white((90, 90), seed)).astype("f4")
        for seed, sigma in enumerate((4.0, 16.0))
    ]
    alone = [nd.suggest(image, nd.Linear()) for image in images]
    both = nd.suggest(images[0], nd.Linear(), others=[images[1]])
    assert alone[0].time < both.time < alone[1].time
    assert both.noise.sigma == pytest.approx(math.sqrt((4**2 + 16**2) / 2), rel=0.15)
    assert both == nd.suggest(images[0], nd.Linear(), others=[images[1]])


# Sampling


@pytest.mark.parametrize(
    "shape", [(5000, 6000, 7000), (300, 2000, 2000), (40_000, 50_000)], ids=str
)
def test_large_image_is_read_in_patches(shape):
    image = RecordingArray(GeneratedNoise(shape))
    problem, _ = problem_of(image, nd.Linear(), time=0.0, nan="mask")
    patches = sample_patches([problem])
    assert sum(patch.field.size for patch in patches) <= MAX_VOXELS
    assert sum(image.reads) <= 2 * PATCHES_READ * MAX_VOXELS


def test_next_frame_is_read_only_if_a_frame_has_no_calm_part():
    counts = []
    for picture in (
        smooth_scene((128, 128)),
        30 * scipy.ndimage.gaussian_filter(white((128, 128), 4), 0.7) / 0.4,
    ):
        noise = 8 * white((2, *picture.shape))
        frames = RecordingArray((picture + noise).astype("f4"))
        nd.suggest(frames, nd.Linear(), axes=(1, 2), fwhm=2.0)
        counts.append(sum(frames.reads))
    assert counts[1] == 2 * counts[0] > 0


def test_frames_share_the_choice():
    noisy = [blocks((70, 60)) + sigma * white((70, 60), 3) for sigma in (2.0, 12.0)]
    frames = np.stack(noisy).astype("f4")
    both = nd.suggest(frames, nd.Linear(), axes=(1, 2))
    alone = [nd.suggest(frame, nd.Linear()) for frame in frames]
    assert alone[0].time < both.time < alone[1].time


def test_voxels_outside_the_mask_do_not_count():
    image = (blocks((90, 80)) + 6 * white((90, 80))).astype("f4")
    mask = np.zeros(image.shape, bool)
    mask[:, :60] = True
    wild = np.where(mask, image, 1e4 * white(image.shape, 2)).astype("f4")
    for keyword, walls in (("mask", mask), ("labels", mask.astype(int))):
        first, second = (
            nd.suggest(u, nd.PeronaMalik(), thorough=False, **{keyword: walls})
            for u in (image, wild)
        )
        assert (first.model, first.time, first.noise) == (second.model, second.time, second.noise)


# Warnings


def warned(image, *words, **options):
    result = nd.suggest(image.astype("f4"), nd.PeronaMalik(), thorough=False, **options)
    return any(all(word in text for word in words) for text in result.warnings)


def test_warning_about_correlated_noise():
    clean = smooth_scene((128, 128))
    for noise, expected in (
        (white(clean.shape), False),
        (2 * scipy.ndimage.gaussian_filter(white(clean.shape), 0.7), True),
    ):
        image, other = clean + 8 * noise, {"criterion": "decorrelation"}
        assert warned(image, "correlated", "interpolated") is expected
        assert warned(image, "correlated", "does not allow for", **other) is expected


def test_fine_detail_does_not_count_as_correlated_noise():
    """Detail smoothed over 1.5 voxels differs more over four voxels than over three.

    The level is that of the noise added to it, and the report says that it may be higher.
    """
    detail = 20 * scipy.ndimage.gaussian_filter(white((200, 200), 4), 1.5) / 0.188
    image = detail + 2 * white(detail.shape)
    result = nd.suggest(image, nd.Linear(), fwhm=1.0)
    assert any("more like fine detail" in text for text in result.warnings)
    assert "or more if neighbouring voxels share it" in result.reasons[0]
    scene = smooth_scene((128, 128))
    plain = nd.suggest(scene + 10 * white(scene.shape), nd.Linear(), fwhm=1.0)
    assert "or more" not in plain.reasons[0]
    assert estimate_noise(evidence(image)).sigma == pytest.approx(2, rel=0.1)


def test_warning_about_saturation():
    image = smooth_scene((128, 128)) + 10 * white((128, 128))
    assert not warned(image, "saturated")
    assert warned(np.minimum(image, 110), "saturated")


def test_background_set_to_zero_is_not_saturated():
    """Noise beside it is cut off by nothing, unlike that of values clipped at 0."""
    body = np.hypot(*(np.indices((128, 128)) - 63.5)) < 50
    image = np.where(body, 100 + 10 * white(body.shape), 0.0)
    parts = [
        patch_of(field[None].astype("f4"), valid=np.ones(body.shape, bool))
        for field in (image, np.maximum(image - 100, 0))
    ]
    assert saturated_share(parts[:1], 10.0) < SATURATED_SHARE
    assert saturated_share(parts[1:], 10.0) > 0.4


def test_warning_about_removed_detail():
    """A picture in every voxel, twice as strong as the noise: smoothing removes mostly picture."""
    image = (20 * white((90, 90), 4) + blocks((90, 90)) + 10 * white((90, 90))).astype("f4")
    frames = np.stack([image, image + 10 * white((90, 90), 3).astype("f4")])
    result = nd.suggest(frames, nd.Linear(), axes=(1, 2), fwhm=1.0)
    assert result.noise_share < 0.5
    assert any("the rest is detail" in text for text in result.warnings)
    sharp = nd.suggest(blocks((90, 90)) + 10 * white((90, 90)), nd.PeronaMalik())
    assert not any("the rest is detail" in text for text in sharp.warnings)


def test_detail_is_not_spared_for_a_large_gain():
    """A Gaussian removes the grass of a photograph with the noise of its sky, for 2 dB.

    The share of noise is measured with a second image of independent noise.
    """
    clean = skimage.data.camera().astype("f4")
    images = [clean + 7.6 * white(clean.shape, seed) for seed in (1, 2)]
    result = nd.suggest(images[0], nd.Linear())
    removed = [u - nd.diffuse(u, result.model, time=result.time) for u in images]
    share = np.mean((removed[0] - removed[1]) ** 2) / 2 / np.mean(removed[0] ** 2)
    assert share < MIN_NOISE_SHARE
    assert 10 * np.log10(7.6**2 / np.mean((images[0] - removed[0] - clean) ** 2)) > 2
    assert not any("Detail is spared" in text for text in result.warnings)


@pytest.mark.parametrize("model", [nd.PeronaMalik(), "auto"], ids=str)
def test_detail_is_spared_beside_an_empty_background(model):
    """Detail far above the noise, and twice as much empty background, which gives nearly all gain.

    The noise of the background is removed by 6 dB. The part removed from the detail is noise,
    measured with a second image of independent noise. At minimum error, 6 % of it would be noise
    (and 94 % detail), for 0.5 dB more.
    """
    detail = scipy.ndimage.gaussian_filter(white((100, 200), 4), 1.0)
    detail *= np.where(np.arange(200) < 70, 600 / detail.std(), 0)
    images = [(detail + 10 * white(detail.shape, seed)).astype("f4") for seed in (1, 2)]
    result = nd.suggest(images[0], model)
    removed = [u - nd.diffuse(u, result.model, time=result.time) for u in images]
    change = (removed[0] - removed[1])[:, :66]
    assert np.mean(change**2) / 2 > 0.4 * np.mean(removed[0][:, :66] ** 2)
    background = np.mean((images[0] - removed[0])[:, 74:] ** 2)
    assert background < 100 / 4  # 6 dB
    assert any("Detail is spared" in text for text in result.warnings)


def test_noise_left_is_at_most_the_error():
    """Gradients below the noise are steepened, so that a small probe grows.

    The noise that is left is still no larger than the error.
    """
    image = blocks((96, 96)) + 10 * white((96, 96))
    result = nd.suggest(image, nd.PeronaMalik(kappa=0.5), fixed=["kappa"])
    assert result.noise_left <= 10 ** (-result.gain / 20)


def test_warning_about_uncertain_noise():
    """An image with the wrong number of columns: most voxels differ from their neighbours.

    The reported gain is not negative, and no interval is claimed.
    """
    image = (blocks((96, 96)) + 4 * white((96, 96))).reshape(16, 24, 24)
    result = nd.suggest(image, nd.Linear(), fwhm=1.0)
    assert 2 * result.noise.error > result.noise.sigma
    assert result.gain >= 0
    assert result.gain_interval is None
    assert any("too uncertain" in text for text in result.warnings)


def test_warning_about_pure_noise():
    """Stripes that are still best at the longest time tried are no reason for the warning."""
    assert warned(white((64, 64)), "no structure")
    y, x = np.indices((96, 96))
    stripes = 60 * (np.floor((0.8 * x + 0.6 * y) / 9) % 2) + 15 * white((96, 96))
    result = nd.suggest(stripes, nd.PeronaMalik(kappa=1.57, sigma=0.5), fixed=["kappa", "sigma"])
    assert result.time == 60
    assert not any("no structure" in text for text in result.warnings)


def test_warning_about_a_small_gain():
    assert warned(skimage.data.brick()[:128, :128], "next to nothing to gain")


def test_warning_about_a_small_image():
    assert warned(blocks((20, 20)) + 8 * white((20, 20)), "400 voxels")


@pytest.mark.parametrize(
    "options",
    [
        {"fwhm": 0},
        {"fwhm": "wide"},
        {"noise_reduction": 1},
        {"fwhm": 2, "noise_reduction": 2},
        {"noise": "loud"},
        {"criterion": "taste"},
    ],
    ids=str,
)
def test_error_of_invalid_options_is_one_sentence(options):
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        nd.suggest(blocks((30, 30)) + 8 * white((30, 30)), nd.PeronaMalik(), **options)
    check_sentence(caught.value)


def test_report_writes_an_error_of_ten_and_more_without_an_exponent():
    image = 1e4 * (blocks((60, 60)) + 8 * white((60, 60)))
    report = nd.suggest(image, nd.PeronaMalik(), thorough=False).report
    (error,) = re.findall(r"standard deviation \S+ ± (\S+) \[intensity\]", report)
    assert error.isdecimal()


def test_report_has_units_and_reasons():
    image = (blocks((60, 60)) + 8 * white((60, 60))).astype("f4")
    result = nd.suggest(image, nd.PeronaMalik(), spacing=0.5, unit="µm")
    for words in (
        "Noise: Gaussian, standard deviation",
        "intensity/µm",
        "sigma = ",
        "µm²",
        "dB",
        "smallest",
    ):
        assert words in result.report
    warnings = [f"Warning: {text}" for text in result.warnings]
    assert result.report.splitlines() == [result.summary, *warnings, "", *result.reasons]


@pytest.fixture(scope="module")
def small_image():
    """A small image, and the suggestion for it."""
    image = blocks((40, 40)) + 5 * white((40, 40), 0)
    return image, nd.suggest(image, nd.PeronaMalik())


@pytest.mark.parametrize("exponent", [-200, -70, 60])
def test_suggestion_scales_with_very_small_and_very_large_values(exponent, small_image):
    """The scale is a power of two, so that it is exact; the squares exceed the range of float32.

    The tolerance is that of numbers of three digits.
    """
    (image, plain), scale = small_image, 2.0**exponent
    scaled = nd.suggest(image * scale, nd.PeronaMalik())
    assert scaled.time == plain.time
    assert scaled.model.kappa / scale == pytest.approx(plain.model.kappa, rel=1e-2)


def test_magnitudes_near_zero_get_a_suggestion():
    """A probe takes values near 0 below it, and a model of magnitudes depends on their squares."""
    truth = np.zeros((64, 96))
    truth[16:48, 16:80] = 120.0
    rng = np.random.default_rng(0)
    real, imaginary = rng.normal(0.0, 10.0, (2, *truth.shape))
    image = np.hypot(truth + real, imaginary).astype(np.float32)
    suggestion = nd.suggest(image, nd.Rician())
    assert suggestion.model.sigma_noise == pytest.approx(10.0, rel=0.1)
