"""Local image features from which models build their operators.

Features are computed for one slab of planes at a time. Each requested feature adds its stencil to
`Features.reach`, from which the engine derives the halo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.diffusivity import LINEAR, Diffusivity
from napari_diffusion.operators.scratch import Scratch
from napari_diffusion.operators.smoothing import (
    SmoothedPlanes,
    chebyshev_stage,
    smoothing_reach,
    smoothing_series,
    smoothing_taps,
)
from napari_diffusion.operators.threshold_map import ThresholdMap, differs, write_reciprocals

#: Smallest and largest number per size of a float [bytes] whose square is a normal number.
SQUARE_RANGE = {4: (2e-19, 1e18), 8: (1e-150, 1e150)}
#: Smallest and largest exponent of a unit of gradients. With it, no voxel size overflows.
UNIT_EXPONENTS = -80, 80


def power_of_two(value: float) -> float:
    """Return the largest power of two that is not above a positive number."""
    return math.ldexp(1.0, math.frexp(value)[1] - 1)


@lru_cache(maxsize=64)
def gradient_unit(*thresholds: float) -> float:
    """Return a unit for gradients [intensity/length]: a power of two near the smallest threshold.

    Squares of gradients, in this unit, neither overflow nor underflow near the thresholds. A power
    of two changes no bit of a result that needs no unit.
    """
    low, high = UNIT_EXPONENTS
    return min(max(power_of_two(min(thresholds)), 2.0**low), 2.0**high)


@lru_cache(maxsize=64)
def in_gradient_unit(dtype: np.dtype[Any], *thresholds: float) -> tuple[float, ...]:
    """Return thresholds in their `gradient_unit`.

    They are limited, so that their squares neither overflow nor underflow in ``dtype``.
    """
    unit, (low, high) = gradient_unit(*thresholds), SQUARE_RANGE[dtype.itemsize]
    return tuple(min(max(threshold / unit, low), high) for threshold in thresholds)


@lru_cache(maxsize=64)
def _inverse_squares(
    length: float, spacing: tuple[float, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the reciprocal squares of a spacing in units of a length; nobody writes to them."""
    return np.array([length**2 / h**2 for h in spacing], dtype)


@lru_cache(maxsize=64)
def _neighbour_shares(
    shape: tuple[int, ...], spacing: tuple[float, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the weights of `Features.neighbours`; nobody writes to them."""
    total = 2 * Grid(shape, spacing).inverse_square_sum or 1.0
    sizes = zip(shape, spacing, strict=True)
    return np.array([1 / (h**2 * total) if n > 1 else 0.0 for n, h in sizes], dtype)


@dataclass
class Features:
    r"""Features of a field on planes ``lo:hi`` of its first spatial axis.

    Results are work arrays of ``scratch``: the next request of the same feature overwrites them.

    Attributes
    ----------
    u
        Field of shape ``(C, *space)``, where C is the number of channels [intensity].
    lo, hi
        The slab: first plane, and the plane after the last.
    grid
        Voxel size and walls.
    kernels
        Backend that computes the features.
    weights
        Channel weights :math:`w_c` with the sum one. All channels share one gradient,
        :math:`|\nabla u|^2 = \sum_c w_c |\nabla u_c|^2` (Gerig et al. 1992).
    scratch
        Work arrays.
    previous
        Features of the preceding slab of the same field, with the same ``scratch``. Planes that
        they have smoothed are reused.
    known
        Smoothed planes of the same field, which are reused too.
    """

    u: Field
    lo: int
    hi: int
    grid: Grid
    kernels: Backend
    weights: Field
    scratch: Scratch = field(default_factory=Scratch)
    previous: Features | None = None
    known: Sequence[SmoothedPlanes] = ()
    _smoothed: tuple[float, int, int] = (0.0, 0, 0)
    #: Stencils of the requested features [voxel], and the smoothing before each [length].
    _requested: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    #: Largest distance of a voxel that a stage reads itself [length].
    _reserved: float = 0.0

    @property
    def reach(self) -> list[int]:
        """Number of voxels per axis beyond the slab that the features so far depend on."""
        farthest = [math.ceil(self._reserved / h) for h in self.grid.spacing]
        for stencil, sigmas in self._requested:
            reaches = [smoothing_reach(sigma, self.grid) for sigma in sigmas]
            own = [stencil + sum(parts) for parts in zip(*reaches, strict=True)]
            farthest = [max(pair) for pair in zip(farthest, own, strict=True)]
        return [r if n > 1 else 0 for n, r in zip(self.grid.shape, farthest, strict=True)]

    def reserve(self, distance: float) -> None:
        """Extend the reach: the stages of an operator read voxels up to a ``distance`` [length]."""
        self._reserved = max(self._reserved, distance)

    def grad2(self, sigma: float, unit: float | None = None) -> Field:
        r"""Return the squared gradient :math:`|\nabla u_\sigma|^2` [intensity²/length²].

        The field is smoothed first, :math:`u_\sigma = G_\sigma * u`, with ``sigma`` [length]. With
        a ``unit`` of gradients, see `gradient_unit`, the result is in units of its square.
        """
        lo, hi, length = max(self.lo - 1, 0), min(self.hi + 1, self.u.shape[1]), 1.0
        smooth = self.smooth(sigma, lo, hi)
        if unit is not None:
            # In units of the smallest voxel too, so that the differences do not overflow.
            length = power_of_two(self.grid.finest)
            scaled = self.scratch.take("scaled", smooth.shape, smooth.dtype)
            smooth = np.multiply(smooth, smooth.dtype.type(1 / (unit * length)), out=scaled)
        out = self.scratch.take("grad2", (self.hi - self.lo, *self.u.shape[2:]), self.u.dtype)
        b2 = _inverse_squares(length, self.grid.spacing, self.u.dtype)
        self.kernels.grad2(
            smooth, lo, self.lo, self.hi, b2, self.weights, self.grid.open_faces, out
        )
        self._requested.append((1, (sigma,)))
        return out

    def curvature2(self, sigma: float, kappa: float) -> Field:
        r"""Return :math:`\sum_{i,j} (\partial_{ij} u_\sigma)^2/\kappa^2` at the voxels.

        The field is smoothed by ``sigma`` [length] first. ``kappa`` is a second derivative
        [intensity/length²]. Derivatives through the border or a wall are left out.
        """
        lo, hi = max(self.lo - 1, 0), min(self.hi + 1, self.u.shape[1])
        smooth, dtype, grid = self.smooth(sigma, lo, hi), self.u.dtype, self.grid
        out = self.scratch.take("curvature2", (self.hi - self.lo, *self.u.shape[2:]), dtype)
        # The factor stays finite, and g of infinity is 0: infinity times 0 would be NaN.
        largest = math.sqrt(np.finfo(dtype).max) / 4
        sizes = zip(grid.shape, grid.spacing, strict=True)
        b = np.array([min(1 / (h * h * kappa), largest) if n > 1 else 0 for n, h in sizes], dtype)
        self.kernels.curvature2(smooth, lo, self.lo, self.hi, b, self.weights, grid.open_faces, out)
        self._requested.append((1, (sigma,)))
        return out

    def neighbours(self) -> tuple[Field, Field]:
        r"""Return mean and standard deviation [intensity] of the 2N neighbours of every voxel.

        Both have the shape ``(C, *space)``. Neighbours along axis i have the weight
        :math:`h_i^{-2} / (2 \sum_j h_j^{-2})`. The mean thus approximates that over a small
        ball for any voxel shape. Behind a wall or the border, the voxel itself replaces the
        neighbour. Where all neighbours are equal, the deviation is exactly zero.
        """
        shape = (len(self.u), self.hi - self.lo, *self.u.shape[2:])
        mean, deviation = (
            self.scratch.take(name, shape, self.u.dtype) for name in ("mean", "deviation")
        )
        share = _neighbour_shares(self.grid.shape, self.grid.spacing, self.u.dtype)
        self.kernels.neighbours(
            self.u, self.lo, self.hi, share, self.grid.open_faces, mean, deviation
        )
        self._requested.append((1, (0.0,)))
        return mean, deviation

    def average(self, values: Field) -> Field:
        r"""Return the channel average :math:`\sum_c w_c f_c`; it overwrites ``values[0]``."""
        values[0] *= self.weights[0]
        for weight, channel in zip(self.weights[1:], values[1:], strict=True):
            values[0] += weight * channel
        first: Field = values[0]
        return first

    def apply(self, diffusivity: Diffusivity, grad2: Field) -> Field:
        r"""Replace ``grad2`` by :math:`g(|\nabla u|)` in place, and return it."""
        q = self.relative(diffusivity.scaled(grad2), diffusivity.kappa_map)
        self.kernels.diffusivity(diffusivity.code, q)
        return grad2

    def relative(self, squares: Field, kappa_map: ThresholdMap | None) -> Field:
        """Divide squared gradients by the squared factors of a map, in place, and return them.

        A model that compares the result with kappa² compares the gradients with kappa times the
        local factor. The last axes of ``squares`` are those of the slab.
        """
        factors = self.reciprocal_factors(kappa_map)
        if factors is not None:
            with np.errstate(over="ignore"):
                squares *= np.square(factors, out=factors)
        return squares

    def reciprocal_factors(self, kappa_map: ThresholdMap | None) -> Field | None:
        """Return 1 divided by the factors of a map at the voxels; ``None`` where all are 1."""
        place = self.grid.place
        if kappa_map is None or place is None or not differs(kappa_map):
            return None
        shape = (self.hi - self.lo, *self.u.shape[2:])
        out = self.scratch.take("factors", shape, self.u.dtype)
        write_reciprocals(kappa_map, place, self.lo, self.hi, self.kernels, out)
        return out

    def structure(self, sigma: float, rho: float, unit: float = 1.0) -> Field:
        r"""Return the entries of the structure tensor [``unit``²].

        .. math:: J = \sum_c w_c\, G_\rho * (\nabla u_{c,\sigma} \nabla u_{c,\sigma}^T)

        with central differences. Its entries along the first axis are the diagonal, then the upper
        triangle. Axes of one voxel have no entries. Sources: Förstner & Gülch 1987; Weickert 1998.

        Parameters
        ----------
        sigma
            Smoothing before the gradient [length].
        rho
            Smoothing of the products [length].
        unit
            Unit of the gradients [intensity/length], see `gradient_unit`.
        """
        axes, planes = self.grid.tensor_axes, self.u.shape[1]
        taps = self._taps(rho) if self.grid.open_faces is None else None
        margin = smoothing_reach(rho, self.grid)[0] if taps is None else len(taps[0]) - 1
        lo, hi = max(self.lo - margin, 0), min(self.hi + margin, planes)
        first = max(lo - 1, 0)
        smooth = self.smooth(sigma, first, min(hi + 1, planes))
        shape = (len(self.grid.tensor_entries), self.hi - self.lo, *self.u.shape[2:])
        out = self.scratch.take("structure", shape, self.u.dtype)
        self._requested.append((1, (sigma, rho)))
        if taps is not None:
            slab, spacing = (self.lo, self.hi), [h * unit for h in self.grid.spacing]
            self.kernels.structure(
                smooth, first, planes, *slab, axes, spacing, taps, self.weights, out
            )
        else:
            self._structure_between_walls(smooth, first, lo, hi, rho, unit, out)
        return out

    def _structure_between_walls(
        self, smooth: Field, first: int, lo: int, hi: int, rho: float, unit: float, out: Field
    ) -> None:
        """Compute the structure tensor entry by entry, with the products on planes ``lo:hi``.

        Plane 0 of ``smooth`` is plane ``first`` of the grid.
        """
        axis = None
        entries = enumerate(self.grid.tensor_entries)
        for number, (i, j) in sorted(entries, key=lambda entry: entry[1]):
            if axis != i:
                axis = i
                along = self._derivative(smooth, first, lo, hi, i, 1, "along", unit)
            other = self._derivative(smooth, first, lo, hi, j, 1, "other", unit)
            product = np.multiply(along, other, out=other)
            product[0] *= self.weights[0]
            for c in range(1, len(product)):
                product[0] += self.weights[c] * product[c]
            self._blur(product[:1], lo, rho, self.lo, self.hi, out[number : number + 1])

    def hessian(self, sigma: float) -> Field:
        r"""Return the second derivatives of :math:`u_\sigma` [intensity/length²].

        Entries are ordered as in `structure`. Channels are averaged with their weights.
        """
        smooth, first = self.smoothed_average(sigma)
        return self.hessian_of(smooth, first)

    def smoothed_average(self, sigma: float) -> tuple[Field, int]:
        """Return the smoothed average of the channels around the slab, and its first plane.

        It has the two planes beside the slab that mixed second derivatives need.
        """
        first = max(self.lo - 2, 0)
        smooth = self.smooth(sigma, first, min(self.hi + 2, self.u.shape[1]))
        self._requested.append((2, (sigma,)))
        if len(smooth) > 1:
            smooth = np.tensordot(self.weights, smooth, 1)[None].astype(self.u.dtype)
        return smooth, first

    def hessian_of(self, smooth: Field, first: int) -> Field:
        """Return the second derivatives of a field whose plane 0 is plane ``first``."""
        lo, hi = max(self.lo - 1, 0), min(self.hi + 1, self.u.shape[1])
        shape = (len(self.grid.tensor_entries), self.hi - self.lo, *self.u.shape[2:])
        out = self.scratch.take("hessian", shape, self.u.dtype)
        for number, (i, j) in enumerate(self.grid.tensor_entries):
            entry = out[number : number + 1]
            if i == j:
                self.derive(smooth, first, self.lo, self.hi, i, 2, entry)
            else:
                slope = self._derivative(smooth, first, lo, hi, j, 1, "other")
                self.derive(slope, lo, self.lo, self.hi, i, 1, entry)
                if self.grid.open_faces is not None:
                    # Beside a wall the two orders of derivation differ. The mean of both treats
                    # all axes alike.
                    slope = self._derivative(smooth, first, lo, hi, i, 1, "other")
                    entry += self._derivative(slope, lo, self.lo, self.hi, j, 1, "along")
                    entry *= 0.5
        return out

    @property
    def axes(self) -> list[int]:
        """Axes of a tensor, see `Grid.tensor_axes`."""
        return list(self.grid.tensor_axes)

    def eigenvalues(self, matrix: Field) -> Field:
        """Return the eigenvalues of symmetric matrices, largest first along the first axis.

        ``matrix`` has its entries along the first axis, ordered as in `structure`.
        """
        return self.kernels.eigenvalues(matrix)

    def vessels(self, sigmas: Sequence[float], gamma: float, polarity: str) -> tuple[Field, Field]:
        r"""Return the weighted sum of Hessians and the largest vesselness over all scales.

        The sum is :math:`\sum_\sigma V_\sigma^4 H_\sigma`, with entries as in `structure`, in units
        of `gradient_unit` (gamma). :math:`H_\sigma` is the scale-normalised Hessian,
        :math:`\sigma^2` times `hessian`, and :math:`V_\sigma` its vesselness
        (`backends.reference.tensor.vesselness`).

        Parameters
        ----------
        sigmas
            Scales [length].
        gamma
            Contrast of a faint vessel [intensity].
        polarity
            ``"bright"`` or ``"dark"`` vessels.
        """
        shape = (self.hi - self.lo, *self.u.shape[2:])
        best = self.scratch.take("best", shape, self.u.dtype)
        unit = gradient_unit(gamma)
        for number, sigma in enumerate(sigmas):
            hessian = self.hessian(sigma)
            if not number:
                total = self.scratch.take("total", hessian.shape, self.u.dtype)
                total[...], best[...] = 0, 0
            scale, strength = sigma**2 / unit, gamma / unit
            self.kernels.vessels(hessian, scale, strength, polarity == "bright", total, best)
        return total, best

    def _derivative(
        self,
        u: Field,
        start: int,
        lo: int,
        hi: int,
        axis: int,
        order: int,
        name: str,
        unit: float = 1.0,
    ) -> Field:
        out = self.scratch.take(name, (u.shape[0], hi - lo, *u.shape[2:]), u.dtype)
        h = self.grid.spacing[axis] * unit
        self.kernels.derivative(u, start, lo, hi, axis, order, h, self.grid.open_faces, out)
        return out

    def derive(
        self, u: Field, start: int, lo: int, hi: int, axis: int, order: int, out: Field
    ) -> None:
        """Write a derivative on planes ``lo:hi``. Plane 0 of ``u`` is plane ``start``."""
        self.kernels.derivative(
            u, start, lo, hi, axis, order, self.grid.spacing[axis], self.grid.open_faces, out
        )

    def smooth(self, sigma: float, lo: int, hi: int) -> Field:
        r"""Return :math:`u_\sigma` on planes ``lo:hi``.

        It is the linear diffusion of ``u`` over the time :math:`\sigma^2/2`. Without walls this is
        the separable discrete Gaussian, between walls the Chebyshev series of the same semigroup.
        """
        if sigma == 0:
            part: Field = self.kernels.contiguous(self.u[:, lo:hi])
            return part
        leading = self._leading_planes(sigma, lo, hi)
        shape = (self.u.shape[0], hi - lo, *self.u.shape[2:])
        out = self.scratch.take("smooth", shape, self.u.dtype)
        self._smoothed = sigma, lo, hi
        if leading is None and not self.known:
            self._blur(self.u, 0, sigma, lo, hi, out)
            return out
        start, stop = lo, hi
        if leading is not None:
            start += leading.shape[1]
            out[:, : start - lo] = leading
        for known in self.known:
            if known.sigma != sigma:
                continue
            if known.first <= start < known.last:
                end = min(known.last, hi)
                out[:, start - lo : end - lo] = known.planes[
                    :, start - known.first : end - known.first
                ]
                start = end
            elif start < known.first < stop <= known.last:
                out[:, known.first - lo : stop - lo] = known.on(known.first, stop)
                stop = known.first
        if start < stop:
            self._blur(self.u, 0, sigma, start, stop, out[:, start - lo : stop - lo])
        return out

    def smoothed(self) -> SmoothedPlanes | None:
        """Return a copy of the planes that were smoothed last; None without any.

        Those of several channels are not reused.
        """
        sigma, lo, hi = self._smoothed
        if not sigma or len(self.u) > 1:
            return None
        shape = (1, hi - lo, *self.u.shape[2:])
        return SmoothedPlanes(sigma, lo, self.scratch.take("smooth", shape, self.u.dtype).copy())

    def _leading_planes(self, sigma: float, lo: int, hi: int) -> Field | None:
        """Return the first planes of ``lo:hi`` if the preceding slab has smoothed them, else None.

        With several channels these planes are not contiguous in the work array and not reused.
        """
        smoothed_by, first, last = self.previous._smoothed if self.previous else (0.0, 0, 0)
        self.previous = None  # its work array is about to be overwritten
        if smoothed_by != sigma or not first <= lo < last or len(self.u) > 1:
            return None
        shape = (1, last - first, *self.u.shape[2:])
        return self.scratch.take("smooth", shape, self.u.dtype)[:, lo - first : hi - first]

    def _blur(self, u: Field, start: int, sigma: float, lo: int, hi: int, out: Field) -> None:
        """Smooth planes ``lo:hi`` into ``out``. Plane 0 of ``u`` is plane ``start`` of the grid."""
        if sigma == 0:
            np.copyto(out, u[:, lo - start : hi - start])
        elif self.grid.open_faces is not None:
            np.copyto(out, self._blur_between_walls(u, start, sigma, lo, hi))
        else:
            self.kernels.smooth(u, lo - start, hi - start, self._taps(sigma), out)

    def _taps(self, sigma: float) -> tuple[Field, ...]:
        """Half kernels of the Gaussian along each axis."""
        return smoothing_taps(sigma, self.grid.shape, self.grid.spacing, self.u.dtype)

    def _blur_between_walls(self, u: Field, start: int, sigma: float, lo: int, hi: int) -> Field:
        weights = smoothing_series(sigma, self.grid)
        reach = len(weights) - 1
        first, last = max(lo - reach, start), min(hi + reach, start + u.shape[1])
        assert self.grid.open_faces is not None
        faces = self.kernels.contiguous(self.grid.open_faces[first:last])
        begin = u[:, first - start : last - start]
        term, previous, total = begin.copy(), np.empty_like(begin), begin.copy()
        planes = last - first
        for k in range(1, len(weights)):
            momentum, tau = chebyshev_stage(k, self.grid)
            a = np.array([tau / h**2 for h in self.grid.spacing], term.dtype)
            self.kernels.step(
                term,
                previous,
                0,
                planes,
                a,
                a,
                momentum,
                LINEAR,
                None,
                None,
                0,
                faces,
                self.weights,
            )
            term, previous = previous, term
            total += term.dtype.type(weights[k]) * (term - begin)
        return total[:, lo - first : hi - first]
