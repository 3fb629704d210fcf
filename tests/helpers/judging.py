"""What an automatic choice is worth: gain, loss and announcements against the ideal result."""

import dataclasses
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import napari_diffusion as nd
from helpers.noise_case import NoiseCase
from napari_diffusion.schemes.intervals import GeometricTimes

Array = np.ndarray
#: Number of times of a run, and the longest of them [voxel²].
TIMES, MAX_TIME_VOXEL2 = 36, 75
#: Factors on the chosen threshold.
KAPPA_FACTORS = (0.5, 1.0, 2.0)
#: Distance from a seed to that of the second, independent noise.
SECOND_SEED = 50
#: Removed parts below this share of the noise say nothing about their composition.
MIN_REMOVED = 1e-4


@dataclass(frozen=True)
class Judgement:
    """A suggestion for one case and seed, beside the truth.

    Attributes
    ----------
    name, kind, holds, seed
        The case, whether the assumptions hold in it, and the seed of its noise.
    model, time
        What was chosen, in words, and the diffusion time [length²].
    gain, announced, interval
        True gain [dB] where the case counts, the announced one, and its limits. None: no claim.
    sigma, true_sigma
        Root mean square of the noise as estimated, and as it is [intensity].
    noise_kind
        Kind of the noise as recognised.
    share, true_share
        Share of noise in the removed part as announced, and by a second noise. None: no claim.
    best_time_gain, best_gain
        Gain [dB] with the best time for the chosen thresholds, and with the best time and one of
        the `KAPPA_FACTORS` on the threshold.
    is_named
        Whether the report names a noise that has to be named; None where this is not asked.
    seconds
        Processor time of the suggestion.
    report
        Text of the report.
    failure
        The error of the suggestion, or an empty text.
    total_gain
        True gain [dB] over the whole image, which the announcement is about. None: the same.
    """

    name: str
    kind: str
    holds: bool
    seed: int
    model: str
    time: float
    gain: float
    announced: float | None
    interval: tuple[float, float] | None
    sigma: float | None
    true_sigma: float
    noise_kind: str
    share: float | None
    true_share: float | None
    best_time_gain: float
    best_gain: float
    is_named: bool | None
    seconds: float
    report: str
    failure: str = ""
    total_gain: float | None = None

    @property
    def loss(self) -> float:
        """Gain that the best parameters of the chosen model have more [dB]."""
        return self.best_gain - self.gain

    @property
    def is_inside(self) -> bool | None:
        """Whether the true gain lies in the announced interval; None without an interval."""
        if self.interval is None:
            return None
        gain = self.gain if self.total_gain is None else self.total_gain
        return self.interval[0] <= gain <= self.interval[1]

    @property
    def share_error(self) -> float | None:
        """Distance of the announced share of noise from the true one; None without a claim."""
        if self.share is None or self.true_share is None:
            return None
        return abs(self.share - self.true_share)


@dataclass(frozen=True)
class Yardstick:
    """A noisy image, and errors of results where the case counts."""

    case: NoiseCase
    noisy: Array
    clean: Array
    inside: Any

    @classmethod
    def of(cls, case: NoiseCase, seed: int) -> "Yardstick":
        """Image of a case with the noise of a seed."""
        inside = Ellipsis if case.where is None else case.where
        return cls(case, case.noisy(seed), case.clean(), inside)

    def error(self, image: Array) -> float:
        """Mean squared error of a result [intensity²]."""
        return float(np.mean(np.square((image - self.clean)[self.inside], dtype=float)))

    @property
    def voxel(self) -> float:
        """Shortest edge of a voxel [length]."""
        return min(self.case.spacing)

    def gain(self, error: float) -> float:
        """Gain in signal-to-noise ratio [dB] of a result with a mean squared error."""
        return 10 * math.log10(self.error(self.noisy) / max(error, 1e-300))

    def run(self, model: nd.Model, when: float, noisy: Array | None = None) -> Array:
        """Filter the image, or another of the same case."""
        image = self.noisy if noisy is None else noisy
        return nd.diffuse(image, model, time=when, **self.case.keywords)


def points(yardstick: Yardstick, model: nd.Model) -> Iterator[tuple[float, float]]:
    """Yield times in geometric progression, and the error at each.

    Models with a direct solution, and series, whose frames are filtered one after the other, take
    a run for every time.
    """
    case, noisy = yardstick.case, yardstick.noisy
    longest = MAX_TIME_VOXEL2 * yardstick.voxel**2
    plan = nd.plan(noisy, model, time=longest, **case.keywords)
    ladder = GeometricTimes(TIMES, plan.scheme)
    if plan.scheme.is_direct or case.axes is not None:
        for when in ladder.times(longest):
            yield when, yardstick.error(yardstick.run(model, when))
        return
    states = nd.evolve(noisy, model, time=longest, scheme=ladder, **case.keywords)
    try:
        for state in states:
            yield state.time, yardstick.error(state.image)
    finally:
        states.close()


def smallest_error(yardstick: Yardstick, model: nd.Model) -> tuple[float, float]:
    """Best time of a model, and the error at it, which a parabola refines."""
    times: list[float] = []
    errors: list[float] = []
    for when, error in points(yardstick, model):
        times.append(when)
        errors.append(error)
        lowest = int(np.argmin(errors))
        if len(errors) > 8 and when > 3 * times[lowest]:
            break
    lowest = int(np.argmin(errors))
    value = errors[lowest]
    if 0 < lowest < len(errors) - 1:
        a, b, c = errors[lowest - 1 : lowest + 2]
        value = b - (a - c) ** 2 / (8 * max(a - 2 * b + c, 1e-300))
    return times[lowest], max(value, 0.9 * errors[lowest])


def with_threshold(model: nd.Model, factor: float) -> nd.Model | None:
    """Model with its threshold times a factor; None for a model without one."""
    kappa = getattr(model, "kappa", None)
    return None if kappa is None else dataclasses.replace(model, kappa=kappa * factor)


def best_gains(yardstick: Yardstick, model: nd.Model, own: float) -> tuple[float, float]:
    """Best gain by time alone, and by time and threshold; ``own`` is the gain of the choice."""
    by_time = max(own, yardstick.gain(smallest_error(yardstick, model)[1]))
    best = by_time
    for factor in KAPPA_FACTORS:
        changed = with_threshold(model, factor)
        if changed is not None and factor != 1:
            best = max(best, yardstick.gain(smallest_error(yardstick, changed)[1]))
    return by_time, best


def true_share(
    yardstick: Yardstick, choice: Callable[[Array], Array], result: Array, seed: int
) -> float | None:
    """Share of noise in the removed part of the whole image, by squares, from a second noise."""
    second = yardstick.case.noisy(seed + SECOND_SEED).astype(np.float64)
    removed = yardstick.noisy - result
    again = second - choice(yardstick.case.noisy(seed + SECOND_SEED))
    power = float(np.mean(np.square(removed, dtype=float)))
    if power < MIN_REMOVED * yardstick.error(yardstick.noisy):
        return None
    return min(1.0, float(0.5 * np.mean(np.square(removed - again, dtype=float)) / power))


def number(value: Any) -> float | None:
    """Finite number, or None where nothing is claimed."""
    return None if value is None or not math.isfinite(value) else float(value)


def estimated_rms(noise: Any, yardstick: Yardstick) -> float | None:
    """Root mean square of the estimated noise over the voxels that count."""
    if noise.kind == "rician":
        return float(np.sqrt(np.mean(noise.variance(yardstick.clean[yardstick.inside]))))
    return number(noise.sigma)


def judge(case: NoiseCase, seed: int, is_thorough: bool = True) -> Judgement:
    """Suggest parameters for a case, and compare result and announcements with the truth.

    Without ``is_thorough``, the best parameters are not searched, and the losses are 0.
    """
    yardstick = Yardstick.of(case, seed)
    true_sigma = math.sqrt(yardstick.error(yardstick.noisy))
    common = {"name": case.name, "kind": case.kind, "holds": case.holds, "seed": seed}
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            suggestion = nd.suggest(yardstick.noisy, **case.keywords)
    except (ValueError, RuntimeError) as error:
        return _refusal(common, true_sigma, time.process_time() - start, error)
    seconds = time.process_time() - start
    model, when = suggestion.model, suggestion.time
    result = yardstick.run(model, when)
    gain = yardstick.gain(yardstick.error(result))
    everywhere = dataclasses.replace(yardstick, inside=Ellipsis)
    best = best_gains(yardstick, model, gain) if is_thorough else (gain, gain)
    interval = getattr(suggestion, "gain_interval", None)
    limits = [] if interval is None else [number(limit) for limit in interval]
    report = suggestion.report
    return Judgement(
        **common,
        model=repr(model),
        time=when,
        gain=gain,
        announced=number(suggestion.gain),
        interval=None if not limits or None in limits else (limits[0], limits[1]),
        sigma=estimated_rms(suggestion.noise, yardstick),
        true_sigma=true_sigma,
        noise_kind=suggestion.noise.kind,
        share=number(suggestion.noise_share),
        true_share=true_share(yardstick, lambda u: yardstick.run(model, when, u), result, seed),
        best_time_gain=best[0],
        best_gain=best[1],
        is_named=_is_named(case, report),
        seconds=seconds,
        report=report,
        total_gain=everywhere.gain(everywhere.error(result)),
    )


def _is_named(case: NoiseCase, report: str) -> bool | None:
    if not case.name_words:
        return None
    return any(re.search(rf"\b{word}", report, re.IGNORECASE) for word in case.name_words)


def _refusal(common: dict, true_sigma: float, seconds: float, error: Exception) -> Judgement:
    """Judgement of a suggestion that ended with an error: the image stays as it is."""
    return Judgement(
        **common,
        model="",
        time=0.0,
        gain=0.0,
        announced=None,
        interval=None,
        sigma=None,
        true_sigma=true_sigma,
        noise_kind="",
        share=None,
        true_share=None,
        best_time_gain=0.0,
        best_gain=0.0,
        is_named=None,
        seconds=seconds,
        report=str(error),
        failure=type(error).__name__,
    )
