"""Data to try the filters on, as plain arrays with their voxel size: real MRI that comes with nibabel, and a simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.io.phantoms import confocal as simulate
from napari_diffusion.io.volume import require

_EPI = "example4d.nii.gz"


def mri_file() -> Path:
    """Return the path of the real scan that `mri` and `mri_4d` show: EPI, 128 x 96 x 24 voxels of 2 x 2 x 2.2 mm, two time points."""
    nibabel = require("nibabel", "The MRI samples")
    return Path(nibabel.__file__).parent / "tests" / "data" / _EPI


def upright(path: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Return a NIfTI image as one looks at it, axes ([t,] z, y, x), and its zooms: front of the head up, patient's left on the left."""
    nibabel = require("nibabel", "The MRI samples")
    image: Any = nibabel.as_closest_canonical(nibabel.load(path))
    data = np.asarray(image.dataobj).T[
        ..., ::-1, :
    ]  # rows run down on a screen, y runs up in NIfTI
    return np.ascontiguousarray(data), tuple(
        round(float(step), 4) for step in image.header.get_zooms()[::-1]
    )


def mri_4d() -> tuple[NDArray[np.int16], tuple[float, float, float, float], str]:
    """Return a real MRI time series.

    Returns
    -------
    data
        Axes (t, z, y, x), int16 as the scanner stored it; rows run from the front of the head to its back, columns from
        the patient's left to the right, planes from the feet up.
    spacing
        Time step [s] and voxel size (z, y, x) [mm].
    unit
        ``"millimeter"``
    """
    data, (step, z, y, x) = upright(mri_file())
    # This file gives its repetition time of 2 s as 2000, and the unit as seconds.
    return data, (step / 1000, z, y, x), "millimeter"


def mri() -> tuple[NDArray[np.int16], tuple[float, float, float], str]:
    """Return the first volume of `mri_4d`: axes (z, y, x), voxel size (z, y, x) [mm], and the unit."""
    series, (_, z, y, x), unit = mri_4d()
    return series[0], (z, y, x), unit


def confocal() -> tuple[NDArray[np.uint16], NDArray[np.float32], tuple[float, float, float], str]:
    """Return a simulated confocal stack: noisy and clean image with axes (z, y, x), voxel size [µm], and the unit."""
    stack = simulate()
    return stack.noisy, stack.truth, stack.spacing, "micrometer"
