"""Models that remove the bias of magnitudes are judged by the amplitude of the signal."""

from __future__ import annotations

import math

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.problems import problem_of
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.patches import sample_patches
from napari_diffusion.estimation.probes import make_probe
from napari_diffusion.estimation.squared_magnitudes import SquaredMagnitudes
from napari_diffusion.io.head_phantom import head

VOXELS = 400_000
NOISE = 7.0


def _magnitudes(amplitude: float, coils: int) -> np.ndarray:
    """Magnitudes of a signal of one coil, and of noise of all coils."""
    rng = np.random.default_rng(3)
    parts = rng.normal(0, NOISE, (2 * coils, VOXELS))
    parts[0] += amplitude
    return np.sqrt(np.sum(parts**2, axis=0))


def _scale(amplitude: float, coils: int) -> SquaredMagnitudes:
    mean_square = np.full(VOXELS, amplitude**2 + 2 * coils * NOISE**2)
    return SquaredMagnitudes.of(mean_square, np.full(VOXELS, NOISE), NOISE, coils)


def _is_zero_mean(values: np.ndarray) -> bool:
    return bool(abs(values.mean()) < 4 * values.std() / math.sqrt(values.size))


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("amplitude", [0.0, 5.0, 30.0])
def test_moments_of_scaled_squares(amplitude: float, coils: int) -> None:
    scale, image = _scale(amplitude, coils), _magnitudes(amplitude, coils)
    departure = scale.of_image(image) - scale.of_result(np.full(VOXELS, amplitude))
    assert _is_zero_mean(departure)
    assert _is_zero_mean(departure**2 - scale.deviation**2)


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("amplitude", [0.0, 5.0, 30.0])
def test_kernel_satisfies_the_identity_of_stein(amplitude: float, coils: int) -> None:
    scale, image = _scale(amplitude, coils), _magnitudes(amplitude, coils)
    squares, mean = scale.of_image(image), scale.of_result(np.full(VOXELS, amplitude))
    for function, derivative in ((np.sin, np.cos), (np.square, lambda x: 2 * x)):
        argument = squares / mean.mean()
        slope = derivative(argument) / mean.mean()
        assert _is_zero_mean((squares - mean) * function(argument) - scale.kernel(image) * slope)


def test_magnitudes_return_from_their_squares() -> None:
    scale, image = _scale(5.0, 1), _magnitudes(5.0, 1)
    np.testing.assert_allclose(scale.to_image(scale.of_image(image)), image, rtol=1e-12)


def _error(image: np.ndarray, truth: np.ndarray) -> float:
    """Root of the mean squared error where there is a signal above the noise."""
    return float(np.sqrt(np.mean((image.astype(float) - truth)[truth > 60] ** 2)))


@pytest.mark.parametrize("seed", [4, 5])
def test_suggestion_for_rician_has_nearly_the_least_error_of_the_amplitude(seed: int) -> None:
    scan = head((16, 96, 80), noise=60.0, seed=seed)
    suggestion = nd.suggest(scan.noisy, nd.Rician(), spacing=scan.spacing)

    def error(time: float) -> float:
        result = nd.diffuse(scan.noisy, suggestion.model, time=time, spacing=scan.spacing)
        return _error(result, scan.truth)

    least = min(error(suggestion.time * factor) for factor in (0.25, 0.5, 0.7, 1.0, 1.4, 2.0))
    assert suggestion.time > 0
    assert 20 * math.log10(error(suggestion.time) / least) < 0.5
    low, high = suggestion.gain_interval
    gain = 20 * math.log10(_error(scan.noisy, scan.truth) / error(suggestion.time))
    assert low <= gain <= high


def test_suggestion_for_rician_noise_alone_smooths_it() -> None:
    rng = np.random.default_rng(0)
    image = np.hypot(*rng.normal(0, 10, (2, 16, 48, 48)))
    suggestion = nd.suggest(image, nd.Rician(), noise="rician")
    result = nd.diffuse(image, suggestion.model, time=suggestion.time)
    assert np.sqrt(np.mean(result**2)) < 0.5 * np.sqrt(np.mean(image**2))


def test_reference_of_impulses_is_on_the_scale_of_squares() -> None:
    """Where a hot voxel is replaced, the reference is the scaled square of its neighbours."""
    rng = np.random.default_rng(2)
    image = np.hypot(*rng.normal(0, 10, (2, 1, 48, 48))) + 100.0
    image[0, 20, 20] = 5000.0
    (patch,) = sample_patches([problem_of(image[0], nd.Rician(), time=0.0)[0]])
    probe = make_probe(patch, [Noise("rician", 10.0, 0.1)], "sure", 0, removes_bias=True)
    assert probe.squares is not None
    assert patch.impulses is not None
    assert probe.reference is not None
    expected = probe.squares.of_image(patch.without_impulses)
    np.testing.assert_allclose(probe.reference[patch.impulses], expected[patch.impulses], rtol=1e-4)
