r"""One stage of a scheme: the numbers with which an operator is applied once.

.. math:: u^{k+1} = u^k + m_k\,(u^k - u^{k-1}) + \tau_k\,A(u^k)\,u^k

At the end of a superstep the field may be mixed with the field :math:`u_0` at its start, with a
weight :math:`c`: :math:`u + c\,(u_0 - u)`.
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
