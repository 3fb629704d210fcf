"""Arrays in the memory of a device, with the part of NumPy's interface that a run needs.

Universal functions of NumPy run on the device if its results have the same bits there: the four
operations, roots, comparisons and the like. All others, such as the exponential, are computed by
NumPy itself on a copy, so that the bits are those of the processor in any case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

#: Expressions of the universal functions that are rounded once, or exact, in C: of one number, and
#: of two.
UNARY: dict[str, str] = {
    "negative": "-a",
    "positive": "a",
    "absolute": "ABS(a)",
    "fabs": "ABS(a)",
    "square": "a * a",
    "sqrt": "SQRT(a)",
    "reciprocal": "ONE / a",
}
BINARY: dict[str, str] = {
    "add": "a + b",
    "subtract": "a - b",
    "multiply": "a * b",
    "divide": "a / b",
    # NumPy returns NaN if either number is one.
    "maximum": "(a >= b || a != a) ? a : b",
    "minimum": "(a <= b || a != a) ? a : b",
    "greater": "a > b",
    "greater_equal": "a >= b",
    "less": "a < b",
    "less_equal": "a <= b",
    "equal": "a == b",
    "not_equal": "a != b",
}
#: Types of C by those of NumPy.
C_TYPES = {"f4": "float", "f8": "double", "b1": "uchar", "u1": "uchar"}

#: All functions are in one program, since a compiler takes longer than a run of them.
ELEMENTWISE = """
KERNEL(elementwise)(const int function, {inputs}GLOBAL {result} *out, const INDEX out_first,
                    const INDEX size)
{{
    const INDEX i = LONG_ITEM(0);
    {loop} value = 0;
    if (i >= size)
        return;
    {loads}switch (function) {{
    {cases}
    }}
    out[out_first + i] = ({result})value;
}}
"""


def elementwise_source(
    functions: Iterable[str], inputs: str, loads: str, loop: str, result: str
) -> str:
    """Return the kernel of universal functions, which are computed in a type ``loop`` of C."""
    cases = "\n    ".join(
        f"case {number}: value = {expression}; break;"
        for number, expression in enumerate(functions)
    )
    return ELEMENTWISE.format(inputs=inputs, loads=loads, loop=loop, result=result, cases=cases)


class Flags:
    """Flags of every `DeviceArray`, as those of NumPy."""

    c_contiguous = True
    writeable = True


class DeviceArray(NDArrayOperatorsMixin):
    """A C-contiguous array, or a contiguous part of one, in the memory of a device.

    Attributes
    ----------
    queue
        The queue of the device.
    buffer, offset
        Its memory, and the first byte.
    shape, dtype
        As those of NumPy.
    """

    __array_priority__ = 100
    flags = Flags()

    def __init__(
        self, queue: Any, buffer: Any, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.queue, self.buffer, self.offset = queue, buffer, offset
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Memory [bytes]."""
        return self.size * self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Size of an element [bytes]."""
        return int(self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[i] for i in range(len(self)))

    def __array__(self, *arguments: Any, **options: Any) -> NDArray[Any]:
        """Refuse to be copied by accident; `Queue.fetch` copies."""
        raise TypeError("an array of a device is copied by its method fetch only")

    def fetch(self) -> NDArray[Any]:
        """Return a copy in the memory of the processor."""
        host: NDArray[Any] = self.queue.fetch(self)
        return host

    def _part(self, offset: int, shape: tuple[int, ...]) -> DeviceArray:
        begin = self.offset + offset * self.dtype.itemsize
        return DeviceArray(self.queue, self.buffer, begin, shape, self.dtype)

    def __getitem__(self, key: Any) -> DeviceArray:
        """Return a view of contiguous elements."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [k for k in keys if k is Ellipsis]:
            missing = self.ndim + 1 - len([k for k in keys if k is not None])
            place = next(i for i, k in enumerate(keys) if k is Ellipsis)
            keys = (*keys[:place], *[slice(None)] * missing, *keys[place + 1 :])
        offset, shape, sizes, is_whole = 0, list[int](), list(self.shape), True
        axis = 0
        for number in keys:
            if number is None:
                shape.append(1)
                continue
            n = sizes[axis]
            stride = math.prod(sizes[axis + 1 :])
            if isinstance(number, slice):
                start, stop, step = number.indices(n)
                count = max(0, stop - start)
                if step != 1 or (count != n and not is_whole):
                    raise NotImplementedError(f"the index {key} is not contiguous")
                shape.append(count)
            else:
                start, count = int(number) % n if n else 0, 1
                if not is_whole and n != 1:
                    raise NotImplementedError(f"the index {key} is not contiguous")
            # Behind an axis of several entries, only whole axes are contiguous.
            is_whole = is_whole and count <= 1
            offset += start * stride
            axis += 1
        return self._part(offset, (*shape, *self.shape[axis:]))

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write numbers, or an array of the same shape."""
        target = self[key]
        if isinstance(value, DeviceArray) and value.dtype == self.dtype:
            if value.size == target.size:
                self.queue.copy(value, target)
                return
        elif isinstance(value, np.ndarray) and value.ndim:
            value = self.queue.load(np.broadcast_to(value, target.shape).astype(self.dtype))
            self.queue.copy(value, target)
            return
        run_elementwise("positive", [value], target)

    def reshape(self, *shape: Any) -> DeviceArray:
        """Return a view of another shape."""
        sizes = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        if -1 in sizes:
            known = math.prod(n for n in sizes if n != -1)
            sizes[sizes.index(-1)] = self.size // max(known, 1)
        if math.prod(sizes) != self.size:
            raise ValueError(f"cannot reshape {self.shape} to {tuple(sizes)}")
        return self._part(0, tuple(sizes))

    def view(self, dtype: Any) -> DeviceArray:
        """Return a view of one axis with another data type."""
        dtype = np.dtype(dtype)
        shape = (*self.shape[:-1], self.shape[-1] * self.dtype.itemsize // dtype.itemsize)
        return DeviceArray(self.queue, self.buffer, self.offset, shape, dtype)

    def copy(self) -> DeviceArray:
        """Return a copy on the device."""
        out: DeviceArray = self.queue.empty(self.shape, self.dtype)
        self.queue.copy(self, out)
        return out

    def astype(self, dtype: Any, copy: bool = True) -> DeviceArray:
        """Return the array in another data type."""
        if self.dtype == np.dtype(dtype):
            return self.copy() if copy else self
        out: DeviceArray = self.queue.empty(self.shape, dtype)
        run_elementwise("positive", [self], out)
        return out

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute a universal function of NumPy on the device, or on copies by NumPy."""
        out = options.pop("out", (None,))[0]
        if method != "__call__" or options or ufunc.nout != 1:
            return NotImplemented
        shape = np.broadcast_shapes(
            *(np.shape(v) if not _is_device(v) else v.shape for v in inputs)
        )
        ones = [np.ones(1, v.dtype) if _is_array(v) else v for v in inputs]
        with np.errstate(all="ignore"):
            result = ufunc(*ones).dtype
        loop = np.result_type(*ones) if result.kind == "b" else result
        target = out
        if out is None or out.dtype != result or out.shape != shape:
            target = self.queue.empty(shape, result)
        arrays = [v for v in inputs if _is_array(v)]
        fits = all(_is_device(v) and _repeats(v.shape, shape) for v in arrays)
        if (
            (ufunc.__name__ in UNARY or ufunc.__name__ in BINARY)
            and fits
            and loop.str[1:] in C_TYPES
        ):
            run_elementwise(ufunc.__name__, list(inputs), target, loop)
        else:
            with np.errstate(all="ignore"):
                values = ufunc(*(v.fetch() if _is_device(v) else v for v in inputs))
            target = self.queue.load(values)
        if out is not None and target is not out:
            out[...] = target
            return out
        return target

    def __array_function__(
        self, function: Callable[..., Any], types: Any, inputs: Any, options: Any
    ) -> Any:
        """Compute another function of NumPy, on copies unless it only moves numbers."""
        if function in _MOVING:
            return _MOVING[function](*inputs, **options)
        result = function(*_fetched(inputs), **_fetched(options))
        return self.queue.load(result) if isinstance(result, np.ndarray) else result


def _full_like(array: DeviceArray, value: Any) -> DeviceArray:
    """See `numpy.full_like`."""
    out: DeviceArray = array.queue.empty(array.shape, array.dtype)
    out[...] = value
    return out


def _copyto(target: DeviceArray, value: Any) -> None:
    """See `numpy.copyto`."""
    target[...] = value


#: Functions of NumPy without arithmetic.
_MOVING: dict[Any, Callable[..., Any]] = {
    np.full_like: _full_like,
    np.empty_like: lambda array: array.queue.empty(array.shape, array.dtype),
    np.copyto: _copyto,
    np.shape: lambda array: array.shape,
}


def _is_device(value: Any) -> bool:
    return isinstance(value, DeviceArray)


def _is_array(value: Any) -> bool:
    return _is_device(value) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _repeats(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of this shape is repeated along leading axes only."""
    own = shape
    while own and own[0] == 1:
        own = own[1:]
    return own == whole[len(whole) - len(own) :]


def _fetched(value: Any) -> Any:
    """Return arguments of NumPy with copies in place of arrays of a device."""
    if isinstance(value, DeviceArray):
        return value.fetch()
    if isinstance(value, list | tuple):
        return type(value)(map(_fetched, value))
    if isinstance(value, dict):
        return {key: _fetched(part) for key, part in value.items()}
    return value


def run_elementwise(
    name: str, inputs: Sequence[Any], out: DeviceArray, loop: np.dtype[Any] | None = None
) -> None:
    """Write a universal function of arrays and numbers, computed in the type ``loop``."""
    loop = loop or out.dtype
    queue, arguments, declared, loads = out.queue, list[Any](), "", ""
    c_loop = C_TYPES[loop.str[1:]]
    for letter, value in zip("ab", inputs, strict=False):
        if isinstance(value, DeviceArray):
            own = C_TYPES[value.dtype.str[1:]]
            declared += f"IN({own}, {letter}_array), const INDEX {letter}_size, "
            index = "i" if value.size == out.size else f"i % {letter}_size"
            loads += f"const {c_loop} {letter} = ({c_loop}){letter}_array[{letter}_array_first + "
            loads += f"{index}];\n    "
            arguments += [value, np.int64(value.size)]
        else:
            declared += f"const {c_loop} {letter}, "
            arguments.append(loop.type(np.asarray(value).item()))
    functions = UNARY if name in UNARY else BINARY
    c_result = C_TYPES[out.dtype.str[1:]]
    text = elementwise_source(functions.values(), declared, loads, c_loop, c_result)
    arguments.insert(0, list(functions).index(name))
    real = loop if loop.kind == "f" else np.dtype(np.float32)
    program = queue.source("", real) + text
    queue.launch(program, "elementwise", (out.size,), *arguments, out, np.int64(out.size))
