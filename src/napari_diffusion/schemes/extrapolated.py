r"""Extrapolated midpoint rule: second order, with one diffusivity or tensor per cycle.

A diffusivity at the voxels costs as much as several stages that use it, because of the Gaussian
before it. One cycle from :math:`t_n` to :math:`t_{n+1} = t_n + h` keeps it:

.. math:: u_{n+1} = e^{h A(v)}\,u_n, \qquad v = u_n + \tfrac12 (u_n - u_{n-1})

where :math:`v` extrapolates the field to the middle of the cycle. The first cycle predicts it by a
half cycle of first order with the diffusivity of the image itself, and then starts again from the
image.

The exponential of a short cycle is that of `Midpoint`. A long cycle takes the stages of a superstep
of `RKL2` instead, which are fewer and of second order too.

Source: the extrapolated coefficient of linearised Crank-Nicolson methods, Douglas & Dupont 1970
(doi:10.1137/0707048).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from napari_diffusion.core.grid import Grid
from napari_diffusion.core.parameters import param
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator
from napari_diffusion.schemes.base import MAX_COUNT, Scheme, end_of_step
from napari_diffusion.schemes.explicit import Explicit
from napari_diffusion.schemes.midpoint import exponential_degree, exponential_stages
from napari_diffusion.schemes.rkl2 import (
    MIN_SUPERSTEP,
    RKL2,
    SAFETY_FACTOR,
    legendre_stages,
    superstep,
    superstep_degree,
)

#: A cycle longer than this number of stable steps is a superstep instead of an exponential. At this
#: length both take about the same work for the same error (measured).
LONGEST_EXPONENTIAL = 50.0
#: Fewest cycles that are supersteps: the error of fewer ones exceeds a per cent (measured).
MIN_SUPERSTEPS = 6


@dataclass(frozen=True)
class Extrapolated(Scheme):
    """Cycles of equal length with one diffusivity each, extrapolated to their middle.

    Second order, for models with a diffusivity at the voxels.

    Parameters
    ----------
    cycles
        Number of cycles; ``None`` to derive it from time and tolerance (`cycles_for`).
    """

    name = "extrapolated"
    order = 2
    monotone = False
    references = ("douglas1970", "meyer2014", "talezer1989")
    cycles: int | None = param(
        None, "Number of cycles; by default derived from time and tolerance.", ge=1
    )

    def refusal(self, operator: Operator, grid: Grid, strict: bool) -> str | None:
        """Return why the scheme does not fit: the operator must be storable."""
        if operator.is_storable or operator.is_linear:
            return None
        return "it is for models with a diffusivity at the voxels, which it computes once per cycle"

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterator[Stage]:
        """Yield the stages of the first half cycle, and then those of all cycles."""
        if time == 0:
            return
        count = self.cycles or cycles_for(time, max_step, tolerance)
        h = time / count
        half = _half_cycle_degree(h, max_step)
        first, *rest = legendre_stages(h / (half * half + half), half)
        yield first
        yield from _reusing(rest)
        first, *rest = _cycle(h, max_step, tolerance)
        rest = _reusing(rest)
        for k in range(count):
            cycle = [first._replace(extrapolation=0.5 * (k > 0), from_start=k == 0), *rest]
            cycle[-1] = cycle[-1]._replace(time=end_of_step(time, k + 1, count))
            yield from cycle

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of all cycles."""
        if time == 0:
            return 0
        count = self.cycles or cycles_for(time, max_step, tolerance)
        h = time / count
        degree = (
            exponential_degree(h, max_step, tolerance)
            if h <= LONGEST_EXPONENTIAL * max_step
            else superstep_degree(h, max_step)
        )
        return _half_cycle_degree(h, max_step) + count * degree

    def with_steps(self, time: float, count: int) -> Extrapolated:
        """Return the scheme with ``count`` cycles."""
        return Extrapolated(cycles=count)

    def for_interval(self, time: float, max_step: float) -> Scheme:
        """Return one superstep of `RKL2`, or explicit steps for a short interval."""
        return RKL2(supersteps=1) if time > MIN_SUPERSTEP * max_step else Explicit()


def cycles_for(time: float, step: float, tolerance: float) -> int:
    """Return the number of cycles for an error of ``tolerance``; ``step`` is the stable step.

    The formula is empirical (docs/develop/decisions.md).
    """
    steps = min(time / step, MAX_COUNT)
    ratio = min(1e-3 / tolerance, MAX_COUNT)
    smooth = min(steps / 5, 4 + 0.4 * math.sqrt(steps))
    needed: float = smooth * max(ratio**0.5, ratio**0.6)
    count = max(2, math.ceil(min(needed, MAX_COUNT)))
    return max(count, MIN_SUPERSTEPS) if steps > LONGEST_EXPONENTIAL * count else count


def _cycle(h: float, max_step: float, tolerance: float) -> list[Stage]:
    """Return the stages of a cycle of length h with a stored operator."""
    if h <= LONGEST_EXPONENTIAL * max_step:
        return exponential_stages(h, max_step, tolerance)
    return superstep(h, superstep_degree(h, max_step))


def _reusing(stages: list[Stage]) -> list[Stage]:
    """Return stages that keep the stored operator."""
    return [stage._replace(reuse_operator=True) for stage in stages]


def _half_cycle_degree(h: float, max_step: float) -> int:
    """Return the smallest odd number of stages that reach the middle of a cycle of length h.

    They are those of the first-order method of Legendre, which reaches (s² + s)/2 stable steps.
    """
    root = math.sqrt(min(h / (SAFETY_FACTOR * max_step), MAX_COUNT) + 0.25) - 0.5
    return 2 * math.ceil(max(root - 1, 0) / 2 - 1e-9) + 1
