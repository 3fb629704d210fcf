r"""Explicit Euler: :math:`u^{k+1} = u^k + \tau A(u^k) u^k`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_diffusion.schemes.base import Scheme, Stage

#: Share of the stable step: at the bound itself the finest mode is not damped, and the error is seven times larger (measured).
SAFETY = 0.85


@dataclass(frozen=True)
class Explicit(Scheme):
    """Explicit Euler steps of equal length, first order, with the stable step enforced.

    Parameters
    ----------
    step
        Length of a step [length²]; ``None`` takes `SAFETY` times the stable step.

    Raises
    ------
    ValueError
        For a step above the stable one, ``1 / (2 g_max sum_i 1/h_i^2)``.
    """

    name = "explicit"
    order = 1
    monotone = True
    step: float | None = None

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Equal steps; the last one is not shortened, all are scaled to end exactly at ``time``."""
        step = SAFETY * max_step if self.step is None else self.step
        if not step > 0:
            raise ValueError(f"Explicit: step must be > 0 [length²], got {self.step}.")
        if step > max_step * (1 + 1e-9):
            raise ValueError(
                f"Explicit: step {step:g} is unstable; for this spacing and model it may be at most {max_step:.6g} [length²]."
            )
        count = max(1, math.ceil(time / step - 1e-9)) if time > 0 else 0
        return tuple(Stage(0.0, time / count, time * (k + 1) / count) for k in range(count))

    def with_steps(self, time: float, count: int) -> Explicit:
        """Steps of ``time / count``."""
        return Explicit(step=time / count)
