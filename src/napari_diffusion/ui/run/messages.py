"""Words of the widget for what the user can do about an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from napari_diffusion.core.errors import SHARED_WORDS, DescribedError, Remedy

_OPEN_LAYER = "open the file as a layer"
#: Controls on screen for each remedy. Files are filtered by the box "Several layers or files".
SCREEN_WORDS: Mapping[Remedy, str] = SHARED_WORDS | {
    Remedy.MASK_NAN: "use “ignore, keep NaN” for NaN under Expert and history",
    Remedy.ALLOW_OVERWRITING: (
        "check “Overwrite existing files” or choose another folder for the results"
    ),
    Remedy.CHOOSE_ANOTHER_NAME: "choose another folder for the results",
    Remedy.NAME_RESULTS: "rename one of them, or move it to another folder",
    Remedy.NAME_A_FILE_OF_THE_FOLDER: "choose a file in it",
    Remedy.WRITE_ANOTHER_FORMAT: f"{_OPEN_LAYER} and run it by itself",
    Remedy.WRITE_FLOATING_POINT: (
        "uncheck “Output data type same as input”, under Expert and history"
    ),
    Remedy.NAME_PLANES: f"{_OPEN_LAYER} and check there what to smooth along",
    Remedy.NAME_AXES: f"{_OPEN_LAYER} and run it by itself",
    Remedy.NAME_CHANNEL_AXIS: f"{_OPEN_LAYER} and run it by itself",
    Remedy.GIVE_VOXEL_SIZE: f"{_OPEN_LAYER} and set its voxel size there",
    Remedy.GIVE_LABELS: "choose them in “Restrict to labels”, under Expert and history",
    Remedy.GIVE_GUIDE: "choose it in “Edges from”, under Expert and history",
    Remedy.RESAMPLE_GUIDE: (
        "give both layers the same scale, translate, rotate, shear and affine, or choose another "
        "layer in “Edges from”"
    ),
    Remedy.RESAMPLE_REGIONS: (
        "give both layers the same scale, translate, rotate, shear and affine, or choose other "
        "labels in “Restrict to labels”"
    ),
    Remedy.ALLOW_MORE_MEMORY: (
        "filter a smaller region, keep fewer snapshots, or allow more in the preferences"
    ),
    Remedy.START_AGAIN: (
        "use the same settings or another name, or check “Overwrite an existing store” under "
        "Outputs and batch"
    ),
    Remedy.WRITE_STORE: "write an OME-Zarr instead",
    Remedy.RUN_ON_THE_WHOLE: "choose “whole image” in Region",
    Remedy.LEAVE_OUTPUTS: "uncheck them under Outputs and batch",
    Remedy.CHOOSE_RESULT_FOLDER: "choose one in “Folder”, under Outputs and batch",
    Remedy.TAKE_FEWER_STAGES: (
        "set a larger “Tolerance” or another “Scheme” under Expert and history, or a shorter time"
    ),
}

NO_NOISE = (
    "The image has no measurable noise, as it is constant or already smooth: "
    "enter the values yourself."
)


def is_same_fault(one: Exception, other: Exception) -> bool:
    """Whether two errors say the same to the user: the same message, or the same class and remedy.

    Their messages differ where one of them is about a part of the image.
    """
    if isinstance(one, DescribedError) and isinstance(other, DescribedError):
        has_remedy = one.remedy is not None
        if has_remedy and type(one) is type(other) and one.remedy is other.remedy:
            return True
    first, second = screen_message(one), screen_message(other)
    return first == second


def screen_message(error: BaseException, *, with_folder: bool = True) -> str:
    """Return the message of an error in terms of the controls on screen.

    An error without a message gives the name of its class.

    Parameters
    ----------
    error
        The error.
    with_folder
        Whether a file is named with its folder.
    """
    from napari_diffusion.estimation.measurement.noise import NoNoiseError

    if isinstance(error, NoNoiseError):
        return NO_NOISE
    if isinstance(error, DescribedError):
        return error.sentence(SCREEN_WORDS, with_folder=with_folder)
    if isinstance(error, OSError) and error.filename and error.strerror:
        file = Path(error.filename)
        return f"{file if with_folder else file.name}: {error.strerror}."
    return str(error).strip() or f"{type(error).__name__}."
