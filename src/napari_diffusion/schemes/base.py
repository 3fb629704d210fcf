r"""Base of the time integration schemes.

A scheme is a list of stages. The list depends on the stable step, the time and the tolerance, not
on the intensities. All stages have the same form, which needs only two fields:

.. math:: u^{k+1} = u^k + m_k\,(u^k - u^{k-1}) + \tau_k\,A(u^k)\,u^k

At the end of a superstep the field may be mixed with the field :math:`u_0` at its start, with a
weight :math:`c`: :math:`u + c\,(u_0 - u)`.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Stage(NamedTuple):
    r"""One evaluation of the operator.

    Attributes
    ----------
    momentum
        Factor :math:`m_k` of the previous change.
    step
        Step :math:`\tau_k` [length²].
    time
        Diffusion time at the end of the stage [length²]; None inside a superstep.
    start_weight
        Weight c of the field at the start of the superstep; non-zero only at its end.
    reuse_tensor
        Whether to keep the diffusion tensor of the previous stage, which costs more than a stage.
        Otherwise it is recomputed.
    predictor_step
        Length of an explicit step with the previous tensor [length²]. The new tensor is computed
        from the field that this step predicts; with 0, from the current field.
    """

    momentum: float
    step: float
    time: float | None
    start_weight: float = 0.0
    reuse_tensor: bool = False
    predictor_step: float = 0.0


class Scheme:
    """Base class of the time integration schemes.

    Attributes
    ----------
    name
        Name on the command line and for ``scheme=``.
    order
        Order of convergence in time.
    monotone
        Whether the scheme guarantees the extremum principle.
    """

    name: ClassVar[str]
    order: ClassVar[float]
    monotone: ClassVar[bool]

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        r"""Return the stages that reach a diffusion time.

        Parameters
        ----------
        time
            Diffusion time [length²].
        max_step
            Largest explicit step that satisfies the extremum principle [length²],
            :math:`2/\lambda_{max}`.
        tolerance
            Target error of the time integration, as a share of the intensity range.
        """
        raise NotImplementedError

    def with_steps(self, time: float, count: int) -> Scheme | None:
        """Return this scheme with ``count`` steps or supersteps up to ``time`` [length²].

        None for a scheme that is exact in time.
        """
        raise NotImplementedError
