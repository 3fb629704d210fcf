r"""One stage of a scheme: the numbers with which an operator is applied once.

.. math:: u^{k+1} = u^k + m_k\,(u^k - u^{k-1}) + \tau_k\,A(u^k)\,u^k

At the end of a superstep the field may be mixed with the field :math:`u_0` at its start, with a
weight :math:`c`: :math:`u + c\,(u_0 - u)`.

In a run with a fidelity length :math:`\ell`, the operator includes the source
:math:`(f - u)/\ell^2` with the input f.
"""

from __future__ import annotations

from typing import NamedTuple


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
    reuse_operator
        Whether to keep the stored operator, a tensor or a diffusivity at every voxel, which costs
        more than a stage. Otherwise it is computed from the current field. If no stage of a
        schedule reuses the operator, a scalar one is not stored.
    predictor_step
        Length of an explicit step with the stored operator [length²]. The new operator is computed
        from the field that this step predicts.
    extrapolation
        Share of the change over the previous superstep by which the field is extrapolated. The new
        operator is computed from the extrapolated field. Only at the start of a superstep.
    from_start
        Whether the stage begins at the start of the superstep. The stages before it only predict
        the field from which the new operator is computed.
    rate
        Rate :math:`1/\ell^2` at which the field returns to the input [1/length²].
    """

    momentum: float
    step: float
    time: float | None
    start_weight: float = 0.0
    reuse_operator: bool = False
    predictor_step: float = 0.0
    extrapolation: float = 0.0
    from_start: bool = False
    rate: float = 0.0

    @property
    def needs_start(self) -> bool:
        """Whether the stage reads the field at the start of a superstep."""
        return bool(self.start_weight or self.extrapolation or self.from_start)
