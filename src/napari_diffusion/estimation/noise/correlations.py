r"""Correlations of neighbouring voxels, those of the noise or those of fine detail.

They are measured by a variogram along every axis, the variances of differences over one to four
voxels,

.. math:: \rho_k = 1 - \gamma_k/\gamma_4, \qquad
          \gamma_k = \tfrac12\operatorname{Var}(u_{x+k} - u_x), \qquad \sigma^2 = \gamma_4,

applied to second differences across the axis. These contain little of the picture and a known
share of the noise.

Noise with these correlations has a known energy in the coarser band of frequencies, the one by
which flat places are selected. Fine detail of a picture has 4 to 30 times that energy (measured on
brains and on simulated folds), since its spectrum keeps rising towards low frequencies. The
correlations are believed only where the flattest voxels have no more than twice the energy of the
noise. Elsewhere the image cannot decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.evidence import (
    BAND_WIDTH,
    MIN_FLAT_VOXELS,
    Evidence,
    relative_error,
    robust_deviation,
)

#: Correlation of neighbours that fine detail of a picture may cause.
DETAIL_CORRELATION = 0.03
#: Largest relative growth of the variogram, from its highest value before, over its last voxel that
#: noise may have. Measured: 0.03 for noise smoothed with a Gaussian of 0.8 voxels, 0.1 and more for
#: brains at 2 mm. Noise of limited bandwidth has 0.1 over the last voxel, and more before.
MAX_VARIOGRAM_GROWTH = 0.05
#: The same where all energy is explained by noise: smoothed with a Gaussian of 1 voxel, it has 0.1.
MAX_CALM_GROWTH = 0.15
#: Largest correlation of neighbours for that: 0.78 for a Gaussian of 1 voxel, 0.85 for 1.2 voxels.
MAX_WIDE_CORRELATION = 0.81
#: Largest share of the variogram over `FAR_LAG` voxels that it gains beyond `MAX_LAG`, and largest
#: energy in the coarser band, that noise shared over more voxels has. Measured
#: (`tests/benchmarks/noise_decisions.py --only wide`): 0.13 to 0.18 and 1.1 to 1.4 for noise over
#: 1.2 voxels, 0.3 to 0.6 for pictures behind such a Gaussian.
MAX_FAR_GROWTH, MAX_WIDE_ACTIVITY = 0.23, 1.45
#: Shares of the voxels in which calm places are looked for.
CALM_SHARES = (0.25, 0.1, 0.03)
#: Largest energy of calm voxels in the coarser band, relative to noise of their correlations.
#: Measured: 0.5 to 1.6 for noise in calm places, 3 to 30 for fine detail and white noise.
MAX_CORRELATED_ACTIVITY = 2.0
#: Level of the correlated noise, relative to the residual, from which detail is no explanation for
#: weak correlations, so that twice the energy is allowed.
STRONG_RATIO = 3.0
#: Relative error of the level from which the correlations are not those of noise. Measured: 0.02 to
#: 0.13 for noise.
MAX_LEVEL_ERROR = 0.5

Origin = Literal["none", "noise", "detail", "undecided"]


@dataclass(frozen=True)
class Correlations:
    """Correlations of neighbouring voxels, and where they come from.

    Attributes
    ----------
    along
        For every fine axis, the correlations over one voxel, two and so on. Empty where they are
        within the scatter of white noise, and where there is one fine axis only.
    sigma
        Noise level if the noise has these correlations [intensity]; 0 for white noise.
    ratio
        The level over that of the residual of the same voxels, on which `sigma` depends less.
    error
        Relative standard error of the level, from that of the correlations.
    origin
        ``"noise"`` where calm places show that the noise has them, ``"detail"`` where the variogram
        grows beyond its longest difference as that of a picture, ``"undecided"`` where there is no
        calm place, and ``"none"`` for white noise.
    """

    along: tuple[tuple[float, ...], ...] = ()
    sigma: float = 0.0
    ratio: float = 1.0
    error: float = 0.0
    origin: Origin = "none"


def measure_correlations(evidence: Evidence) -> Correlations:
    """Measure the correlations in the flattest voxels, and decide where they come from."""
    tried: list[Correlations] = []
    for share in (evidence.flat_share,) if evidence.is_change else CALM_SHARES:
        flat = evidence.flattest(share=share)
        measured = _measure(evidence, flat)
        if measured is not None and measured.origin == "none" and tried:
            measured = _explained(evidence, flat, tried[-1])
        if measured is None or measured.origin == "none":
            break  # flatter voxels than those before show white noise, or nothing at all
        tried.append(measured)
        if measured.origin == "noise":
            energy = measured.sigma**2 * band_variance(measured.along)
            wide = _measure(evidence, evidence.widened(flat, energy))
            if wide is not None and wide.origin == "noise":
                # The flattest voxels are those where the noise happens to be weak.
                tried = [*tried[:-1], wide]
                measured = wide
            # Detail raises the level, so that the lowest one is the best.
            sigma, ratio = (min(getattr(c, name) for c in tried) for name in ("sigma", "ratio"))
            return replace(measured, sigma=sigma, ratio=ratio)
    return tried[0] if tried else Correlations()


def _explained(
    evidence: Evidence, flat: NDArray[np.bool_], before: Correlations
) -> Correlations | None:
    """Return the correlations ``before`` as those of noise if they explain the ``flat`` voxels.

    Few voxels do not show correlations that more voxels have shown. None if they would have shown
    them, or have more energy in the coarser band.
    """
    scatter = 2 * math.sqrt(2) * relative_error(int(flat.sum()), evidence.axis_count)
    is_visible = max(rho[0] for rho in before.along) > DETAIL_CORRELATION + 4 * scatter
    energy = _relative_energy(evidence, flat, before.sigma, before.along)
    if is_visible or before.origin != "undecided" or energy > MAX_CORRELATED_ACTIVITY:
        return None
    return replace(before, origin="noise")


def _relative_energy(
    evidence: Evidence, flat: NDArray[np.bool_], sigma: float, along: Sequence[Sequence[float]]
) -> float:
    """Energy of ``flat`` voxels in the coarser band, relative to noise of these correlations."""
    return float(np.median(evidence.activity[flat])) / (sigma**2 * band_variance(along))


def _measure(evidence: Evidence, flat: NDArray[np.bool_]) -> Correlations | None:
    """Measure the correlations in ``flat`` voxels; None if there are too few of these."""
    count = int(flat.sum())
    variogram = np.array(
        [
            [robust_deviation(values[flat]) ** 2 for values in along]
            for along in evidence.differences
        ]
    )
    if count < MIN_FLAT_VOXELS or not variogram.size or not (variogram > 0).all():
        return None
    rho = 1 - variogram[:, :-1] / variogram[:, -1:]
    # The ratio of two variances; the relative error of a variance is twice that of its deviation.
    scatter = 2 * math.sqrt(2) * relative_error(count, evidence.axis_count)
    if rho[:, 0].max() < DETAIL_CORRELATION + 2 * scatter:
        return Correlations()
    along = tuple(tuple(float(value) for value in values) for values in rho)
    share = np.array([_second_difference_share(values) for values in along])
    # Axis of the second differences in which the variogram along each axis was measured.
    across = np.array([int(axis == 0) for axis in range(len(rho))])
    variance = float(np.mean(variogram[:, -1] / share[across]))
    error = float(np.max(scatter * (8 / 6) * (1 - rho[:, 0]) / (2 * share)))
    level = math.sqrt(variance)
    energy = _relative_energy(evidence, flat, level, along)
    # White noise and detail give a level of at most 2.3 times that of the residual (measured).
    residual = robust_deviation(evidence.residual[flat])
    is_strong = level > STRONG_RATIO * residual
    limit = MAX_CORRELATED_ACTIVITY * (2 if is_strong else 1)
    # A variogram that has been higher than at its end does not keep growing.
    growth = float(rho.min(axis=1).max()) - scatter
    may_be_wide = energy <= 1 and float(rho[:, 0].max()) <= MAX_WIDE_CORRELATION
    is_wide = energy <= MAX_WIDE_ACTIVITY and far_growth(evidence, flat) <= MAX_FAR_GROWTH
    if evidence.is_change:
        origin: Origin = "noise"
    elif growth > (MAX_CALM_GROWTH if may_be_wide else MAX_VARIOGRAM_GROWTH) and not is_wide:
        origin = "detail"
    else:
        origin = "noise" if energy <= limit and error < MAX_LEVEL_ERROR else "undecided"
    return Correlations(along, level, level / max(residual, 1e-300), error, origin)


def far_growth(evidence: Evidence, flat: NDArray[np.bool_]) -> float:
    """Share of the variogram over `FAR_LAG` voxels that it gains beyond `MAX_LAG`.

    It is 1 where the axes are too short to show it.
    """
    near = np.array([robust_deviation(along[-1][flat]) ** 2 for along in evidence.differences])
    far = np.array([robust_deviation(values[flat]) ** 2 for values in evidence.far])
    return float(1 - near.mean() / max(far.mean(), 1e-300)) if far.size else 1.0


def _second_difference_share(rho: Sequence[float]) -> float:
    """Share of the variance of noise that is left in a second difference along an axis."""
    return max(1 - (8 * rho[0] - 2 * rho[1]) / 6, 0.01) if len(rho) else 1.0


def residual_variance(along: Sequence[Sequence[float]]) -> float:
    """Variance of the residual of noise of unit variance; parameters as in `band_variance`."""
    return math.prod(_second_difference_share(rho) for rho in along)


def band_variance(along: Sequence[Sequence[float]]) -> float:
    """Variance of noise of unit variance in the coarser band of frequencies.

    Parameters
    ----------
    along
        For every fine axis, the correlations over one voxel, two and so on; empty for none.
    """
    waves = np.fft.fftfreq(64)
    narrow = BAND_WIDTH[min(len(along), 2)]

    def overlap(first: float, second: float) -> float:
        """Variance of the noise after a Gaussian of each of two widths [voxel]."""
        squares = first**2 + second**2
        gain = np.exp(-2 * np.pi**2 * squares * waves**2)
        return math.prod(float(np.mean(gain * _power(rho, waves))) for rho in along)

    return (
        overlap(narrow, narrow) - 2 * overlap(narrow, 2 * narrow) + overlap(2 * narrow, 2 * narrow)
    )


def _power(rho: Sequence[float], waves: FloatArray) -> FloatArray:
    """Power spectrum of noise of unit variance; measured correlations scatter, so it is clipped."""
    power = 1 + 2 * sum(r * np.cos(2 * np.pi * k * waves) for k, r in enumerate(rho, 1))
    clipped = np.maximum(np.broadcast_to(power, waves.shape), 0)
    return np.asarray(clipped / clipped.mean())


def correlated_noise(white: FloatArray, correlations: Sequence[Sequence[float]]) -> FloatArray:
    """Filter white noise to given correlations along every axis, and to a mean square of 1.

    Parameters
    ----------
    white
        White noise, shape ``space``.
    correlations
        For every axis, the correlations over one voxel, two and so on; empty for none.
    """
    for axis, rho in enumerate(correlations):
        if len(rho):
            # Periodic, so that the variance is the same at a border as elsewhere.
            power = _power(rho, np.fft.rfftfreq(white.shape[axis]))
            gain = np.sqrt(power).reshape([-1 if i == axis else 1 for i in range(white.ndim)])
            spectrum = np.fft.rfft(white, axis=axis) * gain
            white = np.fft.irfft(spectrum, white.shape[axis], axis)
    return np.asarray(white / np.sqrt(np.mean(white**2)))
