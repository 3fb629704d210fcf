r"""Kinds of noise: how its variance depends on the mean, fitted to the variances in classes of equal local mean.

========  =================================================  =============================================================
kind      variance at mean m [intensity²]                    where
========  =================================================  =============================================================
gaussian  :math:`\sigma^2`                                   most images
rician    :math:`\sigma^2\,v(m/\sigma)`, v from 0.43 to 1    magnitude of complex data: MRI (Gudbjartsson & Patz 1995)
poisson   :math:`b + a\,m`, gain a, offset b                 photon counting: fluorescence, low light (Foi et al. 2008)
speckle   :math:`q^2 m^2`                                    coherent imaging: ultrasound, radar, OCT
========  =================================================  =============================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.estimation.noise import Array, Evidence, colour, deviation, gaussian_sigma

Kind = Literal["gaussian", "rician", "poisson", "speckle"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Classes of equal local mean, and the fewest flat voxels that one needs.
CLASSES, MEMBERS = 32, 100
#: How much busier than noise a class may be: edges make the variance of the classes between parts, as if it grew with the mean.
CALM = 10.0
#: Another kind than Gaussian is only believed when it explains the classes this much better than a constant, which scatter this much.
BETTER, SCATTER = 0.5, 0.15


@dataclass(frozen=True)
class Noise:
    """Noise of an image.

    Attributes
    ----------
    kind
        ``"gaussian"``, ``"rician"``, ``"poisson"`` (Poisson-Gaussian) or ``"speckle"``.
    sigma, error
        Standard deviation and its standard error [intensity]: of the noise for Gaussian, of the real and imaginary part for Rician noise,
        the root mean square over the image for the others.
    correlations
        Correlations of neighbours one voxel apart, two and so on, along every finely sampled axis; nothing when they are not correlated.
    allowed
        Whether the noise is taken to have these correlations. Otherwise they may be those of fine detail, and it is taken to be white.
    between_frames
        Whether it was read from what changes from one frame to the next.
    gain, offset
        Poisson: the variance at mean m is ``offset + gain * m`` [intensity², intensity].
    speckle
        Speckle: standard deviation of the noise as a share of the mean.
    """

    kind: Kind
    sigma: float
    error: float
    correlations: tuple[tuple[float, ...], ...] = ()
    gain: float = 0.0
    offset: float = 0.0
    speckle: float = 0.0
    allowed: bool = True
    between_frames: bool = False

    @property
    def correlation(self) -> float:
        """Correlation of neighbouring voxels, along the axis where it is largest; 0 where there is none."""
        return max((along[0] for along in self.correlations), default=0.0)

    def variance(self, mean: Array) -> Array:
        """Variance of the noise [intensity²] where the local mean is ``mean``."""
        if self.sigma == 0:
            return np.zeros(mean.shape)
        if self.kind == "poisson":
            return np.asarray(np.maximum(self.offset + self.gain * mean, 0.01 * self.sigma**2))
        if self.kind == "speckle":
            return np.asarray((self.speckle * mean) ** 2)
        if self.kind == "rician":
            level, variance, _ = _rician()
            return np.asarray(self.sigma**2 * np.interp(mean / self.sigma, level, variance))
        return np.full(mean.shape, self.sigma**2)


@cache
def _rician() -> tuple[Array, Array, Array]:
    r"""Mean, variance and their ratio :math:`\mu/\sqrt v` of Rician magnitudes of unit noise, for amplitudes from 0 to 40."""
    from scipy.special import ive

    amplitude = np.linspace(0, 40, 4001)
    x = amplitude**2 / 4
    mean = np.sqrt(np.pi / 2) * ((1 + 2 * x) * ive(0, x) + 2 * x * ive(1, x))
    variance = 2 + amplitude**2 - mean**2
    return mean, variance, mean / np.sqrt(variance)


def estimate_noise(evidence: Evidence, kind: Kind | None = None) -> Noise:
    """Noise of the given kind, or of the kind that the image shows; ``sigma`` is 0 where there is none, or too little to read it from."""
    shared, factor, uncertain = colour(evidence)
    evidence = replace(evidence, residual=factor * evidence.residual)
    sigma, error = gaussian_sigma(evidence)
    if not sigma > 0:
        return Noise("gaussian", sigma, error)
    gaussian = Noise(
        "gaussian",
        sigma,
        math.hypot(error, uncertain * sigma),
        shared,
        allowed=factor != 1,
        between_frames=evidence.change,
    )
    if kind == "gaussian":
        return gaussian
    mean, deviations, counts = _classes(evidence)
    if kind is None and len(mean) < 4:
        return gaussian
    if not len(mean):
        mean, deviations, counts = (
            np.array([evidence.mean.mean()]),
            np.array([sigma]),
            np.array([evidence.mean.size]),
        )
    fits = {
        name: _fit(name, evidence, mean, deviations, counts, gaussian)
        for name in KINDS[1:]
        if kind in (None, name)
    }
    if kind is not None:
        return fits[kind]

    def misfit(noise: Noise) -> float:
        far = np.log(np.maximum(noise.variance(mean), 1e-6 * sigma**2) / deviations**2) / 2
        return float(np.sqrt(np.average(far**2, weights=counts)))

    best = min(fits.values(), key=misfit)
    constant = misfit(gaussian)
    return best if constant > SCATTER and misfit(best) < BETTER * constant else gaussian


def _classes(evidence: Evidence) -> tuple[Array, Array, NDArray[np.int64]]:
    """Local mean, noise deviation and number of flat voxels of each class."""
    number = min(CLASSES, evidence.mean.size // (4 * MEMBERS))
    if number < 1:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    quantiles = np.quantile(evidence.mean, np.linspace(0, 1, number + 1))
    # A dark background is one class, not most of them: its voxels differ in mean by their noise alone.
    least = float(np.subtract(*np.quantile(evidence.mean, (0.995, 0.005)))) / CLASSES
    kept = [float(quantiles[0])]
    for bound in quantiles[1:]:
        if bound - kept[-1] >= least:
            kept.append(float(bound))
    bounds = np.array([*kept[: max(1, len(kept) - 1)], max(float(quantiles[-1]), kept[0])])
    which = np.clip(np.searchsorted(bounds, evidence.mean, side="right") - 1, 0, len(bounds) - 2)
    rows = []
    for index in range(max(len(bounds) - 1, 1)):
        flat = evidence.calm(which == index, CALM)
        count = int(flat.sum())
        found = deviation(evidence.residual[flat]) if count >= MEMBERS else 0.0
        if found > 0:
            rows.append((float(evidence.mean[flat].mean()), found, count))
    table = np.array(rows).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2].astype(np.int64)


def _fit(
    kind: Kind,
    evidence: Evidence,
    mean: Array,
    deviations: Array,
    counts: NDArray[np.int64],
    gaussian: Noise,
) -> Noise:
    relative = gaussian.error / gaussian.sigma
    if kind == "rician":
        _, variance, ratio = _rician()
        sigma = _weighted_median(
            deviations / np.sqrt(np.interp(mean / deviations, ratio, variance)), counts
        )
        return replace(gaussian, kind=kind, sigma=sigma, error=1.25 * relative * sigma)
    if kind == "speckle":
        share = _weighted_median(
            deviations / np.maximum(np.abs(mean), 1e-12 * np.abs(mean).max()), counts
        )
        sigma = float(share * np.sqrt(np.mean(evidence.mean**2)))
        return replace(
            gaussian, kind=kind, sigma=sigma, error=1.25 * relative * sigma, speckle=share
        )
    gain, offset = _line(mean, deviations**2, counts)
    noise = replace(
        gaussian, kind=kind, sigma=float(np.median(deviations)), gain=gain, offset=offset
    )
    sigma = float(np.sqrt(np.mean(noise.variance(evidence.mean))))
    return replace(noise, sigma=sigma, error=relative * sigma)


def _line(x: Array, y: Array, counts: NDArray[np.int64]) -> tuple[float, float]:
    """Slope >= 0 and intercept of a variance over the mean; the scatter of a variance grows with it, and outliers (edges) count less."""
    fitted = np.full(y.shape, np.average(y, weights=counts))
    slope, intercept = 0.0, float(fitted[0])
    far = np.zeros(y.shape)
    for _ in range(20):
        weights = (
            counts
            / np.maximum(fitted, 0.01 * y.mean()) ** 2
            / np.maximum(1.0, far / max(np.median(far), 1e-12))
        )
        centre, level = np.average(x, weights=weights), np.average(y, weights=weights)
        spread = float(np.sum(weights * (x - centre) ** 2))
        slope = (
            max(0.0, float(np.sum(weights * (x - centre) * (y - level))) / spread)
            if spread > 0
            else 0.0
        )
        intercept = float(level - slope * centre)
        fitted = intercept + slope * x
        far = np.abs(y - fitted) / np.maximum(fitted, 0.01 * y.mean())
    return slope, intercept


def _weighted_median(values: Array, weights: NDArray[np.int64]) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
