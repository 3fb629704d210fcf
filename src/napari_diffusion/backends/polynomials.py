"""Polynomials of the compiled kernels, which other devices evaluate in the same order."""

from __future__ import annotations

import math

import numpy as np

#: 2^r on [-1/2, 1/2] without the constant 1. float32: fitted, largest relative error 9.2e-8;
#: float64: Taylor series, 2e-16.
EXPONENTIAL_32 = (0.693146978, 0.240222421, 0.0555073374, 0.00967151268, 0.00132647267)
EXPONENTIAL_64 = tuple(math.log(2.0) ** k / math.factorial(k) for k in range(1, 14))
#: ln m is the odd series with these coefficients in (m - 1)/(m + 1), for m from 1/sqrt(2) to
#: sqrt(2). float32: error 3e-8; float64: 2e-19.
LOGARITHM_32, LOGARITHM_64 = (tuple(2 / (2 * k + 1) for k in range(n)) for n in (4, 11))
#: Bits of 1/sqrt(2) in float32 and in float64.
ROOT_HALF_BITS_32 = int(np.float32(math.sqrt(0.5)).view(np.int32))
ROOT_HALF_BITS_64 = int(np.float64(math.sqrt(0.5)).view(np.int64))
#: Half the binary logarithm of e, and the numbers whose sum with another one rounds it to an
#: integer, in float32 and in float64.
HALF_LOG2E, ROUND_32, ROUND_64 = math.log2(math.e) / 2, 1.5 * 2.0**23, 1.5 * 2.0**52


def _sine_series(degree: int) -> list[float]:
    """Power series in x of sin(2/3 asin(sqrt(y))) / sqrt(y) with y = (x + 1)/4 in [0, 1/2].

    The nearest singularity is x = 3, so the error decreases like 5.8^-n.
    """
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    root = np.sqrt((nodes + 1) / 4)
    fit = np.polynomial.chebyshev.Chebyshev.fit(
        nodes, np.sin(2 / 3 * np.arcsin(root)) / root, degree, domain=[-1, 1]
    )
    return [float(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef]


#: Coefficients of the series of the sine of a third of an angle, for eigenvalues.
SINE_SERIES = _sine_series(14)
