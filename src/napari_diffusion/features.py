r"""Local image features, computed for one slab of planes at a time, from which models make their coefficient.

Every request says how far it reaches; `halo` adds these up, so that no overlap is ever typed by hand.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.coefficients import LINEAR, Diffusivity
from napari_diffusion.grid import Grid
from napari_diffusion.kernels import Backend

Field = NDArray[np.floating]
#: Weight of the regularising Gaussian that may be cut off: its effect is far below that of the choice of sigma.
TAIL = 1e-3
#: Largest sigma [voxel] of a convolution: beyond it, the unit is wrong.
WIDEST = 1000.0


class Scratch(threading.local):
    """Work arrays of each thread, allocated once: new pages cost as much as the arithmetic that fills them (measured)."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Field:
        """Return the array of that name, with whatever was left in it."""
        size = math.prod(shape) * dtype.itemsize
        if name not in self._held or self._held[name].size < size:
            self._held[name] = np.empty(size, np.uint8)
        return self._held[name][:size].view(dtype).reshape(shape)


@dataclass
class Features:
    r"""Features of the field ``u`` (shape ``(C, *space)``) on planes ``lo:hi`` of the first axis.

    ``weights`` are the channel weights :math:`w_c` (sum 1) with which channels share one gradient,
    :math:`|\nabla u|^2 = \sum_c w_c |\nabla u_c|^2` (Gerig et al. 1992). ``reach`` is the number of voxels, per axis, that the
    requests so far have looked beyond the slab. ``before`` are the features of the planes before these, of the same field as it is now and
    with the same scratch: planes that these have smoothed already are taken from there.
    """

    u: Field
    lo: int
    hi: int
    grid: Grid
    kernels: Backend
    weights: Field
    scratch: Scratch = field(default_factory=Scratch)
    reach: list[int] = field(default_factory=list)
    before: Features | None = None
    _smoothed: tuple[float, int, int] = (0.0, 0, 0)

    def grad2(self, sigma: float) -> Field:
        r"""Return :math:`|\nabla u_\sigma|^2` [intensity²/length²], :math:`u_\sigma = G_\sigma * u`, ``sigma`` [length]."""
        lo, hi = max(self.lo - 1, 0), min(self.hi + 1, self.u.shape[1])
        smooth = self.smooth(sigma, lo, hi)
        out = self.scratch.take("grad2", (self.hi - self.lo, *self.u.shape[2:]), self.u.dtype)
        b2 = np.array([1 / h**2 for h in self.grid.spacing], self.u.dtype)
        self.kernels.grad2(smooth, lo, self.lo, self.hi, b2, self.weights, self.grid.open_faces, out)
        self._reached([1] * len(self.grid.shape), sigma)
        return out

    def neighbours(self) -> tuple[Field, Field]:
        r"""Return mean [intensity] and variance [intensity²] of the 2N neighbours of every voxel, of each channel: shape ``(C, *space)``.

        Neighbours along axis i have the weight :math:`h_i^{-2} / (2 \sum_j h_j^{-2})`, so that the mean is that of a small ball whatever
        the shape of the voxels. Behind a wall or the border a neighbour is the voxel itself.
        """
        shape = (len(self.u), self.hi - self.lo, *self.u.shape[2:])
        mean, variance = (self.scratch.take(name, shape, self.u.dtype) for name in ("mean", "variance"))
        total = 2 * self.grid.inverse_square_sum or 1.0
        share = np.array(
            [1 / (h**2 * total) if n > 1 else 0.0 for n, h in zip(self.grid.shape, self.grid.spacing, strict=True)], self.u.dtype
        )
        self.kernels.neighbours(self.u, self.lo, self.hi, share, self.grid.open_faces, mean, variance)
        self._reached([1] * len(self.grid.shape), 0.0)
        return mean, variance

    def average(self, values: Field) -> Field:
        r"""Return :math:`\sum_c w_c f_c` over channels, in the first of them."""
        values[0] *= self.weights[0]
        for weight, channel in zip(self.weights[1:], values[1:], strict=True):
            values[0] += weight * channel
        first: Field = values[0]
        return first

    def apply(self, diffusivity: Diffusivity, grad2: Field) -> Field:
        """Replace ``grad2`` by g(|grad u|), in place, and return it."""
        self.kernels.diffusivity(diffusivity.code, diffusivity.scaled(grad2))
        return grad2

    def structure(self, sigma: float, rho: float) -> Field:
        r"""Return the structure tensor :math:`J = G_\rho * (\nabla u_\sigma \nabla u_\sigma^T)` [intensity²/length²], entry by entry.

        Entries are the diagonal, then the upper triangle, of the axes with more than one voxel; channels are summed with their weights.
        The gradient is central. Sources: Förstner & Gülch 1987; Weickert 1998.
        """
        axes, planes = self.axes, self.u.shape[1]
        wide = smoothing_reach(rho, self.grid)[0]
        lo, hi = max(self.lo - wide, 0), min(self.hi + wide, planes)
        first = max(lo - 1, 0)
        smooth = self.smooth(sigma, first, min(hi + 1, planes))
        pairs = [(i, i) for i in axes] + [(i, j) for i in axes for j in axes if i < j]
        out = self.scratch.take("structure", (len(pairs), self.hi - self.lo, *self.u.shape[2:]), self.u.dtype)
        self._reached([1] * len(self.grid.shape), sigma, rho)
        if self.grid.open_faces is None:
            taps = self._taps(rho)
            self.kernels.structure(smooth, first, planes, self.lo, self.hi, axes, self.grid.spacing, taps, self.weights, out)
            return out
        here = ""
        for number, (i, j) in sorted(enumerate(pairs), key=lambda pair: pair[1]):
            if here != f"along {i}":
                here = f"along {i}"
                along = self._derivative(smooth, first, lo, hi, i, 1, "along")
            other = self._derivative(smooth, first, lo, hi, j, 1, "other")
            product = np.multiply(along, other, out=other)
            product[0] *= self.weights[0]
            for c in range(1, len(product)):
                product[0] += self.weights[c] * product[c]
            self._blur(product[:1], lo, rho, self.lo, self.hi, out[number : number + 1])
        return out

    def hessian(self, sigma: float) -> Field:
        r"""Return the second derivatives of :math:`u_\sigma` [intensity/length²], entry by entry as `structure`; channels are averaged."""
        axes, planes = self.axes, self.u.shape[1]
        lo, hi = max(self.lo - 1, 0), min(self.hi + 1, planes)
        first = max(lo - 1, 0)
        smooth = self.smooth(sigma, first, min(hi + 1, planes))
        if len(smooth) > 1:
            smooth = np.tensordot(self.weights, smooth, 1)[None].astype(self.u.dtype)
        pairs = [(i, i) for i in axes] + [(i, j) for i in axes for j in axes if i < j]
        out = self.scratch.take("hessian", (len(pairs), self.hi - self.lo, *self.u.shape[2:]), self.u.dtype)
        for number, (i, j) in enumerate(pairs):
            entry = out[number : number + 1]
            if i == j:
                self._derive(smooth, first, self.lo, self.hi, i, 2, entry)
            else:
                slope = self._derivative(smooth, first, lo, hi, j, 1, "other")
                self._derive(slope, lo, self.lo, self.hi, i, 1, entry)
                if self.grid.open_faces is not None:  # beside a wall it matters which comes first, and no axis may
                    slope = self._derivative(smooth, first, lo, hi, i, 1, "other")
                    entry += self._derivative(slope, lo, self.lo, self.hi, j, 1, "along")
                    entry *= 0.5
        self._reached([2] * len(self.grid.shape), sigma)
        return out

    @property
    def axes(self) -> list[int]:
        """Axes with more than one voxel, the last one if there are none: a tensor knows no others."""
        return [i for i, n in enumerate(self.grid.shape) if n > 1] or [len(self.grid.shape) - 1]

    def eigenvalues(self, matrix: Field) -> Field:
        """Eigenvalues of symmetric matrices given by entries along the first axis, largest first along the first axis."""
        return self.kernels.eigenvalues(matrix)

    def vessels(self, sigmas: Sequence[float], gamma: float, polarity: str) -> tuple[Field, Field]:
        r"""Return :math:`\sum_\sigma V_\sigma^4 H_\sigma` [intensity] entry by entry, and the largest vesselness :math:`V_\sigma`.

        H is the scale-normalised `hessian` and V its vesselness (`kernels.reference_tensor`).
        """
        shape = (self.hi - self.lo, *self.u.shape[2:])
        best = self.scratch.take("best", shape, self.u.dtype)
        for number, sigma in enumerate(sigmas):
            hessian = self.hessian(sigma)
            if not number:
                total = self.scratch.take("total", hessian.shape, self.u.dtype)
                total[...], best[...] = 0, 0
            self.kernels.vessels(hessian, sigma**2, gamma, polarity == "bright", total, best)
        return total, best

    def _derivative(self, u: Field, start: int, lo: int, hi: int, axis: int, order: int, name: str) -> Field:
        out = self.scratch.take(name, (u.shape[0], hi - lo, *u.shape[2:]), u.dtype)
        self._derive(u, start, lo, hi, axis, order, out)
        return out

    def _derive(self, u: Field, start: int, lo: int, hi: int, axis: int, order: int, out: Field) -> None:
        self.kernels.derivative(u, start, lo, hi, axis, order, self.grid.spacing[axis], self.grid.open_faces, out)

    def smooth(self, sigma: float, lo: int, hi: int) -> Field:
        r"""Return :math:`u_\sigma` on planes ``lo:hi``: linear diffusion of ``u`` over the time :math:`\sigma^2/2`, walls included.

        With all faces open this is the separable discrete Gaussian, between walls the Chebyshev series of the same semigroup.
        """
        if sigma == 0:
            return np.ascontiguousarray(self.u[:, lo:hi])
        known = self._known(sigma, lo, hi)
        out = self.scratch.take("smooth", (self.u.shape[0], hi - lo, *self.u.shape[2:]), self.u.dtype)
        there = 0 if known is None else known.shape[1]
        if known is not None:
            out[:, :there] = known
        self._blur(self.u, 0, sigma, lo + there, hi, out[:, there:])
        self._smoothed = sigma, lo, hi
        return out

    def _known(self, sigma: float, lo: int, hi: int) -> Field | None:
        """First planes of ``lo:hi`` that the features before these have left smoothed; of several channels none, for their layout."""
        of, first, last = self.before._smoothed if self.before else (0.0, 0, 0)
        self.before = None  # what it has left is about to be overwritten
        if of != sigma or not first <= lo < last or len(self.u) > 1:
            return None
        return self.scratch.take("smooth", (1, last - first, *self.u.shape[2:]), self.u.dtype)[:, lo - first : hi - first]

    def _blur(self, u: Field, start: int, sigma: float, lo: int, hi: int, out: Field) -> None:
        """Smooth planes ``lo:hi`` into ``out``; plane 0 of ``u`` is plane ``start`` of the grid."""
        if sigma == 0:
            np.copyto(out, u[:, lo - start : hi - start])
        elif self.grid.open_faces is not None:
            np.copyto(out, self._blur_between_walls(u, start, sigma, lo, hi))
        else:
            self.kernels.smooth(u, lo - start, hi - start, self._taps(sigma), out)

    def _taps(self, sigma: float) -> list[Field]:
        """Half kernels of the Gaussian along each axis."""
        grid = self.grid
        return [gaussian_taps(sigma / h, n, TAIL).astype(self.u.dtype) for n, h in zip(grid.shape, grid.spacing, strict=True)]

    def _blur_between_walls(self, u: Field, start: int, sigma: float, lo: int, hi: int) -> Field:
        weights = heat_weights(sigma**2 / 2, self.grid, TAIL)
        reach = len(weights) - 1
        first, last = max(lo - reach, start), min(hi + reach, start + u.shape[1])
        assert self.grid.open_faces is not None
        faces = np.ascontiguousarray(self.grid.open_faces[first:last])
        begin = u[:, first - start : last - start]
        here, before, total = begin.copy(), np.empty_like(begin), begin.copy()
        for k in range(1, len(weights)):
            momentum, tau = chebyshev_stage(k, self.grid)
            a = np.array([tau / h**2 for h in self.grid.spacing], here.dtype)
            self.kernels.step(here, before, 0, last - first, a, a, momentum, LINEAR, None, 0, faces, self.weights)
            here, before = before, here
            total += here.dtype.type(weights[k]) * (here - begin)
        return total[:, lo - first : hi - first]

    def _reached(self, stencil: list[int], *sigmas: float) -> None:
        wide = [stencil, *(smoothing_reach(sigma, self.grid) for sigma in sigmas)]
        reach = [sum(parts) if n > 1 else 0 for n, *parts in zip(self.grid.shape, *wide, strict=True)]
        self.reach = [max(pair) for pair in zip(self.reach or [0] * len(reach), reach, strict=True)]


def smoothing_reach(sigma: float, grid: Grid) -> list[int]:
    """Voxels per axis that `Features.smooth` looks beyond the slab."""
    if sigma == 0:
        return [0] * len(grid.shape)
    if grid.open_faces is not None:
        reach = len(heat_weights(sigma**2 / 2, grid, TAIL)) - 1
        return [reach if n > 1 else 0 for n in grid.shape]
    return [len(gaussian_taps(sigma / h, n, TAIL)) - 1 for n, h in zip(grid.shape, grid.spacing, strict=True)]


def heat_weights(time: float, grid: Grid, tail: float) -> NDArray[np.float64]:
    r"""Weights of the Chebyshev series of the heat semigroup, for grids whose walls forbid a separable convolution.

    .. math:: e^{TA} = e^{-s}\Bigl(I_0(s) + 2\sum_{k\ge 1} I_k(s)\,T_k(X)\Bigr), \qquad X = 1 + \tau A, \quad s = T/\tau

    with the stable step :math:`\tau = 1/(2\sum_i h_i^{-2})`, cut where ``tail`` of the weight is left (Tal-Ezer 1989).
    `chebyshev_stage` gives :math:`T_k` from the two before.
    """
    longest = grid.max_step(1.0)
    half = gaussian_taps(math.sqrt(time / longest), 2, tail)
    return np.concatenate([half[:1], 2 * half[1:]])


def chebyshev_stage(k: int, grid: Grid) -> tuple[float, float]:
    """Momentum and step of the stage that makes T_k(X) u: T_1 = X, T_k = 2 X T_(k-1) - T_(k-2)."""
    tau = grid.max_step(1.0)
    tau = tau if math.isfinite(tau) else 0.0
    return (0.0, tau) if k == 1 else (1.0, 2 * tau)


@lru_cache(maxsize=64)
def gaussian_taps(sigma: float, size: int, tail: float) -> NDArray[np.float64]:
    r"""Half of the discrete Gaussian :math:`e^{-t} I_n(t)`, :math:`t = \sigma^2` [voxel²]: the heat kernel of the grid (Lindeberg 1990).

    Offsets whose weights together are below ``tail`` are dropped and the rest is scaled to sum one. An axis of one voxel is left alone.
    """
    if size == 1 or sigma == 0:
        return np.ones(1)
    if sigma > WIDEST:
        raise ValueError(f"A Gaussian of {sigma:g} voxels is too wide, at most {WIDEST:g}; check the units of sigma and spacing.")
    # I_n / I_(n-1) = t / (2n + t I_(n+1) / I_n) from far outside inwards is stable (Gautschi 1967); all weights together are one.
    n, t, ratio = np.arange(int(10 * sigma) + 20), sigma**2, 0.0
    w = np.ones(len(n))
    for k in n[:0:-1]:
        w[k] = ratio = t / (2 * k + t * ratio)
    w = w.cumprod()
    w /= w[0] + 2 * w[1:].sum()
    outside = 2 * (w[::-1].cumsum()[::-1] - w)  # weight beyond offset n, both sides
    w = w[: int(np.argmax(outside < tail)) + 1]
    return np.asarray(w / (w[0] + 2 * w[1:].sum()))
