r"""What a scheme is: a list of stages that depends on the coefficient bound, the time and the tolerance, never on the image.

Every stage is the same operation, so that two fields are all the memory a scheme needs:

.. math:: u^{k+1} = u^k + m_k\,(u^k - u^{k-1}) + \tau_k\,A(u^k)\,u^k
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Stage(NamedTuple):
    """One evaluation of the operator: momentum m, step tau [length²], and the diffusion time reached, ``None`` inside a superstep."""

    momentum: float
    step: float
    time: float | None


class Scheme:
    """Base of the time integrators. ``order`` is the order in time, ``monotone`` says that the extremum principle is guaranteed."""

    name: ClassVar[str]
    order: ClassVar[int]
    monotone: ClassVar[bool]

    def stages(self, time: float, max_step: float) -> tuple[Stage, ...]:
        """Stages that reach ``time``; ``max_step`` is the largest explicit step that keeps the extremum principle, 2/lambda_max."""
        raise NotImplementedError
