"""Numbers that the kernels of the spectra take, from the parameters of the models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from napari_diffusion.backends.reference.tensor import (
    LARGEST_SQUARES,
    MAX_STRAIGHTNESS,
    SMALLEST_SQUARE,
)

#: Largest parameter of a kernel: squares of larger ones need float64.
LARGEST_PARAMETER = math.sqrt(LARGEST_SQUARES[0])


def numbers(name: str, parameters: Sequence[float], dtype: np.dtype[Any]) -> tuple[Any, ...] | None:
    """Return the numbers of the kernel of this name; ``None`` if there is none for them."""
    return _numbers(name, tuple(parameters), dtype)


@lru_cache(maxsize=64)
def _numbers(
    name: str, parameters: tuple[float, ...], dtype: np.dtype[Any]
) -> tuple[Any, ...] | None:
    if name not in _NUMBERS or max(parameters) > LARGEST_PARAMETER:
        return None
    return tuple(dtype.type(value) for value in _NUMBERS[name](dtype, *parameters))


def _coherence(dtype: Any, kappa: float, alpha: float, selectivity: float) -> tuple[float, ...]:
    return kappa**2, alpha, selectivity


def _edge(dtype: Any, kappa: float) -> tuple[float, ...]:
    return (_inverse_square(kappa, dtype),)


def _hybrid(
    dtype: Any, kappa: float, contrast: float, coherence: float, alpha: float
) -> tuple[float, ...]:
    squares = (max(square, SMALLEST_SQUARE) for square in (contrast**2, alpha * kappa**2))
    straight = math.log(2) * min(coherence, MAX_STRAIGHTNESS) ** 2
    return _inverse_square(kappa, dtype), *squares, straight, alpha


def _inverse_square(kappa: float, dtype: Any) -> float:
    """Return 1/kappa^2; finite, since infinity times 0 would be NaN."""
    inverse = 1 / kappa
    return min(inverse * inverse, float(np.finfo(dtype).max))


def _vessel(
    dtype: Any,
    is_bright: float,
    omega: float,
    epsilon: float,
    sensitivity: float,
    clear: float,
    offset: float,
) -> tuple[float, ...]:
    top = math.expm1(math.log1p(clear / offset) / sensitivity)
    return is_bright, 1 / offset, 2 / sensitivity, 1 / top, omega - 1, epsilon - 1


_NUMBERS: dict[str, Any] = {
    "coherence": _coherence,
    "edge": _edge,
    "hybrid": _hybrid,
    "vessel": _vessel,
}
