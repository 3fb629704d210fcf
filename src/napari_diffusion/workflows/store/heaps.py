"""Memory that this process has freed and its allocator keeps; Linux only.

The allocator gives each thread a heap of its own, and keeps the free end of a heap.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

#: Options of the allocator: the largest number of heaps; the size [bytes] from which on an array
#: has pages of its own; and the free end of a heap [bytes] that is given back at once.
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
#: The values that these sizes reach by themselves in a process with large arrays.
_REUSED_BYTES, _KEPT_BYTES = 32 << 20, 64 << 20
_has_one_heap = False


def release_memory() -> None:
    """Give free memory of this process back to the system, where its allocator keeps it.

    What threads have freed adds up over blocks.
    """
    trim = _of_allocator("malloc_trim")
    if trim is not None:
        trim(0)


def use_one_heap() -> None:
    """Let all threads of this process allocate from one heap; called before it has threads.

    `release_memory` reaches the free end of the first heap only.
    """
    global _has_one_heap
    set_option = _of_allocator("mallopt")
    _has_one_heap = set_option is not None and set_option(_M_ARENA_MAX, 1) == 1


def reuse_memory() -> None:
    """Let the heaps of this worker be used again within a block; `release_memory` ends it.

    dask asks for the opposite (``MALLOC_TRIM_THRESHOLD_``): each array then has new pages, which
    took as long as the run itself (measured).
    """
    set_option = _of_allocator("mallopt")
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _REUSED_BYTES)
        set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def has_one_heap() -> bool:
    """Whether `use_one_heap` was called, or the environment asks for one heap."""
    return _has_one_heap or os.environ.get("MALLOC_ARENA_MAX") == "1"


@cache
def _of_allocator(name: str) -> Callable[..., int] | None:
    """Return a function of the C library of Linux; ``None`` where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):  # another C library
        return None
    return function
