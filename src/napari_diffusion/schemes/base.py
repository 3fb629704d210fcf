r"""What a scheme is: a list of stages that depends on the coefficient bound, the time and the tolerance, never on the image.

Every stage is the same operation, so that two fields are nearly all the memory a scheme needs:

.. math:: u^{k+1} = u^k + m_k\,(u^k - u^{k-1}) + \tau_k\,A(u^k)\,u^k

and at the end of a superstep the field may be drawn back towards its start :math:`u_0` by a share :math:`c`, :math:`u + c\,(u_0 - u)`.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Stage(NamedTuple):
    """One evaluation of the operator.

    ``momentum`` m and ``step`` tau [length²] as above; ``time`` is the diffusion time reached, ``None`` inside a superstep;
    ``start_weight`` is the share c of the superstep's start that is mixed in at its end. Tensors, which cost more than a stage, are kept from
    the stage before where it is ``reuse_tensor``; otherwise they are made anew, from the field that one explicit step of ``predictor_step`` [length²]
    with the tensors so far predicts.
    """

    momentum: float
    step: float
    time: float | None
    start_weight: float = 0.0
    reuse_tensor: bool = False
    predictor_step: float = 0.0


class Scheme:
    """Base of the time integrators. ``order`` is the order in time, ``monotone`` says that the extremum principle is guaranteed."""

    name: ClassVar[str]
    order: ClassVar[float]
    monotone: ClassVar[bool]

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Stages that reach ``time``; ``max_step`` is the largest explicit step that keeps the extremum principle, 2/lambda_max."""
        raise NotImplementedError

    def with_steps(self, time: float, count: int) -> Scheme | None:
        """Return the same scheme with ``count`` (super)steps to reach ``time``; ``None`` for a scheme that is exact in time."""
        raise NotImplementedError
