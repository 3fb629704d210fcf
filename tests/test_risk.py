"""The estimated error of a filtered image, what is left of its noise and what was removed, against truth."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

import napari_diffusion as nd
from napari_diffusion.estimate import MOSTLY, careful, disturbed, hiding, mean_squared_error, noise_left, noise_share, sure
from napari_diffusion.estimate.risk import miss
from noisy import shared_by_smoothing, smoothing_gain, steps, white


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


@pytest.mark.parametrize("amplitude", [0.0, 4.0, 16.0])
def test_share_of_noise_in_what_is_removed(amplitude):
    """The heat equation takes 1 - exp(-T lambda) of every wave: of one that is the picture, and of the noise. 160 000 voxels leave 2 %."""
    waves = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(400))
    faded = 1 - np.exp(-1.5 * (waves[:, None] + waves))
    picture = amplitude * np.cos(2 * np.pi * 0.05 * np.indices((400, 400))[1])
    image, deviation = (picture + 3 * white((400, 400))).astype("f4")[None], np.full((1, 400, 400), 3.0, "f4")
    probe = disturbed(image, deviation, 0, strength=1.0)
    noise, kept = 9 * np.mean(faded**2), amplitude**2 / 2 * faded[0, 20] ** 2
    results = [nd.diffuse(u[0], nd.Linear(), time=1.5)[None] for u in (probe.image, probe.other)]
    assert noise_share(probe.sums(*results)) == pytest.approx(noise / (noise + kept), rel=0.02)


def test_careful_is_what_removes_mostly_noise():
    """Below the limit any filter is worse than none, and the worse the less of what it removes is noise; above it the error decides."""
    image = white((1, 60, 60))
    image /= np.sqrt(np.mean(image**2))
    probe = disturbed(image, np.ones_like(image), 0, strength=1.0)
    none = probe.sums(probe.image, probe.other)
    risks = []
    for share in (0.2, MOSTLY - 0.01, MOSTLY + 0.01):  # half of the image is removed, and so much of the noise that is added
        sums = probe.sums(0.5 * image, 0.5 * image + (1 - 0.5 * np.sqrt(share)) * (probe.other - image))
        risks.append((careful(sums), sure(sums)))
    assert risks[0][0] > risks[1][0] > careful(none) == sure(none) == pytest.approx(1)
    assert risks[2][0] == risks[2][1]


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
