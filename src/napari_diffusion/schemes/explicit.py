r"""Explicit Euler: :math:`u^{k+1} = u^k + \tau A(u^k) u^k`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from napari_diffusion.core.parameters import param
from napari_diffusion.core.stage import Stage
from napari_diffusion.schemes.base import Scheme, end_of_step, whole_number

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
    step: float | None = param(
        None, "Length of a step; by default a share of the stable step.", unit="length^2", gt=0
    )

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterator[Stage]:
        """Yield equal steps that end exactly at ``time``, each at most as long as `step`.

        Raises
        ------
        ValueError
            If `step` is above the stable step ``1 / (2 g_max sum_i 1/h_i^2)``.
        """
        count = self.stage_count(time, max_step, tolerance)
        return (Stage(0.0, time / count, end_of_step(time, k + 1, count)) for k in range(count))

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of steps; errors as `stages`."""
        step = SAFETY_FACTOR * max_step if self.step is None else self.step
        if step > max_step * (1 + 1e-9):
            raise ValueError(
                f"Explicit: step {step:g} is unstable; "
                f"for this spacing and model it may be at most {max_step:.6g} [length²]."
            )
        return max(1, whole_number(time / step - 1e-9)) if time > 0 else 0

    def with_steps(self, time: float, count: int) -> Explicit:
        """Return explicit steps of ``time / count``."""
        return Explicit(step=time / count)

    def for_interval(self, time: float, max_step: float) -> Scheme:
        """Return explicit steps of the default length."""
        return Explicit()
