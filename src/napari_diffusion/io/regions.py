"""Reading of a mask or labels, the regions that bound the smoothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion import io
from napari_diffusion.core.errors import InputError


def read_regions(name: str, path: Path, letters: str) -> Any:
    """Read a mask or labels from a file.

    Parameters
    ----------
    name
        ``"mask"`` or ``"labels"``.
    path
        The file.
    letters
        Axes of the image that is filtered, one letter each. An array with some of these axes is
        transposed to their order.

    Returns
    -------
    array of bool or int64
        A mask is true where the file is not 0; labels keep their values.

    Raises
    ------
    InputError, OSError, MissingLibraryError
        As `napari_diffusion.io.read`, and an `InputError` for values that are not whole numbers.
    """
    other = io.read(path)
    data = np.asarray(other.data)
    # A TIFF mask has the axes z, y, x, and a NIfTI image the axes x, y, z.
    order = [other.axes.index(letter) for letter in letters if letter in other.axes]
    if len(order) == data.ndim and len(set(other.axes)) == data.ndim:
        data = data.transpose(order)
    whole = data == np.rint(data)
    if not whole.all():
        raise InputError(f"{name} must hold whole numbers, got {data[~whole].flat[0]:g}", path=path)
    return data != 0 if name == "mask" else data.astype(np.int64)
