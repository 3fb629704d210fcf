"""Sample data as plain arrays with their voxel size: MRI from nibabel, and simulated volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.io.head_phantom import head
from napari_diffusion.io.phantoms import confocal as simulate
from napari_diffusion.io.volume import require

_EPI = "example4d.nii.gz"


def mri_file() -> Path:
    """Return the path of the scan that `mri` and `mri_4d` return.

    It is a real EPI series: 128 x 96 x 24 voxels of 2 x 2 x 2.2 mm, two time points.
    """
    nibabel = require("nibabel", "The MRI samples")
    return Path(nibabel.__file__).parent / "tests" / "data" / _EPI


def upright(path: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Return a NIfTI image oriented for display, and its zooms.

    Returns
    -------
    data
        Axes ([t,] z, y, x). The front of the head is up, and the patient's left is on the left.
    zooms
        Time step and voxel size in the order of the axes, in the units of the file.
    """
    nibabel = require("nibabel", "The MRI samples")
    image: Any = nibabel.as_closest_canonical(nibabel.load(path))
    # Rows run down on a screen, and y runs up in NIfTI.
    data = np.asarray(image.dataobj).T[..., ::-1, :]
    zooms = tuple(round(float(step), 4) for step in image.header.get_zooms()[::-1])
    return np.ascontiguousarray(data), zooms


def mri_4d() -> tuple[NDArray[np.int16], tuple[float, float, float, float], str]:
    """Return a real MRI time series.

    Returns
    -------
    data
        Axes (t, z, y, x), int16 as the scanner stored it. Rows run from the front of the head to
        its back, columns from the patient's left to the right, planes from the feet up.
    spacing
        Time step [s] and voxel size (z, y, x) [mm].
    unit
        ``"millimeter"``
    """
    data, (step, z, y, x) = upright(mri_file())
    # The repetition time is 2 s, but the file gives 2000 and the unit seconds.
    return data, (step / 1000, z, y, x), "millimeter"


def mri() -> tuple[NDArray[np.int16], tuple[float, float, float], str]:
    """Return the first volume of `mri_4d`.

    Returns
    -------
    data
        Axes (z, y, x), int16.
    spacing
        Voxel size (z, y, x) [mm].
    unit
        ``"millimeter"``
    """
    series, (_, z, y, x), unit = mri_4d()
    return series[0], (z, y, x), unit


def confocal() -> tuple[NDArray[np.uint16], NDArray[np.float32], tuple[float, float, float], str]:
    """Return a simulated confocal stack.

    Returns
    -------
    noisy, truth
        Images with and without noise, axes (z, y, x) [grey levels].
    spacing
        Voxel size (z, y, x) [µm].
    unit
        ``"micrometer"``
    """
    stack = simulate()
    return stack.noisy, stack.truth, stack.spacing, "micrometer"


def mri_simulated() -> tuple[
    NDArray[np.uint16], NDArray[np.float32], tuple[float, float, float], str
]:
    """Return a simulated magnitude image of a head with Rician noise.

    Returns
    -------
    noisy, truth
        Images with and without noise, axes (z, y, x).
    spacing
        Voxel size (z, y, x) [mm].
    unit
        ``"millimeter"``
    """
    scan = head()
    return scan.noisy, scan.truth, scan.spacing, "millimeter"
