"""Gaussian smoothing: discrete kernels on a grid without walls, a Chebyshev series with walls.

Walls are the closed faces of the grid, at which mask and labels stop the flux.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid

#: Weight of the regularising Gaussian that is truncated. The effect is far below that of sigma.
TAIL = 1e-3
#: Largest sigma [voxel] of a convolution. Larger values indicate a wrong unit.
MAX_SIGMA_VOXELS = 1000.0
#: Most terms of a series with a fidelity length: about 1000 voxels of it.
MAX_SERIES = 1 << 15


@dataclass(frozen=True, slots=True)
class SmoothedPlanes:
    """Planes of a field that have been smoothed.

    Attributes
    ----------
    sigma
        The Gaussian [length].
    first
        Number of the first plane in the field.
    planes
        The smoothed planes, shape ``(1, planes, ...)``.
    """

    sigma: float
    first: int
    planes: Field

    @property
    def last(self) -> int:
        """Plane after the last one."""
        count: int = self.planes.shape[1]
        return self.first + count

    def on(self, start: int, stop: int) -> Field:
        """Return planes ``start:stop`` of the field."""
        return self.planes[:, start - self.first : stop - self.first]


@lru_cache(maxsize=64)
def smoothing_taps(
    sigma: float, shape: tuple[int, ...], spacing: tuple[float, ...], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], ...]:
    """Return the half kernels of a Gaussian of ``sigma`` [length] per axis, without walls.

    Cached, because every stage of a run takes the same; nobody writes to them.
    """
    return tuple(
        gaussian_taps(sigma / h, n, TAIL).astype(dtype) for n, h in zip(shape, spacing, strict=True)
    )


def smoothing_series(sigma: float, grid: Grid) -> NDArray[np.float64]:
    """Return the series weights of a Gaussian of ``sigma`` [length] on a grid with walls."""
    _check_width(sigma / math.sqrt(2 * grid.max_step(1.0)))  # its square may overflow
    return heat_series_weights(sigma**2 / 2, grid, TAIL)


def smoothing_reach(sigma: float, grid: Grid) -> list[int]:
    """Return the half width [voxel] of the smoothing by ``sigma`` [length] along each axis."""
    if sigma == 0:
        return [0] * len(grid.shape)
    if grid.open_faces is not None:
        reach = len(smoothing_series(sigma, grid)) - 1
        return [reach if n > 1 else 0 for n in grid.shape]
    taps = smoothing_taps(sigma, grid.shape, grid.spacing, np.dtype(np.float64))
    return [len(half) - 1 for half in taps]


def heat_series_weights(time: float, grid: Grid, tail: float) -> NDArray[np.float64]:
    r"""Return the weights of the Chebyshev series of the heat semigroup.

    With walls, smoothing is not a separable convolution. The semigroup of :math:`u_t = A u` is

    .. math:: e^{TA} = e^{-s}\Bigl(I_0(s) + 2\sum_{k\ge 1} I_k(s)\,T_k(X)\Bigr),
       \qquad X = 1 + \tau A, \quad s = T/\tau

    with the stable step :math:`\tau = 1/(2\sum_i h_i^{-2})` (Tal-Ezer 1989). The series is
    truncated where the share ``tail`` of the weight remains. `chebyshev_stage` computes
    :math:`T_k` from the two previous polynomials.
    """
    longest = grid.max_step(1.0)
    half = gaussian_taps(math.sqrt(time / longest), 2, tail)
    return np.concatenate([half[:1], 2 * half[1:]])


def held_factor(eigenvalues: NDArray[np.float64], time: float, rate: float) -> NDArray[np.float64]:
    r"""Return the factor of the modes of linear diffusion with the source of a fidelity length.

    .. math:: \varphi(\lambda) = 1 - \frac{\lambda}{\lambda + r}\bigl(1 - e^{-(\lambda + r)T}\bigr)

    solves :math:`\dot u = -\lambda u + r\,(f - u)` with :math:`u(0) = f = 1`.

    Parameters
    ----------
    eigenvalues
        Decay rates :math:`\lambda \ge 0` [1/length²].
    time
        Diffusion time T [length²].
    rate
        :math:`r = 1/\ell^2` [1/length²].
    """
    total = eigenvalues + rate
    return np.asarray(1 + eigenvalues / total * np.expm1(-total * time))


def held_series_weights(time: float, rate: float, grid: Grid, tail: float) -> NDArray[np.float64]:
    r"""Return the weights of the Chebyshev series of linear diffusion with a fidelity length.

    .. math:: \varphi(-A) = \sum_k w_k T_k(X), \qquad X = 1 + \tau A

    as in `heat_series_weights`. The weights are those of the interpolation at the Chebyshev
    points, and positive, because :math:`\varphi(-A)` is a mean of heat kernels. The sum is one.

    Raises
    ------
    ValueError
        If more than `MAX_SERIES` terms are needed.
    """
    longest = grid.max_step(1.0)
    if not math.isfinite(longest):
        return np.ones(1)
    return _held_weights(longest, time, rate, tail)


@lru_cache(maxsize=64)
def _held_weights(longest: float, time: float, rate: float, tail: float) -> NDArray[np.float64]:
    """Return the weights of `held_series_weights` for this stable step."""
    from scipy.fft import dct

    count = 64
    while count <= MAX_SERIES:
        x = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        w = dct(held_factor((1 - x) / longest, time, rate), 2) / count
        w[0] /= 2
        outside = np.abs(w)[::-1].cumsum()[::-1]
        # The last quarter must be negligible: the coefficients beyond are aliased into it.
        if outside[3 * count // 4] < max(tail / 8, 1e-15 * count):
            w = w[: max(1, int(np.argmax(outside < max(tail, 1e-15 * count))))]
            return np.asarray(w / w.sum())
        count *= 2
    raise ValueError(
        f"A fidelity length of {rate**-0.5:g} is too long for these voxels within mask or labels; "
        "check the units of fidelity_length and spacing."
    )


def chebyshev_stage(k: int, grid: Grid) -> tuple[float, float]:
    """Return momentum and step of the stage for T_k(X) u: T_1 = X, T_k = 2 X T_(k-1) - T_(k-2)."""
    tau = grid.max_step(1.0)
    tau = tau if math.isfinite(tau) else 0.0
    return (0.0, tau) if k == 1 else (1.0, 2 * tau)


def _check_width(sigma: float) -> None:
    """Raise ValueError if ``sigma`` [voxel] exceeds `MAX_SIGMA_VOXELS`."""
    if sigma > MAX_SIGMA_VOXELS:
        raise ValueError(
            f"A Gaussian of {sigma:g} voxels is too wide, at most {MAX_SIGMA_VOXELS:g}; "
            "check the units of sigma and spacing."
        )


@lru_cache(maxsize=64)
def gaussian_taps(sigma: float, size: int, tail: float) -> NDArray[np.float64]:
    r"""Return half of the discrete Gaussian :math:`e^{-t} I_n(t)`, :math:`t = \sigma^2` [voxel²].

    It is the heat kernel of the grid (Lindeberg 1990).

    Parameters
    ----------
    sigma
        Standard deviation [voxel].
    size
        Number of voxels along the axis. An axis of one voxel is not smoothed.
    tail
        Outer offsets with a total weight below ``tail`` are dropped.

    Returns
    -------
    ndarray
        Weights of the offsets 0, 1, ..., scaled so that the whole kernel has the sum one.

    Raises
    ------
    ValueError
        If ``sigma`` exceeds `MAX_SIGMA_VOXELS`.
    """
    if size == 1 or sigma == 0:
        return np.ones(1)
    _check_width(sigma)
    # I_n / I_(n-1) = t / (2n + t I_(n+1) / I_n) is stable from large n downwards (Gautschi 1967).
    # The scale follows from the sum of all weights, which is one.
    n, t, ratio = np.arange(int(10 * sigma) + 20), sigma**2, 0.0
    w = np.ones(len(n))
    for k in n[:0:-1]:
        w[k] = ratio = t / (2 * k + t * ratio)
    w = w.cumprod()
    w /= w[0] + 2 * w[1:].sum()
    outside = 2 * (w[::-1].cumsum()[::-1] - w)  # weight beyond offset n, on both sides
    w = w[: int(np.argmax(outside < tail)) + 1]
    return np.asarray(w / (w[0] + 2 * w[1:].sum()))
