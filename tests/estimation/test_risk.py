"""Estimated error, remaining noise and noise in the removed part, compared with the truth."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

import napari_diffusion as nd
from helpers.noisy import (
    blocks,
    noise_probe,
    patch_of,
    shared_by_smoothing,
    smoothing_gain,
    white,
)
from napari_diffusion.estimation.probes import structure_masks
from napari_diffusion.estimation.risk import (
    MIN_NOISE_SHARE,
    WEAK_WEIGHT,
    careful_risk,
    hidden_voxel_probe,
    mean_squared_error,
    noise_left,
    noise_share,
    prediction_error,
    strong_noise_share,
    sure,
)


def filtered_pair(probe, model, time):
    """Both images of a probe, filtered."""
    return (nd.diffuse(u, model, time=time, channel_axis=0) for u in (probe.image, probe.other))


@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=8.0), nd.PeronaMalik(kappa=8.0, sigma=0.7)],
    ids=repr,
)
@pytest.mark.parametrize(
    "rising", [False, True], ids=["constant noise", "noise that rises with the mean"]
)
def test_estimated_error_is_unbiased(model, rising):
    """Over 40 noises, the mean difference to the true error is within four standard errors.

    The last assertion limits the scatter: otherwise a bias could not be detected.
    """
    clean = blocks((36, 36))[None]
    deviation = (0.1 * clean if rising else np.full(clean.shape, 8.0)).astype("f4")
    differences = []
    for seed in range(40):
        image = (clean + deviation * white(clean.shape, seed)).astype("f4")
        probe = noise_probe(image, deviation, seed)
        result, other = filtered_pair(probe, model, 1.5)
        estimate = mean_squared_error(probe.sums(result, other))
        differences.append(estimate - np.mean((result - clean) ** 2))
    assert abs(np.mean(differences)) < 4 * np.std(differences) / math.sqrt(40)
    assert np.std(differences) < 0.5 * np.mean(deviation**2)


def test_estimated_error_is_unbiased_for_correlated_noise():
    """Noise smoothed over 0.6 voxels: over 40 noises, the bias is within four standard errors.

    With a probe for white noise, the bias exceeds a quarter of the variance of the noise.
    """
    clean, model = blocks((36, 36))[None], nd.Linear()
    shared = [[shared_by_smoothing(0.6)] * 2]
    deviation = np.full(clean.shape, 8.0, "f4")
    differences = {"correlated probe": [], "white probe": []}
    for seed in range(40):
        smoothed = scipy.ndimage.gaussian_filter(
            white(clean.shape, seed), [0, 0.6, 0.6], mode="wrap"
        )
        image = (clean + 8 * smoothed / smoothing_gain(0.6) ** 2).astype("f4")
        for kind, correlations in zip(differences, (shared, ()), strict=True):
            probe = noise_probe(image, deviation, seed, correlations)
            result, other = filtered_pair(probe, model, 0.8)
            estimate = mean_squared_error(probe.sums(result, other))
            differences[kind].append(estimate - np.mean((result - clean) ** 2))
    error = np.std(differences["correlated probe"]) / math.sqrt(40)
    assert abs(np.mean(differences["correlated probe"])) < 4 * error
    assert abs(np.mean(differences["white probe"])) > 16  # a quarter of the variance


def test_probe_has_the_correlations_of_the_noise():
    """A correlation of 160 000 independent voxels has a standard error of 0.0025.

    That of correlated voxels is a little larger; 0.01 is three times as much.
    """
    shared = shared_by_smoothing(0.7)
    zeros = np.zeros((2, 400, 400), "f4")
    first, second = noise_probe(zeros, np.ones_like(zeros), 0, [[shared, ()], ()]).pattern
    assert first.std() == pytest.approx(1, rel=1e-3)
    for lag, rho in enumerate(shared, 1):
        assert np.mean(first[lag:] * first[:-lag]) == pytest.approx(rho, abs=0.01)
        assert np.mean(first[:, lag:] * first[:, :-lag]) == pytest.approx(0, abs=0.01)
    assert set(np.unique(second)) == {-1, 1}


def test_noise_left_is_that_of_the_gaussian():
    """The squares of a discrete Gaussian of variance 2T sum to its centre at twice the variance.

    The estimate from n = 160 000 signs is accurate to 1 %.
    """
    image = np.zeros((1, 400, 400), "f4")
    probe = noise_probe(image, np.ones_like(image), 0)
    results = [nd.diffuse(u[0], nd.Linear(), time=1.5)[None] for u in (probe.image, probe.other)]
    assert noise_left(probe.sums(*results)) == pytest.approx(scipy.special.ive(0, 6.0), rel=0.01)


@pytest.mark.parametrize("amplitude", [0.0, 4.0, 16.0])
def test_noise_share_of_linear_diffusion(amplitude):
    """Linear diffusion removes the share 1 - exp(-T lambda) of every wave.

    The picture is one wave, the noise is all waves; 160 000 voxels give an accuracy of 2 %.
    """
    eigenvalues = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(400))
    removed = 1 - np.exp(-1.5 * (eigenvalues[:, None] + eigenvalues))
    wave = amplitude * np.cos(2 * np.pi * 0.05 * np.indices((400, 400))[1])
    image = (wave + 3 * white((400, 400))).astype("f4")[None]
    deviation = np.full((1, 400, 400), 3.0, "f4")
    probe = dataclasses.replace(noise_probe(image, deviation, 0), structure=deviation > 0)
    noise, picture = 9 * np.mean(removed**2), amplitude**2 / 2 * removed[0, 20] ** 2
    results = [nd.diffuse(u[0], nd.Linear(), time=1.5)[None] for u in probe.images]
    share = noise_share(probe.sums(*results))
    assert share == pytest.approx(noise / (noise + picture), rel=0.02)


def test_sums_on_structure_are_those_of_structure_alone():
    """Noise alone on the left, a picture in noise on the right, and a filter that removes both.

    The share of noise is the variance of the noise, 1, over the mean square of the image.
    """
    picture = np.zeros((1, 60, 60))
    picture[:, :, 30:] = 2 * white((60, 30))
    image = picture + white(picture.shape, 1)
    probe = noise_probe(image, np.ones_like(image), 0)
    left = np.broadcast_to(np.arange(60) < 30, image.shape)
    both = np.square(image)[:, :, 30:].mean()
    for structure, share in ((left, 1 / np.square(image)[:, :, :30].mean()), (~left, 1 / both)):
        sums = dataclasses.replace(probe, structure=structure).sums(*3 * [np.zeros_like(image)])
        assert noise_share(sums.on_structure) == pytest.approx(min(1, share))
        assert noise_share(sums) == pytest.approx(1 / np.square(image).mean())


def test_border_of_a_mask_is_not_structure():
    """Flat parts on a high level, masked in part: only the steps are steep, not the border."""
    image = np.full((1, 60, 60), 1000, "f4")
    image[0, :, 20:40] = 1100  # more than a tenth of the voxels are beside steps
    valid = np.arange(60) < 50
    image[:, :, ~valid] = np.nan
    deviation = np.where(valid, 3.0, 0.0) * np.ones((1, 60, 1))
    patch = patch_of(image, valid=valid & np.ones((60, 1), bool))
    (marked,) = structure_masks([patch], [noise_probe(image, deviation, 0)])
    steep = marked[0].all(axis=0)
    assert (marked[0].any(axis=0) == steep).all()
    # The gradient beside a step of 100 is a Gaussian; the limit is 8.5.
    expected = {x for edge in (19.5, 39.5) for x in range(60) if abs(x - edge) < 2}
    assert set(np.flatnonzero(steep)) == expected


@pytest.mark.parametrize("shape", [(90, 90), (30, 40, 36), (5, 60, 60)], ids=str)
@pytest.mark.parametrize(("steeper", "share"), [(0.9, 0.5), (1.1, 0.5), (1.1, 0.08)])
def test_structure_is_ten_times_as_steep_as_noise(shape, steeper, share):
    """A ramp over a share of the image is marked if its gradient is ten times that of the noise.

    The whole image is marked if the ramp covers less than a tenth of it. Coarse slices do not
    count as an axis of the gradient.
    """
    spacing = (5.0 if len(shape) == 3 and shape[0] == 5 else 1.0, *(1.0 for _ in shape[1:]))
    fine = [axis for axis in range(len(shape)) if spacing[axis] == 1]
    noise = white(tuple(n if axis in fine else 3 for axis, n in enumerate((120,) * len(shape))))
    width = [float(axis in fine) for axis in range(len(shape))]
    orders = np.eye(len(shape), dtype=int)[fine]
    slopes = [scipy.ndimage.gaussian_filter(noise, width, order, mode="wrap") for order in orders]
    gradient = sum(slope**2 for slope in slopes)
    x = np.indices(shape)[-1]
    slope = 10 * steeper * 3 * math.sqrt(gradient.mean())
    ramp = (slope * np.minimum(x, share * shape[-1])).astype("f4")[None]
    patch = patch_of(ramp, spacing, valid=np.ones(shape, bool))
    (marked,) = structure_masks([patch], [noise_probe(ramp, np.full_like(ramp, 3), 0)])
    middle = (x > 2) & (x < share * shape[-1] - 4) if share > 0.1 else np.ones(shape, bool)
    flat = x > share * shape[-1] + 4
    has_structure = steeper > 1 and share > 0.1
    assert marked[0][middle].all()
    assert marked[0][flat].all() != has_structure
    assert marked[0][flat].any() != has_structure


def test_careful_risk_penalises_a_small_share_of_noise():
    """Below the limit, the risk exceeds that without a filter, and rises as the share falls.

    Above the limit, the risk is the estimated error. The filter removes half of the image, and a
    part of the added noise.
    """
    image = white((1, 60, 60))
    image /= np.sqrt(np.mean(image**2))
    probe = noise_probe(image, np.ones_like(image), 0)
    probe = dataclasses.replace(probe, structure=image < np.inf)
    unfiltered = probe.sums(*probe.images)
    risks = []
    for share in (0.2, MIN_NOISE_SHARE - 0.01, MIN_NOISE_SHARE + 0.01):
        kept = 1 - 0.5 * np.sqrt(share)
        others = [0.5 * image + kept * (u - image) for u in probe.images[1:]]
        sums = probe.sums(0.5 * image, *others)
        risks.append((careful_risk(sums), sure(sums)))
    without_filter = careful_risk(unfiltered)
    assert risks[0][0] > risks[1][0] > without_filter == sure(unfiltered) == pytest.approx(1)
    assert risks[2][0] == risks[2][1]


def test_careful_risk_depends_on_structure_alone():
    """A little is removed from a quarter of the image, none of it noise.

    Elsewhere more is removed, all of it noise.
    """
    image = white((1, 60, 60))
    image /= np.sqrt(np.mean(image**2))
    quarter = np.broadcast_to(np.arange(60) < 15, image.shape)
    for structure in (quarter, ~quarter):
        probe = noise_probe(image, np.ones_like(image), 0)
        probe = dataclasses.replace(probe, structure=structure)
        kept = np.where(quarter, 0.99, 0.5)
        kept_of_noise = np.where(quarter, 1, kept)
        others = [kept * image + kept_of_noise * (u - image) for u in probe.images[1:]]
        sums = probe.sums(kept * image, *others)
        without_filter = sums.variance / sums.voxels
        assert (careful_risk(sums) > without_filter) == (structure is quarter)
        assert sure(sums) < without_filter


@pytest.mark.parametrize("shape", [(30,), (20, 31), (9, 14, 10)], ids=str)
def test_hidden_voxels_are_hidden(shape):
    """The image that is filtered does not depend on the hidden values, bit for bit."""
    image = white((1, *shape)).astype("f4")
    probe = hidden_voxel_probe(image, np.ones_like(image))
    assert 0 < probe.hidden.mean() <= 1 / 3
    changed = np.where(probe.hidden, np.float32(1e3), image)
    other = hidden_voxel_probe(changed, np.ones_like(image)).other
    np.testing.assert_array_equal(other, probe.other)


def test_prediction_error_of_hidden_voxels_is_error_plus_noise():
    """The mean over 30 noises is within four standard errors; the variance of the noise is 64."""
    clean = blocks((60, 60))[None]
    differences = []
    for seed in range(30):
        image = (clean + 8 * white(clean.shape, seed)).astype("f4")
        probe = hidden_voxel_probe(image, np.full_like(image, 8.0))
        result, other = filtered_pair(probe, nd.Linear(), 0.8)
        error = np.mean((other - clean)[probe.hidden] ** 2)
        differences.append(prediction_error(probe.sums(result, other)) - error - 64)
    assert abs(np.mean(differences)) < 4 * np.std(differences) / math.sqrt(30)


@pytest.mark.parametrize("model", [nd.TotalVariation(), nd.EdgeEnhancing(kappa=8.0)], ids=repr)
def test_noise_share_of_filters_with_a_threshold(model):
    """The share is that of a second noise, which the strong probe alone underestimates."""
    clean = blocks((120, 120))[None]
    first, second = ((clean + 12 * white(clean.shape, s)).astype("f4") for s in (1, 2))
    deviation = np.full(clean.shape, 12.0, "f4")
    probe = dataclasses.replace(noise_probe(first, deviation, 3), structure=deviation > 0)
    results = [nd.diffuse(u[0], model, time=1.0)[None] for u in probe.images]
    removed = first - results[0]
    again = second - nd.diffuse(second[0], model, time=1.0)[None]
    share = 0.5 * np.mean((removed - again) ** 2) / np.mean(removed**2)
    sums = probe.sums(*results)
    assert noise_share(sums) == pytest.approx(min(1, share), abs=0.08)
    assert strong_noise_share(sums) < noise_share(sums)


def test_weak_probe_does_not_count_where_it_exceeds_what_is_removed():
    """Below a threshold, the weak probe is removed altogether, and the removed part is smaller."""
    image = white((1, 40, 40)).astype("f4")
    probe = noise_probe(image, np.ones_like(image), 0)
    probe = dataclasses.replace(probe, structure=np.ones(image.shape, bool))
    for kept, share in ((0.0, 1.0), (0.3, 0.5), (0.5, 0.5)):
        result = kept * image  # removes 1 - kept of the image, and all of the weak probe
        noisier = result + probe.pattern * (1 - np.sqrt(0.5) * (1 - kept))
        sums = probe.sums(result, result, noisier)
        expected = share if kept else 0.5 + 0.5 * WEAK_WEIGHT
        assert noise_share(sums) == pytest.approx(expected, abs=0.05)
