"""Search for the parameters and the time of minimum risk.

Coordinate descent over the parameters; for each combination, a risk curve over all times.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.risk import (
    Sums,
    careful_risk,
    mean_squared_error,
    noise_left,
    noise_share,
    sure,
    total,
)
from napari_diffusion.estimation.risk_curve import RiskCurve
from napari_diffusion.models import Model, Parameter, parameters
from napari_diffusion.schemes.intervals import TIME_RATIO

#: A risk curve ends at this multiple of its best time.
MAX_BEST_TIME_RATIO = 1.5
#: Longest time of a risk curve [voxel²].
MAX_TIME_VOXEL2 = 60.0
#: Beyond one voxel², a risk curve ends when the risk has fallen by less than this share over the
#: last three times.
MIN_RISK_FALL = 0.003
#: If the best time is expected, a risk curve starts at this share of it, at most at this time
#: [voxel²]. Noise steeper than the threshold diffuses slowly at first, and a long first step moved
#: the best time by a tenth (measured).
START_SHARE, MAX_START_VOXEL2 = 0.25, 0.25
#: The first curve of a model goes on to this time [voxel²] where no shorter time is better than
#: none, unless the risk exceeds that without a filter by this factor. A filter keeps noise that is
#: steeper than its threshold at first: on pure noise, the risk rose up to 4 voxel² (measured).
PATIENCE_VOXEL2, MAX_RISE = 20.0, 2.0
#: A run whose risk exceeds that of the risk curve by this share is too inaccurate: 0.5 dB.
MAX_EXCESS = 0.12
#: Parameters whose risks exceed the smallest one of their model by up to this share are compared by
#: runs, and so many of them at most. A run takes other steps than a risk curve: on a simulated
#: confocal stack, the risk of one was 2 % lower, that of the next threshold 0.5 % (measured).
CLOSE_RISK, MAX_CLOSE = 0.03, 3
#: Maximum number of combinations tried for one model.
MAX_COMBINATIONS = 14
#: The risk that is minimised exceeds the criterion by this number of its standard errors. A filter
#: that amplifies a small probe has an uncertain risk, which is the smallest of several by chance.
CAUTION = 1.5
#: A search ends when so many more gains like the last would not reach the risk of a rival.
MAX_GAINS_BEHIND = 3.0


#: Second start of a search, for strong noise: threshold [noise level per voxel] and scale [voxel].
#: From the usual start, a search of edge-enhancing diffusion for a signal as weak as half the noise
#: ended 2 dB above the minimum (measured).
STRONG_THRESHOLD, STRONG_SCALE = 0.15, 0.7


@dataclass(frozen=True)
class Candidates:
    """Values of one parameter to choose from.

    Attributes
    ----------
    unit
        Factor of all values.
    multiples
        The values, in units of ``unit``.
    start
        Number of the value to begin with.
    """

    unit: float
    multiples: tuple[float, ...]
    start: int

    def value(self, index: int) -> float:
        """Value of the given number."""
        return self.unit * self.multiples[index]

    def nearest(self, value: float) -> int:
        """Number of the candidate nearest to a given value."""
        distance = {k: abs(self.value(k) - value) for k in range(len(self.multiples))}
        return min(distance, key=distance.__getitem__)


def _threshold(p: Parameter, noise: Noise, curve: RiskCurve) -> Candidates:
    # The best rational threshold was 0.1 to 0.5 noise levels per voxel in nine 2-D cases, and 0.5
    # to 2.5 in six 3-D cases.
    power = max(1, p.dimension.intensity)  # 2 for a threshold of the squared gradient
    multiples = tuple((1.5**k / 3) ** power for k in range(-6, 9))
    unit = p.dimension.factor(curve.voxel, noise.sigma)
    return Candidates(unit, multiples, 8 if curve.dimensions > 2 else 6)


def _scale(p: Parameter, noise: Noise, curve: RiskCurve) -> Candidates:
    scales = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
    return Candidates(curve.voxel, scales, 2)


def _flux(p: Parameter, noise: Noise, curve: RiskCurve) -> Candidates:
    # The product of flux and time counts, and gradients below epsilon times the flux are smoothed
    # linearly. Where little noise is left, such steps are most of it: 4 times the flux gained
    # 1.2 dB on the logarithm of speckle. A larger flux takes less time, a smaller one more.
    unit, length = noise.sigma / curve.voxel, curve.like.fidelity_length
    if length is None:
        return Candidates(unit, (1.0, 2.0, 4.0), 0)
    # A fidelity length l takes the place of the time: the product of the flux and l² counts.
    multiples = tuple(2.0**k for k in range(-10, 3))
    start = round(-2 * math.log2(max(length / curve.voxel, 1e-3)))
    return Candidates(unit, multiples, 10 + min(max(start, -10), 2))


def _voxels(p: Parameter, noise: Noise, curve: RiskCurve) -> Candidates:
    return Candidates(curve.voxel, (p.default,), 0)


def _noise(p: Parameter, noise: Noise, curve: RiskCurve) -> Candidates:
    return Candidates(noise.sigma, (1.0,), 0)


def _speckle(p: Parameter, noise: Noise, curve: RiskCurve) -> Candidates:
    return Candidates(1.0, (noise.speckle,) if noise.speckle > 0 else (), 0)


#: Estimators by the name that a parameter gives in ``suggest=``; each returns candidate values.
ESTIMATORS: dict[str, Callable[[Parameter, Noise, RiskCurve], Candidates]] = {
    "threshold": _threshold,
    "scale": _scale,
    "flux": _flux,
    "voxels": _voxels,
    "noise": _noise,
    "speckle": _speckle,
}


def candidates_of(
    p: Parameter, noise: Noise, edge_noise: Noise | None, curve: RiskCurve
) -> Candidates:
    """Return the values of a parameter with an estimator.

    Thresholds are compared with gradients of the image from which edges come, and follow its noise.
    """
    assert p.suggest is not None
    own = noise if edge_noise is None or p.suggest == "noise" else edge_noise
    return ESTIMATORS[p.suggest](p, own, curve)


@dataclass(frozen=True)
class Choice:
    """A model and a diffusion time, with their risk.

    Attributes
    ----------
    model, time
        The model with its parameters, and the diffusion time [length²].
    risk
        Value of the criterion that is minimised, plus `CAUTION` times its uncertainty.
    error
        Estimated mean squared error [intensity²].
    noise_left
        Share of the noise's standard deviation that is left.
    noise_share
        Share of noise in the removed part, if the probes have a ``structure``.
    at_end
        Whether the risk was still falling at the longest time tried.
    uncertainty
        Standard error of the risk, in its unit: that of the response to one random probe.
    is_inaccurate
        Whether a run of this time has a clearly higher risk than the risk curve, whose steps are
        shorter.
    """

    model: Model
    time: float
    risk: float
    error: float
    noise_left: float
    noise_share: float = math.nan
    at_end: bool = False
    uncertainty: float = 0.0
    is_inaccurate: bool = False


class _Point(NamedTuple):
    """One time of a risk curve, with the values that a `Choice` reports."""

    time: float
    risk: float
    error: float
    noise_left: float
    noise_share: float
    uncertainty: float


@dataclass
class Search:
    """A search over one model's parameters.

    Attributes
    ----------
    curve
        Runs the models.
    noise
        The noise of the image.
    edge_noise
        The noise of the image from which edges come; None where this is the image itself.
    fixed
        Names of the parameters that are not searched.
    time, noise_left
        Either of them fixes the amount of smoothing; otherwise the risk is minimised.
    max_combinations
        Combinations tried for one model.
    max_effort
        The search for the parameters of a model ends at this effort of the curve.
    risk
        The criterion to minimise.
    known
        The model with the parameters that another criterion chose. The search starts from these
        where they are smaller than the usual start.
    repeats
        Number of probes of every patch.
    tried
        The choices of all combinations tried so far.
    """

    curve: RiskCurve
    noise: Noise
    edge_noise: Noise | None = None
    fixed: tuple[str, ...] = ()
    time: float | None = None
    noise_left: float | None = None
    max_combinations: int = MAX_COMBINATIONS
    max_effort: float = math.inf
    risk: Callable[[Sums], float] = sure
    known: Model | None = None
    repeats: int = 1
    tried: dict[tuple[object, ...], Choice] = field(default_factory=dict)

    def along(self, model: Model, near: float = 0.0, is_patient: bool = False) -> Choice:
        """Best time of a model with these parameters, first searched ``near`` an expected time.

        With ``is_patient``, the search goes on where the risk rises at first.
        """
        voxel2 = self.curve.voxel**2
        longest = self.time or MAX_TIME_VOXEL2 * voxel2
        points: list[_Point] = []
        best, patience = 0, PATIENCE_VOXEL2 * voxel2 if is_patient else near
        near = near if self.noise_left is None else 0.0
        start = min(START_SHARE * near, MAX_START_VOXEL2 * voxel2)
        for time, sums in self.curve.points(model, longest, start):
            points.append(self._point(time, sums))
            if points[-1].risk < points[best].risk:
                best = len(points) - 1
            if not math.isfinite(points[-1].risk):  # a model of another package may overflow
                break
            if self.noise_left is not None:
                if points[-1].noise_left <= self.noise_left:
                    break
            elif self.time is None and len(points) > (3 if near else 6):
                if best == 0 and time < patience and points[-1].risk <= MAX_RISE * points[0].risk:
                    continue
                if near and best < 2:  # the best time is not near the expected one
                    return self.along(model)
                if time > MAX_BEST_TIME_RATIO * points[best].time or self._is_flat(points):
                    break
        return self._choice(model, points, best)

    def finished(self, choice: Choice) -> Choice:
        """Return a choice with its best time for these patches, and the risk of a run.

        A run takes its own steps, which are less accurate than those of a risk curve. Where its
        risk is clearly higher, shorter times are tried.
        """
        choice = self.along(choice.model, choice.time)
        final = self._run(choice, choice.time)
        excess = final.risk - choice.risk
        is_inaccurate = excess > max(MAX_EXCESS * choice.risk, choice.uncertainty)
        is_free = self.time is None and self.noise_left is None
        shorter = final
        while is_free and is_inaccurate and shorter is final:
            shorter = self._run(choice, final.time / 2)
            final = min(final, shorter, key=lambda run: run.risk)
        return dataclasses.replace(final, is_inaccurate=is_inaccurate)

    def close_to(self, choice: Choice) -> list[Choice]:
        """Return a choice and those of its model, among all tried, whose risks are close to it."""
        limit = choice.risk + CLOSE_RISK * abs(choice.risk)
        same = (c for c in self.tried.values() if type(c.model) is type(choice.model))
        close = sorted((c for c in same if c.risk <= limit), key=lambda c: c.risk)
        return close[:MAX_CLOSE] or [choice]

    def best_run(self, choices: Sequence[Choice]) -> Choice:
        """Return the choice whose run has the smallest risk on these patches."""
        if len(choices) == 1:
            return choices[0]
        return min((self._run(choice, choice.time) for choice in choices), key=lambda c: c.risk)

    def _run(self, choice: Choice, time: float) -> Choice:
        """Return a choice with the risk of a run of this time."""
        sums = total(self.curve.sums_of_patches(choice.model, time))
        return dataclasses.replace(choice, **self._point(time, sums)._asdict())

    def _point(self, time: float, sums: Sums) -> _Point:
        uncertainty = self._uncertainty(sums)
        return _Point(
            time=time,
            risk=self.risk(sums) + CAUTION * uncertainty,
            error=mean_squared_error(sums),
            noise_left=noise_left(sums),
            noise_share=noise_share(sums),
            uncertainty=uncertainty,
        )

    def _is_flat(self, points: list[_Point]) -> bool:
        """Whether the risk hardly falls any more."""
        fall, last = points[-4].risk - points[-1].risk, points[-1]
        least = MIN_RISK_FALL * math.log(self.curve.ratio) / math.log(TIME_RATIO) * last.risk
        return last.time > self.curve.voxel**2 and 0 <= fall < least

    def _choice(self, model: Model, points: list[_Point], best: int) -> Choice:
        """Return the point of minimum risk, or the last one if the amount of smoothing is fixed."""
        is_fixed = self.time is not None or self.noise_left is not None
        point = points[-1] if is_fixed else points[best]
        time = point.time
        if not is_fixed and 1 < best < len(points) - 1:
            time *= self.curve.ratio ** _vertex(*(points[best + k].risk for k in (-1, 0, 1)))
        if self.noise_left is not None:
            at_end = point.noise_left > self.noise_left
        else:
            at_end = not is_fixed and best == len(points) - 1
        return Choice(model, at_end=at_end, **(point._asdict() | {"time": time}))

    def _uncertainty(self, sums: Sums) -> float:
        """Standard error of an estimated error, for `CAUTION`; 0 for other criteria.

        It is that of one random probe. Further probes lower the scatter of the probes alone. The
        image has one noise, which scatters as the response to one probe does.
        """
        if self.risk not in (sure, careful_risk) or sums.hidden_voxels:
            return 0.0
        of_all = 2 * math.sqrt(sums.variance * sums.response_squared / sums.voxels) / sums.voxels
        return of_all * math.sqrt((self.repeats + 1) / 2)

    def applies(self, model: Model) -> bool:
        """Whether every parameter with an estimator has values for this noise."""
        return all(
            self._candidates(p).multiples
            for p in parameters(model)
            if p.suggest in ESTIMATORS and p.name not in self.fixed
        )

    def _candidates(self, p: Parameter) -> Candidates:
        """Return the values of a parameter with an estimator."""
        return candidates_of(p, self.noise, self.edge_noise, self.curve)

    def starts(self, model: Model, forks: bool = True) -> list[Choice]:
        """Best times of a model with starting values of its parameters.

        With ``forks``, there are two sets of values: the usual one, and that for strong noise.
        Between the two the risk can have a ridge, which a search does not cross.
        """
        searched = self._searched_parameters(model)
        usual = {name: candidates.start for name, (_, candidates) in searched.items()}
        if type(self.known) is type(model):
            for name, (_, candidates) in searched.items():
                usual[name] = min(usual[name], candidates.nearest(getattr(self.known, name)))
        strong = {name: _strong(p, c, usual[name]) for name, (p, c) in searched.items()}
        choices: list[Choice] = []
        for numbers in [usual, strong] if forks and strong != usual else [usual]:
            values = {name: searched[name][1].value(k) for name, k in numbers.items()}
            choices.append(self.along(dataclasses.replace(model, **values), is_patient=True))
        return choices

    def best(self, start: Choice, rival: float = math.inf) -> Choice:
        """Best parameters and time, by coordinate descent over the parameters.

        The search begins with the parameters of a choice, near its time. It ends early if
        `MAX_GAINS_BEHIND` more gains like the last would not reach the ``rival`` risk.
        """
        model, before = start.model, len(self.tried)
        searched = self._searched_parameters(model)
        at = {name: c.nearest(getattr(model, name)) for name, (_, c) in searched.items()}

        def evaluate(numbers: dict[str, int], near: float) -> Choice:
            key = (type(model), *numbers.values())
            if key not in self.tried:
                values = {name: searched[name][1].value(k) for name, k in numbers.items()}
                self.tried[key] = self.along(dataclasses.replace(model, **values), near)
            return self.tried[key]

        current, improved, gain = evaluate(at, start.time), True, math.inf

        def continues() -> bool:
            within_reach = current.risk - rival <= MAX_GAINS_BEHIND * gain
            count = len(self.tried) - before
            affordable = count < self.max_combinations and self.curve.effort < self.max_effort
            return affordable and within_reach

        while improved and continues():
            improved = False
            for move in _moves(searched):
                for direction in (1, -1):
                    moved = False
                    while continues():
                        step = {name: at[name] + direction * move.get(name, 0) for name in at}
                        if not all(_allowed(*searched[name], k) for name, k in step.items()):
                            break
                        neighbour = evaluate(step, current.time)
                        if neighbour.risk >= current.risk:
                            break
                        gain = current.risk - neighbour.risk
                        at, current, moved, improved = step, neighbour, True, True
                    if moved:
                        break
        return current

    def _searched_parameters(self, model: Model) -> dict[str, tuple[Parameter, Candidates]]:
        """Parameters with an estimator that has values for this noise."""
        searched = {}
        for p in parameters(model):
            if p.suggest not in ESTIMATORS or p.name in self.fixed:
                continue
            candidates = self._candidates(p)
            if not candidates.multiples:
                continue
            if self.risk is careful_risk and p.suggest == "scale":
                # A smoothed gradient separates noise and detail less well.
                candidates = Candidates(candidates.unit, (0.0,), 0)
            searched[p.name] = p, candidates
        return searched


def _moves(searched: dict[str, tuple[Parameter, Candidates]]) -> list[dict[str, int]]:
    """Return the directions of a search: along each parameter, and along the ridge of two kinds.

    A larger scale leaves weaker gradients, which need smaller thresholds.
    """
    moves = [{name: 1} for name in searched]
    signs = {"threshold": -1, "scale": 1}
    ridge = {name: signs.get(str(p.suggest), 0) for name, (p, _) in searched.items()}
    return [*moves, ridge] if set(signs.values()) <= set(ridge.values()) else moves


def _allowed(parameter: Parameter, candidates: Candidates, index: int) -> bool:
    """Whether a candidate exists and lies within the bounds of its parameter."""
    if not 0 <= index < len(candidates.multiples):
        return False
    value, p = candidates.value(index), parameter
    above = (p.gt is None or value > p.gt) and (p.ge is None or value >= p.ge)
    return above and (p.le is None or value <= p.le)


def _strong(parameter: Parameter, candidates: Candidates, usual: int) -> int:
    """Number of the candidate with which a search begins if the noise is strong."""
    if parameter.suggest == "threshold":
        power = max(1, parameter.dimension.intensity)
        return min(usual, candidates.nearest(STRONG_THRESHOLD**power * candidates.unit))
    if parameter.suggest == "scale":
        return max(usual, candidates.nearest(STRONG_SCALE * candidates.unit))
    return usual


def _vertex(left: float, middle: float, right: float) -> float:
    """Abscissa of the minimum of the parabola through three values at -1, 0 and 1."""
    curvature = left - 2 * middle + right
    if not (curvature > 0 and math.isfinite(curvature)):
        return 0.0
    return 0.5 * (left - right) / curvature
