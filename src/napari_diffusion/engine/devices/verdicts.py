"""Verdicts on devices: whether a device has the bits of the processor, and how much memory."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import platformdirs

from napari_diffusion.backends.devices import Device
from napari_diffusion.backends.opencl.preludes import FILES, source
from napari_diffusion.core.arrays import Field

#: Largest number of pieces of a frame whose fields do not fit into the memory of a device.
MOST_PIECES = 8
#: Share of the memory of a device that a run may take.
MEMORY_SHARE = 0.8
#: Largest difference to the processor of a device that rounds otherwise, as a share of the largest
#: value.
ROUNDING = 1e-5


def pieces_of(device: Device, needed: float) -> int:
    """Return the number of pieces of a frame, of which each fits into the memory of a device.

    ``needed`` is the memory for the whole frame [bytes]. Overlaps are not counted.
    """
    pieces = 1
    while needed / pieces > MEMORY_SHARE * device.memory and pieces < MOST_PIECES:
        pieces *= 2
    return pieces


class Verdict(StrEnum):
    """How the results of a device compare with those of the processor."""

    EXACT = "exact"
    ROUNDED = "rounded"
    WRONG = "wrong"
    FAILED = "failed"


def compared(expected: Field, result: Field) -> Verdict:
    """Return how a result of a device compares with that of the processor."""
    if np.array_equal(expected, result, equal_nan=True):
        return Verdict.EXACT
    difference = float(np.nanmax(np.abs(expected - result)))
    is_close = difference <= ROUNDING * float(np.nanmax(np.abs(expected)))
    return Verdict.ROUNDED if is_close else Verdict.WRONG


def verdict_of(device: Device, kinds: object, test: Callable[[], Verdict]) -> Verdict:
    """Return the verdict of a self-test, which runs on first use of a device for runs of a kind.

    Parameters
    ----------
    device
        The device. Its driver and the kernels belong to the key of the verdict.
    kinds
        What selects the kernels of the run.
    test
        Runs the self-test.
    """
    key = repr((_version_of_kernels(), device.name, device.platform, device.version, kinds))
    key = hashlib.sha256(key.encode()).hexdigest()[:24]
    known = _read_verdicts()
    if key not in known:
        known[key] = test()
        _write_verdicts(known)
    return known[key]


@cache
def _version_of_kernels() -> str:
    sources = "".join(source(name, np.dtype(np.float32)) for name in FILES)
    return f"{hashlib.sha256(sources.encode()).hexdigest()[:16]} {version('numba')}"


@cache
def _verdicts() -> dict[str, Verdict]:
    """Verdicts of this process."""
    return {}


def _file() -> Path | None:
    """Return the file of the verdicts in the cache of the user; ``None`` without a cache."""
    if os.environ.get("NAPARI_DIFFUSION_NO_CACHE"):
        return None
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder:
        return Path(folder).absolute() / "napari-diffusion" / "devices.json"
    path = Path(platformdirs.user_cache_dir("napari-diffusion", appauthor=False)) / "devices.json"
    return path if path.is_absolute() else None


def _read_verdicts() -> dict[str, Verdict]:
    own, path = _verdicts(), _file()
    if not own and path is not None:
        try:
            saved = json.loads(path.read_text("utf-8"))
            own |= {str(key): Verdict(value) for key, value in saved.items()}
        except (OSError, ValueError, AttributeError):
            return own
    return own


def _write_verdicts(verdicts: dict[str, Verdict]) -> None:
    path = _file()
    if path is None:
        return
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(verdicts), "utf-8")
        part.replace(path)
    except OSError:  # the test runs again in the next process
        part.unlink(missing_ok=True)
