"""The estimated error of a filtered image, what is left of its noise and what was removed, against truth."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

import napari_diffusion as nd
from helpers.noisy import shared_by_smoothing, smoothing_gain, steps, white
from napari_diffusion.estimation.noise_probes import structures
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import (
    MIN_NOISE_SHARE,
    careful,
    disturbed,
    hiding,
    mean_squared_error,
    miss,
    noise_left,
    noise_share,
    sure,
)


@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=8.0), nd.PeronaMalik(kappa=8.0, sigma=0.7)],
    ids=repr,
)
@pytest.mark.parametrize(
    "rising", [False, True], ids=["constant noise", "noise that rises with the mean"]
)
def test_estimated_error_is_unbiased(model, rising):
    """Over 40 noises the mean difference to the true error is within four of its standard errors."""
    clean = steps((36, 36))[None]
    deviation = (0.1 * clean if rising else np.full(clean.shape, 8.0)).astype("f4")
    differences = []
    for seed in range(40):
        image = (clean + deviation * white(clean.shape, seed)).astype("f4")
        probe = disturbed(image, deviation, seed)
        one, other = (
            nd.diffuse(u, model, time=1.5, channel_axis=0) for u in (probe.image, probe.other)
        )
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
        smoothed = scipy.ndimage.gaussian_filter(
            white(clean.shape, seed), [0, 0.6, 0.6], mode="wrap"
        )
        image = (clean + 8 * smoothed / smoothing_gain(0.6) ** 2).astype("f4")
        for told, correlations in zip(differences, (shared, ()), strict=True):
            probe = disturbed(image, deviation, seed, correlations)
            one, other = (
                nd.diffuse(u, model, time=0.8, channel_axis=0) for u in (probe.image, probe.other)
            )
            differences[told].append(
                mean_squared_error(probe.sums(one, other)) - np.mean((one - clean) ** 2)
            )
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


@pytest.mark.parametrize("amplitude", [0.0, 4.0, 16.0])
def test_share_of_noise_in_what_is_removed(amplitude):
    """The heat equation takes 1 - exp(-T lambda) of every wave: of one that is the picture, and of the noise. 160 000 voxels leave 2 %."""
    waves = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(400))
    faded = 1 - np.exp(-1.5 * (waves[:, None] + waves))
    picture = amplitude * np.cos(2 * np.pi * 0.05 * np.indices((400, 400))[1])
    image, deviation = (
        (picture + 3 * white((400, 400))).astype("f4")[None],
        np.full((1, 400, 400), 3.0, "f4"),
    )
    probe = dataclasses.replace(disturbed(image, deviation, 0), structure=deviation > 0)
    noise, kept = 9 * np.mean(faded**2), amplitude**2 / 2 * faded[0, 20] ** 2
    results = [nd.diffuse(u[0], nd.Linear(), time=1.5)[None] for u in probe.images]
    assert noise_share(probe.sums(*results)) == pytest.approx(noise / (noise + kept), rel=0.02)


def test_share_is_read_from_structure():
    """A picture that goes wholly on one side, and nothing but noise on the other: 1 there, and here its own share of both; not else."""
    picture = np.zeros((1, 60, 60))
    picture[:, :, 30:] = 2 * white((60, 30))
    image = picture + white(picture.shape, 1)
    probe = disturbed(image, np.ones_like(image), 0)
    left = np.broadcast_to(np.arange(60) < 30, image.shape)
    both = np.square(image)[:, :, 30:].mean()
    for structure, share in ((left, 1 / np.square(image)[:, :, :30].mean()), (~left, 1 / both)):
        sums = dataclasses.replace(probe, structure=structure).sums(*3 * [np.zeros_like(image)])
        assert noise_share(sums.on_structure) == pytest.approx(min(1, share))
        assert noise_share(sums) == pytest.approx(1 / np.square(image).mean())


def test_the_end_of_a_mask_is_no_structure():
    """A flat image on a high level, half of it masked; where it ends, nothing is steep."""
    image = np.full((1, 60, 60), 1000, "f4")
    image[0, :, 20:40] = 1100  # a tenth of the voxels, beside steps, so that structure counts
    valid = np.arange(60) < 50
    image[:, :, ~valid] = np.nan
    deviation = np.where(valid, 3.0, 0.0) * np.ones((1, 60, 1))
    (marked,) = structures(
        [Patch(image, None, valid & np.ones((60, 1), bool), (1.0, 1.0), 0)],
        [disturbed(image, deviation, 0)],
    )
    steep = marked[0].all(axis=0)
    assert (marked[0].any(axis=0) == steep).all()
    assert set(np.flatnonzero(steep)) == {
        x for edge in (19.5, 39.5) for x in range(60) if abs(x - edge) < 2
    }  # a Gaussian of 100, of height 8.5 there


@pytest.mark.parametrize("shape", [(90, 90), (30, 40, 36), (5, 60, 60)], ids=str)
@pytest.mark.parametrize(("steeper", "share"), [(0.9, 0.5), (1.1, 0.5), (1.1, 0.08)])
def test_structure_is_ten_times_as_steep_as_noise(shape, steeper, share):
    """A ramp over a share of the image, marked from ten gradients of noise on; all is where that is less than a tenth. Slices are apart."""
    spacing = (5.0 if len(shape) == 3 and shape[0] == 5 else 1.0, *(1.0 for _ in shape[1:]))
    fine = [axis for axis in range(len(shape)) if spacing[axis] == 1]
    noise = white(tuple(n if axis in fine else 3 for axis, n in enumerate((120,) * len(shape))))
    width = [float(axis in fine) for axis in range(len(shape))]
    gradient = sum(
        scipy.ndimage.gaussian_filter(
            noise, width, np.eye(len(shape), dtype=int)[axis], mode="wrap"
        )
        ** 2
        for axis in fine
    )
    x = np.indices(shape)[-1]
    ramp = (
        10 * steeper * 3 * math.sqrt(gradient.mean()) * np.minimum(x, share * shape[-1])
    ).astype("f4")[None]
    piece = Patch(ramp, None, np.ones(shape, bool), spacing, 0)
    (marked,) = structures([piece], [disturbed(ramp, np.full_like(ramp, 3), 0)])
    middle = (x > 2) & (x < share * shape[-1] - 4) if share > 0.1 else np.ones(shape, bool)
    flat = x > share * shape[-1] + 4
    full = steeper > 1 and share > 0.1
    assert marked[0][middle].all()
    assert marked[0][flat].all() != full
    assert marked[0][flat].any() != full


def test_careful_is_what_removes_mostly_noise():
    """Below the limit any filter is worse than none, and the worse the less of what it removes is noise; above it the error decides."""
    image = white((1, 60, 60))
    image /= np.sqrt(np.mean(image**2))
    probe = dataclasses.replace(disturbed(image, np.ones_like(image), 0), structure=image < np.inf)
    none = probe.sums(*probe.images)
    risks = []
    for share in (
        0.2,
        MIN_NOISE_SHARE - 0.01,
        MIN_NOISE_SHARE + 0.01,
    ):  # half of the image is removed, and so much of the noise that is added
        sums = probe.sums(
            0.5 * image,
            *(0.5 * image + (1 - 0.5 * np.sqrt(share)) * (u - image) for u in probe.images[1:]),
        )
        risks.append((careful(sums), sure(sums)))
    assert risks[0][0] > risks[1][0] > careful(none) == sure(none) == pytest.approx(1)
    assert risks[2][0] == risks[2][1]


def test_careful_asks_structure_alone():
    """In a quarter of the image a little is removed, nothing of it noise; elsewhere much more, and all of it noise."""
    image = white((1, 60, 60))
    image /= np.sqrt(np.mean(image**2))
    quarter = np.broadcast_to(np.arange(60) < 15, image.shape)
    for structure in (quarter, ~quarter):
        probe = dataclasses.replace(disturbed(image, np.ones_like(image), 0), structure=structure)
        kept = np.where(quarter, 0.99, 0.5)
        sums = probe.sums(
            kept * image,
            *(kept * image + np.where(quarter, 1, kept) * (u - image) for u in probe.images[1:]),
        )
        assert (careful(sums) > sums.variance / sums.number) == (structure is quarter)
        assert sure(sums) < sums.variance / sums.number


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
        one, other = (
            nd.diffuse(u, nd.Linear(), time=0.8, channel_axis=0) for u in (probe.image, probe.other)
        )
        differences.append(
            miss(probe.sums(one, other)) - np.mean((other - clean)[probe.hidden] ** 2) - 64
        )
    assert abs(np.mean(differences)) < 4 * np.std(differences) / math.sqrt(30)
