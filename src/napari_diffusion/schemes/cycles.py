"""Base of the schemes that compute an operator once per cycle and store it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from napari_diffusion.core.grid import Grid
from napari_diffusion.core.parameters import param
from napari_diffusion.operators.base import Operator
from napari_diffusion.schemes.base import Scheme, whole_number


@dataclass(frozen=True)
class Cycles(Scheme):
    """Cycles of equal length, each with one operator.

    Parameters
    ----------
    cycles
        Number of cycles; ``None`` to derive it from time and tolerance.
    """

    order = 2
    monotone = False
    cycles: int | None = param(
        None, "Number of cycles; by default derived from time and tolerance.", ge=1
    )

    def refusal(self, operator: Operator, grid: Grid, strict: bool) -> str | None:
        """Return why the scheme does not fit: the operator must be storable."""
        if operator.is_storable or operator.is_linear:
            return None
        return (
            "it is for models with a tensor, a diffusivity at the voxels or total variation, which "
            "it computes once per cycle"
        )

    def cycle_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of cycles; the arguments are those of `stages`."""
        return self.cycles or self.cycles_for(time, max_step, tolerance)

    def cycles_for(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of cycles for an error of ``tolerance``.

        The formulas are empirical (docs/develop/decisions.md).
        """
        raise NotImplementedError

    def cycle_degree(self, time: float, h: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of a cycle of length h in a run of length ``time``."""
        raise NotImplementedError

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return the number of stages of all cycles."""
        if time == 0:
            return 0
        count = self.cycle_count(time, max_step, tolerance)
        return count * self.cycle_degree(time, time / count, max_step, tolerance)

    def for_source(self, time: float, max_step: float, tolerance: float, rate: float) -> Self:
        """Return the scheme with cycles of at most 1/``rate``.

        In longer ones, the polynomial of a cycle damps the way to the steady state too little.
        """
        if self.cycles is not None or time == 0:
            return self
        count = max(self.cycle_count(time, max_step, tolerance), whole_number(time * rate))
        return type(self)(cycles=count)

    def with_steps(self, time: float, count: int) -> Self:
        """Return the scheme with ``count`` cycles."""
        return type(self)(cycles=count)
