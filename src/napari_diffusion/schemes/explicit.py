r"""Explicit Euler: :math:`u^{k+1} = u^k + \tau A(u^k) u^k`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_diffusion.schemes.base import Scheme, Stage

#: Default step as a share of the stable step. At the stable step itself the finest mode is not
#: damped, and the error is seven times larger (measured).
SAFETY_FACTOR = 0.85


@dataclass(frozen=True)
class Explicit(Scheme):
    """Explicit Euler steps of equal length; first order.

    Parameters
    ----------
    step
        Length of a step [length²]; ``None`` for `SAFETY_FACTOR` times the stable step.
    """

    name = "explicit"
    order = 1
    monotone = True
    step: float | None = None

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Return equal steps that end exactly at ``time``, each at most as long as `step`.

        Raises
        ------
        ValueError
            If `step` is not positive, or above the stable step ``1 / (2 g_max sum_i 1/h_i^2)``.
        """
        step = SAFETY_FACTOR * max_step if self.step is None else self.step
        if not step > 0:
            raise ValueError(f"Explicit: step must be > 0 [length²], got {self.step}.")
        if step > max_step * (1 + 1e-9):
            raise ValueError(
                f"Explicit: step {step:g} is unstable; "
                f"for this spacing and model it may be at most {max_step:.6g} [length²]."
            )
        count = max(1, math.ceil(time / step - 1e-9)) if time > 0 else 0
        return tuple(Stage(0.0, time / count, time * (k + 1) / count) for k in range(count))

    def with_steps(self, time: float, count: int) -> Explicit:
        """Return explicit steps of ``time / count``."""
        return Explicit(step=time / count)
