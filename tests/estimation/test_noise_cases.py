"""The seeded cases of noise are repeatable, varied, and have the noise that their kind says."""

import collections
import json
import re

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage as ndi

from helpers import noise_models, noise_scenes
from helpers.noise_cases import CASES
from helpers.paths import ROOT

BY_NAME = {case.name: case for case in CASES}
ROUGHLY = 0.03


def error(name, seed=0):
    case = BY_NAME[name]
    return case.noisy(seed) - case.clean()


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


def test_there_are_at_least_forty_cases_of_fifteen_kinds():
    kinds = collections.Counter(case.kind for case in CASES)
    assert len(BY_NAME) == len(CASES) >= 42
    assert len(kinds) >= 16
    assert max(kinds.values()) < len(CASES) / 4


def test_some_cases_are_inside_the_assumptions_and_some_outside():
    assert 12 <= sum(case.holds for case in CASES) <= len(CASES) - 12


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_noise_repeats_with_a_seed_and_changes_with_another(case):
    clean, noisy, again, other = case.clean(), case.noisy(3), case.noisy(3), case.noisy(4)
    np.testing.assert_array_equal(noisy, again)
    assert noisy.shape == clean.shape
    assert noisy.dtype == np.float32 or noisy.dtype.kind == "u"
    assert np.isfinite(noisy).all()
    assert 4_000 < noisy.size < 220_000
    inside = np.ones(clean.shape, bool) if case.where is None else case.where
    assert inside.shape == clean.shape
    assert rms((noisy - clean)[inside]) > 0
    errors = [(image - clean)[inside] for image in (noisy, other)]
    assert abs(np.corrcoef(*errors)[0, 1]) < 0.5


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.kind != "impulses"], ids=lambda case: case.name
)
def test_the_ideal_result_is_the_mean_of_the_noise(case):
    """Impulses are excepted: their ideal result is the image without them."""
    inside = Ellipsis if case.where is None else case.where
    errors = [(case.noisy(seed) - case.clean())[inside] for seed in range(8)]
    means = np.array([error.mean() for error in errors])
    # Rounding and compression shift the mean by a small part of a level.
    assert abs(means.mean()) < 0.05 * rms(errors[0]) + 5 * means.std() / np.sqrt(len(means) - 1)


def test_magnitudes_of_coils_have_the_moments_of_chi():
    """E[m²] = A² + 2 n σ² for n coils, and the mean without signal is that of chi."""
    clean, sigma = np.repeat([0.0, 40.0], 60_000), 7.0
    for coils in (1, 4, 8):
        m = noise_models.chi(sigma, coils)(clean, np.random.default_rng(1))
        expected = clean**2 + 2 * coils * sigma**2
        for half in (slice(0, 60_000), slice(60_000, None)):
            assert np.mean(m[half] ** 2) == pytest.approx(expected[half][0], rel=0.02)
        mean = noise_models.chi_mean(sigma, coils)(np.array([0.0, 40.0]))
        assert mean == pytest.approx([m[:60_000].mean(), m[60_000:].mean()], rel=0.005)
    rayleigh = noise_models.chi_mean(1.0)(np.zeros(1))
    assert rayleigh == pytest.approx(np.sqrt(np.pi / 2), rel=1e-12)


def test_photon_counts_have_the_variance_of_their_mean():
    case = BY_NAME["cells, below 1 photon"]
    counts, mean = case.noisy(0), case.clean()
    assert np.mean(np.square(counts - mean, dtype=float)) == pytest.approx(mean.mean(), rel=ROUGHLY)
    assert mean.max() < 1
    assert BY_NAME["filaments, below 3 photons"].clean().max() < 3


def test_a_camera_adds_an_offset_and_read_noise():
    case = BY_NAME["camera with offset"]
    variance = np.mean(np.square(error(case.name)))
    expected = np.mean(case.clean() - 100) + 3**2 + 1 / 12
    assert case.noisy(0).dtype == np.uint16
    assert variance == pytest.approx(expected, rel=ROUGHLY)


def test_clipped_noise_has_the_mean_of_a_censored_gaussian():
    clean = np.repeat([200.0, 215.0, 230.0, -5.0], 50_000)
    add, mean = noise_models.clipped(20, 0, 220), noise_models.clipped_mean(20, 0, 220)
    data = add(clean, np.random.default_rng(2)).reshape(4, -1)
    np.testing.assert_allclose(data.mean(1), mean(clean[::50_000]), atol=0.3)


def test_speckle_is_relative_and_its_logarithm_additive():
    clean = np.repeat([30.0, 300.0], 50_000)
    for looks in (1, 3, 12):
        data = noise_models.speckle(looks)(clean, np.random.default_rng(3)).reshape(2, -1)
        np.testing.assert_allclose(data.std(1) / data.mean(1), looks**-0.5, rtol=ROUGHLY)
        logarithm = noise_models.log_speckle(looks)(clean, np.random.default_rng(3)).reshape(2, -1)
        np.testing.assert_allclose(*logarithm.std(1), rtol=ROUGHLY)
        expected = noise_models.log_speckle_mean(looks)(np.array([30.0, 300.0]))
        np.testing.assert_allclose(logarithm.mean(1), expected, atol=0.5)


def neighbours(field, axis, distance=1):
    """Correlation of voxels that are ``distance`` voxels apart along an axis."""
    ends = slice(-distance, None), slice(distance)
    first, second = (np.delete(field, end, axis) for end in ends)
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


def test_noise_along_one_axis_is_shared_along_that_one_only():
    field = error("hills, along x 1.0")
    correlations = [neighbours(field, axis) for axis in range(3)]
    assert correlations[2] == pytest.approx(np.exp(-1 / 4), abs=0.03)
    assert max(map(abs, correlations[:2])) < 0.02


def test_zero_filled_noise_has_no_high_frequencies():
    field = error("k-space filled with zeros, factors (1, 2, 2)")
    power = np.abs(np.fft.fftn(field)) ** 2
    frequency = np.abs(np.fft.fftfreq(field.shape[2]))
    assert power[..., frequency > 0.26].sum() < 1e-6 * power.sum()
    # A sinc of half a voxel: 2/π between neighbours.
    assert neighbours(field, 2) == pytest.approx(2 / np.pi, abs=0.03)


def test_back_projection_has_no_low_frequencies():
    """The correlations within a slice sum to zero, so some are negative."""
    field = error("tomogram, back projection")
    assert neighbours(field, 2) > 0.3
    assert neighbours(field, 2, 2) < -0.05
    assert abs(neighbours(field, 0)) < 0.02
    assert np.abs(field.mean((1, 2))).max() < 1e-5 * rms(field)


def test_levels_differ_from_place_to_place_where_a_case_says_so():
    level = {name: np.abs(error(name)) for name in BY_NAME if BY_NAME[name].kind == "uneven level"}
    depth = level["light sheet, noise by depth"]
    assert depth[-3:].mean() / depth[:3].mean() == pytest.approx(24.1 / 5.7, rel=0.1)
    middle = level["F noise 11 times stronger in the middle"]
    assert middle[:, 40:48, 40:48].mean() > 8 * middle[:, :4, :4].mean()
    coil = level["surface coil"]
    assert coil[:, 26:30, 26:30].mean() > 3 * coil[:, :4, :4].mean()


def test_parallel_imaging_amplifies_by_the_stated_ratio():
    level = [noise.std() for noise in _local(error("parallel imaging, g-factor to 3"))]
    assert 2.0 < max(level) / min(level) < 3.6


def _local(field, size=7):
    """Blocks of a volume."""
    for corner in np.ndindex(*(n // size for n in field.shape)):
        yield field[tuple(slice(size * k, size * k + size) for k in corner)]


@pytest.mark.parametrize(
    "name",
    ["B head in exact zeros, noise shared by neighbours", "head in exact zeros, white noise"],
)
def test_zeros_around_a_head_are_exact(name):
    case = BY_NAME[name]
    assert not case.noisy(0)[~case.where].any()


def test_stripes_rings_and_columns_are_constant_along_their_lines():
    lines = error("E stripes along rows").mean(-1)
    assert rms(lines) == pytest.approx(13, rel=0.1)
    columns = error("sCMOS, offsets of columns").mean((0, 1))
    assert rms(columns - columns.mean()) > 1.8
    slices = error("tomogram with rings")
    assert rms(slices.mean(0)) > 1.5 * 30 / np.sqrt(len(slices))


@pytest.mark.parametrize(
    ("name", "values", "share"),
    [
        ("D hot and dead voxels, 1 %", (0, 400), 0.01),
        ("camera, salt and pepper 3 %", (0, 255), 0.03),
        ("cells, hot pixels 0.3 %", (900,), 0.003),
    ],
)
def test_impulses_have_the_stated_share(name, values, share):
    assert np.isin(BY_NAME[name].noisy(0), values).mean() == pytest.approx(share, rel=0.15)
    assert BY_NAME[name].name_words


def test_compression_leaves_blocks_without_their_highest_frequencies():
    """Of white noise of this level, one coefficient in six would be so small."""
    blocks = BY_NAME["tissue, JPEG 75"].noisy(0).reshape(28, 8, 28, 8).astype(float)
    coefficients = scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho")
    assert np.mean(np.abs(coefficients[:, 6:, :, 6:]) < 4) > 0.5


def test_whole_numbers_stay_whole_and_in_range():
    for name in ("8 bit, noise of 0.45 levels", "8 bit, noise of 5 levels"):
        assert BY_NAME[name].noisy(0).dtype == np.uint8
    rounded = BY_NAME["C whole numbers, noise below one level"].noisy(0)
    np.testing.assert_array_equal(rounded, np.round(rounded))


def test_blurred_noise_has_the_correlation_of_a_gaussian():
    """Neighbours that share noise blurred over w voxels correlate by exp(-1 / 4w²)."""
    field = noise_models.shared(3.0, 0.8)(np.zeros((40, 60, 60)), np.random.default_rng(5))
    assert field.std() == pytest.approx(3.0, rel=1e-6)
    impulse = ndi.gaussian_filter1d(np.eye(1, 41, 20)[0], 0.8)
    expected = impulse[1:] @ impulse[:-1] / np.sum(impulse**2)
    assert neighbours(field, 1) == pytest.approx(expected, abs=0.02)
    assert expected == pytest.approx(np.exp(-1 / (4 * 0.8**2)), abs=0.02)


def test_no_seed_of_the_noise_is_that_of_a_scene():
    """The noise would be the field from which the anatomy was made."""
    scene = noise_scenes.smooth_field((40, 40), 7, 2.0)
    noise = noise_models.white(1.0)(np.zeros((40, 40)), np.random.default_rng(7))
    assert np.corrcoef(scene.ravel(), ndi.gaussian_filter(noise, 2.0).ravel())[0, 1] > 0.99
    for case in CASES:
        if case.kind == "white noise":
            shared = np.corrcoef(case.clean().ravel(), error(case.name).ravel())[0, 1]
            assert abs(shared) < 0.02


def test_the_page_of_the_docs_shows_every_case():
    stored = json.loads((ROOT / "docs" / "noise_kinds.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "noise_kinds.md").read_text(encoding="utf-8")
    assert list(stored) == list(BY_NAME)
    for case in CASES:
        row = f"| {case.kind} | {case.name} |"
        assert page.count(row) == 1
        assert np.isfinite(stored[case.name]["automatic"]["gain"])
    count = rf"{len(CASES)} (further )?images of {len({case.kind for case in CASES})} kinds"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    automatic = (ROOT / "docs" / "automatic.md").read_text(encoding="utf-8")
    for text in (page, readme, automatic):
        assert re.search(count, " ".join(text.split()))
