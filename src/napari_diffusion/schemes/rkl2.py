r"""Runge-Kutta-Legendre of second order, in three fields instead of four.

RKL2 (Meyer, Balsara & Aslam 2014) keeps the start, its time derivative and two stages. But its stability polynomial
:math:`a + b\,P_s(1 + w z)` is the start mixed with the *first-order* Legendre scheme run further, so that the same order comes from

.. math:: V_0 = u_0, \quad V_1 = V_0 + w h A V_0, \quad V_j = \tfrac{2j-1}{j}(V_{j-1} + w h A V_{j-1}) - \tfrac{j-1}{j} V_{j-2},
   \qquad u_1 = (1 - b)\,u_0 + b\,V_s

with :math:`w = 4/(s^2+s-2)` and :math:`b = (s^2+s-2)/(2(s^2+s))`. :math:`V_s` is first order at time :math:`h/b`; expanding to
:math:`h^2` shows that the mixture is second order for :math:`u_t = A(u)u` as well. One superstep of s stages reaches
:math:`(s^2+s-2)/4` stable steps, the number of an s-stage RKL2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_diffusion.schemes.base import Scheme, Stage

#: Share of the reach of a superstep that is used: at the bound itself the finest mode is not damped.
MARGIN = 0.95


@dataclass(frozen=True)
class RKL2(Scheme):
    """Second-order supersteps of equal length, for long diffusion times of smooth models.

    Parameters
    ----------
    supersteps
        Number of supersteps M. ``None`` chooses ``12 sqrt(1e-3/tolerance)``: on five 2-D and 3-D test problems M = 12 left 2e-4 to 1e-3
        of the range and the error fell with M^2 (measured).

    Notes
    -----
    Not monotone: in 2-D and 3-D the impulse response dips 1 to 3 % below zero inside a superstep.
    """

    name = "rkl2"
    order = 2
    monotone = False
    supersteps: int | None = None

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """``supersteps`` times the smallest odd number of stages that is stable (an even one would not damp the finest mode)."""
        if time == 0:
            return ()
        count = (
            max(4, math.ceil(12 * math.sqrt(1e-3 / tolerance)))
            if self.supersteps is None
            else self.supersteps
        )
        if count < 1:
            raise ValueError(f"RKL2: supersteps must be >= 1, got {self.supersteps}.")
        h = time / count
        s = 3
        while MARGIN * (s * s + s - 2) / 4 * max_step < h:
            s += 2
        w, b = 4 / (s * s + s - 2), (s * s + s - 2) / (2 * (s * s + s))
        one = [Stage((j - 1) / j, (2 * j - 1) / j * w * h, None) for j in range(1, s + 1)]
        return tuple(
            stage._replace(time=time * (k + 1) / count, start_weight=1 - b)
            if stage is one[-1]
            else stage
            for k in range(count)
            for stage in one
        )

    def with_steps(self, time: float, count: int) -> RKL2:
        """``count`` supersteps."""
        return RKL2(supersteps=count)
