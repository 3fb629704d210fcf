"""The kernels are CUDA C with another prelude, and nothing is rounded otherwise than written."""

import re
import sys
from functools import cache
from importlib.resources import files

import numpy as np
import pytest

from helpers.emulated import needs_emulation
from napari_diffusion.backends.opencl import preludes
from napari_diffusion.backends.opencl.arrays import BINARY, UNARY, elementwise_source

EXPRESSIONS = UNARY | BINARY
#: Instructions of PTX that are not rounded to the nearest number.
APPROXIMATE = r"\b(div|rcp|sqrt|rsqrt|sin|cos|ex2|lg2)\.(approx|full)"
#: Prefixes of denormal numbers flushed to zero.
FLUSHED = r"\.ftz\b"


@cache
def nvrtc():
    """The compiler of CUDA, which needs no card."""
    import ctypes
    from pathlib import Path

    import nvidia.cuda_nvrtc

    (folder,) = nvidia.cuda_nvrtc.__path__
    (path,) = Path(folder, "lib").glob("libnvrtc.so.*")
    return ctypes.CDLL(str(path))


def ptx(text):
    """The instructions for a card of a source, with the options of the package."""
    import ctypes

    library, program = nvrtc(), ctypes.c_void_p()
    options = [b"--gpu-architecture=compute_70", *map(str.encode, preludes.CUDA_OPTIONS)]
    source = text.encode()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source, b"k.cu", 0, None, None) == 0
    status = library.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*options)
    )
    size = ctypes.c_size_t()
    if status:
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        raise AssertionError(log.value.decode())
    assert library.nvrtcGetPTXSize(program, ctypes.byref(size)) == 0
    result = ctypes.create_string_buffer(size.value)
    assert library.nvrtcGetPTX(program, result) == 0
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return result.value.decode()


def elementwise():
    """One kernel for each universal function of NumPy."""
    number = "const float a, const float b, "
    return "\n".join(
        elementwise_source([expression], number, "", "float", "float").replace(
            "KERNEL(elementwise", f"KERNEL(elementwise_{name}"
        )
        for name, expression in EXPRESSIONS.items()
    )


CASES = [
    pytest.param(name, np.dtype(dtype), id=f"{name}-{dtype}")
    for name in preludes.FILES
    for dtype in ("float32", "float64")
]
needs_nvrtc = pytest.mark.skipif(
    sys.platform != "linux", reason="the tests install NVIDIA's compiler on Linux only"
)


@needs_nvrtc
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_cuda_rounds_every_operation_as_it_is_written(name, dtype):
    text = preludes.source(name, dtype, preludes.CUDA)
    compiled = ptx(text)
    entries = re.findall(r"\.visible \.entry (\w+)", compiled)
    assert sorted(entries) == sorted(re.findall(r"^KERNEL\((\w+)\)", text, re.MULTILINE))
    assert not re.findall(APPROXIMATE, compiled)
    assert not re.findall(FLUSHED, compiled)
    kind = "f64" if dtype.itemsize == 8 else "f32"
    assert f"fma.rn.{kind}" in compiled
    # Without those that are written, there are no others. A division stays a division.
    unfused = re.sub(r"__fmaf?_rn\((\(\w+\)\(a\)), (\(\w+\)\(b\)), (\(\w+\)\(c\))\)",
                     r"(\1 * \2 + \3)", text)  # fmt: skip
    assert unfused != text
    without = ptx(unfused)
    assert "fma." not in without
    own = files("napari_diffusion.backends.opencl") / "kernels" / f"{name}.cl"
    own = re.sub(r"/\*.*?\*/", "", own.read_text("utf-8"), flags=re.DOTALL)
    assert f"div.rn.{kind}" in compiled or not re.search("/|flux_of", own)


@needs_nvrtc
def test_cuda_has_the_functions_of_numpy():
    compiled = ptx(preludes.source("", np.dtype(np.float32), preludes.CUDA) + elementwise())
    assert len(re.findall(r"\.visible \.entry", compiled)) == len(EXPRESSIONS)
    assert "fma." not in compiled
    assert not re.findall(APPROXIMATE, compiled)
    assert {"div.rn.f32", "sqrt.rn.f32"} <= set(re.findall(r"(?:div|sqrt)\.rn\.f32", compiled))


@needs_emulation
def test_functions_of_numpy_have_its_bits():
    """Also for zeros of both signs, infinity, NaN and the smallest numbers."""
    from helpers.emulated import emulation

    kernels = emulation().kernels()
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38]
    rng = np.random.default_rng(0)
    a = np.concatenate([special, rng.normal(0, 10, 300)]).astype(np.float32).reshape(4, 77)
    b = rng.permuted(a.ravel()).reshape(a.shape)
    for name in EXPRESSIONS:
        function = getattr(np, name)
        inputs = (a, b)[: function.nin]
        own = function(*map(kernels.load, inputs))
        with np.errstate(all="ignore"):
            expected = function(*inputs)
        assert own.dtype == expected.dtype
        np.testing.assert_array_equal(kernels.fetch(own), expected, err_msg=name)
    with np.errstate(all="ignore"):
        mixed, own = (2 * a - b[0]) / np.float64(3), kernels.load(a)
        row, exponentials = kernels.load(b[0]), np.exp(a)
    np.testing.assert_array_equal(kernels.fetch((2 * own - row) / np.float64(3)), mixed)
    np.testing.assert_array_equal(kernels.fetch(np.exp(own)), exponentials)  # by NumPy itself


@needs_emulation
def test_an_array_of_a_device_is_not_copied_by_accident():
    from helpers.emulated import emulation

    array = emulation().kernels().load(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="fetch only"):
        np.asarray(array)
    with pytest.raises(NotImplementedError, match="not contiguous"):
        array.reshape(3, 1)[:, :0].reshape(-1)[::2]
