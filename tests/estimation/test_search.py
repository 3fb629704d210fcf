"""Search for parameters: strong noise, accuracy of the run, and what an uncertain risk is worth."""

import math

import numpy as np
import pytest
import scipy.ndimage

import napari_diffusion as nd
from helpers.noise_cases import CASES
from helpers.noisy import blocks, noise_probe, white
from helpers.problems import problem_of
from napari_diffusion.estimation.contest import Rounds
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.patches import sample_patches
from napari_diffusion.estimation.risk import sure
from napari_diffusion.estimation.risk_curve import RiskCurve
from napari_diffusion.estimation.search import ESTIMATORS, MAX_TIME_VOXEL2, Choice, Search
from napari_diffusion.estimation.selection import MAX_PROBES, PROBED_VOXELS, _Selection
from napari_diffusion.io import samples
from napari_diffusion.models import param, parameters


def gain(noisy, clean, model, time):
    """Gain against the noise-free image [dB]."""
    result = nd.diffuse(noisy, model, time=time)
    return 10 * math.log10(np.mean((noisy - clean) ** 2) / np.mean((result - clean) ** 2))


def levels(shape, width, blur):
    """A smooth random field in three levels."""
    field = scipy.ndimage.gaussian_filter(white(shape, 9), width)
    steps = np.digitize(field / field.std(), [-0.4, 0.5]).astype(float)
    return 60 + 90 * scipy.ndimage.gaussian_filter(steps, blur)


def test_small_and_very_noisy_volume_is_smoothed_as_it_can_be():
    """8400 voxels with noise of the height of a step.

    On average over three noises, the choice loses at most 0.6 dB against a setting that was found
    with the noise-free volume. A search from the usual start alone loses 2 dB and more.
    """
    clean = levels((12, 28, 25), 4.0, 1.0)
    losses = []
    for seed in (11, 12, 13):
        noisy = (clean + 75 * white(clean.shape, seed)).astype("f4")
        best = gain(noisy, clean, nd.EdgeEnhancing(kappa=7.4, sigma=0.7), 10.0)
        assert best > 18
        losses.append(best - gain(noisy, clean, *nd.suggest(noisy, nd.EdgeEnhancing())))
    assert np.mean(losses) < 0.6


def test_announced_gain_is_reached_by_the_run():
    """Waves in strong noise: long steps of coherence-enhancing diffusion lose half of its gain.

    The announced gain is at most the one that a run has, not that of a risk curve, whose steps are
    shorter. A shorter time with more gain is chosen.
    """
    y, x = np.indices((140, 140))
    clean = 100 + 30 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 10)
    noisy = (clean + 50 * white(clean.shape, 11)).astype("f4")
    result = nd.suggest(noisy, nd.CoherenceEnhancing())
    reached = gain(noisy, clean, *result)
    assert result.gain < reached + 0.5
    assert reached > gain(noisy, clean, result.model, 4 * result.time)


def search_of(image, level, **options):
    """Search with white noise of a known level."""
    problem, _ = problem_of(image, nd.Linear(), time=0.0)
    patches = sample_patches([problem])
    probes = [
        noise_probe(patch.field, (level * patch.valid[None]).astype("f4"), seed)
        for seed, patch in enumerate(patches)
    ]
    curve = RiskCurve(patches, probes, np.ones(1))
    return Search(curve, Noise("gaussian", level, 0.01 * level), **options)


def test_a_risk_that_rises_at_first_is_followed_to_its_fall():
    """A line of noise, most of which is steeper than the threshold and is kept at first.

    Seven times and more are no better than none, and a later one halves the risk.
    """
    image = (100 + 10 * white((200,), 1)).astype("f4")
    search, model = search_of(image, 10.0), nd.PeronaMalik(kappa=2.0)
    curve = search.curve.points(model, MAX_TIME_VOXEL2)
    risks = [search._point(time, sums).risk for time, sums in curve]
    assert min(risks[1:8]) > risks[0]
    assert min(risks) < risks[0] / 2
    assert search.along(model, is_patient=True).risk < risks[0] / 2
    assert search.along(model).time == 0


def test_uncertainty_is_the_scatter_of_the_risk_over_probes():
    """Twenty probes of the same image; the scatter is known to a fifth."""
    image = (blocks((60, 60)) + 9 * white((60, 60))).astype("f4")
    problem, _ = problem_of(image, nd.Linear(), time=0.0)
    (patch,) = sample_patches([problem])
    deviation = np.full(patch.field.shape, 9.0, "f4")
    risks, uncertainties = [], []
    for seed in range(20):
        curve = RiskCurve([patch], [noise_probe(patch.field, deviation, seed)], np.ones(1))
        search = Search(curve, Noise("gaussian", 9.0, 0.1), time=0.5)
        choice = search.along(nd.Linear())
        risks.append(choice.error)
        uncertainties.append(choice.uncertainty)
    # Half of the squared response is the mean, which is the same for every probe, or less.
    ratio = np.std(risks) / np.mean(uncertainties)
    assert 0.3 < ratio < 1.3


def test_effort_of_a_search_is_bounded_and_its_combinations_are_kept():
    image = (blocks((60, 60)) + 9 * white((60, 60))).astype("f4")
    free, bounded = search_of(image, 9.0), search_of(image, 9.0, max_effort=1.0)
    for search in (free, bounded):
        (start,) = search.starts(nd.PeronaMalik(), forks=False)
        best = search.best(start)
        assert best in search.tried.values()
    assert len(bounded.tried) == 1 < len(free.tried)


def test_threshold_of_a_squared_gradient_is_searched_in_its_own_unit():
    """A model whose threshold is a squared gradient gets the squares of the other thresholds."""

    image = (blocks((60, 60)) + 9 * white((60, 60))).astype("f4")
    curve = search_of(image, 9.0).curve
    noise = Noise("gaussian", 9.0, 0.1)
    (plain,) = (p for p in parameters(nd.PeronaMalik) if p.name == "kappa")
    field = param(1.0, "A square.", unit="intensity^2/length^2", suggest="threshold")
    declared = type(plain)(
        **{**vars(plain), **dict(field.metadata["napari_diffusion"]), "name": "energy"}
    )
    values = [ESTIMATORS["threshold"](p, noise, curve) for p in (plain, declared)]
    for k in range(len(values[0].multiples)):
        assert values[1].value(k) == pytest.approx(values[0].value(k) ** 2)


def test_a_run_decides_between_parameters_of_nearly_the_same_risk():
    """A risk curve takes other steps than a run, whose error is the one that counts."""
    image = (blocks((60, 60)) + 9 * white((60, 60))).astype("f4")
    second, last = search_of(image, 9.0), search_of(image, 9.0)
    good = Choice(nd.PeronaMalik(kappa=6.0, sigma=0.5), 2.0, 20.2, 20.2, 0.3)
    blurred = Choice(nd.PeronaMalik(kappa=60.0, sigma=0.5), 8.0, 20.0, 20.0, 0.1)
    other = Choice(nd.EdgeEnhancing(kappa=6.0), 2.0, 20.1, 20.1, 0.3)
    worse = Choice(nd.PeronaMalik(kappa=5.0, sigma=0.5), 2.0, 21.0, 21.0, 0.3)
    second.tried.update(enumerate([blurred, good, other, worse]))
    assert second.close_to(blurred) == [blurred, good]
    assert last.best_run([blurred, good]) is not blurred
    rounds = Rounds(second, second, last, forks=False)
    assert rounds._finished(blurred).model == good.model


def test_simulated_confocal_stack_is_within_half_a_per_cent_of_its_best_threshold():
    """The thresholds 378 and 567 have the same risk on the curve; the run of the second is better.

    Of all thresholds and times in steps of a tenth, the smallest error is 29.8.
    """
    noisy, clean, spacing, unit = samples.confocal()
    model, time = nd.suggest(noisy, nd.PeronaMalik(), spacing=spacing, unit=unit)
    result = nd.diffuse(noisy, model, time=time, spacing=spacing)
    assert math.sqrt(np.mean((result - clean) ** 2)) < 1.005 * 29.8


def selection_of(shape):
    """Selection for white noise with a fixed amount of smoothing."""
    model = nd.PeronaMalik(kappa=5.0, sigma=0.5)
    problem, _ = problem_of((9 * white(shape)).astype("f4"), model, time=0.0)
    return _Selection([problem], model, SuggestionOptions(fwhm=2.0))


@pytest.mark.parametrize(("edge", "count"), [(16, MAX_PROBES), (25, 2), (44, 1)])
def test_small_image_has_several_probes(edge, count):
    """They lower the scatter of the probes, but not that of the noise of the image itself.

    Both are as large for one probe. For k probes, the variance of their sum is 1 + 1/k, relative to
    2 for one.
    """
    assert count == max(1, min(MAX_PROBES, PROBED_VOXELS // edge**3))
    selection = selection_of((edge,) * 3)
    probes = selection.search_probes
    assert len(probes) == count * len(selection.patches)
    assert len({probe.pattern.tobytes() for probe in probes}) == len(probes)
    one, several = (
        selection.search(own, sure).along(selection.model).uncertainty
        for own in (selection.probes, probes)
    )
    assert several == pytest.approx(one * math.sqrt((1 + 1 / count) / 2), rel=0.05)


def test_first_round_of_a_small_image_sees_the_whole_of_it(monkeypatch):
    """The number of probes does not cut the box on which the models begin."""
    selection, seen = selection_of((21, 20, 20)), []
    whole = RiskCurve.of_middles
    monkeypatch.setattr(
        RiskCurve, "of_middles", lambda *args: seen.append(whole(*args)) or seen[-1]
    )
    selection.choose(selection.search_probes, sure, thorough=True)
    assert len(selection.search_probes) == MAX_PROBES
    assert [patch.valid.shape for patch in seen[0].patches] == [(21, 20, 20)] * MAX_PROBES


def test_flux_of_total_variation_smooths_the_steps_that_it_leaves():
    """The logarithm of speckle: a flux as large as the noise gains 21.5 dB at its best time."""
    (case,) = (case for case in CASES if case.name == "logarithm of speckle, 1 looks")
    noisy = case.noisy(51)
    result = nd.suggest(noisy, nd.TotalVariation())
    assert result.model.kappa > 1.9 * result.noise.sigma
    assert gain(noisy, case.clean(), *result) > 22
