"""The search for parameters and time: coordinate descent over the parameters with a ``suggest`` hook, all times of a path at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_diffusion.engine.path import RATIO, Paths
from napari_diffusion.estimate import CRITERIA, Noise, mean_squared_error, noise_left
from napari_diffusion.models import Model, Parameter, parameters

#: A path ends when it is this many times longer than its best time, or than this many voxel², or when the risk has fallen by less than
#: this share over the last three times.
PASSED, LONGEST, IDLE = 2.0, 60.0, 0.003
#: Combinations that may be tried for one model.
MOST = 14


@dataclass(frozen=True)
class Rungs:
    """Values of one parameter to choose from: those of ``steps``, in units of ``unit``; ``start`` is the one to begin with."""

    unit: float
    steps: tuple[float, ...]
    start: int

    def value(self, index: int) -> float:
        """Value of a rung."""
        return self.unit * self.steps[index]


def _threshold(noise: Noise, voxel: float) -> Rungs:
    # In nine 2-D and eight 3-D cases the best rational threshold was 0.2 to 0.6 noise levels per voxel.
    return Rungs(noise.sigma / voxel, tuple(1.5**k / 3 for k in range(-6, 9)), 6)


def _scale(noise: Noise, voxel: float) -> Rungs:
    return Rungs(voxel, (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8), 2)


def _noise(noise: Noise, voxel: float) -> Rungs:
    return Rungs(noise.sigma, (1.0,), 0)


def _speckle(noise: Noise, voxel: float) -> Rungs:
    return Rungs(1.0, (noise.speckle,), 0) if noise.speckle > 0 else Rungs(1.0, (), 0)


#: What a parameter may say it can be chosen by, and the values there are to choose from.
HOOKS: dict[str, Callable[[Noise, float], Rungs]] = {"threshold": _threshold, "scale": _scale, "noise": _noise, "speckle": _speckle}


@dataclass(frozen=True)
class Choice:
    """A model with its time [length²], what is minimised there, the estimated mean squared error [intensity²], the share of noise left."""

    model: Model
    time: float
    risk: float
    error: float
    left: float
    at_end: bool = False


@dataclass
class Search:
    """Searches one model's parameters; ``time`` or ``left`` fix how far to smooth, otherwise the risk decides it."""

    paths: Paths
    noise: Noise
    fixed: tuple[str, ...] = ()
    time: float | None = None
    left: float | None = None
    most: int = MOST
    criterion: str = "sure"
    tried: dict[tuple[object, ...], Choice] = field(default_factory=dict)

    def along(self, model: Model) -> Choice:
        """Best time of a model with these parameters."""
        longest = self.time or LONGEST * self.paths.voxel**2
        seen: list[tuple[float, float, float, float]] = []
        risk = CRITERIA[self.criterion]
        best = 0
        for time, sums in self.paths.walk(model, longest):
            seen.append((time, risk(sums), mean_squared_error(sums), noise_left(sums)))
            if seen[-1][1] < seen[best][1]:
                best = len(seen) - 1
            if self.left is not None:
                if seen[-1][3] <= self.left:
                    break
            elif (
                self.time is None
                and len(seen) > 6
                and (time > PASSED * seen[best][0] or 0 <= seen[-4][1] - seen[-1][1] < IDLE * seen[-1][1])
            ):
                break
        fixed = self.time is not None or self.left is not None
        chosen = len(seen) - 1 if fixed else best
        time, risk_there, error, left = seen[chosen]
        if not fixed and 1 < best < len(seen) - 1:
            time *= RATIO ** _vertex(*(seen[best + k][1] for k in (-1, 0, 1)))
        at_end = left > self.left if self.left is not None else not fixed and best == len(seen) - 1
        return Choice(model, time, risk_there, error, left, at_end)

    def best(self, model: Model) -> Choice:
        """Best parameters and time: one parameter after the other, as long as one of them gets better."""
        hooked = {
            p.name: (p, HOOKS[p.suggest](self.noise, self.paths.voxel))
            for p in parameters(model)
            if p.suggest in HOOKS and p.name not in self.fixed
        }
        hooked = {name: (p, rungs) for name, (p, rungs) in hooked.items() if rungs.steps}
        at = {name: rungs.start for name, (_, rungs) in hooked.items()}
        tried: dict[tuple[int, ...], Choice] = {}

        def look(place: dict[str, int]) -> Choice:
            key = tuple(place.values())
            if key not in tried:
                tried[key] = self.along(dataclasses.replace(model, **{n: hooked[n][1].value(k) for n, k in place.items()}))
            return tried[key]

        here, better = look(at), True
        while better and len(tried) < self.most:
            better = False
            for name, (parameter, rungs) in hooked.items():
                for way in (1, -1):
                    moved = False
                    while len(tried) < self.most and _allowed(parameter, rungs, at[name] + way):
                        there = look(at | {name: at[name] + way})
                        if there.risk >= here.risk:
                            break
                        at[name] += way
                        here, moved, better = there, True, True
                    if moved:
                        break
        self.tried.update({(type(model), *key): choice for key, choice in tried.items()})
        return here


def _allowed(parameter: Parameter, rungs: Rungs, index: int) -> bool:
    if not 0 <= index < len(rungs.steps):
        return False
    value = rungs.value(index)
    low = (parameter.gt is None or value > parameter.gt) and (parameter.ge is None or value >= parameter.ge)
    return low and (parameter.le is None or value <= parameter.le)


def _vertex(left: float, middle: float, right: float) -> float:
    """Place of the minimum of the parabola through three values at -1, 0 and 1."""
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend > 0 and math.isfinite(bend) else 0.0
