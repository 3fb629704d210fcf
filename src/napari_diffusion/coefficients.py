r"""What models return and schemes integrate: a closed set of coefficients.

.. math:: u_t = \operatorname{div}(g \, \nabla u)

with :math:`g` constant, evaluated on each face from the face difference, or given at the voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LINEAR = 0
#: Diffusivities by name. The kernels know them by number; the order is part of that agreement.
CODES = {"linear": LINEAR, "rational": 1, "exponential": 2, "tukey": 3, "weickert": 4, "charbonnier": 5}


@dataclass(frozen=True)
class Diffusivity:
    r"""A scalar diffusivity :math:`0 \le g(s) \le 1`, normalised so that the flux :math:`s\,g(s)` is largest at :math:`s=\kappa`.

    =============  ======================================================  ========================
    name           g, with :math:`q = s^2/\kappa^2`                        source
    =============  ======================================================  ========================
    rational       :math:`1/(1+q)`                                         Perona & Malik 1990
    exponential    :math:`\exp(-q/2)`                                      Perona & Malik 1990
    tukey          :math:`(1-q/5)_+^2`                                     Black et al. 1998
    weickert       :math:`1-\exp(-3.31488/q^4)`                            Weickert 1998
    charbonnier    :math:`1/\sqrt{1+q}` (flux grows up to :math:`\kappa`)  Charbonnier et al. 1994
    =============  ======================================================  ========================
    """

    name: str = "linear"
    kappa: float = 1.0

    @property
    def code(self) -> int:
        """Number by which the kernels know this diffusivity."""
        return CODES[self.name]


@dataclass(frozen=True)
class Constant:
    r"""The same diffusivity everywhere: :math:`u_t = g\,\Delta u`."""

    maximum: float = 1.0


@dataclass(frozen=True)
class Face:
    r"""Diffusivity of each face difference: flux :math:`g(|\partial_i u|)\,\partial_i u` through the faces of axis :math:`i`.

    Channels are coupled: every channel flows with the :math:`g` of :math:`s^2 = \sum_c w_c (\partial_i u_c)^2`.
    """

    diffusivity: Diffusivity
    maximum: float = 1.0


@dataclass(frozen=True)
class Scalar:
    """Diffusivity given at the voxels; a face uses the mean of its two voxels (Weickert 1998)."""

    values: NDArray[np.floating]
    maximum: float = 1.0


Coefficient = Constant | Face | Scalar
