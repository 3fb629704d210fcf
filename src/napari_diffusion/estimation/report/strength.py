r"""Strength of a suggestion: from gentle over recommended to strong, along its risk curve.

A strength s from -1 to 1 stands for a diffusion time, by the ratio of two times:

.. math:: t(s) = t_0\,(t_{-1}/t_0)^{-s} \text{ for } s < 0, \qquad
          t(s) = t_0\,(t_1/t_0)^{s} \text{ for } s > 0.

The ends are defined by quantities. Up to :math:`t_{-1}`, a third of the recommended noise removal
is reached [dB]. Up to :math:`t_1`, the estimated gain has fallen by 2 dB or by half, whichever is
less. Equal ratios of times remove about equal numbers of decibels of noise.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from napari_diffusion.core.gaussian import FWHM, equivalent_sigma
from napari_diffusion.estimation.risk import Probe, Sums, noise_left, noise_share
from napari_diffusion.estimation.risk_curve import RiskCurve
from napari_diffusion.estimation.search import MAX_TIME_VOXEL2
from napari_diffusion.models import Model

#: Share of the recommended noise removal [dB] that the strength -1 keeps.
GENTLE_SHARE = 1 / 3
#: The gain falls by this number of decibels at the strength 1, or by half if that is less.
MAX_GAIN_LOSS_DB = 2.0
#: Fall of the gain [dB] at the strength 1 where the recommended time is 0.
GAIN_LOSS_FROM_ZERO_DB = 0.5
#: The times at the strengths -1 and 1 differ from the recommended one by at least this factor.
MIN_TIME_RATIO = 1.25
#: The curve of a recommended time starts at this share of it.
START_SHARE = 0.005
#: Share of noise in what is removed from which on detail counts as kept, and from which on as
#: nearly kept.
MIN_KEPT_SHARE, MIN_NEARLY_KEPT_SHARE = 0.9, 0.7
#: Decibels per factor of ten in a standard deviation.
_DECIBELS = 20.0


class Amount(NamedTuple):
    """An amount of smoothing and what is expected of it.

    Attributes
    ----------
    time
        Diffusion time [length²].
    gain
        Expected gain in signal-to-noise ratio [dB].
    noise_left
        Share of the noise's standard deviation that is left; NaN where it is not known.
    noise_share
        Share of noise in what is removed, by squares; NaN where it is not known.
    """

    time: float
    gain: float
    noise_left: float
    noise_share: float

    @property
    def removal(self) -> float:
        """Noise removal [dB]; 0 where it is not known."""
        if not 0 < self.noise_left < 1:
            return 0.0
        return -_DECIBELS * math.log10(self.noise_left)


@dataclass(frozen=True)
class StrengthScale:
    """The amounts of smoothing that the strengths of one suggestion stand for.

    Attributes
    ----------
    recommended
        The amount at the strength 0.
    gentle, strong
        Diffusion times [length²] at the strengths -1 and 1.
    curve
        Amounts along the risk curve of the model, in order of time. They are consistent with the
        recommended one.
    unit
        Name of the unit of length.
    """

    recommended: Amount
    gentle: float
    strong: float
    curve: tuple[Amount, ...]
    unit: str

    def amount(self, strength: float) -> Amount:
        """Amount of smoothing at a strength from -1 to 1."""
        start = self.recommended.time
        if strength == 0 or (start == 0 and strength < 0):
            return self.recommended
        if start == 0:
            time = strength * self.strong
        else:
            end = self.gentle if strength < 0 else self.strong
            time = start * (end / start) ** abs(strength)
        return _between(self.curve, _four_digits(time))

    def line(self, strength: float, beginning: str) -> str:
        """Sentence of the report about a strength other than 0."""
        amount = self.amount(strength)
        ratio = f"{amount.time / self.recommended.time:.2g} times" if self.recommended.time else ""
        return (
            f"{beginning}{strength:+.2g}: the time is {amount.time:.3g} {self.unit}²"
            f"{f', {ratio} the recommended one' if ratio else ''}; "
            f"expected {amount.gain:+.1f} dB. {self.effect(amount)}"
        )

    def effect(self, amount: Amount) -> str:
        """One sentence about an amount in plain words."""
        if amount.time == 0:
            return "Leaves the image as it is."
        width = f"{FWHM * equivalent_sigma(amount.time):.2g} {self.unit}"
        if math.isnan(amount.noise_left):
            return f"Smooths at most like a Gaussian of {width} full width at half maximum."
        removed = _in_words(1 - amount.noise_left)
        if math.isnan(amount.noise_share):
            return f"Removes {removed} of the noise."
        if amount.noise_share >= MIN_KEPT_SHARE:
            return f"Removes {removed} of the noise; edges and fine detail are kept."
        if amount.noise_share >= MIN_NEARLY_KEPT_SHARE:
            return f"Removes {removed} of the noise, and a little of the finest detail."
        return f"Removes {removed} of the noise; faint detail smaller than about {width} goes too."


def strength_scale(
    recommended: Amount,
    model: Model,
    curve: RiskCurve,
    gain: Callable[[Sums], float],
    unit: str,
) -> StrengthScale:
    """Measure the amounts along a risk curve, up to that of the strength 1.

    Parameters
    ----------
    recommended
        The amount at the strength 0.
    model
        The model with its parameters.
    curve
        Runs the model. The share of noise is measured if the probes have a ``structure``.
    gain
        Gain in signal-to-noise ratio [dB] that sums stand for.
    unit
        Name of the unit of length.
    """
    start = recommended.time
    loss = min(MAX_GAIN_LOSS_DB, max(recommended.gain, 0) / 2) if start else GAIN_LOSS_FROM_ZERO_DB
    longest = max(MAX_TIME_VOXEL2 * curve.voxel**2, start)
    measured: list[Amount] = []
    with closing(curve.points(model, longest, START_SHARE * start)) as points:
        for amount in _measured(points, gain):
            measured.append(amount)
            if amount.time >= start and amount.gain <= _between(measured, start).gain - loss:
                break
    amounts = _consistent(measured, recommended)
    before = [a for a in amounts if a.time < start]
    after = [a for a in amounts if a.time > start]
    longest = max(start, amounts[-1].time)
    strong = _time_of([recommended, *after], lambda a: recommended.gain - a.gain, loss, longest)
    kept = GENTLE_SHARE * recommended.removal
    gentle = start * GENTLE_SHARE**2
    if kept > 0:
        gentle = _time_of([*before, recommended], lambda a: a.removal, kept, gentle)
    return StrengthScale(
        recommended=recommended,
        gentle=min(gentle, start / MIN_TIME_RATIO),
        strong=max(strong, start * MIN_TIME_RATIO),
        curve=(*before, recommended, *after),
        unit=unit,
    )


def with_share(probes: Sequence[Probe]) -> list[Probe]:
    """Return probes that also measure the share of noise in what is removed.

    A probe with a structure does so, even if no voxel of it is marked.
    """
    return [dataclasses.replace(p, structure=np.zeros(p.image.shape, bool)) for p in probes]


def _measured(
    points: Iterable[tuple[float, Sums]], gain: Callable[[Sums], float]
) -> Iterator[Amount]:
    """Yield the amounts of a curve, whose noise removal never falls.

    A small probe can grow where gradients are steepened. The noise that is left is still no larger
    than the error, and a longer time does not bring noise back.
    """
    removal = 0.0
    for time, sums in points:
        left, own_gain = noise_left(sums), gain(sums)
        is_known = not math.isnan(left)
        if is_known and left > 0:
            removal = max(removal, -_DECIBELS * math.log10(left), own_gain)
        left = 10 ** (-removal / _DECIBELS) if is_known else math.nan
        share = noise_share(sums)
        yield Amount(time, own_gain, left, math.nan if math.isnan(share) else share)


def _consistent(measured: Sequence[Amount], recommended: Amount) -> tuple[Amount, ...]:
    """Return the amounts of a curve, adjusted so that it passes through the recommended amount.

    The curve is measured on some patches, and the recommended amount on all of them. Removal, and
    the gain before the recommended time, are multiplied; the gain after it and the share of noise
    are shifted.
    """
    own = _between(measured, recommended.time)
    removal_factor = recommended.removal / own.removal if own.removal > 0 else 1.0
    gain_factor = recommended.gain / own.gain if own.gain > 0 else 1.0

    def adjusted(amount: Amount) -> Amount:
        is_before = amount.time < recommended.time
        gain = amount.gain + recommended.gain - own.gain
        gain = amount.gain * gain_factor if is_before else gain
        left = amount.noise_left
        if not math.isnan(left):
            left = 10 ** (-removal_factor * amount.removal / _DECIBELS)
        share = amount.noise_share + recommended.noise_share - own.noise_share
        share = math.nan if math.isnan(share) else min(max(share, 0.0), 1.0)
        return Amount(amount.time, gain, left, share)

    return tuple(adjusted(amount) for amount in measured)


def _between(curve: Sequence[Amount], time: float) -> Amount:
    """Amount at a time between those of a curve, linear in the logarithm of the time."""
    if time <= curve[0].time or len(curve) == 1:
        return curve[0]._replace(time=time)
    number = next((k for k, a in enumerate(curve) if a.time >= time), len(curve) - 1)
    left, right = curve[number - 1], curve[number]
    if time >= right.time:
        return right._replace(time=time)
    if left.time > 0:
        part = math.log(time / left.time) / math.log(right.time / left.time)
    else:
        part = time / right.time

    def mix(a: float, b: float) -> float:
        return a + part * (b - a) if not math.isnan(a + b) else math.nan

    removal = mix(left.removal, right.removal)
    unknown = math.isnan(right.noise_left)
    share = mix(left.noise_share, right.noise_share)
    if math.isnan(left.noise_share):  # nothing is removed at the time 0
        share = right.noise_share
    return Amount(
        time,
        mix(left.gain, right.gain),
        math.nan if unknown else 10 ** (-removal / _DECIBELS),
        share,
    )


def _time_of(
    curve: Sequence[Amount], quantity: Callable[[Amount], float], value: float, otherwise: float
) -> float:
    """Time at which a quantity first reaches a value along a curve, or another time if never."""
    for left, right in itertools.pairwise(curve):
        a, b = quantity(left), quantity(right)
        if b >= value:
            part = (value - a) / (b - a) if b > a else 1.0
            part = min(max(part, 0.0), 1.0)
            if left.time > 0:
                return float(left.time * (right.time / left.time) ** part)
            return part * right.time
    return otherwise


def _in_words(share: float) -> str:
    """A share in plain words, to the nearest twentieth."""
    percent = 5 * round(20 * share)
    if percent >= 95:
        return "nearly all"
    if percent < 5:
        return "hardly any"
    return "about half" if percent == 50 else f"about {percent} %"


def _four_digits(value: float) -> float:
    """Round a time to four digits, so that the steps of a slider stay distinct."""
    return float(f"{value:.4g}")
