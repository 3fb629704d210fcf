"""The two preludes that make one kernel source OpenCL C or CUDA C, and its constants.

The kernels are written with the words that `OPENCL` and `CUDA` define. Neither compiler may fuse a
product and a sum by itself, approximate a division or a root, or flush small numbers to zero.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from napari_diffusion.backends.polynomials import (
    EXPONENTIAL_32,
    EXPONENTIAL_64,
    HALF_LOG2E,
    LOGARITHM_32,
    LOGARITHM_64,
    ROOT_HALF_BITS_32,
    ROOT_HALF_BITS_64,
    ROUND_32,
    ROUND_64,
    SINE_SERIES,
)
from napari_diffusion.backends.reference.sheets import (
    MAX_SLOPE,
    MAX_WITHIN,
    MIN_GAPS,
    MIN_SHEETNESS,
    SLOPE_WEIGHT,
)
from napari_diffusion.backends.reference.stages import (
    BITS_OF_ZERO,
    DROPPED_BITS,
    LARGEST_CODE,
    MIN_GRADIENT,
    WEICKERT_C,
)
from napari_diffusion.backends.reference.tensor import (
    HOURGLASS_REDUCTION,
    MAX_CURVATURE,
    MIN_CURVATURE,
    MIN_EIGENVALUE_GAP,
    MIN_HOURGLASS_WEIGHT,
    MIN_SQUARES,
    MIN_VESSELNESS,
    QUANTISATION_STEPS,
    SMALLEST_EIGENVALUE,
    VESSELNESS_C2,
)

OPENCL = """
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
#pragma OPENCL FP_CONTRACT OFF
#define KERNEL(name) __kernel void name
#define GLOBAL __global
#define HELPER static inline
#define INDEX long
#define ITEM(axis) (int)get_global_id(axis)
#define LONG_ITEM(axis) (long)get_global_id(axis)
#define FMA(a, b, c) fma((REAL)(a), (REAL)(b), (REAL)(c))
#define FMA64(a, b, c) fma((double)(a), (double)(b), (double)(c))
#define SQRT(a) sqrt((REAL)(a))
#define SQRT64(a) sqrt((double)(a))
#define RINT(a) rint((REAL)(a))
#define ABS(a) fabs((REAL)(a))
#define WORD ulong
#if IS_DOUBLE
#define BITS long
#define UBITS ulong
#define AS_BITS(a) as_long(a)
#define AS_REAL(a) as_double(a)
#else
#define BITS int
#define UBITS uint
#define AS_BITS(a) as_int(a)
#define AS_REAL(a) as_float(a)
#endif
"""
CUDA = """
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long long ulong;
#define KERNEL(name) extern "C" __global__ void name
#define GLOBAL
#define HELPER static __device__ __forceinline__
#define INDEX long long
#define LONG_ITEM(axis) ((long long)ITEM_##axis)
#define ITEM(axis) ((int)ITEM_##axis)
#define ITEM_0 ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x)
#define ITEM_1 ((unsigned long long)blockIdx.y * blockDim.y + threadIdx.y)
#define ITEM_2 ((unsigned long long)blockIdx.z * blockDim.z + threadIdx.z)
#define FMA64(a, b, c) __fma_rn((double)(a), (double)(b), (double)(c))
#define SQRT64(a) __dsqrt_rn((double)(a))
#define WORD unsigned long long
#if IS_DOUBLE
#define FMA(a, b, c) __fma_rn((double)(a), (double)(b), (double)(c))
#define SQRT(a) __dsqrt_rn((double)(a))
#define RINT(a) rint((double)(a))
#define ABS(a) fabs((double)(a))
#define BITS long long
#define UBITS unsigned long long
#define AS_BITS(a) __double_as_longlong(a)
#define AS_REAL(a) __longlong_as_double(a)
#else
#define FMA(a, b, c) __fmaf_rn((float)(a), (float)(b), (float)(c))
#define SQRT(a) __fsqrt_rn((float)(a))
#define RINT(a) rintf((float)(a))
#define ABS(a) fabsf((float)(a))
#define BITS int
#define UBITS unsigned int
#define AS_BITS(a) __float_as_int(a)
#define AS_REAL(a) __int_as_float(a)
#endif
"""
#: The files of kernels.
FILES = ("faces", "gradients", "fourth_order", "features", "tensors", "spectra")
#: Added to an entry of a stored tensor, as in `numba.tensor`.
ENTRY_BIAS = 1 << 18
#: Options of NVRTC with which every operation is rounded by itself.
CUDA_OPTIONS = ("--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false", "--std=c++17")


def _literal(value: float, dtype: np.dtype[Any]) -> str:
    """Return a number, rounded to a data type, as a literal that loses no bit."""
    return f"({float(dtype.type(value)).hex()}{'f' if dtype.itemsize == 4 else ''})"


def _numbers(dtype: np.dtype[Any]) -> dict[str, float]:
    """Return the constants of the kernels by name."""
    is_double = dtype.itemsize == 8
    letter, power_series = ("T", EXPONENTIAL_64) if is_double else ("P", EXPONENTIAL_32)
    return {
        "HALF_LOG2E": HALF_LOG2E,
        "ROUND": ROUND_64 if is_double else ROUND_32,
        **{f"{letter}{i + 1}": value for i, value in enumerate(power_series)},
        **{f"S{i}": value for i, value in enumerate(SINE_SERIES)},
        **{f"G{i}": c for i, c in enumerate(LOGARITHM_64 if is_double else LOGARITHM_32)},
        "LN2": math.log(2.0),
        "SMALLEST_OTHER": 1e-30,
        "FIFTH": 0.2,
        "TWICE_C": 2 * WEICKERT_C,
        "MIN_GRADIENT": float(MIN_GRADIENT),
        "THIRD": 1 / 3,
        "SIXTH": 1 / 6,
        "ROOT3": math.sqrt(3.0),
        "SMALLEST_ENTRY": 1e-300 if is_double else 1e-37,
        "SMALLEST_NORM": 1e-100 if is_double else 1e-20,
        "MIN_GAP": MIN_EIGENVALUE_GAP,
        "SMALLEST_EIGENVALUE": SMALLEST_EIGENVALUE[dtype.itemsize],
        "STEPS": QUANTISATION_STEPS,
        "MIN_WEIGHT": MIN_HOURGLASS_WEIGHT,
        "REDUCTION": HOURGLASS_REDUCTION,
        "MIN_CURVATURE": MIN_CURVATURE,
        "MAX_CURVATURE": MAX_CURVATURE,
        "SMOOTHING": 4 * VESSELNESS_C2,
        "VESSEL_THRESHOLD": 2 * MIN_VESSELNESS,
        "MIN_H2": MIN_SQUARES[0],
        "MIN_A": MIN_SQUARES[1],
        "MIN_TUBE": 1e-3,
        "MAX_SLOPE": MAX_SLOPE,
        "MAX_WITHIN": MAX_WITHIN,
        "MIN_GAPS": MIN_GAPS,
        "SLOPE_WEIGHT": 2 * SLOPE_WEIGHT,
        "SHEET_THRESHOLD": 2 * MIN_SHEETNESS,
        "SERIES_LIMIT": 0.02 if is_double else 0.25,
        **{f"E{i}": 1 / (2**i * math.factorial(i)) for i in range(1, 7)},
    }


@cache
def source(name: str, dtype: np.dtype[Any], prelude: str = OPENCL) -> str:
    """Return the kernels of a file for fields of a data type; only what all share without a name.

    ``prelude`` makes them OpenCL C or CUDA C.
    """
    is_double = dtype.itemsize == 8
    lines = [f"#define IS_DOUBLE {int(is_double)}"]
    lines += [f"#define REAL {'double' if is_double else 'float'}"]
    lines += [f"#define {key} {_literal(value, dtype)}" for key, value in _numbers(dtype).items()]
    whole = {"BITS_OF_ZERO": BITS_OF_ZERO, "DROPPED_BITS": DROPPED_BITS}
    whole |= {"LARGEST_CODE": LARGEST_CODE, "ENTRY_BIAS": ENTRY_BIAS}
    whole["ROOT_HALF_BITS"] = ROOT_HALF_BITS_64 if is_double else ROOT_HALF_BITS_32
    lines += [f"#define {key} {value}" for key, value in whole.items()]
    # A cell with walls is computed in float64.
    in_float64 = {"MIN_WEIGHT_64": MIN_HOURGLASS_WEIGHT, "REDUCTION_64": HOURGLASS_REDUCTION}
    lines += [f"#define {key} ({value.hex()})" for key, value in in_float64.items()]
    lines += [f"#define STORED {'float' if is_double else 'ushort'}"]
    folder = files("napari_diffusion.backends.opencl") / "kernels"
    parts = ("common", name) if name else ("common",)
    texts = [(folder / f"{part}.cl").read_text("utf-8") for part in parts]
    return "\n".join([*lines, prelude, *texts])
