"""Evidence of the noise: detail that the residual contains, unbiased levels, grey levels."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage

from helpers.noise_cases import CASES
from helpers.noisy import evidence, smoothing_gain, white
from napari_diffusion.estimation.noise.evidence import (
    MAX_DETAIL_RATIO,
    MAX_DETAIL_SHARE,
    Evidence,
    class_deviation,
    detail_variance,
    gather,
    relative_error,
)
from napari_diffusion.estimation.noise.kinds import estimate_noise
from napari_diffusion.estimation.noise.values import grey_step

#: Median of the magnitude of a standard normal variable, as in the definition of the level.
NORMAL_MEDIAN = 0.6745
FOLDS = next(case for case in CASES if case.name == "A folds, white noise")


def of_variances(one, two, three, count=200_000):
    """Evidence of residuals whose variances along one, two and three axes are exact."""

    def residual(variance):
        return np.full(count, NORMAL_MEDIAN * np.sqrt(variance))

    zeros = np.zeros(count)
    return Evidence(
        residual=residual(three),
        mean=zeros,
        departure=zeros,
        activity=zeros,
        differences=(),
        coarser=((residual(one),) * 3, (residual(two),) * 3),
        axis_count=3,
    )


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("detail", [20.0, 30.0])
def test_detail_is_the_geometric_part_of_the_variances(detail, ratio):
    """V_n = 4 + a q^n, n axes: the detail in the residual is a q³, whatever the noise."""
    data = of_variances(*(4 + detail * ratio**n for n in (1, 2, 3)))
    assert detail_variance(data) == pytest.approx(detail * ratio**3, rel=1e-9)


def test_detail_is_limited():
    """Variances that hardly approach a limit: the extrapolation is not believed beyond bounds."""
    slow = of_variances(*(0.1 + 4 * 0.9**n for n in (1, 2, 3)))
    fall = 4 * (0.9**2 - 0.9**3)
    ratio = MAX_DETAIL_RATIO
    assert detail_variance(slow) == pytest.approx(fall * ratio / (1 - ratio), rel=1e-9)
    nearly_all = of_variances(*(0.01 + 4 * 0.5**n for n in (1, 2, 3)))
    assert detail_variance(nearly_all) == pytest.approx(MAX_DETAIL_SHARE * 0.51, rel=1e-9)


def test_variances_within_their_scatter_have_no_detail():
    """The scatter of a variance is twice that of a deviation, that of a difference 1.4 times so."""
    scatter = 2 * np.sqrt(2) * relative_error(200_000, 3)
    for falls, has_detail in ((1.9, False), (2.1, True)):
        three = 5.0
        two = three + falls * scatter * three
        data = of_variances(three + 5 * (two - three), two, three)
        assert (detail_variance(data) > 0) is has_detail
    assert detail_variance(of_variances(4, 4, 4)) == 0
    assert detail_variance(of_variances(3, 4, 5)) == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_as_fine_as_voxels_hardly_raise_the_level(seed):
    """White noise of 20 on folds of 1.4 voxels: with their correlations, it would be 29."""
    noise = estimate_noise(evidence(FOLDS.noisy(seed).astype(float)))
    assert noise.sigma == pytest.approx(20, rel=0.12)


@pytest.mark.parametrize("shape", [(120, 120), (26, 26, 26)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("width", [0.0, 0.8], ids=["white", "blurred"])
def test_level_of_noise_alone_is_unbiased(shape, width):
    """Over 12 seeds, the mean level is within three standard errors of the truth.

    The flattest quarter alone, where the noise happens to be weak, is too low by several.
    """
    level = smoothing_gain(width) ** len(shape) if width else 1.0
    noises = []
    for seed in range(12):
        image = white(shape, seed)
        if width:
            image = scipy.ndimage.gaussian_filter(image, width, mode="wrap")
        noises.append(estimate_noise(evidence(image)))
    error = np.mean([noise.error for noise in noises]) / np.sqrt(12)
    assert np.mean([noise.sigma for noise in noises]) == pytest.approx(level, abs=3 * error)
    assert {noise.origin for noise in noises} == {"noise" if width else "none"}


def test_a_level_of_more_voxels_is_chosen_only_if_noise_explains_them():
    """Half of the voxels have noise, a tenth edges, the rest more activity than the noise has."""
    data = of_variances(1, 1, 1, 1000)
    activity = np.repeat([0.5, 3.0, 100.0], [500, 400, 100])
    data = dataclasses.replace(data, activity=activity)
    flat = data.flattest(share=0.25, minimum=0)
    np.testing.assert_array_equal(data.widened(flat, 1.0), activity < 1)
    np.testing.assert_array_equal(data.widened(flat, 1e-3), flat)


@pytest.mark.parametrize("step", [0.25, 1.0, 3.0])
def test_grey_step_is_the_smallest_difference(step):
    image = step * np.round(50 * white((60, 60)))
    assert grey_step(image) == step
    assert grey_step(image.ravel()) == step
    assert grey_step(np.full(10, 7.0)) == 0


@pytest.mark.parametrize("photons", [0.04, 0.3, 2.0])
def test_deviation_of_counts_is_the_root_of_their_mean(photons):
    """The median of the residuals is far below it, as most residuals are small.

    Places without a photon count as constant, so that the mean of the others is a little higher.
    """
    counts = evidence(np.random.default_rng(5).poisson(photons, (60, 60, 60)).astype(float))
    assert counts.step == 1
    deviation = class_deviation(counts.residual, counts.step)
    assert deviation == pytest.approx(np.sqrt(photons), rel=0.1)


def test_deviation_of_counts_ignores_bright_voxels():
    counts = np.random.default_rng(6).poisson(0.3, (60, 60, 60)).astype(float)
    counts[::20, ::20, ::20] += 100
    with_bright = evidence(counts)
    deviation = class_deviation(with_bright.residual, with_bright.step)
    assert deviation == pytest.approx(np.sqrt(0.3), rel=0.35)


def test_offsets_of_stripes_change_neither_brightness_nor_calm_places():
    """Known offsets of columns: what is left is the evidence of the image without them."""
    columns = np.broadcast_to(20 * np.random.default_rng(8).normal(size=90), (90, 90))
    image = 100 + 3 * white((90, 90))
    place = [np.ones((90, 90), bool)], [(1.0, 1.0)]
    plain, striped = evidence(image), gather([image + columns], *place, stripes=[columns])
    for name in ("mean", "activity", "residual", "departure"):
        np.testing.assert_allclose(getattr(striped, name), getattr(plain, name), atol=1e-5)
    whole = gather([np.round(image + columns)], *place, stripes=[columns])
    assert whole.step == 1
