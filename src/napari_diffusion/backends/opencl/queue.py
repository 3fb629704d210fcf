"""A device of OpenCL: its memory, its programs, and the queue of one run."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.opencl.arrays import DeviceArray
from napari_diffusion.backends.opencl.preludes import source
from napari_diffusion.core.errors import DeviceFailed, DeviceMemoryError

#: Work items of a group: of a volume, of an image with a single row per plane, and of the kernels
#: without axes. A compiler may make a program of its own for each.
GROUP, FLAT_GROUP, LINE_GROUP = (32, 4, 1), (128, 1, 1), (128,)
#: Kernels that may wait in the queue: a cancel takes effect after them.
WAITING = 64
#: Status codes of OpenCL that mean too little memory on the device.
_NO_MEMORY = {"MEM_OBJECT_ALLOCATION_FAILURE", "OUT_OF_RESOURCES", "INVALID_BUFFER_SIZE"}


@contextmanager
def errors_described(name: str) -> Iterator[None]:
    """Turn errors of OpenCL into those of this package, for the device of this name."""
    cl: Any = import_module("pyopencl")
    try:
        yield
    except cl.Error as error:
        status = cl.status_code.to_string(error.code) if error.code is not None else ""
        if isinstance(error, cl.MemoryError) or status in _NO_MEMORY:
            if status == "OUT_OF_RESOURCES":  # also of a kernel that took too long
                raise DeviceMemoryError(f"{name} is out of resources") from error
            raise DeviceMemoryError(f"The memory of {name} is too small") from error
        reason = " ".join(str(error).split())[:200]
        raise DeviceFailed(f"{name} cannot run the kernels ({reason})") from error


class Programs:
    """The compiled programs of a device, which all its queues share.

    Parameters
    ----------
    handle
        The device, as pyopencl has it.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.name = str(handle.name).strip()
        self._turn, self._lock, self._process = threading.Lock(), threading.Lock(), os.getpid()
        self._programs: dict[str, Any] = {}

    @property
    def turn(self) -> AbstractContextManager[object]:
        """Context of one run at a time, for runs that share the memory of the device."""
        # A thread that does not exist in a forked process may hold the lock.
        return self._turn if os.getpid() == self._process else nullcontext()

    def check_process(self) -> None:
        """Raise `DeviceFailed` in a forked process: its driver would wait for ever."""
        if os.getpid() != self._process:
            raise DeviceFailed(
                f"{self.name} cannot be used in a process that was forked after it was found, "
                'only in one that was started by "spawn"'
            )

    def group(self, kernel: Any, items: Sequence[int]) -> tuple[int, ...]:
        """Return the work items of a group for so many items, as many as the device takes."""
        cl: Any = import_module("pyopencl")
        group = list(LINE_GROUP if len(items) == 1 else FLAT_GROUP if items[1] == 1 else GROUP)
        own = kernel.get_work_group_info(cl.kernel_work_group_info.WORK_GROUP_SIZE, self.handle)
        sizes = self.handle.max_work_item_sizes
        group = [min(n, size) for n, size in zip(group, sizes, strict=False)]
        while math.prod(group) > own:
            group[group.index(max(group))] //= 2
        return tuple(group)

    @cached_property
    def context(self) -> Any:
        """The context of OpenCL."""
        cl: Any = import_module("pyopencl")
        return cl.Context([self.handle])

    def renew(self) -> None:
        """Forget the context: after a reset of the driver, all calls of the old one fail."""
        with self._lock:
            self.__dict__.pop("context", None)
            self._programs.clear()

    @cached_property
    def options(self) -> list[str]:
        """Options of the compiler; a division is rounded correctly where the device can do so.

        None of them lets the compiler change a result, unlike ``-cl-fast-relaxed-math``.
        """
        cl: Any = import_module("pyopencl")
        flag = cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
        exact = ["-cl-fp32-correctly-rounded-divide-sqrt"]
        return exact if self.handle.single_fp_config & flag else []

    @property
    def is_accurate(self) -> bool:
        """Whether the device states that it computes as the kernels assume."""
        cl: Any = import_module("pyopencl")
        kinds, flags = cl.device_fp_config, self.handle.single_fp_config
        needed = kinds.CORRECTLY_ROUNDED_DIVIDE_SQRT | kinds.DENORM | kinds.INF_NAN | kinds.FMA
        return bool(flags & needed == needed)

    @property
    def has_float64(self) -> bool:
        """Whether the device computes in float64."""
        return bool(self.handle.double_fp_config)

    def program(self, text: str) -> Any:
        """Return the program of a source, compiled on first use."""
        with self._lock:
            if text not in self._programs:
                cl: Any = import_module("pyopencl")
                with errors_described(self.name), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # notes of the compiler
                    self._programs[text] = cl.Program(self.context, text).build(self.options)
            return self._programs[text]


class Queue:
    """Runs kernels on a device in order; it serves one thread.

    Parameters
    ----------
    programs
        The device and its programs.
    """

    def __init__(self, programs: Programs) -> None:
        programs.check_process()
        cl: Any = import_module("pyopencl")
        import_module("pyopencl.tools")
        self._cl, self._programs = cl, programs
        self.name = programs.name
        with errors_described(self.name):
            self._queue = cl.CommandQueue(programs.context)
            allocator = cl.tools.ImmediateAllocator(self._queue)
            self._pool = cl.tools.MemoryPool(allocator)
        self._kernels: dict[tuple[str, str], Any] = {}
        self._constants: dict[tuple[str, bytes], DeviceArray] = {}
        self._events: deque[Any] = deque()

    def empty(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        """Allocate an array with any contents."""
        dtype = np.dtype(dtype)
        size = max(1, math.prod(shape) * dtype.itemsize)
        with errors_described(self.name):
            return DeviceArray(self, self._pool.allocate(size), 0, tuple(shape), dtype)

    def load(self, array: NDArray[Any]) -> DeviceArray:
        """Copy an array of the processor to the device."""
        loaded = self.empty(array.shape, array.dtype)
        if array.size:
            with errors_described(self.name):
                host = np.ascontiguousarray(array)
                self._cl.enqueue_copy(self._queue, loaded.buffer, host, is_blocking=True)
        return loaded

    def constant(self, array: NDArray[Any]) -> DeviceArray:
        """Return a small array on the device, which is loaded once and never written."""
        key = array.dtype.str, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.load(array)
        return self._constants[key]

    def fetch(self, array: DeviceArray) -> NDArray[Any]:
        """Copy an array to the processor."""
        host = np.empty(array.shape, array.dtype)
        if array.size:
            with errors_described(self.name):
                self._cl.enqueue_copy(
                    self._queue, host, array.buffer, src_offset=array.offset, is_blocking=True
                )
            self._events.clear()
        return host

    def copy(self, source: DeviceArray, target: DeviceArray) -> None:
        """Copy contiguous arrays of the same size on the device."""
        if not source.nbytes or (source.buffer is target.buffer and source.offset == target.offset):
            return
        with errors_described(self.name):
            self._cl.enqueue_copy(
                self._queue,
                target.buffer,
                source.buffer,
                byte_count=source.nbytes,
                src_offset=source.offset,
                dst_offset=target.offset,
            )

    def launch(self, text: str, name: str, items: Sequence[int], *arguments: Any) -> None:
        """Run a kernel for at least so many work ``items`` along each axis.

        Parameters
        ----------
        text, name
            Source of the program, and name of the kernel.
        items
            Number of work items along one or three axes; groups may need some more.
        arguments
            Arrays of the device, ``None`` for an array that is not read, numbers of NumPy, or
            whole numbers and truth values.
        """
        if 0 in items:
            return
        with errors_described(self.name):
            kernel, groups = self._kernel(text, name)
            shape = len(items), len(items) > 1 and items[1] == 1
            if shape not in groups:
                groups[shape] = self._programs.group(kernel, items)
            group = groups[shape]
            size = tuple(-(-n // m) * m for n, m in zip(items, group, strict=True))
            kernel.set_args(*_flattened(arguments))
            event = self._cl.enqueue_nd_range_kernel(self._queue, kernel, size, group)
            self._events.append(event)
            if len(self._events) > WAITING:
                self._queue.flush()
                self._events.popleft().wait()

    def finish(self) -> None:
        """Wait for all kernels."""
        with errors_described(self.name):
            self._queue.finish()
        self._events.clear()

    def source(self, name: str, dtype: np.dtype[Any]) -> str:
        """Return the source of a file of kernels for fields of a data type."""
        return source(name, dtype)

    def _kernel(self, text: str, name: str) -> Any:
        """Return a kernel and its groups, retrieved once: this takes longer than a launch."""
        key = text, name
        if key not in self._kernels:
            program = self._programs.program(text)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pyopencl 2024 notes that a name is known
                self._kernels[key] = self._cl.Kernel(program, name), {}
        return self._kernels[key]


def _flattened(arguments: Sequence[Any]) -> Iterator[Any]:
    """Yield the arguments as OpenCL takes them: memory and first element of each array."""
    for value in arguments:
        if value is None:
            yield from (None, np.int64(0))
        elif isinstance(value, DeviceArray):
            yield from (value.buffer, np.int64(value.offset // value.dtype.itemsize))
        elif isinstance(value, np.generic):
            yield value
        else:
            yield np.int32(value)
