r"""Kind of the noise, from the dependence of its variance on the local mean.

The variance is measured in classes of similar local mean. Each kind is fitted to these variances.

========  =================================================  =====================================
kind      variance at mean m [intensity²]                    where
========  =================================================  =====================================
gaussian  :math:`\sigma^2`                                   most images
rician    :math:`\sigma^2\,v(m/\sigma)`, v from 0.43 to 1    magnitude of complex data: MRI
                                                             (Gudbjartsson & Patz 1995), also of
                                                             several coils (Constantinides 1997)
poisson   :math:`b + a\,m`, gain a, offset b                 photon counting: fluorescence, low
                                                             light (Foi et al. 2008)
speckle   :math:`q^2 m^2`                                    coherent imaging: ultrasound, radar,
                                                             OCT
========  =================================================  =====================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.classes import (
    MANY_CLASSES,
    MAX_ACTIVITY_OF_FEW,
    Classes,
    classes_by_mean,
)
from napari_diffusion.estimation.noise.correlations import Origin, measure_correlations
from napari_diffusion.estimation.noise.evidence import (
    Evidence,
    detail_variance,
    gaussian_sigma,
)
from napari_diffusion.estimation.noise.level_map import LevelMap
from napari_diffusion.estimation.noise.moments import (
    departure_moments,
    level_factor,
    measure_kernel,
)
from napari_diffusion.estimation.noise.patterns import Pattern

Kind = Literal["gaussian", "rician", "poisson", "speckle"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Minimum number of classes from which a kind is chosen.
MIN_CLASSES = 2
#: Largest mean to which a line is extrapolated, as a share of the range of the classes.
MAX_EXTRAPOLATION = 1.0
#: A kind other than Gaussian is chosen only if the constant variance of Gaussian noise has at least
#: this misfit, and the other kind less than this share of it. The misfit is the mean magnitude of
#: the logarithm of deviation ratios, beyond the standard errors of the classes. Measured for the
#: first: 0 to 0.04 for uniform Gaussian noise, 0.07 and more for counts of photons.
MIN_GAUSSIAN_MISFIT, MAX_MISFIT_SHARE = 0.05, 0.5
#: The same for several coils, whose background has a mean that is known from its deviation.
MIN_MISFIT_OF_COILS, MAX_MISFIT_SHARE_OF_COILS = 0.03, 0.7
#: Kinds whose misfits differ by less, and whose levels by less than this logarithm, fit equally
#: well. Measured on repeated noise: misfits of the right kind scatter by 0.01 to 0.02.
SAME_MISFIT, SAME_LEVEL = 0.02, 0.1
#: Numbers of coils that are tried, and the largest relative error of the mean of the background:
#: less than half of the factor of 1.4 between these numbers.
COILS, MAX_BACKGROUND_ERROR = (1, 2, 4, 8, 16, 32), 0.15
#: Largest logarithm of a ratio of deviations that counts for the misfit: a class with twice the
#: deviation consists of edges.
MAX_LOG_RATIO = 0.7
#: Standard error of a group of classes that is precise enough.
GROUP_ERROR = 0.1
#: Skewness above which noise is not Gaussian: 0.6 for speckle of 12 looks, 0.4 for counts of 6
#: photons. That of Gaussian noise scatters by 0.05 in 2000 calm voxels.
MAX_SKEWNESS = 0.3
#: Kurtosis below which noise has lighter tails than Gaussian noise: 1.8 for uniform noise. That of
#: Gaussian noise is 3, and scatters by 0.11 in 2000 calm voxels.
LIGHT_KURTOSIS = 2.4
#: Least variance of the squares of values of unit variance that counts: that of uniform noise.
MIN_SPREAD = 0.8
#: Largest misfit of a kind other than Gaussian. Measured: 0.02 to 0.1 where the kind is right.
MAX_MISFIT = 0.2
#: Level of shared noise, relative to its residual, from which the residual shows no kind. With a
#: thousandth of the variance left in it, edges decide how it depends on the intensity.
MAX_KIND_RATIO = 30.0
#: Factor on the misfit of a line, which has one more number than constant variance. Without it, the
#: measured shares are 0 to 0.35 for counts of photons, 0.43 to 0.55 for relief in bright objects.
LINE_PENALTY = 1.2
#: Smallest growth of the variance over the range of the means, relative to its median, at which
#: noise depends on the intensity. Without growth, a line through variances is Gaussian noise.
MIN_GROWTH = 0.5
#: The same for Rician noise, whose variance grows by a factor of at most 2.3.
MIN_RICIAN_GROWTH = 0.1


@dataclass(frozen=True)
class Noise:
    """Noise of an image.

    Attributes
    ----------
    kind
        ``"gaussian"``, ``"rician"``, ``"poisson"`` (Poisson-Gaussian) or ``"speckle"``.
    sigma, error
        Standard deviation and its standard error [intensity]. For Gaussian noise it is that of the
        noise, for Rician noise that of the real and the imaginary part, for the others the root
        mean square over the image. It includes the pattern. Where the level varies with the
        place, it is the root mean square over the image.
    correlations
        For every finely sampled axis, the correlations of voxels one voxel apart, two and so on;
        empty for uncorrelated noise.
    origin
        Where the correlations come from: ``"noise"``, ``"detail"`` of the picture, ``"undecided"``,
        or ``"none"`` for white noise. Noise is taken to be white unless they are its own.
    other_sigma
        Standard deviation [intensity] if the undecided correlations are those of the noise; 0
        where there is no doubt.
    between_frames
        Whether the noise was measured on the differences of frames.
    skewness
        Skewness of the values about the local mean; 0 for Gaussian noise.
    kurtosis
        Kurtosis of the same values; 3 for Gaussian noise.
    measured_kernel
        Stein kernel of skewed noise at some departures: pairs, empty if it was not measured.
    level_map
        Factor on the noise by the place; None where the level is the same everywhere.
    pattern
        Stripes, rings or a wave in the noise, or None.
    gain, offset
        Poisson: the variance at mean m is ``offset + gain * m`` [intensity², intensity].
    speckle
        Speckle: standard deviation of the noise as a share of the mean.
    coils
        Rician: number of the coils whose signals were combined by the sum of their squares.
    """

    kind: Kind
    sigma: float
    error: float
    correlations: tuple[tuple[float, ...], ...] = ()
    gain: float = 0.0
    offset: float = 0.0
    speckle: float = 0.0
    coils: int = 1
    origin: Origin = "none"
    other_sigma: float = 0.0
    skewness: float = 0.0
    kurtosis: float = 3.0
    measured_kernel: tuple[tuple[float, float], ...] = ()
    level_map: LevelMap | None = None
    pattern: Pattern | None = None
    between_frames: bool = False

    @property
    def is_skewed(self) -> bool:
        """Whether the noise has more values far from the mean on one side than on the other.

        That of magnitudes, which is skewed where there is no signal only, does not count.
        """
        return self.kind != "rician" and abs(self.skewness) > MAX_SKEWNESS

    @property
    def has_light_tails(self) -> bool:
        """Whether the noise has no values as far from the mean as Gaussian noise has.

        Values that were rounded or spread over a range are such noise.
        """
        return self.kind == "gaussian" and self.kurtosis < LIGHT_KURTOSIS

    @property
    def alternative(self) -> Noise | None:
        """The noise if its undecided correlations are its own; None where there is no doubt."""
        if not self.other_sigma > 0:
            return None
        own = self.scaled(self.other_sigma / self.sigma)
        return replace(own, origin="noise", other_sigma=0.0)

    def as_gaussian(self) -> Noise:
        """Return noise of the same level that does not depend on the intensity."""
        return replace(self, kind="gaussian", gain=0.0, offset=0.0, speckle=0.0)

    def scaled(self, factor: float) -> Noise:
        """Return the noise with ``factor`` times the standard deviation."""
        return replace(
            self,
            sigma=factor * self.sigma,
            error=factor * self.error,
            other_sigma=factor * self.other_sigma,
            gain=factor**2 * self.gain,
            offset=factor**2 * self.offset,
            speckle=factor * self.speckle,
        )

    @property
    def correlation(self) -> float:
        """Largest correlation of adjacent voxels over all axes; 0 for uncorrelated noise."""
        return max((along[0] for along in self.correlations), default=0.0)

    def variance(self, mean: FloatArray) -> FloatArray:
        """Variance of the noise [intensity²] at local means ``mean`` [intensity].

        It is that of a place where the `level_map` is 1.
        """
        if self.sigma == 0:
            return np.zeros(mean.shape)
        if self.kind == "poisson":
            return np.asarray(np.maximum(self.offset + self.gain * mean, 0.01 * self.sigma**2))
        if self.kind == "speckle":
            return np.asarray((self.speckle * mean) ** 2)
        if self.kind == "rician":
            level, variance, _ = _rician_moments(self.coils)
            return np.asarray(self.sigma**2 * np.interp(mean / self.sigma, level, variance))
        return np.full(mean.shape, self.sigma**2)

    def kernel(
        self, mean: FloatArray, departure: FloatArray, is_coarse: bool = False
    ) -> FloatArray:
        r"""Stein kernel of the noise, relative to its variance.

        Noise n with the kernel :math:`\tau` has :math:`E[n\,g(n)] = E[\tau(n)\,g'(n)]` for every
        smooth function g. For Gaussian noise, :math:`\tau` is the variance. For x photons of the
        mean m it is :math:`(x + m)/2`, and for speckle :math:`q^2 m x`. That of other skewed noise
        is measured. Otherwise, and for light tails, it is the best polynomial of second degree,
        which skewness and kurtosis give. It is exact for uniform noise.

        Parameters
        ----------
        mean
            Local mean [intensity].
        departure
            Value less the local mean, in standard deviations of the noise.
        is_coarse
            Whether one photon is about as much as the noise. The kernel is then x: a filter may
            change from one count to the next, and at the count itself it changes most.
        """
        if self.kind == "poisson":
            slope = self.gain if is_coarse else self.gain / 2
            return np.maximum(1 + slope * departure / np.sqrt(self.variance(mean)), 0)
        if not (self.is_skewed or self.has_light_tails):
            return np.ones(departure.shape)
        if self.measured_kernel:
            places, values = np.transpose(self.measured_kernel)
            return np.asarray(np.interp(departure, places, values))
        linear, square = self._kernel_slopes
        return np.maximum(1 + linear * departure + square * (departure**2 - 1), 0)

    @property
    def _kernel_slopes(self) -> tuple[float, float]:
        """Coefficients of the departure, and of its square less 1, in the kernel."""
        cubes, fourths = self.skewness, self.kurtosis
        square = (fourths / 3 - 1 - cubes**2 / 2) / max(fourths - 1 - cubes**2, MIN_SPREAD)
        square = square if self.has_light_tails else max(square, 0.0)
        return cubes * (0.5 - square), square


@cache
def _rician_moments(coils: int = 1) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Moments of magnitudes of unit noise, for amplitudes from 0 to 40.

    The magnitude is the root of the sum of squares of the signals of ``coils``. Returns the mean
    :math:`\mu`, the variance v and the ratio :math:`\mu/\sqrt v`.
    """
    from scipy.special import gammaln, hyp1f1

    amplitude = np.linspace(0, 40, 4001)
    factor = math.sqrt(2) * math.exp(gammaln(coils + 0.5) - gammaln(coils))
    mean = factor * hyp1f1(-0.5, coils, -(amplitude**2) / 2)
    variance = 2 * coils + amplitude**2 - mean**2
    return mean, variance, mean / np.sqrt(variance)


def estimate_noise(
    evidence: Evidence, kind: Kind | None = None, may_be_shared: bool = True
) -> Noise:
    """Estimate noise of a given kind, or of the kind that fits the image best.

    The level ``sigma`` is 0 if the image shows no noise, or has too few flat voxels. Without
    ``may_be_shared``, correlations are never believed to be those of the noise.
    """
    correlations = measure_correlations(evidence)
    if correlations.origin == "noise" and not may_be_shared:
        correlations = replace(correlations, origin="undecided")
    is_shared = correlations.origin == "noise"
    sigma, error = gaussian_sigma(evidence)
    if not sigma > 0:
        return Noise("gaussian", sigma, error)
    factor = correlations.sigma / sigma
    if is_shared:
        evidence = replace(evidence, residual=correlations.ratio * evidence.residual)
        sigma, error = factor * sigma, factor * error
    skewness, kurtosis = departure_moments(evidence)
    gaussian = Noise(
        "gaussian",
        sigma,
        math.hypot(error, correlations.error * sigma if is_shared else 0.0),
        correlations.along,
        origin=correlations.origin,
        skewness=skewness,
        kurtosis=kurtosis,
        between_frames=evidence.is_change,
    )
    if kind is None and is_shared and correlations.ratio > MAX_KIND_RATIO:
        kind = "gaussian"
    noise = _of_kind(evidence, gaussian, kind)
    if correlations.origin == "undecided":
        noise = replace(noise, other_sigma=factor * noise.sigma)
    if noise.kind != "gaussian" or is_shared:
        return noise
    noise = _without_detail(evidence, noise)
    if noise.is_skewed or noise.has_light_tails:
        noise = noise.scaled(level_factor(noise.kurtosis, evidence.axis_count))
    return replace(noise, measured_kernel=measure_kernel(evidence)) if noise.is_skewed else noise


def _without_detail(evidence: Evidence, noise: Noise) -> Noise:
    """Return white noise without the fine detail that its residual contains.

    Half of the difference is added to the error: the extrapolation is an approximation.
    """
    variance = noise.sigma**2 - detail_variance(evidence)
    sigma = math.sqrt(max(variance, 0.0))
    return replace(noise, sigma=sigma, error=math.hypot(noise.error, (noise.sigma - sigma) / 2))


def _of_kind(evidence: Evidence, gaussian: Noise, kind: Kind | None) -> Noise:
    """Return noise of a given kind, or of the one that fits best; ``gaussian`` is the estimate."""
    if kind == "gaussian":
        return gaussian
    classes = classes_by_mean(evidence)
    if kind is None and len(classes.mean) < MANY_CLASSES:
        classes = classes_by_mean(evidence, MAX_ACTIVITY_OF_FEW)
    if kind is None and len(classes.mean) < MIN_CLASSES:
        return gaussian
    if not len(classes.mean):
        mean, one = np.array([evidence.mean.mean()]), np.ones(1)
        classes = Classes(mean, np.array([gaussian.sigma]), one, one)
    if kind is not None:
        return _FITS[kind](evidence, classes, gaussian)
    fits = [fit(evidence, classes, gaussian) for fit in _FITS.values()]
    fits = [noise for noise in fits if _is_supported(noise, classes)]
    if not fits:
        return gaussian
    best = _simplest(fits, evidence, classes, gaussian.sigma)
    misfit = _misfit(best, classes, gaussian.sigma)
    if best.kind == "poisson":
        misfit *= LINE_PENALTY
    constant = _misfit(gaussian, classes, gaussian.sigma)
    least, share = MIN_GAUSSIAN_MISFIT, MAX_MISFIT_SHARE
    if best.coils > 1:
        least, share = MIN_MISFIT_OF_COILS, MAX_MISFIT_SHARE_OF_COILS
    return best if constant > least and misfit < min(MAX_MISFIT, share * constant) else gaussian


def _simplest(fits: Sequence[Noise], evidence: Evidence, classes: Classes, sigma: float) -> Noise:
    """Return the simplest of the kinds that fit as well as the best one.

    A line can imitate the kinds of one number. These count only where they state nearly the same
    level for the whole image. Most voxels can be in a single class, which every kind fits.
    """
    misfits = [_misfit(noise, classes, sigma) for noise in fits]
    mean = np.clip(evidence.mean, classes.mean.min(), classes.mean.max())
    levels = [math.log(float(np.mean(noise.variance(mean)))) / 2 for noise in fits]
    best = int(np.argmin(misfits))
    equal = [
        noise
        for noise, misfit, level in zip(fits, misfits, levels, strict=True)
        if misfit <= misfits[best] + SAME_MISFIT and abs(level - levels[best]) <= SAME_LEVEL
    ]
    return min(equal, key=lambda noise: noise.kind == "poisson")


def _is_supported(noise: Noise, classes: Classes) -> bool:
    """Whether the variance of the noise grows with the mean, and stays > 0, over the classes.

    That of Rician noise grows by little.
    """
    lowest, highest = classes.mean[[classes.mean.argmin(), classes.mean.argmax()]]
    ends = noise.variance(np.array([lowest, highest]))
    growth = float(ends[1] - ends[0])
    if noise.kind == "poisson" and noise.offset + noise.gain * lowest <= 0:
        return False
    least = MIN_RICIAN_GROWTH if noise.kind == "rician" else MIN_GROWTH
    return growth >= least * float(np.median(classes.deviation**2))


def _misfit(noise: Noise, classes: Classes, sigma: float) -> float:
    """Mean magnitude of the logarithms of modelled over measured deviations.

    What exceeds the standard error counts. The error of a class of a hundred voxels is 0.2: such
    classes of similar mean are grouped. A last group of edges that is not precise enough is left
    out. Classes are weighted by voxels. Of the logarithm of other edges, `MAX_LOG_RATIO` counts.
    """
    variance = np.maximum(noise.variance(classes.mean), 1e-6 * sigma**2)
    logs = np.log(variance / classes.deviation**2) / 2
    precision = 1 / np.maximum(classes.error, 1e-6) ** 2
    starts, sum_of_group = [0], 0.0
    for index, own in enumerate(precision):
        if sum_of_group * GROUP_ERROR**2 >= 1:  # the group before is precise enough
            starts.append(index)
            sum_of_group = 0.0
        sum_of_group += own
    is_uncertain = len(starts) > 1 and sum_of_group * GROUP_ERROR**2 < 1
    if is_uncertain and _are_edges(classes, starts[-1]):
        count = starts.pop()
        variance, logs, precision = variance[:count], logs[:count], precision[:count]
        classes = Classes(*(each[:count] for each in classes))
    total, weights = (np.add.reduceat(each, starts) for each in (precision, classes.voxels))
    capped = precision * np.clip(logs, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    magnitudes = np.abs(np.add.reduceat(capped, starts) / total) - 1 / np.sqrt(total)
    return float(np.average(np.maximum(magnitudes, 0), weights=weights))


def _are_edges(classes: Classes, start: int) -> bool:
    """Whether the brightest classes, from a number on, deviate more than their mean is raised.

    An edge deviates by about its height, and raises the local mean by a part of that.
    """
    raised = classes.mean[start:] - classes.mean[0]
    excess = classes.deviation[start:] ** 2 - classes.deviation[0] ** 2
    return float(np.mean(excess)) > float(np.mean(raised**2))


def _fit_rician(evidence: Evidence, classes: Classes, gaussian: Noise) -> Noise:
    """Fit the deviation of the real and the imaginary part, and the number of coils.

    The mean of an empty background shows the number of coils: it is the least one possible.
    """
    fits = []
    for coils in COILS:
        mean, variance, ratio = _rician_moments(coils)
        variance = np.interp(classes.mean / classes.deviation, ratio, variance)
        sigma = _weighted_median(classes.deviation / np.sqrt(variance), classes.voxels)
        error = 1.25 * (gaussian.error / gaussian.sigma) * sigma
        has_background = abs(classes.mean.min() / (mean[0] * sigma) - 1) <= MAX_BACKGROUND_ERROR
        if coils == 1 or has_background:
            fits.append(replace(gaussian, kind="rician", sigma=sigma, error=error, coils=coils))
    return min(fits, key=lambda noise: _misfit(noise, classes, gaussian.sigma))


def _fit_poisson(evidence: Evidence, classes: Classes, gaussian: Noise) -> Noise:
    """Fit a line to the variances."""
    gain, offset = _fit_line(classes)
    sigma = float(np.median(classes.deviation))
    noise = replace(gaussian, kind="poisson", sigma=sigma, gain=gain, offset=offset)
    # Means far beyond those of the classes are those of impulses.
    low, high = classes.mean.min(), classes.mean.max()
    mean = np.clip(evidence.mean, low, high + MAX_EXTRAPOLATION * (high - low))
    sigma = float(np.sqrt(np.mean(noise.variance(mean))))
    return replace(noise, sigma=sigma, error=gaussian.error / gaussian.sigma * sigma)


def _fit_speckle(evidence: Evidence, classes: Classes, gaussian: Noise) -> Noise:
    """Fit the ratio of deviation and mean."""
    mean = np.abs(classes.mean)
    mean = np.maximum(mean, 1e-12 * mean.max())
    speckle = _weighted_median(classes.deviation / mean, classes.voxels)
    level = np.clip(evidence.mean, classes.mean.min(), classes.mean.max())
    sigma = float(speckle * np.sqrt(np.mean(level**2)))
    error = 1.25 * (gaussian.error / gaussian.sigma) * sigma
    return replace(gaussian, kind="speckle", sigma=sigma, error=error, speckle=speckle)


#: Fit of every kind to the classes; each begins with the Gaussian estimate.
_FITS = {"rician": _fit_rician, "poisson": _fit_poisson, "speckle": _fit_speckle}


def _fit_line(classes: Classes) -> tuple[float, float]:
    """Slope >= 0 and intercept of the variances of classes, by reweighted least squares.

    The scatter of a variance grows with the variance. Outliers, which are edges, get less weight.
    They are further from the line than most classes, and than their standard error explains.
    """
    x, y = classes.mean, classes.deviation**2
    fitted = np.full(y.shape, np.average(y, weights=classes.voxels))
    slope, intercept = 0.0, float(fitted[0])
    residual = np.zeros(y.shape)
    for _ in range(20):
        scale = np.maximum(2 * classes.error, np.median(residual))
        weights = (
            classes.voxels
            / np.maximum(fitted, 0.01 * y.mean()) ** 2
            / np.maximum(1.0, residual / np.maximum(scale, 1e-12))
        )
        centre, level = np.average(x, weights=weights), np.average(y, weights=weights)
        spread = float(np.sum(weights * (x - centre) ** 2))
        slope = 0.0
        if spread > 0:
            slope = max(0.0, float(np.sum(weights * (x - centre) * (y - level))) / spread)
        intercept = float(level - slope * centre)
        fitted = intercept + slope * x
        residual = np.abs(y - fitted) / np.maximum(fitted, 0.01 * y.mean())
    return slope, intercept


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
