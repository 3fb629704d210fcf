"""Results whose values follow one another in a file without compression, written in parts.

A format says by `Format.lay_out` where the values are; the file has its full size from the start.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_diffusion.core.arrays import Array

#: Errors of a file system on which space cannot be reserved.
_CANNOT_RESERVE = (errno.EINVAL, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class FlatFile:
    """Place of the values of an image in a file.

    Attributes
    ----------
    shape
        Shape of the image.
    dtype
        Data type of the values in the file, with its byte order.
    offset
        Place of the first value [bytes].
    strides
        Distance of two neighbours along each axis of the image [bytes].
    """

    shape: tuple[int, ...]
    dtype: str
    offset: int
    strides: tuple[int, ...]

    @classmethod
    def in_order(
        cls, shape: Sequence[int], dtype: np.dtype[Any], offset: int, order: Sequence[int]
    ) -> Self:
        """Return the place of values whose axes have this order in the file, the slowest first."""
        strides, step = [0] * len(shape), dtype.itemsize
        for axis in reversed(order):
            strides[axis] = step
            step *= shape[axis]
        return cls(tuple(shape), dtype.str, offset, tuple(strides))

    @property
    def order(self) -> tuple[int, ...]:
        """Axes of the image in the order of a result that is written: as they are."""
        return tuple(range(len(self.shape)))

    @property
    def levels(self) -> tuple[Self]:
        """The only level."""
        return (self,)

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Rebuild it from plain JSON types."""
        lists = {name: tuple(plain[name]) for name in ("shape", "strides")}
        return cls(**{**plain, **lists})

    def reserve(self, path: Path) -> None:
        """Give the file its full size on the disk, so that a full disk is noticed before the work.

        Raises
        ------
        OSError
            When the disk is too full.
        """
        size = self.offset + math.prod(self.shape) * np.dtype(self.dtype).itemsize
        with path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) < size:
                file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError as error:
                    if error.errno not in _CANNOT_RESERVE:
                        raise

    def write(self, path: Path, region: Sequence[slice], values: Array) -> None:
        """Write values to a region, and wait until they are kept."""
        order = sorted(range(len(self.shape)), key=lambda i: (-self.strides[i], self.shape[i] > 1))
        values = np.ascontiguousarray(values.transpose(order), self.dtype)
        starts = [region[i].start for i in order]
        # The last axes of the file that are covered are written together, with one axis before.
        joined = len(order)
        while joined > 1 and values.shape[joined - 1] == self.shape[order[joined - 1]]:
            joined -= 1
        joined -= 1
        with path.open("r+b", buffering=0) as file:
            for index in itertools.product(*map(range, values.shape[:joined])):
                places = [*index, *[0] * (len(order) - joined)]
                file.seek(
                    self.offset
                    + sum(
                        (start + i) * self.strides[axis]
                        for start, i, axis in zip(starts, places, order, strict=True)
                    )
                )
                _write_all(file, values[index])
            os.fsync(file.fileno())


def _write_all(file: Any, values: Array) -> None:
    """Write all values; the system may take a part of them at once."""
    left = memoryview(values.reshape(-1).view(np.uint8).data)
    while left:
        left = left[file.write(left) :]
