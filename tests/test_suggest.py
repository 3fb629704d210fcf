"""What `suggest` promises: an unbiased estimate of the error, the time and parameters of its minimum, targets, warnings, bounded work."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

import napari_diffusion as nd
from hostile import check_sentence
from napari_diffusion.engine.job import make_job
from napari_diffusion.engine.sample import BUDGET, CANDIDATES, sample
from napari_diffusion.estimate import disturbed, estimate_noise, hiding, mean_squared_error, noise_left
from napari_diffusion.estimate.risk import miss
from noisy import evidence, scene, shared_by_smoothing, smoothing_gain, steps, white

# The estimated error


@pytest.mark.parametrize("model", [nd.Linear(), nd.PeronaMalik(kappa=8.0), nd.PeronaMalik(kappa=8.0, sigma=0.7)], ids=repr)
@pytest.mark.parametrize("rising", [False, True], ids=["constant noise", "noise that rises with the mean"])
def test_estimated_error_is_unbiased(model, rising):
    """Over 40 noises the mean difference to the true error is within four of its standard errors."""
    clean = steps((36, 36))[None]
    deviation = (0.1 * clean if rising else np.full(clean.shape, 8.0)).astype("f4")
    differences = []
    for seed in range(40):
        image = (clean + deviation * white(clean.shape, seed)).astype("f4")
        probe = disturbed(image, deviation, seed)
        one, other = (nd.diffuse(u, model, time=1.5, channel_axis=0) for u in (probe.image, probe.other))
        differences.append(mean_squared_error(probe.sums(one, other)) - np.mean((one - clean) ** 2))
    assert abs(np.mean(differences)) < 4 * np.std(differences) / math.sqrt(40)
    assert np.std(differences) < 0.5 * np.mean(deviation**2)  # or nothing would be found out


def test_estimated_error_is_unbiased_where_neighbours_share_the_noise():
    """Noise smoothed over 0.6 voxels: over 40 noises within four standard errors; as if it were white, wrong by the noise's own size."""
    clean, model = steps((36, 36))[None], nd.Linear()
    shared = [[shared_by_smoothing(0.6)] * 2]
    deviation = np.full(clean.shape, 8.0, "f4")
    differences = {"as it is": [], "as white": []}
    for seed in range(40):
        smoothed = scipy.ndimage.gaussian_filter(white(clean.shape, seed), [0, 0.6, 0.6], mode="wrap")
        image = (clean + 8 * smoothed / smoothing_gain(0.6) ** 2).astype("f4")
        for told, correlations in zip(differences, (shared, ()), strict=True):
            probe = disturbed(image, deviation, seed, correlations)
            one, other = (nd.diffuse(u, model, time=0.8, channel_axis=0) for u in (probe.image, probe.other))
            differences[told].append(mean_squared_error(probe.sums(one, other)) - np.mean((one - clean) ** 2))
    error = np.std(differences["as it is"]) / math.sqrt(40)
    assert abs(np.mean(differences["as it is"])) < 4 * error
    assert abs(np.mean(differences["as white"])) > 16  # a quarter of the variance


def test_probe_has_the_correlations_of_the_noise():
    """160 000 voxels tell a correlation to 0.0025 and a little more, as they share; 0.01 is three times that."""
    shared = shared_by_smoothing(0.7)
    zeros = np.zeros((2, 400, 400), "f4")
    first, second = disturbed(zeros, np.ones_like(zeros), 0, [[shared, ()], ()]).pattern
    assert first.std() == pytest.approx(1, rel=1e-3)
    for apart, rho in enumerate(shared, 1):
        assert np.mean(first[apart:] * first[:-apart]) == pytest.approx(rho, abs=0.01)
        assert np.mean(first[:, apart:] * first[:, :-apart]) == pytest.approx(0, abs=0.01)
    assert set(np.unique(second)) == {-1, 1}


def test_noise_left_is_that_of_the_gaussian():
    """The squares of a discrete Gaussian of variance 2T sum to its centre at twice the variance; n = 160 000 signs leave 1 %."""
    image = np.zeros((1, 400, 400), "f4")
    probe = disturbed(image, np.ones_like(image), 0)
    results = [nd.diffuse(u[0], nd.Linear(), time=1.5)[None] for u in (probe.image, probe.other)]
    assert noise_left(probe.sums(*results)) == pytest.approx(scipy.special.ive(0, 6.0), rel=0.01)


@pytest.mark.parametrize("shape", [(30,), (20, 31), (9, 14, 10)], ids=str)
def test_hidden_voxels_are_hidden(shape):
    """What is shown to the filter does not depend on the hidden values: not on one bit."""
    image = white((1, *shape)).astype("f4")
    probe = hiding(image, np.ones_like(image))
    assert 0 < probe.hidden.mean() <= 1 / 3
    changed = np.where(probe.hidden, np.float32(1e3), image)
    np.testing.assert_array_equal(hiding(changed, np.ones_like(image)).other, probe.other)


def test_miss_of_hidden_voxels_is_error_plus_noise():
    clean = steps((60, 60))[None]
    differences = []
    for seed in range(30):
        image = (clean + 8 * white(clean.shape, seed)).astype("f4")
        probe = hiding(image, np.full_like(image, 8.0))
        one, other = (nd.diffuse(u, nd.Linear(), time=0.8, channel_axis=0) for u in (probe.image, probe.other))
        differences.append(miss(probe.sums(one, other)) - np.mean((other - clean)[probe.hidden] ** 2) - 64)
    assert abs(np.mean(differences)) < 4 * np.std(differences) / math.sqrt(30)


# The choice


@pytest.mark.parametrize("sigma", [3.0, 12.0])
def test_time_is_the_best_one_of_a_wave(sigma):
    """A wave of wavelength 24 under linear diffusion: its error is known for every time, and the choice loses less than 0.05 dB."""
    k = np.arange(480)
    wave = 50 * np.cos(2 * np.pi * (k + 0.5) / 24)
    image = (wave + sigma * white((480, 480))).astype("f4")

    def error(time):
        faded = 1 - np.exp(-time * (2 - 2 * np.cos(2 * np.pi / 24)))
        return 1250 * faded**2 + sigma**2 * scipy.special.ive(0, 4 * time) ** 2

    found = nd.suggest(image, nd.Linear())
    best = error(np.geomspace(0.05, 50, 2000)).min()
    assert 10 * math.log10(error(found.time) / best) < 0.05
    assert found.gain == pytest.approx(10 * math.log10(sigma**2 / best), abs=1.0)


@pytest.mark.parametrize("criterion", ["sure", "decorrelation", "j-invariance"])
def test_every_criterion_smooths_and_keeps_edges(criterion):
    clean = steps((96, 96))
    image = (clean + 12 * white(clean.shape)).astype("f4")
    model, time = nd.suggest(image, nd.PeronaMalik(sigma=0.5), criterion=criterion, fixed=["sigma"])
    result = nd.diffuse(image, model, time=time)
    assert np.mean((result - clean) ** 2) < 0.5 * 144  # 3 dB: hidden voxels blur the edges that they stand at


def test_correlated_noise_is_smoothed_as_well_as_it_can_be():
    """Noise smoothed over 0.6 voxels, linear diffusion: 0.25 dB from the best of all times; the rule for white noise, 9.5."""
    clean = scene()
    noise = scipy.ndimage.gaussian_filter(white(clean.shape), 0.6)
    image = (clean + 12 * noise / noise.std()).astype("f4")
    found = nd.suggest(image, nd.Linear())
    errors = [np.mean((nd.diffuse(image, nd.Linear(), time=time) - clean) ** 2) for time in (*np.geomspace(1, 60, 40), found.time)]
    assert 10 * math.log10(errors[-1] / min(errors)) < 0.4


def test_search_beats_the_rule_of_thumb():
    clean = steps((120, 120), height=150.0)
    image = (clean + 30 * white(clean.shape)).astype("f4")
    errors = []
    for thorough in (False, True):
        model, time = nd.suggest(image, nd.PeronaMalik(), thorough=thorough)
        errors.append(np.mean((nd.diffuse(image, model, time=time) - clean) ** 2))
    assert errors[1] < 0.95 * errors[0]


def test_model_is_chosen_too():
    """Sharp blocks ask for a filter that keeps edges, and lengths follow the voxel."""
    image = (steps((72, 72), height=150.0) + 10 * white((72, 72))).astype("f4")
    found = nd.suggest(image, spacing=0.01)
    assert not found.model.isotropic
    assert "Model: " in found.report
    assert "Total variation" in found.report
    nd.diffuse(image, found.model, time=found.time, spacing=0.01)


def test_stripes_ask_for_a_tensor():
    """Noise on a wave whose every place has an edge goes along it only with a tensor: half a decibel and more."""
    y, x = np.indices((96, 96))
    clean = 30 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 10)
    image = (clean + 15 * white(clean.shape)).astype("f4")
    found, named = nd.suggest(image), nd.suggest(image, nd.PeronaMalik())
    assert isinstance(found.model, nd.EdgeEnhancing)
    errors = [np.mean((nd.diffuse(image, one.model, time=one.time) - clean) ** 2) for one in (found, named)]
    assert errors[0] < 10**-0.05 * errors[1]


@pytest.mark.parametrize("model", [nd.EdgeEnhancing(), nd.CoherenceEnhancing(), nd.Hybrid()], ids=lambda model: model.name)
def test_neighbourhoods_follow_the_voxel(model):
    """Voxels of 0.1: a neighbourhood of so many voxels, unless it was given."""
    image = (steps((40, 40)) + 8 * white((40, 40))).astype("f4")
    assert nd.suggest(image, model, spacing=0.1, thorough=False).model.rho == pytest.approx(0.1 * model.rho)
    assert nd.suggest(image, model, spacing=0.1, thorough=False, fixed=["rho"]).model.rho == model.rho


def test_numbers_are_short():
    """Three digits, which the report shows as they are; but a time that was asked for is that time."""
    image = (steps((60, 60)) + 8 * white((60, 60))).astype("f4")
    found = nd.suggest(image, nd.PeronaMalik(), spacing=0.7)
    for value in (found.model.kappa, found.model.sigma, found.time):
        assert value == float(f"{value:.3g}")
    assert f"time = {found.time:g} pixel²" in found.report
    asked = nd.suggest(image, nd.PeronaMalik(), spacing=0.7, fwhm=3.21)
    assert asked.time == pytest.approx((3.21 / 2.354820045) ** 2 / 2, rel=1e-9)


def test_the_flux_of_total_variation_is_a_matter_of_units():
    """Its product with the time alone counts: three times the flux for a third of the time is the same picture to 1 % of the noise."""
    image = (steps((60, 60)) + 8 * white((60, 60))).astype("f4")
    found = nd.suggest(image, nd.TotalVariation())
    other = nd.diffuse(image, nd.TotalVariation(kappa=found.model.kappa / 3, epsilon=0.03), time=3 * found.time)
    np.testing.assert_allclose(nd.diffuse(image, found.model, time=found.time).mean(), other.mean(), rtol=1e-5)
    assert np.std(nd.diffuse(image, found.model, time=found.time) - other) < 0.05 * 8


def test_same_image_same_numbers():
    image = (steps((80, 70)) + 8 * white((80, 70))).astype("f4")
    first = nd.suggest(image, nd.PeronaMalik())
    np.random.seed(5)  # noqa: NPY002 - whatever others do with NumPy's own numbers
    assert nd.suggest(image, nd.PeronaMalik()) == first


def test_width_that_is_asked_for():
    image = (steps((80, 70)) + 8 * white((80, 70))).astype("f4")
    found = nd.suggest(image, nd.PeronaMalik(), fwhm=4.0)
    assert nd.equivalent_sigma(found.time) == pytest.approx(4 / 2.3548, rel=1e-4)
    assert "as asked for" in found.report


def test_noise_reduction_that_is_asked_for():
    """On flat ground the noise is known; times stand in steps of a quarter, a seventh of the noise in 2-D."""
    image = (100 + 5 * white((200, 200))).astype("f4")
    model, time = nd.suggest(image, nd.Linear(), noise_reduction=3.0)
    assert nd.diffuse(image, model, time=time).std() == pytest.approx(5 / 3, rel=0.15)


def test_others_share_the_choice():
    """Two images of different noise, chosen for together: between what each would get."""
    images = [(steps((90, 90)) + sigma * white((90, 90), seed)).astype("f4") for seed, sigma in enumerate((4.0, 16.0))]
    alone = [nd.suggest(image, nd.Linear()) for image in images]
    both = nd.suggest(images[0], nd.Linear(), others=[images[1]])
    assert alone[0].time < both.time < alone[1].time
    # Each has its noise: together, the flattest quarter would be the quiet image.
    assert both.noise.sigma == pytest.approx(math.sqrt((4**2 + 16**2) / 2), rel=0.15)  # 4 % for each
    assert both == nd.suggest(images[0], nd.Linear(), others=[images[1]])


# What is looked at


class Counting:
    """An array that counts what is read of it."""

    def __init__(self, shape):
        self.shape, self.dtype, self.ndim, self.read = shape, np.dtype(np.float32), len(shape), 0

    def __getitem__(self, index):
        part = white([len(range(*i.indices(n))) for i, n in zip(index, self.shape, strict=True)]).astype("f4")
        self.read += part.size
        return part


@pytest.mark.parametrize("shape", [(5000, 6000, 7000), (300, 2000, 2000), (40_000, 50_000)], ids=str)
def test_a_large_image_is_read_in_pieces(shape):
    image = Counting(shape)
    pieces = sample([make_job(image, 1.0, None, None, None, None, "mask", False, None)])
    assert sum(piece.field.size for piece in pieces) <= BUDGET
    assert image.read <= 2 * CANDIDATES * BUDGET


def test_frames_are_looked_at_together():
    frames = np.stack([steps((70, 60)) + sigma * white((70, 60), 3) for sigma in (2.0, 12.0)]).astype("f4")
    both = nd.suggest(frames, nd.Linear(), axes=(1, 2))
    assert nd.suggest(frames[0], nd.Linear()).time < both.time < nd.suggest(frames[1], nd.Linear()).time


def test_outside_the_mask_nothing_counts():
    image = (steps((90, 80)) + 6 * white((90, 80))).astype("f4")
    mask = np.zeros(image.shape, bool)
    mask[:, :60] = True
    wild = np.where(mask, image, 1e4 * white(image.shape, 2)).astype("f4")
    for keyword, walls in (("mask", mask), ("labels", mask.astype(int))):
        first, second = (nd.suggest(u, nd.PeronaMalik(), thorough=False, **{keyword: walls}) for u in (image, wild))
        assert (first.model, first.time, first.noise) == (second.model, second.time, second.noise)


# Warnings


def warned(image, *words, **options):
    told = nd.suggest(image.astype("f4"), nd.PeronaMalik(), thorough=False, **options).warnings
    return any(all(word in text for word in words) for text in told)


def test_correlated_noise_is_told():
    clean = steps((128, 128))
    for noise, expected in ((white(clean.shape), False), (2 * scipy.ndimage.gaussian_filter(white(clean.shape), 0.7), True)):
        assert warned(clean + 8 * noise, "correlated", "interpolated") is expected
        assert warned(clean + 8 * noise, "correlated", "does not allow for", criterion="decorrelation") is expected


def test_fine_detail_is_not_taken_for_correlated_noise():
    """What was smoothed over 1.5 voxels differs more over four voxels than over three: the noise added to it is told, not it."""
    detail = 20 * scipy.ndimage.gaussian_filter(white((200, 200), 4), 1.5) / 0.188
    image = detail + 2 * white(detail.shape)
    assert warned(image, "more like fine detail")
    assert estimate_noise(evidence(image)).sigma == pytest.approx(2, rel=0.1)


def test_saturation_is_told():
    image = scene() + 10 * white((256, 256))
    assert not warned(image, "saturated")
    assert warned(np.minimum(image, 110), "saturated")


def test_pure_noise_is_told():
    assert warned(white((64, 64)), "no structure")
    y, x = np.indices((96, 96))
    stripes = 60 * (np.floor((0.8 * x + 0.6 * y) / 9) % 2) + 15 * white((96, 96))
    found = nd.suggest(stripes, nd.PeronaMalik(kappa=1.57, sigma=0.5), fixed=["kappa", "sigma"])
    assert found.time == 60  # as long as it was tried, and there are the stripes
    assert not any("no structure" in text for text in found.warnings)


def test_little_to_gain_is_told():
    rough = np.random.default_rng(0).choice([0.0, 100.0], (64, 64)) + white((64, 64))
    assert warned(rough, "smooth")


def test_few_voxels_are_told():
    assert warned(steps((20, 20)) + 8 * white((20, 20)), "400 voxels")


@pytest.mark.parametrize(
    "options",
    [{"fwhm": 0}, {"fwhm": "wide"}, {"noise_reduction": 1}, {"fwhm": 2, "noise_reduction": 2}, {"noise": "loud"}, {"criterion": "taste"}],
    ids=str,
)
def test_wrong_wishes_are_one_sentence(options):
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        nd.suggest(steps((30, 30)) + 8 * white((30, 30)), nd.PeronaMalik(), **options)
    check_sentence(caught.value)


def test_report_has_units_and_says_why():
    image = (steps((60, 60)) + 8 * white((60, 60))).astype("f4")
    found = nd.suggest(image, nd.PeronaMalik(), spacing=0.5, unit="µm")
    for words in ("Noise: Gaussian, standard deviation", "intensity/µm", "sigma = ", "µm²", "dB", "smallest"):
        assert words in found.report
    assert found.report.splitlines() == [*found.reasons, *(f"Warning: {text}" for text in found.warnings)]


@pytest.mark.parametrize("exponent", [-200, -70, -40, 40, 60])
def test_very_small_and_very_large_values_change_nothing_but_the_unit(exponent):
    """A power of two is exact; the numbers are rounded to three digits, and squares of such values leave the range of float32."""
    image, scale = steps((40, 40)) + 5 * white((40, 40), 0), 2.0**exponent
    here, there = nd.suggest(image, nd.PeronaMalik()), nd.suggest(image * scale, nd.PeronaMalik())
    assert there.time == here.time
    assert there.model.kappa / scale == pytest.approx(here.model.kappa, rel=1e-2)
