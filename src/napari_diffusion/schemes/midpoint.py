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

In runs of more than `LONGEST_EXPONENTIAL_RUN`, cycles up to `LONGEST_SUPERSTEP` take the polynomial
of `rkc2` instead. It has fewer stages, and its error counts less than that of the tensor.

Both are evaluated as a product over their pairs of complex roots, with two stages per pair. This
needs two alternating fields only. The order of the factors decides how rounding errors grow: an
error is multiplied by all factors that follow. Ordered by their real parts, the factors of 100
stable steps multiply it by 1e13. In the order of `_ordered` it is multiplied by less than 100. A
longer cycle is a product of several exponentials.

Sources: Magnus 1954 and Hochbruck & Ostermann 2010 (doi:10.1017/S0962492910000048) for the
midpoint rule.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.smoothing import gaussian_taps
from napari_diffusion.schemes.base import MAX_COUNT, Scheme, end_of_step, whole_number
from napari_diffusion.schemes.cycles import Cycles
from napari_diffusion.schemes.explicit import Explicit
from napari_diffusion.schemes.rkc2 import chebyshev_degree, chebyshev_roots

#: Largest predictor step c in the first cycle [stable steps]. A larger one would amplify the noise
#: of the image more than the tensor smooths it.
MAX_FIRST_PREDICTOR = 2.0
#: Longest run with exponentials [stable steps]. Beyond it, `rkc2` has the same error with fewer
#: stages (measured).
LONGEST_EXPONENTIAL_RUN = 16.0
#: Fewest cycles with the polynomial of `rkc2`, which damps fine modes to 0.36 in each.
MIN_SUPERSTEPS = 5
#: Longest cycle with that polynomial [stable steps]. Rounding errors grow by a factor of 100 in it,
#: and more in longer ones.
LONGEST_SUPERSTEP = 20.0
#: Longest exponential [stable steps]: rounding errors grow by less than a factor of 100 in it.
LONGEST_EXPONENTIAL = 100.0
#: Difference of logarithms below which two products are equally large.
TIE = 0.7


@dataclass(frozen=True)
class Midpoint(Cycles):
    """Exponential midpoint rule in cycles of equal length; second order, for tensor models.

    Each cycle uses one tensor, computed from a prediction of the field in its middle.

    Parameters
    ----------
    cycles
        Number of cycles; ``None`` to derive it from time and tolerance.
    """

    name = "midpoint"
    references = ("magnus1954", "hochbruck2010", "talezer1989", "sommeijer1998")

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterator[Stage]:
        """Yield `cycles` times the stages of the exponential, truncated at ``tolerance``."""
        if time == 0:
            return
        count = self.cycle_count(time, max_step, tolerance)
        h = time / count
        stages = (
            _chebyshev_stages(h, max_step)
            if _is_chebyshev(time, h, max_step)
            else exponential_stages(h, max_step, tolerance)
        )
        exponential = [stage._replace(reuse_operator=True) for stage in stages]
        for k in range(count):
            predictor_step = h / 2 if k else min(h / 2, MAX_FIRST_PREDICTOR * max_step)
            cycle = list(exponential)
            cycle[0] = cycle[0]._replace(reuse_operator=False, predictor_step=predictor_step)
            cycle[-1] = cycle[-1]._replace(time=end_of_step(time, k + 1, count))
            yield from cycle

    def cycles_for(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of cycles for an error of ``tolerance``."""
        steps = min(time / max_step, MAX_COUNT)
        ratio = min(1e-3 / tolerance, MAX_COUNT)
        more = math.pow(ratio, 0.5 if ratio < 1 else 0.7)
        if steps <= LONGEST_EXPONENTIAL_RUN:
            return max(2, whole_number(steps / 12.5 * more))
        return max(MIN_SUPERSTEPS, whole_number(min(steps / 7, 0.9 * math.sqrt(steps)) * more))

    def cycle_degree(self, time: float, h: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of a cycle of length h in a run of length ``time``."""
        if _is_chebyshev(time, h, max_step):
            return chebyshev_degree(h, max_step)
        return exponential_degree(h, max_step, tolerance)

    def for_interval(self, time: float, max_step: float) -> Scheme:
        """Return one cycle, or explicit steps for a short interval."""
        return Midpoint(cycles=1) if time > max_step else Explicit()


def exponential_stages(h: float, max_step: float, tolerance: float) -> list[Stage]:
    """Return the stages of the exponential of length h [length²], truncated at ``tolerance``."""
    parts, s, tail = _parts(h, max_step, tolerance)
    return parts * [Stage(m, tau * h / parts / s, None) for m, tau in _exponential(s, tail)]


def exponential_degree(h: float, max_step: float, tolerance: float) -> int:
    """Return the number of `exponential_stages`."""
    parts, s, tail = _parts(h, max_step, tolerance)
    return parts * _degree(s, tail)


def _parts(h: float, max_step: float, tolerance: float) -> tuple[int, float, float]:
    """Return the number of equal exponentials of a product, their length and truncated share.

    The length is in stable steps, which are infinite if no axis diffuses.
    """
    s = min(max(h / max_step, 1e-9), MAX_COUNT)
    parts = max(1, whole_number(s / LONGEST_EXPONENTIAL))
    return parts, s / parts, _tail(tolerance / parts)


def _is_chebyshev(time: float, h: float, max_step: float) -> bool:
    """Whether cycles of length h take the polynomial of `rkc2`."""
    return time > LONGEST_EXPONENTIAL_RUN * max_step and h <= LONGEST_SUPERSTEP * max_step


def _chebyshev_stages(h: float, max_step: float) -> list[Stage]:
    """Return the stages of the polynomial of `rkc2`, as a product of its factors."""
    return [Stage(m, tau * max_step, None) for m, tau in _chebyshev(h / max_step)]


@lru_cache(maxsize=64)
def _chebyshev(s: float) -> tuple[tuple[float, float], ...]:
    """Momentum and step [stable steps] of the stages of a superstep of s stable steps."""
    return _stages_of(chebyshev_roots(s, chebyshev_degree(s, 1.0)))


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
    return _stages_of([1 - complex(root) for root in np.sort(chebyshev.chebroots(w))])


def _stages_of(distances: list[complex]) -> tuple[tuple[float, float], ...]:
    """Return momentum and step of the stages of a polynomial with the roots z = -distance.

    It is 1 at z = 0, and its coefficients are real.
    """
    factors: list[tuple[tuple[float, float], ...]] = []
    for distance in distances:
        if abs(distance.imag) < 1e-12 * abs(distance):
            factors.append(((0.0, 1 / distance.real),))
        elif distance.imag > 0:
            # The two stages of a pair give 1 + 2 Re(d) z / |d|^2 + z^2 / |d|^2 with the distance d.
            tau = 1 / abs(distance)
            factors.append(((0.0, tau), (2 * distance.real * tau - 2, tau)))
    return tuple(itertools.chain.from_iterable(_ordered(factors)))


def _ordered(
    factors: list[tuple[tuple[float, float], ...]],
) -> list[tuple[tuple[float, float], ...]]:
    """Return the factors of a product in an order in which no product of neighbours is large.

    Each factor is chosen by two products: that up to it, and that of the factors that remain. Their
    maximum over the modes -2 <= z <= 0 is the smallest. The first of those within `TIE` is taken.
    """
    z = np.cos(np.linspace(0, np.pi, 16 * len(factors) + 1)) - 1
    values = []
    for stages in factors:
        previous = u = np.ones_like(z)
        for momentum, tau in stages:
            previous, u = u, u + momentum * (u - previous) + tau * z * u
        values.append(np.log(np.maximum(np.abs(u), 1e-300)))
    logarithms = np.array(values)
    after, before = logarithms.sum(0), np.zeros_like(z)
    rest, order = list(range(len(factors))), []
    while rest:
        own = logarithms[rest]
        largest = np.maximum((before + own).max(1), (after - own).max(1))
        chosen = rest.pop(int((largest <= largest.min() + TIE).argmax()))
        before, after = before + logarithms[chosen], after - logarithms[chosen]
        order.append(factors[chosen])
    return order


def _series(x: float, degree: int) -> NDArray[np.float64]:
    """Weights of T_0 ... T_degree in the series of e^(x (X - 1)), scaled to the sum one."""
    half = np.zeros(degree + 1)
    taps = gaussian_taps(math.sqrt(x), 2, 1e-16)[: degree + 1]
    half[: len(taps)] = taps
    half[1:] *= 2
    return np.asarray(half / half.sum())
