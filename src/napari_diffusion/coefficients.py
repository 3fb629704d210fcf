r"""What models return and schemes integrate: a closed set of coefficients.

.. math:: u_t = \operatorname{div}(g \, \nabla u)

with :math:`g` constant, evaluated on each face from the face difference or from the whole gradient, or given at the voxels as a number or a
tensor; and the motion of level sets by their curvature.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.grid import Grid
from napari_diffusion.kernels import Function
from napari_diffusion.kernels.reference import diffusivity

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

    Instead of a name it can be a function of :math:`s/\kappa`; what that returns is checked wherever it is used.
    """

    name: str | Function = "linear"
    kappa: float = 1.0

    @property
    def code(self) -> int | Function:
        """Number by which the kernels know this diffusivity, or the function."""
        return CODES[self.name] if isinstance(self.name, str) else self.name

    def scaled(self, grad2: NDArray[np.floating]) -> NDArray[np.floating]:
        """Turn :math:`s^2` into :math:`q`, in place, and return it."""
        inverse = 1 / self.kappa
        with np.errstate(over="ignore"):  # g(inf) = 0; but a factor of inf would make NaN of a zero gradient
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


class Bounded:
    """Base of the coefficients: what bounds the explicit step."""

    #: Largest weight with which a voxel moves towards a neighbour, times h^2: g for the models in divergence form.
    maximum: float

    def max_step(self, grid: Grid) -> float:
        """Largest explicit step [length²] that keeps the extremum principle."""
        return grid.max_step(self.maximum)


@dataclass(frozen=True)
class Constant(Bounded):
    r"""The same diffusivity everywhere: :math:`u_t = g\,\Delta u`."""

    maximum: float = 1.0


@dataclass(frozen=True)
class Face(Bounded):
    r"""Diffusivity of each face difference: flux :math:`g(|\partial_i u|)\,\partial_i u` through the faces of axis :math:`i`.

    Channels are coupled: every channel flows with the :math:`g` of :math:`s^2 = \sum_c w_c (\partial_i u_c)^2`.
    """

    diffusivity: Diffusivity
    maximum: float = 1.0


@dataclass(frozen=True)
class Scalar(Bounded):
    """Diffusivity given at the voxels; a face uses the mean of its two voxels (Weickert 1998)."""

    values: NDArray[np.floating]
    maximum: float = 1.0


@dataclass(frozen=True)
class Gradient(Bounded):
    r"""Diffusivity of the whole gradient at each face: flux :math:`c\,g(|\nabla u|)\,\partial_i u` with the bound :math:`c` = ``maximum``.

    ``values`` is :math:`|\nabla u|^2` at the voxels, from which a face takes the derivatives across it; that along it is its own. A step
    edge therefore has the gradient of its one face, while a mean of two voxels would see it smeared over both.
    """

    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 1.0


@dataclass(frozen=True)
class Curvature(Bounded):
    r"""Motion of level sets, not in divergence form: :math:`u_t = |\nabla u| \operatorname{div}(g(|\nabla u|)\,\nabla u/|\nabla u|)`.

    .. math:: u_t = \sum_{\text{faces}} \frac{g}{h_i^2} \min\Bigl(\frac{|\nabla u|}{|\nabla u|_{face}}, C\Bigr)\,\delta_i u

    with :math:`|\nabla u|^2` at the voxels in ``values``. The ratio is 1 where the image is smooth. Limited to C = ``maximum`` it leaves
    weights that are positive and bounded, so that steps up to :math:`1/(2C\sum_i h_i^{-2})` keep the extremum principle.
    """

    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 2.0


@dataclass(frozen=True)
class Tensor:
    r"""Diffusion tensor :math:`D = \sum_i \lambda_i v_i v_i^T` at the voxels, with the eigenvectors :math:`v_i` of a symmetric matrix.

    ``matrix`` has its entries along the first axis (diagonal, then upper triangle). ``spectrum`` turns its eigenvalues, largest first,
    into the :math:`\lambda_i`, given ``extra`` fields at the same voxels. ``maxima`` bounds the sorted :math:`\lambda_i`, largest first; a
    grid of more axes than entries repeats the last.
    """

    matrix: NDArray[np.floating]
    spectrum: Callable[..., Sequence[NDArray[np.floating]]]
    maxima: tuple[float, ...] = (1.0,)
    extra: tuple[NDArray[np.floating], ...] = ()

    @property
    def maximum(self) -> float:
        """Bound of the largest eigenvalue."""
        return self.maxima[0]

    def max_step(self, grid: Grid) -> float:
        r"""Stable step of both stencils, :math:`1/(2\,\mathrm{tr}\,D')` with :math:`D'_{ij} = d_{ij}/(h_i h_j)`.

        The trace is largest when the largest eigenvalues lie along the finest axes (von Neumann's trace inequality).
        """
        fine = sorted((1 / h**2 for n, h in zip(grid.shape, grid.spacing, strict=True) if n > 1), reverse=True)
        bounds = itertools.chain(self.maxima, itertools.repeat(self.maxima[-1]))
        total = sum(a * b for a, b in zip(fine, bounds, strict=False))
        return 1 / (2 * total) if total > 0 else math.inf


Coefficient = Constant | Face | Scalar | Gradient | Curvature | Tensor
#: Coefficients that are made from features at the voxels.
Local = Scalar | Gradient | Curvature
