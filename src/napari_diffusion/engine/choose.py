"""The search for parameters and time: coordinate descent over the parameters with a ``suggest`` hook, all times of a path at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_diffusion.engine.path import RATIO, Paths
from napari_diffusion.estimate import Noise, Sums, careful, mean_squared_error, noise_left, noise_share, sure
from napari_diffusion.models import Model, Parameter, parameters

#: A path ends when it is this many times longer than its best time, or than this many voxel², or when, beyond a voxel², the risk has
#: fallen by less than this share over the last three times.
PASSED, LONGEST, IDLE = 1.5, 60.0, 0.003
#: A path that is expected to be best at some time starts at this share of it, but not later than this [voxel²]: noise steeper than the
#: threshold goes slowly at first, and a long first step moved the best time by a tenth (measured).
AROUND, EARLY = 0.25, 0.25
#: Combinations that may be tried for one model, and how many more gains like the last are hoped for to reach a rival.
MOST, CATCH = 14, 3.0


@dataclass(frozen=True)
class Rungs:
    """Values of one parameter to choose from: those of ``steps``, in units of ``unit``; ``start`` is the one to begin with."""

    unit: float
    steps: tuple[float, ...]
    start: int

    def value(self, index: int) -> float:
        """Value of a rung."""
        return self.unit * self.steps[index]

    def nearest(self, value: float) -> int:
        """Rung that is nearest to a value."""
        return min(range(len(self.steps)), key=lambda index: abs(self.value(index) - value))


def _threshold(p: Parameter, noise: Noise, paths: Paths) -> Rungs:
    # In nine 2-D cases the best rational threshold was 0.1 to 0.5 noise levels per voxel, in six 3-D ones 0.5 to 2.5.
    return Rungs(noise.sigma / paths.voxel, tuple(1.5**k / 3 for k in range(-6, 9)), 8 if paths.dimensions > 2 else 6)


def _scale(p: Parameter, noise: Noise, paths: Paths) -> Rungs:
    return Rungs(paths.voxel, (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8), 2)


def _flux(p: Parameter, noise: Noise, paths: Paths) -> Rungs:
    # Only its product with the time counts; what it is takes 0.03 dB from the result at most, and less is longer to compute.
    return Rungs(noise.sigma / paths.voxel, (1.0,), 0)


def _voxels(p: Parameter, noise: Noise, paths: Paths) -> Rungs:
    return Rungs(paths.voxel, (p.default,), 0)


def _noise(p: Parameter, noise: Noise, paths: Paths) -> Rungs:
    return Rungs(noise.sigma, (1.0,), 0)


def _speckle(p: Parameter, noise: Noise, paths: Paths) -> Rungs:
    return Rungs(1.0, (noise.speckle,), 0) if noise.speckle > 0 else Rungs(1.0, (), 0)


#: What a parameter may say it can be chosen by, and the values there are to choose from.
HOOKS: dict[str, Callable[[Parameter, Noise, Paths], Rungs]] = {
    "threshold": _threshold,
    "scale": _scale,
    "flux": _flux,
    "voxels": _voxels,
    "noise": _noise,
    "speckle": _speckle,
}


@dataclass(frozen=True)
class Choice:
    """A model with its time [length²], what is minimised there, the estimated mean squared error [intensity²], the share of noise left.

    ``share`` is that of noise in what is removed, if the probes have a ``structure``.
    """

    model: Model
    time: float
    risk: float
    error: float
    left: float
    share: float = math.nan
    at_end: bool = False


@dataclass
class Search:
    """Searches one model's parameters; ``time`` or ``left`` fix how far to smooth, otherwise the ``risk`` decides it.

    A threshold that is ``known`` for the model to be good by itself is where a careful search begins, if it is lower than usual.
    """

    paths: Paths
    noise: Noise
    fixed: tuple[str, ...] = ()
    time: float | None = None
    left: float | None = None
    most: int = MOST
    risk: Callable[[Sums], float] = sure
    known: Model | None = None
    tried: dict[tuple[object, ...], Choice] = field(default_factory=dict)

    def along(self, model: Model, near: float = 0.0) -> Choice:
        """Best time of a model with these parameters; first looked for ``near`` a time, if one is known."""
        longest = self.time or LONGEST * self.paths.voxel**2
        seen: list[tuple[float, float, float, float, float]] = []
        best = 0
        near = near if self.left is None else 0.0
        for time, sums in self.paths.walk(model, longest, min(AROUND * near, EARLY * self.paths.voxel**2)):
            seen.append((time, self.risk(sums), mean_squared_error(sums), noise_left(sums), noise_share(sums)))
            if seen[-1][1] < seen[best][1]:
                best = len(seen) - 1
            if self.left is not None:
                if seen[-1][3] <= self.left:
                    break
            elif self.time is None and len(seen) > (3 if near else 6):
                if near and best < 2:  # it is not there
                    return self.along(model)
                idle = time > self.paths.voxel**2 and 0 <= seen[-4][1] - seen[-1][1] < IDLE * seen[-1][1]
                if time > PASSED * seen[best][0] or idle:
                    break
        fixed = self.time is not None or self.left is not None
        chosen = len(seen) - 1 if fixed else best
        time, risk_there, error, left, share = seen[chosen]
        if not fixed and 1 < best < len(seen) - 1:
            time *= RATIO ** _vertex(*(seen[best + k][1] for k in (-1, 0, 1)))
        at_end = left > self.left if self.left is not None else not fixed and best == len(seen) - 1
        return Choice(model, time, risk_there, error, left, share, at_end)

    def best(self, model: Model, near: float = 0.0, rival: float = math.inf) -> Choice:
        """Best parameters and time, which is first looked for ``near`` one: each parameter in turn, as long as one of them gets better.

        It gives up where another ``rival`` risk is so far below that `CATCH` more gains like the last would not reach it.
        """
        hooked = {
            p.name: (p, HOOKS[p.suggest](p, self.noise, self.paths))
            for p in parameters(model)
            if p.suggest in HOOKS and p.name not in self.fixed
        }
        hooked = {name: (p, rungs) for name, (p, rungs) in hooked.items() if rungs.steps}
        if self.risk is careful:  # a gradient that was smoothed does not tell noise from detail as fine
            hooked |= {name: (p, Rungs(rungs.unit, (0.0,), 0)) for name, (p, rungs) in hooked.items() if p.suggest == "scale"}
        at = {name: rungs.start for name, (_, rungs) in hooked.items()}
        if type(self.known) is type(model):
            at |= {name: min(at[name], rungs.nearest(getattr(self.known, name))) for name, (_, rungs) in hooked.items()}
        tried: dict[tuple[int, ...], Choice] = {}

        def look(place: dict[str, int], near: float) -> Choice:
            key = tuple(place.values())
            if key not in tried:
                tried[key] = self.along(dataclasses.replace(model, **{n: hooked[n][1].value(k) for n, k in place.items()}), near)
            return tried[key]

        here, better, gain = look(at, near), True, math.inf

        def goes_on() -> bool:
            return len(tried) < self.most and here.risk - rival <= CATCH * gain

        while better and goes_on():
            better = False
            for name, (parameter, rungs) in hooked.items():
                for way in (1, -1):
                    moved = False
                    while goes_on() and _allowed(parameter, rungs, at[name] + way):
                        there = look(at | {name: at[name] + way}, here.time)
                        if there.risk >= here.risk:
                            break
                        at[name] += way
                        here, gain, moved, better = there, here.risk - there.risk, True, True
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
