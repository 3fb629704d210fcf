"""Scalar diffusivities: the share g of free diffusion, as a function of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.protocol import DiffusivityFunction
from napari_diffusion.backends.reference.stages import diffusivity

LINEAR = 0
#: Diffusivities by name. The kernels know them by number; the order is part of that agreement.
CODES = {
    "linear": LINEAR,
    "rational": 1,
    "exponential": 2,
    "tukey": 3,
    "weickert": 4,
    "charbonnier": 5,
}


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

    Instead of a name it can be a function of :math:`s/\kappa`; what that returns is checked wherever it is used.
    """

    name: str | DiffusivityFunction = "linear"
    kappa: float = 1.0

    @property
    def code(self) -> int | DiffusivityFunction:
        """Number by which the kernels know this diffusivity, or the function."""
        return CODES[self.name] if isinstance(self.name, str) else self.name

    def scaled(self, grad2: NDArray[np.floating]) -> NDArray[np.floating]:
        """Turn :math:`s^2` into :math:`q`, in place, and return it."""
        inverse = 1 / self.kappa
        with np.errstate(
            over="ignore"
        ):  # g(inf) = 0; but a factor of inf would make NaN of a zero gradient
            grad2 *= grad2.dtype.type(min(inverse * inverse, float(np.finfo(grad2.dtype).max)))
        return grad2

    def of(self, grad2: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return g at squared gradients."""
        q = self.scaled(grad2.copy())
        diffusivity(self.code, q)
        return q

    def check(self) -> None:
        """Raise ValueError where a function is no diffusivity: on the way from no gradient to a million times the threshold."""
        diffusivity(self.code, np.square(np.append(0.0, np.geomspace(1e-3, 1e6, 91))))
