"""Mean tensors of cells, from tensors that threads compute for a few planes at a time."""

from __future__ import annotations

import threading

from napari_diffusion.backends.base import Tensors
from napari_diffusion.operators.stepper import StageContext

#: Planes of tensors that a thread holds: those below and above the cells, and one for others.
PLANES_HELD = 3


class CellAverages:
    """Averages the tensors of voxels over the cells between them.

    Where two ranges of planes meet, the thread that computes the second one averages over both. So
    no tensor is computed twice, in whatever order the ranges are computed.

    Parameters
    ----------
    context
        What the stages of the frame share.
    cells
        Stored tensors of the cells, which are overwritten.
    """

    def __init__(self, context: StageContext, cells: Tensors) -> None:
        self._backend, self._planes = context.backend, context.grid.shape[0]
        self._cells = cells
        self._lock = threading.Lock()
        #: Tensors on one side of a border between two ranges, by the first plane above it.
        self._waiting: dict[int, Tensors] = {}

    def add(self, tensors: Tensors, lo: int) -> None:
        """Average over planes from ``lo`` on. The array must not be changed later."""
        hi = lo + tensors.shape[1]
        below = self._meet(lo, tensors) if lo > 0 else None
        above = self._meet(hi, tensors) if hi < self._planes else None
        self._backend.average(below, tensors, self._cells, self._planes, lo)
        if above is not None:
            self._backend.average(tensors, above, self._cells, self._planes, hi)

    def _meet(self, border: int, tensors: Tensors) -> Tensors | None:
        """Return the tensors on the other side of a border, or leave these for the other side."""
        with self._lock:
            other = self._waiting.pop(border, None)
            if other is None:
                self._waiting[border] = tensors
        return other
