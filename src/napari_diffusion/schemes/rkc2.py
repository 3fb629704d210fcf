r"""Damped Runge-Kutta-Chebyshev supersteps (RKC2), of second order, for a stored operator.

The stability polynomial of a superstep of length h with s stages is

.. math::

   P_s(z) = 1 - b\,T_s(w_0) + b\,T_s(w_0 + w_1 z), \qquad
   w_1 = \frac{T_s'(w_0)}{T_s''(w_0)}, \qquad b = \frac{T_s''(w_0)}{T_s'(w_0)^2}

with the Chebyshev polynomial :math:`T_s`, so that :math:`P_s(z) = 1 + z + z^2/2 + O(z^3)`. The
recursion of :math:`V_j = T_j(w_0 + w_1 h A)\,u_0 / T_j(w_0)` has the form of the stages of `RKL2`:

.. math::

   V_j = V_{j-1} + \nu_j\,(V_{j-1} - V_{j-2}) + \mu_j\,h A\,V_{j-1}, \qquad
   \nu_j = \frac{T_{j-2}(w_0)}{T_j(w_0)}, \quad \mu_j = \frac{2 w_1 T_{j-1}(w_0)}{T_j(w_0)}

and :math:`u_1 = (1 - b\,T_s(w_0))\,u_0 + b\,T_s(w_0)\,V_s`.

Here :math:`w_0 = \cosh(a/s)`, so that :math:`T_s(w_0) = \cosh a`. Usually a is 0.55. With a = 3.2
the fine modes are damped to 0.36 in a superstep instead of 0.66, and the slow ones follow the
exponential more closely, for a fifth more stages (docs/develop/decisions.md).

Source: Sommeijer, Shampine & Verwer 1998 (doi:10.1016/S0377-0427(97)00219-7).
"""

from __future__ import annotations

import cmath
import math

from napari_diffusion.core.stage import Stage
from napari_diffusion.schemes.base import MAX_COUNT

#: Damping a of the fine modes.
DAMPING = 3.2


def chebyshev_degree(h: float, max_step: float) -> int:
    """Return the smallest stable number of stages, at least 2, of a superstep of length h."""
    steps = min(h / max_step, MAX_COUNT)
    # The reach tends to this multiple of the squared degree.
    root = math.sqrt(steps * DAMPING**2 / (DAMPING / math.tanh(DAMPING) - 1))
    degree = max(2, int(root) - 2)
    while _reach(degree) < steps and degree < root + 3:
        degree += 1
    return degree


def chebyshev_superstep(h: float, degree: int) -> list[Stage]:
    """Return the stages of a superstep of length h."""
    first, second = _derivatives(degree)
    values = [math.cosh(DAMPING * j / degree) for j in range(degree + 1)]
    w1, share = first / second * h, second * values[degree] / first**2
    stages = [Stage(0.0, w1 / values[1], None)]
    for j in range(2, degree + 1):
        nu, mu = values[j - 2] / values[j], 2 * w1 * values[j - 1] / values[j]
        stages.append(Stage(nu, mu, None))
    return [*stages[:-1], stages[-1]._replace(start_weight=1 - share)]


def chebyshev_roots(h: float, degree: int) -> list[complex]:
    """Return the roots of the polynomial of a superstep of length h, as values of -A."""
    first, second = _derivatives(degree)
    level = math.cosh(DAMPING) - first**2 / second  # T_s is equal to it at the roots
    angle = cmath.acos(level)
    x = [cmath.cos((angle + 2 * math.pi * k) / degree) for k in range(degree)]
    return [(math.cosh(DAMPING / degree) - root) * second / (first * h) for root in x]


def _derivatives(degree: int) -> tuple[float, float]:
    """Return the first and the second derivative of the Chebyshev polynomial at w_0."""
    x, root = math.cosh(DAMPING / degree), math.sinh(DAMPING / degree)
    first = degree * math.sinh(DAMPING) / root
    return first, (degree * degree * math.cosh(DAMPING) - x * first) / root**2


def _reach(degree: int) -> float:
    """Return the longest stable superstep [stable steps], at which w_0 + w_1 z = -1 for z = -2."""
    first, second = _derivatives(degree)
    return (1 + math.cosh(DAMPING / degree)) * second / first / 2
