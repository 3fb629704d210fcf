r"""Second-order Runge-Kutta-Legendre supersteps (RKL2), in three fields instead of four.

RKL2 (Meyer, Balsara & Aslam 2014, doi:10.1016/j.jcp.2013.08.021) stores the initial field, its time
derivative and two stages. Its stability polynomial :math:`a + b\,P_s(1 + w z)` is a mixture of the
initial field and the *first-order* Legendre scheme at a later time. The following recursion, with
the length h of the superstep, therefore has the same order:

.. math::

   V_0 &= u_0, \qquad V_1 = V_0 + w h A V_0 \\
   V_j &= \tfrac{2j-1}{j}(V_{j-1} + w h A V_{j-1}) - \tfrac{j-1}{j} V_{j-2} \\
   u_1 &= (1 - b)\,u_0 + b\,V_s

with :math:`w = 4/(s^2+s-2)` and :math:`b = (s^2+s-2)/(2(s^2+s))`. :math:`V_s` is a first-order
solution at time :math:`h/b`. Expansion to :math:`h^2` shows that the mixture is second order for
the nonlinear :math:`u_t = A(u)u` as well. One superstep of s stages reaches :math:`(s^2+s-2)/4`
stable steps, as s stages of the original RKL2 do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from napari_diffusion.core.parameters import param
from napari_diffusion.core.stage import Stage
from napari_diffusion.schemes.base import MAX_COUNT, Scheme, end_of_step, whole_number
from napari_diffusion.schemes.explicit import Explicit

#: Length of a superstep as a share of the stable one, at which the finest mode is not damped.
SAFETY_FACTOR = 0.95
#: An interval longer than this number of stable steps is one superstep. On a shorter interval, the
#: error of a superstep would change the risk of a suggestion by a per cent (measured).
MIN_SUPERSTEP = 16


@dataclass(frozen=True)
class RKL2(Scheme):
    """Supersteps of equal length; second order, for long diffusion times of smooth models.

    Parameters
    ----------
    supersteps
        Number of supersteps M; ``None`` for ``12 sqrt(1e-3/tolerance)``, at least 4. With M = 12
        the error on five 2-D and 3-D test problems was 2e-4 to 1e-3 of the range, and it decreased
        as 1/M² (measured).

    Notes
    -----
    The scheme is not monotone: inside a superstep, the impulse response in 2-D and 3-D falls 1 to
    3 % below zero.
    """

    name = "rkl2"
    order = 2
    monotone = False
    references = ("meyer2014",)
    supersteps: int | None = param(
        None, "Number of supersteps; by default derived from the tolerance.", ge=1
    )

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterator[Stage]:
        """Yield `supersteps` times the smallest stable odd number of stages.

        An even number of stages would not damp the finest mode.
        """
        if time == 0:
            return
        count, s = self._supersteps_and_stages(time, max_step, tolerance)
        *stages, last = superstep(time / count, s)
        for k in range(count):
            yield from stages
            yield last._replace(time=end_of_step(time, k + 1, count))

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of all supersteps."""
        return math.prod(self._supersteps_and_stages(time, max_step, tolerance)) if time > 0 else 0

    def _supersteps_and_stages(
        self, time: float, max_step: float, tolerance: float
    ) -> tuple[int, int]:
        """Return the number of supersteps, and the smallest stable odd number of stages of each."""
        count = self.supersteps or max(4, whole_number(12 * math.sqrt(1e-3 / tolerance)))
        return count, superstep_degree(time / count, max_step)

    def with_steps(self, time: float, count: int) -> RKL2:
        """Return the scheme with ``count`` supersteps."""
        return RKL2(supersteps=count)

    def for_interval(self, time: float, max_step: float) -> Scheme:
        """Return one superstep, or explicit steps for a short interval."""
        return RKL2(supersteps=1) if time > MIN_SUPERSTEP * max_step else Explicit()


def superstep_degree(h: float, max_step: float) -> int:
    """Return the smallest stable odd number of stages of a superstep of length h."""
    # The root of s² + s - 2 = 4 h / (SAFETY_FACTOR max_step) is approached from below.
    root = math.sqrt(4 * min(h / (SAFETY_FACTOR * max_step), MAX_COUNT) + 2.25) - 0.5
    s = max(3, 2 * int(root / 2) - 3)
    while SAFETY_FACTOR * (s * s + s - 2) / 4 * max_step < h and s < root + 2:
        s += 2
    return s


def superstep(h: float, degree: int) -> list[Stage]:
    """Return the stages of one superstep of length h."""
    w = 4 / (degree * degree + degree - 2)
    *stages, last = legendre_stages(w * h, degree)
    b = (degree * degree + degree - 2) / (2 * (degree * degree + degree))
    return [*stages, last._replace(start_weight=1 - b)]


def legendre_stages(step: float, degree: int) -> list[Stage]:
    """Return the stages of the Legendre recursion; ``step`` is that of the first one [length²]."""
    return [Stage((j - 1) / j, (2 * j - 1) / j * step, None) for j in range(1, degree + 1)]
