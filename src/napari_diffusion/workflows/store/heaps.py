"""Memory that this process has freed and its allocator keeps; Linux only.

The allocator gives each thread a heap of its own, and keeps the free end of a heap.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

#: Option of the allocator: the largest number of heaps.
_M_ARENA_MAX = -8
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
