"""Verdicts on devices: whether a device has the bits of the processor, and how much memory."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from napari_diffusion.backends.devices import Device
from napari_diffusion.core.arrays import Field

#: Voxels along each axis, and largest number of stages, of the self-test of a device.
TEST_VOXELS, TEST_STAGES = 16, 12
#: Voxels, and largest number of stages, with which the speed of a card is measured.
MEASURED_VOXELS, MEASURED_STAGES = 1 << 20, 4
#: Largest number of pieces of a frame whose fields do not fit into the memory of a device.
MOST_PIECES = 8
#: Share of the memory of a device that a run may take.
MEMORY_SHARE = 0.8
#: Largest difference to the processor of a device that rounds otherwise, as a share of the largest
#: value.
ROUNDING = 1e-5


def measured_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the field with which the speed is measured for frames of a shape."""
    axes = sum(n > 1 for n in shape)
    side = round(MEASURED_VOXELS ** (1 / max(1, axes)))
    return tuple(side if n > 1 else 1 for n in shape)


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
