r"""Noise from the image alone.

The noise is read from the finest second differences along every finely sampled axis (Immerkær 1996, in N-D and with the median),

.. math:: \hat\sigma = \operatorname{median}|r| / 0.6745, \qquad r = u * ([1, -2, 1]/\sqrt 6)^{\otimes N}

in the flattest quarter of the image. How flat a place is says a band of coarser frequencies (the difference of two Gaussians), which
white noise leaves nearly uncorrelated with :math:`r`: choosing flat places does not choose small noise. On eleven photographs this
took the worst error at noise levels of 10 and 20 % of the range from 12 to 7 %, and at 3 % from 19 to 2 % on those whose own texture is
weaker than the noise.

Noise that was smoothed or interpolated has little of its energy there. What neighbours share is read from its variogram along every axis,
the variances of differences over one to four voxels,

.. math:: \rho_k = 1 - \gamma_k/\gamma_4, \qquad \gamma_k = \tfrac12\operatorname{Var}(u_{x+k} - u_x), \qquad \sigma^2 = \gamma_4,

taken of second differences across the axis, which leave little of the picture and a known share of the noise.

Where there are frames, and the flattest quarter is not white noise, all this is read from the difference of two,
:math:`(u_{t+1} - u_t)/\sqrt 2`, if that has less detail: it has the noise of one frame, and no picture where nothing moves. What stays
the same from frame to frame does not count as noise then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
#: A coarser axis than this, relative to the finest, shows anatomy in its second difference, not noise.
COARSEST_AXIS = 1.5
#: Share of the image that counts as flat, the share that does where that is `BUSY` times as busy as noise, and the least number of
#: voxels to read noise from. Brains at 2 mm are 50 to 100 times as busy, photographs up to 10 times, the smooth MNI template 16 times.
FLAT, FLATTEST, BUSY, FEWEST = 0.25, 0.02, 30.0, 16
#: Variance of white noise in the coarser band, by the number of fine axes.
_BAND = {1: 0.0332, 2: 0.0358, 3: 0.0139}
#: Edge of the box in which flatness is measured, by the number of fine axes.
_WINDOW = {1: 15, 2: 9}
#: Correlation of neighbours that fine detail of a picture may make, the longest difference [voxels], and how much less the one before it
#: may be in variance: by 0.03 for noise smoothed with a Gaussian of 0.8 voxels, by 0.1 and more for brains at 2 mm.
CHANCE, LONGEST, GROWS = 0.03, 4, 0.05
#: A flattest quarter with less than this many times the coarser band of white noise is white noise, and has no need of other frames;
#: and the share of the detail of a frame below which its change to the next one is mostly noise.
WHITE, LEFT_OUT = 1.5, 0.8
_MEDIAN = 0.6745  # median of |x| of a standard normal variable
#: Sums of the second and fourth powers of the autocorrelations (6, -4, 1)/6 of the residual along an axis.
_SQUARES, _FOURTHS = 1 + 2 * (16 + 1) / 36, 1 + 2 * (256 + 1) / 1296


@dataclass(frozen=True)
class Evidence:
    """What noise can be read from, one entry per usable voxel of all pieces.

    ``residual`` r, ``mean`` the local mean [intensity], ``activity`` the energy of the coarser band; ``steps`` holds, for every fine
    axis of several, differences over one voxel to `LONGEST`, of second differences across it; ``axes`` is the number of fine axes;
    ``change`` says that it was gathered from differences of frames.
    """

    residual: Array
    mean: Array
    activity: Array
    steps: tuple[tuple[Array, ...], ...]
    axes: int
    change: bool = False

    @property
    def share(self) -> float:
        """Share that counts as flat: all of a change; its flattest part would be where the noise is weakest."""
        return 1.0 if self.change else FLAT

    def flattest(
        self, chosen: NDArray[np.bool_] | None = None, share: float | None = None
    ) -> NDArray[np.bool_]:
        """Mark the flattest ``share`` of the ``chosen`` voxels, more of them where they are few."""
        share = self.share if share is None else share
        chosen = np.ones(self.activity.shape, bool) if chosen is None else chosen
        count = int(chosen.sum())
        if not count:
            return chosen
        return np.asarray(
            chosen
            & (
                self.activity
                <= np.quantile(self.activity[chosen], min(1.0, max(share, 400 / count)))
            )
        )

    def is_calm(self, flat: NDArray[np.bool_], limit: float) -> bool:
        """Whether the voxels have at most ``limit`` times as much in the coarser band as white noise has, or are none."""
        noise = _BAND.get(self.axes, _BAND[3]) * deviation(self.residual[flat]) ** 2
        return not flat.any() or float(np.median(self.activity[flat])) <= limit * noise

    def calm(
        self, chosen: NDArray[np.bool_] | None = None, limit: float = BUSY
    ) -> NDArray[np.bool_]:
        """Mark the flattest quarter of the ``chosen`` voxels, or less of them if that is too busy still, or none if that is too.

        Busy is what has ``limit`` times as much in the coarser band as noise: its residual cannot be noise alone.
        """
        for share in sorted({self.share, FLAT, FLATTEST}, reverse=True):
            flat = self.flattest(chosen, share)
            if self.is_calm(flat, limit):
                return flat
        return flat if chosen is None else np.zeros_like(flat)


def carries_noise(field: Array) -> NDArray[np.bool_]:
    """Mark voxels of a field ``(C, *space)`` that are finite, and not amid equal ones: cut-off background and saturation carry no noise."""
    from scipy import ndimage

    space = field.shape[1:]
    reach = (
        5 if sum(n > 1 for n in space) == 1 else 3
    )  # three equal grey levels in a row occur by chance
    size = [reach if n > 1 else 1 for n in space]
    lively = np.zeros(space, bool)
    for channel in field:
        lively |= ndimage.maximum_filter(channel, size) > ndimage.minimum_filter(channel, size)
    return np.asarray(lively & np.isfinite(field).all(axis=0))


def fine_axes(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Axes that are sampled finely enough, and long enough, for a second difference to show noise."""
    finest = min((h for n, h in zip(shape, spacing, strict=True) if n > 2), default=0.0)
    return tuple(
        i
        for i, (n, h) in enumerate(zip(shape, spacing, strict=True))
        if n > 2 and h <= COARSEST_AXIS * finest
    )


def gather(
    patches: Sequence[Array],
    valid: Sequence[NDArray[np.bool_]],
    spacings: Sequence[Sequence[float]],
    after: Sequence[Array] | None = None,
) -> Evidence:
    """Collect evidence from pieces of one channel, or from their changes to the same pieces of the frames ``after``.

    ``valid`` marks the voxels that are finite, inside the mask and carry noise.
    """
    found: list[Evidence] = []
    for number, (patch, good, spacing) in enumerate(zip(patches, valid, spacings, strict=True)):
        axes, now = fine_axes(patch.shape, spacing), np.asarray(patch, float)
        if not axes:
            continue
        if after is None:
            found.append(_gather_one(now, good, axes))
        else:
            then = np.asarray(after[number], float)
            found.append(_gather_one((then - now) / math.sqrt(2), good, axes, (now + then) / 2))
    count = max((one.axes for one in found), default=0)
    found = [one for one in found if one.axes == count]

    def joined(name: str) -> Array:
        return np.concatenate([getattr(one, name) for one in found]) if found else np.zeros(0)

    kept = range(count if count > 1 else 0)
    steps = tuple(
        tuple(np.concatenate([one.steps[axis][k] for one in found]) for k in range(LONGEST))
        for axis in kept
    )
    return Evidence(
        joined("residual"), joined("mean"), joined("activity"), steps, count, after is not None
    )


def busy(still: Evidence) -> bool:
    """Whether there is no calm place to read the noise from."""
    return not still.is_calm(still.flattest(), WHITE)


def calmer(still: Evidence, change: Evidence) -> Evidence:
    """Return the change between frames where these are `busy` and it leaves out their detail, else what was gathered ``still``.

    Two pictures of different things have as much detail in their difference as each by itself.
    """
    if not busy(still) or not deviation(change.residual) > 0:
        return still
    return change if np.median(change.activity) < LEFT_OUT * np.median(still.activity) else still


def _gather_one(
    u: Array, good: NDArray[np.bool_], axes: tuple[int, ...], picture: Array | None = None
) -> Evidence:
    """Collect evidence about the noise of ``u``, which is a picture, or a change of that ``picture``."""
    from scipy import ndimage

    def gaussian(u: Array, sigma: float) -> Array:
        return np.asarray(
            ndimage.gaussian_filter(
                u, [sigma if i in axes else 0.0 for i in range(u.ndim)], truncate=3.0
            )
        )

    u, offset = _levelled(u, good)
    # A residual that touches an unusable voxel is no noise; the margin of one voxel has no whole residual.
    inside = ndimage.minimum_filter(
        good, [3 if i in axes else 1 for i in range(u.ndim)], mode="constant", cval=False
    )
    narrow = (
        1.0 if len(axes) > 1 else 2.0
    )  # along one axis alone, the band has to keep further away from the residual
    fine, mean = gaussian(u, narrow), gaussian(u, 2 * narrow)
    window = _WINDOW.get(len(axes), 5)
    activity = ndimage.uniform_filter(
        (fine - mean) ** 2, [window if i in axes else 1 for i in range(u.ndim)]
    )
    if picture is not None:
        picture, offset = _levelled(picture, good)
        mean = gaussian(picture, 2 * narrow)
    second = [ndimage.correlate1d(u, np.array([1, -2, 1]) / np.sqrt(6), axis) for axis in axes]
    residual = u
    for axis in axes:
        residual = ndimage.correlate1d(residual, np.array([1, -2, 1]) / np.sqrt(6), axis)
    values = np.unique(u[good][:: max(1, u[good].size // 10_000)])
    grey = float(np.diff(values).min()) if values.size > 1 else 0.0
    least, rng = 1e-9 * float(np.ptp(u)), np.random.default_rng(0)

    def spread(values: Array, step: float) -> Array:
        """Grey levels are steps: spread what is not 0 over its own, so that no median sticks to a multiple of it."""
        return np.where(
            np.abs(values) > least, values + step * rng.uniform(-0.5, 0.5, values.shape), 0.0
        )

    residual = spread(residual[inside], grey / 6 ** (len(axes) / 2))
    steps = []
    for axis in axes if len(axes) > 1 else ():
        across = second[axes.index(next(i for i in axes if i != axis))]
        steps.append(
            tuple(
                spread(_step(across, axis, apart)[inside], grey / math.sqrt(12))
                for apart in range(1, LONGEST + 1)
            )
        )
    return Evidence(
        residual,
        mean[inside] + offset,
        activity[inside],
        tuple(steps),
        len(axes),
        picture is not None,
    )


def _levelled(u: Array, good: NDArray[np.bool_]) -> tuple[Array, float]:
    """Return ``u`` less its mean, which stands where it is not usable, and that mean."""
    mean = float(u[good].mean()) if good.any() else 0.0
    return np.where(good, u - mean, 0.0), mean


def _step(u: Array, axis: int, apart: int) -> Array:
    """Differences over so many voxels, over sqrt 2; backwards where there is none ahead."""
    moved = np.moveaxis(u, axis, 0)
    ahead = np.arange(len(moved)) + apart
    ahead = np.where(ahead < len(moved), ahead, np.maximum(np.arange(len(moved)) - apart, 0))
    return np.moveaxis((moved[ahead] - moved) / np.sqrt(2), 0, axis)


def deviation(residual: Array) -> float:
    """Standard deviation of a residual, by the median of its magnitude."""
    return float(np.median(np.abs(residual)) / _MEDIAN) if residual.size else 0.0


def relative_error(count: int, axes: int) -> float:
    r"""Relative standard error of `deviation` of ``count`` residuals over ``axes`` axes.

    The median of n independent normal magnitudes has 1.17/sqrt(n). Neighbouring residuals are correlated: in the Hermite expansion of the
    step function whose mean the median balances, the squared correlation has the weight 0.368 and the fourth power 0.198.
    """
    fewer = 1 + 0.368 * (_SQUARES**axes - 1) + 0.198 * (_FOURTHS**axes - 1)
    return float(1.17 * np.sqrt(fewer / max(count, 1)))


def gaussian_sigma(evidence: Evidence) -> tuple[float, float]:
    """Noise level and its standard error [intensity], 0 where there are too few voxels to read one from."""
    flat = evidence.calm()
    count = int(flat.sum())
    if count < FEWEST:
        return 0.0, 0.0
    sigma = deviation(evidence.residual[flat])
    return sigma, sigma * relative_error(count, evidence.axes)


def colour(evidence: Evidence) -> tuple[tuple[tuple[float, ...], ...], float, float]:
    """Correlations of neighbours over one voxel, two and so on, along every fine axis; the factor to the noise level; its relative error.

    No correlations where they are within what chance allows, or where one axis alone cannot tell. The factor is one too where
    differences of a picture grow still over `LONGEST` voxels, as its details do.
    """
    flat = evidence.flattest()
    count = int(flat.sum())
    variances = np.array(
        [[deviation(part[flat]) ** 2 for part in along] for along in evidence.steps]
    )
    if count < FEWEST or not variances.size or not (variances > 0).all():
        return (), 1.0, 0.0
    found = 1 - variances[:, :-1] / variances[:, -1:]
    # Two variances scatter, each twice as much as its deviation.
    scatter = 2 * math.sqrt(2) * relative_error(count, evidence.axes)
    if found[:, 0].max() < CHANCE + 2 * scatter:
        return (), 1.0, 0.0
    told = tuple(tuple(float(rho) for rho in along) for along in found)
    if found[:, -1].max() > GROWS + scatter and not evidence.change:
        return told, 1.0, 0.0
    left = np.maximum(
        1 - (8 * found[:, 0] - 2 * found[:, 1]) / 6, 0.01
    )  # of the variance, in a second difference
    across = np.array([int(axis == 0) for axis in range(len(found))])
    level = math.sqrt(float(np.mean(variances[:, -1] / left[across])))
    uncertain = float(np.max(scatter * (8 / 6) * (1 - found[:, 0]) / (2 * left)))
    return told, level / deviation(evidence.residual[flat]), uncertain


def coloured(white: Array, correlations: Sequence[Sequence[float]]) -> Array:
    """Random numbers, correlated along every axis as given over one voxel, two and so on; of mean square one."""
    for axis, rho in enumerate(correlations):
        if len(rho):
            waves = np.fft.rfftfreq(white.shape[axis])
            power = 1 + 2 * sum(r * np.cos(2 * np.pi * k * waves) for k, r in enumerate(rho, 1))
            shape = [-1 if i == axis else 1 for i in range(white.ndim)]
            # Around the end, so that it is as strong at a border as anywhere; chance may make a power negative.
            heard = np.fft.rfft(white, axis=axis) * np.sqrt(np.maximum(power, 0)).reshape(shape)
            white = np.fft.irfft(heard, white.shape[axis], axis)
    return np.asarray(white / np.sqrt(np.mean(white**2)))
