r"""Exponential midpoint rule for tensor models: second order, with one tensor per cycle.

A tensor costs as much as several stages. One cycle of length h is

.. math:: u_{n+1} = e^{h A(v)}\,u_n, \qquad v = u_n + \min(\tfrac h2, c)\,A_{n-1}\,u_n

where :math:`v` predicts the field in the middle of the cycle, with the tensor :math:`A_{n-1}` of
the previous cycle. The first cycle uses the tensor of the image itself, and limits the predictor to
:math:`c` (`MAX_FIRST_PREDICTOR`) because the image is not smoothed yet. Later cycles have no limit.

The exponential is the Chebyshev series of the heat semigroup (Tal-Ezer 1989). The series is
truncated where its remaining weight falls below the tolerance. It is scaled in time such that its
derivative at zero is exact:

.. math:: e^{hA} \approx \sum_k w_k T_k(1 + \tau A), \qquad
   w_k \propto (2 - \delta_{k0})\,I_k(s), \qquad \sum_k k^2 w_k = h/\tau

It is evaluated as a product over its pairs of complex roots, with two stages per pair. This needs
two alternating fields only. If the roots are ordered by their real parts, no partial product
exceeds one (`tests/schemes/test_schemes.py`); in the opposite order they reach 1e33.

Sources: Magnus 1954 and Hochbruck & Ostermann 2010 (doi:10.1017/S0962492910000048) for the
midpoint rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from napari_diffusion.core.grid import Grid
from napari_diffusion.core.parameters import param
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator
from napari_diffusion.operators.smoothing import gaussian_taps
from napari_diffusion.schemes.base import MAX_COUNT, Scheme, end_of_step
from napari_diffusion.schemes.explicit import Explicit

#: Largest predictor step c in the first cycle [stable steps]. A larger one would amplify the noise
#: of the image more than the tensor smooths it.
MAX_FIRST_PREDICTOR = 2.0
#: Largest number of stages of a cycle. The computation of their roots, which nothing interrupts,
#: takes a time of the third power: seconds. The default number of cycles stays below.
MAX_DEGREE = 700


@dataclass(frozen=True)
class Midpoint(Scheme):
    """Exponential midpoint rule in cycles of equal length; second order, for tensor models.

    Each cycle uses one tensor, computed from a prediction of the field in its middle.

    Parameters
    ----------
    cycles
        Number of cycles; ``None`` to derive it from time and tolerance (`cycles_for`).
    """

    name = "midpoint"
    order = 2
    monotone = False
    references = ("magnus1954", "hochbruck2010", "talezer1989")
    cycles: int | None = param(
        None, "Number of cycles; by default derived from time and tolerance.", ge=1
    )

    def refusal(self, operator: Operator, grid: Grid, strict: bool) -> str | None:
        """Return why the scheme does not fit: it is for tensor models only."""
        if operator.has_tensor or operator.is_linear:
            return None
        return "it is for models with a diffusion tensor, which it computes once per cycle"

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterator[Stage]:
        """Yield `cycles` times the stages of the exponential, truncated at ``tolerance``."""
        if time == 0:
            return
        self.stage_count(time, max_step, tolerance)  # refuses a cycle that is too long
        count = self.cycles or cycles_for(time, max_step, tolerance)
        h, s = time / count, _stable_steps(time, count, max_step)
        exponential = [
            Stage(m, tau * h / s, None, reuse_tensor=True)
            for m, tau in _exponential(s, _tail(tolerance))
        ]
        for k in range(count):
            predictor_step = h / 2 if k else min(h / 2, MAX_FIRST_PREDICTOR * max_step)
            cycle = list(exponential)
            cycle[0] = cycle[0]._replace(reuse_tensor=False, predictor_step=predictor_step)
            cycle[-1] = cycle[-1]._replace(time=end_of_step(time, k + 1, count))
            yield from cycle

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of all cycles.

        Raises
        ------
        ValueError
            If a cycle has more than `MAX_DEGREE` stages.
        """
        if time == 0:
            return 0
        count = self.cycles or cycles_for(time, max_step, tolerance)
        s = _stable_steps(time, count, max_step)
        # A Gaussian of more taps than stages are allowed need not be computed.
        degree = _degree(min(s, MAX_DEGREE**2), _tail(tolerance))
        if degree > MAX_DEGREE:
            raise ValueError(
                f"Midpoint: a cycle of {s:.3g} stable steps would have more than {MAX_DEGREE} "
                f"stages; use more cycles than {count}."
            )
        return count * degree

    def with_steps(self, time: float, count: int) -> Midpoint:
        """Return the scheme with ``count`` cycles."""
        return Midpoint(cycles=count)

    def for_interval(self, time: float, max_step: float) -> Scheme:
        """Return one cycle, or explicit steps for a short interval."""
        return Midpoint(cycles=1) if time > max_step else Explicit()


def cycles_for(time: float, step: float, tolerance: float) -> int:
    """Return the number of cycles for an error of ``tolerance``; ``step`` is the stable step.

    The formula is empirical (docs/develop/decisions.md).
    """
    return max(2, round(min(0.85 * math.sqrt(time / step * 1e-3 / tolerance), MAX_COUNT)))


def _stable_steps(time: float, count: int, max_step: float) -> float:
    """Return the length of a cycle in stable steps, which are infinite if no axis diffuses."""
    return max(time / count / max_step, 1e-9)


def _tail(tolerance: float) -> float:
    """Return the weight of the series that is truncated."""
    return min(max(tolerance, 1e-12), 1e-2)


def _degree(s: float, tail: float) -> int:
    """Return the degree of the series, which is the number of stages of a cycle."""
    return max(2, len(gaussian_taps(math.sqrt(s), 2, tail)) - 1)


@lru_cache(maxsize=64)
def _exponential(s: float, tail: float) -> tuple[tuple[float, float], ...]:
    r"""Momentum and step [stable steps] of the stages of :math:`e^{sz}` for :math:`-2 \le z \le 0`.

    ``tail`` is the share of the weight of the series that is truncated.
    """
    n = _degree(s, tail)
    x, correction = s, 0.0
    while abs(correction - 1) > 1e-13:
        w = _series(x, n)
        correction = s / float(np.arange(n + 1) ** 2 @ w)
        x *= correction
    stages: list[tuple[float, float]] = []
    for root in np.sort(chebyshev.chebroots(w)):  # the roots that damp the finest modes first
        distance = 1 - complex(root)
        if distance.imag == 0:
            stages.append((0.0, 1 / distance.real))
        elif distance.imag > 0:
            # The two stages of a pair give 1 + 2 Re(d) z / |d|^2 + z^2 / |d|^2 with d = 1 - root.
            tau = 1 / abs(distance)
            stages += [(0.0, tau), (2 * distance.real * tau - 2, tau)]
    return tuple(stages)


def _series(x: float, degree: int) -> NDArray[np.float64]:
    """Weights of T_0 ... T_degree in the series of e^(x (X - 1)), scaled to the sum one."""
    half = np.zeros(degree + 1)
    taps = gaussian_taps(math.sqrt(x), 2, 1e-16)[: degree + 1]
    half[: len(taps)] = taps
    half[1:] *= 2
    return np.asarray(half / half.sum())
