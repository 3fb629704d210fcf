"""What `suggest` promises: the time and parameters of the smallest error, targets, warnings, bounded work."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import skimage.data

import napari_diffusion as nd
from helpers.hostile import check_sentence
from helpers.noisy import evidence, scene, steps, white
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.estimation.noise_kinds import estimate_noise
from napari_diffusion.estimation.patches import MAX_VOXELS, PATCHES_READ, sample_patches
from napari_diffusion.estimation.risk import MIN_NOISE_SHARE


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


@pytest.mark.parametrize("model", ["auto", nd.Linear(), nd.PeronaMalik()], ids=str)
def test_told_share_of_noise_is_that_of_another_noise(model):
    """What changes in the removed part with the noise; a filter that follows the noise of the image follows twice of it, too."""
    clean = steps((150, 150))
    one, two = ((clean + 10 * white(clean.shape, seed)).astype("f4") for seed in (1, 2))
    found = nd.suggest(one, model)
    removed = [u - nd.diffuse(u, found.model, time=found.time) for u in (one, two)]
    share = np.mean((removed[0] - removed[1]) ** 2) / 2 / np.mean(removed[0] ** 2)
    assert found.noise_share == pytest.approx(share, abs=0.08)
    assert f"{100 * found.noise_share:.0f} % of what is removed is noise" in found.report


@pytest.mark.parametrize("criterion", ["sure", "decorrelation", "j-invariance"])
def test_every_criterion_smooths_and_keeps_edges(criterion):
    clean = steps((96, 96))
    image = (clean + 12 * white(clean.shape)).astype("f4")
    model, time = nd.suggest(image, nd.PeronaMalik(sigma=0.5), criterion=criterion, fixed=["sigma"])
    result = nd.diffuse(image, model, time=time)
    assert (
        np.mean((result - clean) ** 2) < 0.5 * 144
    )  # 3 dB: hidden voxels blur the edges that they stand at


def test_correlated_noise_is_smoothed_as_well_as_it_can_be():
    """Noise smoothed over 0.6 voxels, linear diffusion: 0.25 dB from the best of all times; the rule for white noise, 9.5."""
    clean = scene()
    noise = scipy.ndimage.gaussian_filter(white(clean.shape), 0.6)
    image = (clean + 12 * noise / noise.std()).astype("f4")
    found = nd.suggest(image, nd.Linear())
    errors = [
        np.mean((nd.diffuse(image, nd.Linear(), time=time) - clean) ** 2)
        for time in (*np.geomspace(1, 60, 40), found.time)
    ]
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
    errors = [
        np.mean((nd.diffuse(image, one.model, time=one.time) - clean) ** 2)
        for one in (found, named)
    ]
    assert errors[0] < 10**-0.05 * errors[1]


@pytest.mark.parametrize(
    "model",
    [nd.EdgeEnhancing(), nd.CoherenceEnhancing(), nd.Hybrid()],
    ids=lambda model: model.name,
)
def test_neighbourhoods_follow_the_voxel(model):
    """Voxels of 0.1: a neighbourhood of so many voxels, unless it was given."""
    image = (steps((40, 40)) + 8 * white((40, 40))).astype("f4")
    assert nd.suggest(image, model, spacing=0.1, thorough=False).model.rho == pytest.approx(
        0.1 * model.rho
    )
    assert (
        nd.suggest(image, model, spacing=0.1, thorough=False, fixed=["rho"]).model.rho == model.rho
    )


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
    other = nd.diffuse(
        image, nd.TotalVariation(kappa=found.model.kappa / 3, epsilon=0.03), time=3 * found.time
    )
    np.testing.assert_allclose(
        nd.diffuse(image, found.model, time=found.time).mean(), other.mean(), rtol=1e-5
    )
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
    images = [
        (steps((90, 90)) + sigma * white((90, 90), seed)).astype("f4")
        for seed, sigma in enumerate((4.0, 16.0))
    ]
    alone = [nd.suggest(image, nd.Linear()) for image in images]
    both = nd.suggest(images[0], nd.Linear(), others=[images[1]])
    assert alone[0].time < both.time < alone[1].time
    # Each has its noise: together, the flattest quarter would be the quiet image.
    assert both.noise.sigma == pytest.approx(
        math.sqrt((4**2 + 16**2) / 2), rel=0.15
    )  # 4 % for each
    assert both == nd.suggest(images[0], nd.Linear(), others=[images[1]])


# What is looked at


class Counting:
    """An array that counts what is read of it."""

    def __init__(self, shape):
        self.shape, self.dtype, self.ndim, self.read = shape, np.dtype(np.float32), len(shape), 0

    def __getitem__(self, index):
        part = white(
            [len(range(*i.indices(n))) for i, n in zip(index, self.shape, strict=True)]
        ).astype("f4")
        self.read += part.size
        return part


@pytest.mark.parametrize(
    "shape", [(5000, 6000, 7000), (300, 2000, 2000), (40_000, 50_000)], ids=str
)
def test_a_large_image_is_read_in_pieces(shape):
    image = Counting(shape)
    pieces = sample_patches([make_problem(image, domain=Domain(nan="mask"))])
    assert sum(piece.field.size for piece in pieces) <= MAX_VOXELS
    assert image.read <= 2 * PATCHES_READ * MAX_VOXELS


def test_the_next_frame_is_read_where_a_frame_has_no_calm_place():
    class Frames(Counting):
        def __init__(self, picture):
            super().__init__((2, *picture.shape))
            self.frames = (picture + 8 * white(self.shape)).astype("f4")

        def __getitem__(self, index):
            self.read += self.frames[index].size
            return self.frames[index]

    counts = []
    for picture in (scene(), 30 * scipy.ndimage.gaussian_filter(white((256, 256), 4), 0.7) / 0.4):
        frames = Frames(picture)
        nd.suggest(frames, nd.Linear(), axes=(1, 2), thorough=False)
        counts.append(frames.read)
    assert counts[1] == 2 * counts[0] > 0


def test_frames_are_looked_at_together():
    frames = np.stack(
        [steps((70, 60)) + sigma * white((70, 60), 3) for sigma in (2.0, 12.0)]
    ).astype("f4")
    both = nd.suggest(frames, nd.Linear(), axes=(1, 2))
    assert (
        nd.suggest(frames[0], nd.Linear()).time
        < both.time
        < nd.suggest(frames[1], nd.Linear()).time
    )


def test_outside_the_mask_nothing_counts():
    image = (steps((90, 80)) + 6 * white((90, 80))).astype("f4")
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
    told = nd.suggest(image.astype("f4"), nd.PeronaMalik(), thorough=False, **options).warnings
    return any(all(word in text for word in words) for text in told)


def test_correlated_noise_is_told():
    clean = steps((128, 128))
    for noise, expected in (
        (white(clean.shape), False),
        (2 * scipy.ndimage.gaussian_filter(white(clean.shape), 0.7), True),
    ):
        assert warned(clean + 8 * noise, "correlated", "interpolated") is expected
        assert (
            warned(clean + 8 * noise, "correlated", "does not allow for", criterion="decorrelation")
            is expected
        )


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


def test_detail_that_goes_is_told():
    """A picture in every voxel, in half as much noise: a mean over voxels takes mostly picture."""
    image = (20 * white((90, 90), 4) + steps((90, 90)) + 10 * white((90, 90))).astype("f4")
    told = nd.suggest(
        np.stack([image, image + 10 * white((90, 90), 3).astype("f4")]),
        nd.Linear(),
        axes=(1, 2),
        fwhm=1.0,
    )
    assert told.noise_share < 0.5
    assert any("the rest is detail" in text for text in told.warnings)
    assert not any(
        "the rest is detail" in text
        for text in nd.suggest(steps((90, 90)) + 10 * white((90, 90)), nd.PeronaMalik()).warnings
    )


def test_detail_goes_where_much_is_gained():
    """The grass of a photograph goes with the noise of its sky, for 4 dB."""
    clean = skimage.data.camera().astype("f4")
    found = nd.suggest(clean + 7.6 * white(clean.shape), nd.PeronaMalik())
    assert found.noise_share < MIN_NOISE_SHARE
    assert found.gain > 3


@pytest.mark.parametrize("model", [nd.PeronaMalik(), "auto"], ids=str)
def test_detail_is_spared_beside_an_empty_background(model):
    """Detail far above the noise, and twice as much background, where nearly all is gained: it goes, and what goes of the detail is noise.

    Another noise tells: by the least error, 6 % of what goes is noise (and 94 % detail), for 0.5 dB more.
    """
    detail = scipy.ndimage.gaussian_filter(white((200, 200), 4), 1.0)
    detail *= np.where(np.arange(200) < 70, 600 / detail.std(), 0)
    images = [(detail + 10 * white(detail.shape, seed)).astype("f4") for seed in (1, 2)]
    found = nd.suggest(images[0], model)
    one, two = (u - nd.diffuse(u, found.model, time=found.time) for u in images)
    assert np.mean((one - two)[:, :66] ** 2) / 2 > 0.4 * np.mean(one[:, :66] ** 2)
    background = np.mean((images[0] - one)[:, 74:] ** 2)
    assert background < 100 / 4  # 6 dB
    assert any("Detail is spared" in text for text in found.warnings)


def test_no_more_noise_is_told_than_error():
    """Where gradients below the noise are steepened, a small probe grows, but what is left of the noise is no more than what is wrong."""
    image = steps((96, 96)) + 10 * white((96, 96))
    found = nd.suggest(image, nd.PeronaMalik(kappa=0.5), fixed=["kappa"])
    assert found.noise_left <= 10 ** (-found.gain / 20)


def test_a_noise_that_is_hardly_known_is_told():
    """A picture read with the wrong number of columns, so that few voxels agree with their neighbours; no gain is told that is a loss."""
    found = nd.suggest(
        (steps((96, 96)) + 4 * white((96, 96))).reshape(16, 24, 24), nd.Linear(), fwhm=1.0
    )
    assert 2 * found.noise.error > found.noise.sigma
    assert found.gain >= 0
    assert any("too uncertain" in text for text in found.warnings)


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
def test_wrong_wishes_are_one_sentence(options):
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        nd.suggest(steps((30, 30)) + 8 * white((30, 30)), nd.PeronaMalik(), **options)
    check_sentence(caught.value)


def test_report_has_units_and_says_why():
    image = (steps((60, 60)) + 8 * white((60, 60))).astype("f4")
    found = nd.suggest(image, nd.PeronaMalik(), spacing=0.5, unit="µm")
    for words in (
        "Noise: Gaussian, standard deviation",
        "intensity/µm",
        "sigma = ",
        "µm²",
        "dB",
        "smallest",
    ):
        assert words in found.report
    assert found.report.splitlines() == [
        *found.reasons,
        *(f"Warning: {text}" for text in found.warnings),
    ]


@pytest.mark.parametrize("exponent", [-200, -70, -40, 40, 60])
def test_very_small_and_very_large_values_change_nothing_but_the_unit(exponent):
    """A power of two is exact; the numbers are rounded to three digits, and squares of such values leave the range of float32."""
    image, scale = steps((40, 40)) + 5 * white((40, 40), 0), 2.0**exponent
    here, there = nd.suggest(image, nd.PeronaMalik()), nd.suggest(image * scale, nd.PeronaMalik())
    assert there.time == here.time
    assert there.model.kappa / scale == pytest.approx(here.model.kappa, rel=1e-2)
