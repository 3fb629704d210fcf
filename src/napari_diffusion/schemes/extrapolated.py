r"""Extrapolated midpoint rule: second order, with one diffusivity or tensor per cycle.

A diffusivity at the voxels costs as much as several stages that use it, because of the Gaussian
before it. One cycle from :math:`t_n` to :math:`t_{n+1} = t_n + h` keeps it:

.. math:: u_{n+1} = e^{h A(v)}\,u_n, \qquad v = u_n + \tfrac12 (u_n - u_{n-1})

where :math:`v` extrapolates the field to the middle of the cycle. The first cycle predicts it by a
half cycle of first order with the diffusivity of the image itself, and then starts again from the
image.

In short runs, the exponential is that of `Midpoint`. In longer ones, a cycle takes the stages of a
superstep of `rkc2` instead, which are fewer and of second order too.

Source: the extrapolated coefficient of linearised Crank-Nicolson methods, Douglas & Dupont 1970
(doi:10.1137/0707048).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from napari_diffusion.core.stage import Stage
from napari_diffusion.schemes.base import MAX_COUNT, Scheme, end_of_step, whole_number
from napari_diffusion.schemes.cycles import Cycles
from napari_diffusion.schemes.explicit import Explicit
from napari_diffusion.schemes.midpoint import exponential_degree, exponential_stages
from napari_diffusion.schemes.rkc2 import chebyshev_degree, chebyshev_superstep
from napari_diffusion.schemes.rkl2 import MIN_SUPERSTEP, RKL2, SAFETY_FACTOR, legendre_stages

#: Longest run with exponentials [stable steps]. Beyond it, supersteps take less work for the same
#: error (measured).
LONGEST_EXPONENTIAL = 20.0
#: Fewest supersteps: the error of fewer ones exceeds a per cent (measured).
MIN_SUPERSTEPS = 3


@dataclass(frozen=True)
class Extrapolated(Cycles):
    """Cycles of equal length with one diffusivity each, extrapolated to their middle.

    Second order, for total variation and models with a diffusivity at the voxels.

    Parameters
    ----------
    cycles
        Number of cycles; ``None`` to derive it from time and tolerance.
    """

    name = "extrapolated"
    references = ("douglas1970", "sommeijer1998", "talezer1989")

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterator[Stage]:
        """Yield the stages of the first half cycle, and then those of all cycles."""
        if time == 0:
            return
        count = self.cycle_count(time, max_step, tolerance)
        h = time / count
        half = _half_cycle_degree(h, max_step)
        first, *rest = legendre_stages(h / (half * half + half), half)
        yield first
        yield from _reusing(rest)
        first, *rest = _cycle(time, count, max_step, tolerance)
        rest = _reusing(rest)
        for k in range(count):
            cycle = [first._replace(extrapolation=0.5 * (k > 0), from_start=k == 0), *rest]
            cycle[-1] = cycle[-1]._replace(time=end_of_step(time, k + 1, count))
            yield from cycle

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of all cycles, and of the first half cycle."""
        if time == 0:
            return 0
        count = self.cycle_count(time, max_step, tolerance)
        half = _half_cycle_degree(time / count, max_step)
        return half + super().stage_count(time, max_step, tolerance)

    def cycles_for(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of cycles for an error of ``tolerance``."""
        steps = min(time / max_step, MAX_COUNT)
        ratio = min(1e-3 / tolerance, MAX_COUNT)
        if steps <= LONGEST_EXPONENTIAL:
            return max(2, whole_number(steps / 7.5 * math.pow(ratio, 0.5 if ratio < 1 else 0.75)))
        more = math.pow(ratio, 0.5 if ratio < 1 else 0.6)
        root = math.sqrt(steps)
        smooth = max(6.0, min(0.8 * root, 12.0), 0.38 * root)
        return max(MIN_SUPERSTEPS, whole_number(smooth * more))

    def cycle_degree(self, time: float, h: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of a cycle of length h in a run of length ``time``."""
        if time <= LONGEST_EXPONENTIAL * max_step:
            return exponential_degree(h, max_step, tolerance)
        return chebyshev_degree(h, max_step)

    def for_interval(self, time: float, max_step: float) -> Scheme:
        """Return one superstep of `RKL2`, or explicit steps for a short interval."""
        return RKL2(supersteps=1) if time > MIN_SUPERSTEP * max_step else Explicit()


def _cycle(time: float, count: int, max_step: float, tolerance: float) -> list[Stage]:
    """Return the stages of one of ``count`` cycles with a stored operator."""
    if time <= LONGEST_EXPONENTIAL * max_step:
        return exponential_stages(time / count, max_step, tolerance)
    return chebyshev_superstep(time / count, chebyshev_degree(time / count, max_step))


def _reusing(stages: list[Stage]) -> list[Stage]:
    """Return stages that keep the stored operator."""
    return [stage._replace(reuse_operator=True) for stage in stages]


def _half_cycle_degree(h: float, max_step: float) -> int:
    """Return the smallest odd number of stages that reach the middle of a cycle of length h.

    They are those of the first-order method of Legendre, which reaches (s² + s)/2 stable steps.
    """
    root = math.sqrt(min(h / (SAFETY_FACTOR * max_step), MAX_COUNT) + 0.25) - 0.5
    return 2 * math.ceil(max(root - 1, 0) / 2 - 1e-9) + 1
