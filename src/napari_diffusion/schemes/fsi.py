r"""Fast semi-iterative diffusion (FSI): a first-order scheme with few evaluations.

.. math:: u^{k+1} = \alpha_k\,(u^k + \tau A u^k) + (1-\alpha_k)\,u^{k-1}, \qquad
   \alpha_k = \frac{4k+2}{2k+3}, \quad k = 0, \dots, n-1

A cycle of n stages reaches the time :math:`\tau (n^2+n)/3`. The polynomial is that of fast explicit
diffusion (FED), but every stage is stable. The ordered steps of FED lose all digits in float32
(relative error 1e22 at 100 steps).

Source: Hafner, Ochs, Weickert, Reissel & Grewenig 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_diffusion.schemes.base import Scheme, Stage


@dataclass(frozen=True)
class FSI(Scheme):
    """Fast semi-iterative diffusion in cycles of equal length; first order.

    A tensor model computes one tensor per cycle, which suffices for first order. The error after
    two cycles is about 1 % of the range.

    Parameters
    ----------
    cycles
        Number of cycles; ``None`` for one per fifty stable steps, and at least two.
    """

    name = "fsi"
    order = 1
    monotone = False
    cycles: int | None = None

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Return `cycles` times the smallest stable number of stages."""
        if time == 0:
            return ()
        count = max(2, math.ceil(time / max_step / 50)) if self.cycles is None else self.cycles
        if count < 1:
            raise ValueError(f"FSI: cycles must be >= 1, got {self.cycles}.")
        h = time / count
        n = max(1, math.ceil(math.sqrt(3 * h / max_step + 0.25) - 0.5 - 1e-9))
        tau = 3 * h / (n * (n + 1))
        alphas = [(4 * k + 2) / (2 * k + 3) for k in range(n)]
        return tuple(
            Stage(
                alpha - 1 if k else 0.0,
                alpha * tau,
                time * (cycle + 1) / count if k == n - 1 else None,
                reuse_tensor=k > 0,
            )
            for cycle in range(count)
            for k, alpha in enumerate(alphas)
        )

    def with_steps(self, time: float, count: int) -> FSI:
        """Return the scheme with ``count`` cycles."""
        return FSI(cycles=count)
