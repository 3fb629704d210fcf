r"""The exponential midpoint rule for tensors, which cost as much as many stages: second order, one tensor for a whole cycle.

.. math:: u_{n+1} = e^{h A(v)}\,u_n, \qquad v = u_n + \min(\tfrac h2, c)\,A_{n-1}\,u_n

with the tensor of the cycle before, :math:`A_{n-1}`, in the prediction of the middle (in the first cycle that of the image itself, and
with a bound c, as nothing has been smoothed yet). The exponential is the Chebyshev series of the heat semigroup (Tal-Ezer 1989), cut at
a share of its weight and scaled in time so that its derivative at zero is exact,

.. math:: e^{hA} \approx \sum_k w_k T_k(1 + \tau A), \qquad w_k \propto (2 - \delta_{k0})\,I_k(s), \qquad \sum_k k^2 w_k = h/\tau

and it runs as the product of its complex pairs of roots, two stages each, so that no field but the two that alternate is needed. In the
order of their real parts no partial product exceeds one (`tests/test_schemes.py`), in the opposite order they reach 1e33.

Sources: Magnus 1954 and Hochbruck & Ostermann 2010 (doi:10.1017/S0962492910000048) for the midpoint rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from napari_diffusion.operators.smoothing import gaussian_taps
from napari_diffusion.schemes.base import Scheme, Stage

#: Longest prediction in the first cycle [stable steps]: longer ones would amplify the noise of the image more than the tensor smooths it.
LONGEST_LOOK = 4.0


@dataclass(frozen=True)
class Midpoint(Scheme):
    """Cycles of equal length with one tensor each, made where half of the cycle will be; for models with a tensor.

    Parameters
    ----------
    cycles
        Number of cycles M; ``None`` takes `cycles_for` the stable step.
    """

    name = "midpoint"
    order = 2
    monotone = False
    cycles: int | None = None

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """``cycles`` times the stages of the exponential, of which a share ``tolerance`` of the weight is cut off."""
        if time == 0:
            return ()
        count = cycles_for(time, max_step, tolerance) if self.cycles is None else self.cycles
        if count < 1:
            raise ValueError(f"Midpoint: cycles must be >= 1, got {self.cycles}.")
        h = time / count
        s = max(h / max_step, 1e-9)  # without an axis to diffuse along, the stable step is infinite
        one = [
            Stage(m, tau * h / s, None, reuse_tensor=True)
            for m, tau in _exponential(s, min(max(tolerance, 1e-12), 1e-2))
        ]
        stages = []
        for cycle in range(count):
            predictor_step = h / 2 if cycle else min(h / 2, LONGEST_LOOK * max_step)
            begun = [one[0]._replace(reuse_tensor=False, predictor_step=predictor_step), *one[1:]]
            stages += [*begun[:-1], begun[-1]._replace(time=time * (cycle + 1) / count)]
        return tuple(stages)

    def with_steps(self, time: float, count: int) -> Midpoint:
        """``count`` cycles."""
        return Midpoint(cycles=count)


def cycles_for(time: float, step: float, tolerance: float) -> int:
    """Cycles that an error of ``tolerance`` takes: measured, docs/develop/decisions.md."""
    return max(2, round(0.85 * math.sqrt(time / step * 1e-3 / tolerance)))


@lru_cache(maxsize=64)
def _exponential(s: float, tail: float) -> tuple[tuple[float, float], ...]:
    r"""Momentum and step [stable step] of the stages of :math:`e^{sz}` for :math:`-2 \le z \le 0`."""
    n = max(2, len(gaussian_taps(math.sqrt(s), 2, tail)) - 1)
    x, missing = s, 0.0
    while abs(missing - 1) > 1e-13:
        w = _series(x, n)
        missing = s / float(np.arange(n + 1) ** 2 @ w)
        x *= missing
    stages: list[tuple[float, float]] = []
    for root in np.sort(chebyshev.chebroots(w)):  # those that damp the finest modes first
        distance = 1 - complex(root)
        if distance.imag == 0:
            stages.append((0.0, 1 / distance.real))
        elif distance.imag > 0:
            # Both stages of a pair together: 1 + 2 Re(d) z / |d|^2 + z^2 / |d|^2 with d = 1 - root.
            tau = 1 / abs(distance)
            stages += [(0.0, tau), (2 * distance.real * tau - 2, tau)]
    return tuple(stages)


def _series(x: float, degree: int) -> NDArray[np.float64]:
    """Weights of T_0 ... T_degree in the series of e^(x (X - 1)), scaled to sum one."""
    half = np.zeros(degree + 1)
    taps = gaussian_taps(math.sqrt(x), 2, 1e-16)[: degree + 1]
    half[: len(taps)] = taps
    half[1:] *= 2
    return np.asarray(half / half.sum())
