"""Scalar diffusivities g as functions of the gradient magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import DiffusivityFunction
from napari_diffusion.backends.reference.stages import diffusivity
from napari_diffusion.operators.threshold_map import ThresholdMap, differs, largest_map_factor

LINEAR = 0
#: Code of each named diffusivity in the kernels of both backends.
CODES = {
    "linear": LINEAR,
    "rational": 1,
    "exponential": 2,
    "tukey": 3,
    "weickert": 4,
    "charbonnier": 5,
}
#: Error of a second-order scheme with the same steps, relative to the rational diffusivity
#: (measured, docs/develop/decisions.md). It is large where g falls to zero.
ERROR_FACTORS = {"charbonnier": 2.0, "exponential": 4.0, "tukey": 12.0, "weickert": 16.0}
#: That of a function of the user, which is unknown.
ERROR_FACTOR_OF_FUNCTION = 12.0


def quotient(
    above: NDArray[np.floating], below: NDArray[np.floating] | float, largest: float
) -> NDArray[np.floating]:
    """Return the quotient of two numbers >= 0, at most ``largest``; 0/0 is 0.

    A number ``below`` may exceed the range of the data type, in both directions.
    """
    info = np.finfo(above.dtype)
    if isinstance(below, float):
        below = min(below, float(info.max))
    ratio: NDArray[np.floating] = above / np.maximum(np.maximum(below, above / largest), info.tiny)
    return ratio


def bounded_square(value: float, dtype: np.dtype[np.floating]) -> float:
    """Return the square of a number, bounded to the normal numbers of a data type."""
    info = np.finfo(dtype)
    return min(max(value * value, 16 * float(info.tiny)), float(info.max) / 4)


@dataclass(frozen=True)
class Diffusivity:
    r"""Scalar diffusivity :math:`0 \le g(s) \le 1` of the gradient magnitude s.

    It is normalised so that the flux :math:`s\,g(s)` is largest at :math:`s=\kappa`. The exception
    is ``"charbonnier"``, whose flux rises monotonically towards the value :math:`\kappa`.

    =============  ======================================================  ========================
    name           g, with :math:`q = s^2/\kappa^2`                        source
    =============  ======================================================  ========================
    rational       :math:`1/(1+q)`                                         Perona & Malik 1990
    exponential    :math:`\exp(-q/2)`                                      Perona & Malik 1990
    tukey          :math:`(1-q/5)_+^2`                                     Black et al. 1998
    weickert       :math:`1-\exp(-3.31488/q^4)`                            Weickert 1998
    charbonnier    :math:`1/\sqrt{1+q}`                                    Charbonnier et al. 1994
    =============  ======================================================  ========================

    Attributes
    ----------
    name
        Name of a diffusivity above, ``"linear"`` for g = 1, or a function of :math:`s/\kappa`.
        The values of a function are checked at every evaluation.
    kappa
        Gradient magnitude at which the flux is largest [intensity/length].
    kappa_map
        Factors of ``kappa`` over the image, see `operators.threshold_map`; ``None`` for 1.
    """

    name: str | DiffusivityFunction = "linear"
    kappa: float = 1.0
    kappa_map: ThresholdMap | None = None

    @property
    def has_map(self) -> bool:
        """Whether the threshold differs from ``kappa`` at some place."""
        return differs(self.kappa_map)

    @property
    def largest_flux(self) -> float:
        """Bound of the flux s g(s), if the flux grows with s; otherwise infinite."""
        if self.name != "charbonnier":
            return math.inf
        return self.kappa * largest_map_factor(self.kappa_map)

    @property
    def error_factor(self) -> float:
        """Error of a second-order scheme, see `Operator`."""
        if not isinstance(self.name, str):
            return ERROR_FACTOR_OF_FUNCTION
        return ERROR_FACTORS.get(self.name, 1.0)

    @property
    def code(self) -> int | DiffusivityFunction:
        """Code of this diffusivity in the kernels, or the function itself."""
        return CODES[self.name] if isinstance(self.name, str) else self.name

    def scaled(self, grad2: NDArray[np.floating]) -> NDArray[np.floating]:
        """Turn :math:`s^2` into :math:`q`, in place, and return it, where the map is 1."""
        inverse = 1 / self.kappa
        # q may overflow, since g(inf) = 0. The factor stays finite: infinity times 0 would be NaN.
        factor = min(inverse * inverse, float(np.finfo(grad2.dtype).max))
        if factor <= 1:  # no overflow; the context takes longer than a small image
            grad2 *= grad2.dtype.type(factor)
        else:
            with np.errstate(over="ignore"):
                grad2 *= grad2.dtype.type(factor)
        return grad2

    def of(self, grad2: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return :math:`g(s)` for the squared gradients :math:`s^2`."""
        q = self.scaled(grad2.copy())
        diffusivity(self.code, q)
        return q

    def check(self) -> None:
        """Raise ValueError if a function has values outside 0 to 1.

        It is evaluated at gradients from 0 to a million times kappa. A named diffusivity needs no
        check, which would take as long as planning a run.
        """
        if isinstance(self.name, str):
            return
        diffusivity(self.code, np.square(np.append(0.0, np.geomspace(1e-3, 1e6, 91))))
