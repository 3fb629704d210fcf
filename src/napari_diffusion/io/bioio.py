"""Other formats of microscopes, through bioio and its readers where the user has them.

No suffix belongs to this format: it is tried for a file whose suffix no other format has.
"""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.compressed import check_memory
from napari_diffusion.io.volume import Format, Volume, only_read, refuse_to_write, require

#: Unit of the voxel size in bioio.
_UNIT = "micrometer"
#: Numbers of samples whose last one is the opacity: grey and RGB with it.
_WITH_OPACITY = (2, 4)


def is_installed() -> bool:
    """Whether bioio is installed; it is not imported."""
    return find_spec("bioio") is not None


def _read(path: Path) -> Volume:
    image = _image(path)
    if len(image.scenes) > 1:
        raise InputError(f"it holds {len(image.scenes)} images", Remedy.SAVE_ONE_IMAGE)
    lazy = image.dask_data
    dims = str(image.dims.order)
    check_memory(math.prod(lazy.shape) * lazy.dtype.itemsize, path)
    data: Array = np.asarray(lazy)
    if data.dtype.kind not in "biuf":
        raise InputError(f"{data.ndim} axes of {data.dtype} values are no image of real numbers")
    # bioio gives every image the axes T, C, Z, Y and X.
    kept = [i for i, letter in enumerate(dims) if letter in "YX" or data.shape[i] > 1]
    letters = "".join(dims[i] for i in kept)
    sizes = image.physical_pixel_sizes
    spacing = tuple(_size(getattr(sizes, letter, None)) for letter in letters)
    samples = data.shape[dims.index("S")] if "S" in letters else 0
    names = tuple(str(name) for name in image.channel_names or ())
    return Volume(
        data.reshape([data.shape[i] for i in kept]),
        letters,
        spacing,
        _UNIT if any(spacing) else "pixel",
        letters.index("S") if "S" in letters else None,
        time_step=_seconds(image) if "T" in letters else None,
        channel_names=names if "C" in letters else (),
        format="bioio",
        header={},
        path=path,
        stored=data.dtype,
        alpha=samples - 1 if samples in _WITH_OPACITY else None,
    )


def _image(path: Path) -> Any:
    """Open a file with bioio, whose own messages are no sentences for users."""
    bioio = require("bioio", "other files", "io")
    log = logging.getLogger("bioio")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        return bioio.BioImage(path)
    except Exception as error:  # each reader has errors of its own
        if type(error).__name__ != "UnsupportedFileFormatError":
            raise
        raise InputError(
            f"no reader of bioio that is installed reads {path.suffix or 'such'} files, or the "
            "file is damaged",
            Remedy.CONVERT_FORMAT,
        ) from error
    finally:
        log.setLevel(before)


def _size(size: Any) -> float | None:
    return float(size) if size is not None and 0 < float(size) < math.inf else None


def _seconds(image: Any) -> float | None:
    """Return the time step [s]; bioio has a number or a duration, or none."""
    step = getattr(image, "time_interval", None)
    if step is not None and hasattr(step, "total_seconds"):
        step = step.total_seconds()
    return _size(step) if isinstance(step, float | int) else None


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    raise only_read("such")


FORMAT = Format("bioio", (), _read, refuse_to_write, _storable, results={"": ".ome.tif"})
