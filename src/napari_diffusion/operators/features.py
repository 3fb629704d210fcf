"""Local image features, computed for one slab of planes at a time, from which models make their operator.

Every request adds to the reach of the features, so that no halo is typed by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_diffusion.backends.protocol import Backend
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.diffusivity import LINEAR, Diffusivity
from napari_diffusion.operators.scratch import Scratch
from napari_diffusion.operators.smoothing import (
    chebyshev_stage,
    smoothing_reach,
    smoothing_series,
    smoothing_taps,
)


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
        self.kernels.grad2(
            smooth, lo, self.lo, self.hi, b2, self.weights, self.grid.open_faces, out
        )
        self._reached([1] * len(self.grid.shape), sigma)
        return out

    def neighbours(self) -> tuple[Field, Field]:
        r"""Return mean [intensity] and variance [intensity²] of the 2N neighbours of every voxel, of each channel: shape ``(C, *space)``.

        Neighbours along axis i have the weight :math:`h_i^{-2} / (2 \sum_j h_j^{-2})`, so that the mean is that of a small ball whatever
        the shape of the voxels. Behind a wall or the border a neighbour is the voxel itself.
        """
        shape = (len(self.u), self.hi - self.lo, *self.u.shape[2:])
        mean, variance = (
            self.scratch.take(name, shape, self.u.dtype) for name in ("mean", "variance")
        )
        total = 2 * self.grid.inverse_square_sum or 1.0
        share = np.array(
            [
                1 / (h**2 * total) if n > 1 else 0.0
                for n, h in zip(self.grid.shape, self.grid.spacing, strict=True)
            ],
            self.u.dtype,
        )
        self.kernels.neighbours(
            self.u, self.lo, self.hi, share, self.grid.open_faces, mean, variance
        )
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
        out = self.scratch.take(
            "structure", (len(pairs), self.hi - self.lo, *self.u.shape[2:]), self.u.dtype
        )
        self._reached([1] * len(self.grid.shape), sigma, rho)
        if self.grid.open_faces is None:
            taps = self._taps(rho)
            self.kernels.structure(
                smooth,
                first,
                planes,
                self.lo,
                self.hi,
                axes,
                self.grid.spacing,
                taps,
                self.weights,
                out,
            )
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
        out = self.scratch.take(
            "hessian", (len(pairs), self.hi - self.lo, *self.u.shape[2:]), self.u.dtype
        )
        for number, (i, j) in enumerate(pairs):
            entry = out[number : number + 1]
            if i == j:
                self._derive(smooth, first, self.lo, self.hi, i, 2, entry)
            else:
                slope = self._derivative(smooth, first, lo, hi, j, 1, "other")
                self._derive(slope, lo, self.lo, self.hi, i, 1, entry)
                if (
                    self.grid.open_faces is not None
                ):  # beside a wall it matters which comes first, and no axis may
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

    def _derivative(
        self, u: Field, start: int, lo: int, hi: int, axis: int, order: int, name: str
    ) -> Field:
        out = self.scratch.take(name, (u.shape[0], hi - lo, *u.shape[2:]), u.dtype)
        self._derive(u, start, lo, hi, axis, order, out)
        return out

    def _derive(
        self, u: Field, start: int, lo: int, hi: int, axis: int, order: int, out: Field
    ) -> None:
        self.kernels.derivative(
            u, start, lo, hi, axis, order, self.grid.spacing[axis], self.grid.open_faces, out
        )

    def smooth(self, sigma: float, lo: int, hi: int) -> Field:
        r"""Return :math:`u_\sigma` on planes ``lo:hi``: linear diffusion of ``u`` over the time :math:`\sigma^2/2`, walls included.

        With all faces open this is the separable discrete Gaussian, between walls the Chebyshev series of the same semigroup.
        """
        if sigma == 0:
            return np.ascontiguousarray(self.u[:, lo:hi])
        known = self._known(sigma, lo, hi)
        out = self.scratch.take(
            "smooth", (self.u.shape[0], hi - lo, *self.u.shape[2:]), self.u.dtype
        )
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
        return self.scratch.take("smooth", (1, last - first, *self.u.shape[2:]), self.u.dtype)[
            :, lo - first : hi - first
        ]

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
        return [taps.astype(self.u.dtype) for taps in smoothing_taps(sigma, self.grid)]

    def _blur_between_walls(self, u: Field, start: int, sigma: float, lo: int, hi: int) -> Field:
        weights = smoothing_series(sigma, self.grid)
        reach = len(weights) - 1
        first, last = max(lo - reach, start), min(hi + reach, start + u.shape[1])
        assert self.grid.open_faces is not None
        faces = np.ascontiguousarray(self.grid.open_faces[first:last])
        begin = u[:, first - start : last - start]
        here, before, total = begin.copy(), np.empty_like(begin), begin.copy()
        for k in range(1, len(weights)):
            momentum, tau = chebyshev_stage(k, self.grid)
            a = np.array([tau / h**2 for h in self.grid.spacing], here.dtype)
            self.kernels.step(
                here, before, 0, last - first, a, a, momentum, LINEAR, None, 0, faces, self.weights
            )
            here, before = before, here
            total += here.dtype.type(weights[k]) * (here - begin)
        return total[:, lo - first : hi - first]

    def _reached(self, stencil: list[int], *sigmas: float) -> None:
        wide = [stencil, *(smoothing_reach(sigma, self.grid) for sigma in sigmas)]
        reach = [
            sum(parts) if n > 1 else 0 for n, *parts in zip(self.grid.shape, *wide, strict=True)
        ]
        self.reach = [max(pair) for pair in zip(self.reach or [0] * len(reach), reach, strict=True)]
