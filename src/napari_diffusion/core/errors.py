"""Exception classes of the package.

An error says what is wrong: a thing and its value. What the user can do about it is a `Remedy`, for
which every front end (Python, command line, widget) has its own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self


class Remedy(Enum):
    """What the user can do about an error."""

    MASK_NAN = auto()
    ALLOW_OVERWRITING = auto()
    CHOOSE_ANOTHER_NAME = auto()
    WRITE_ANOTHER_FORMAT = auto()
    WRITE_STORE = auto()
    WRITE_FLOATING_POINT = auto()
    NAME_PLANES = auto()
    NAME_AXES = auto()
    NAME_CHANNEL_AXIS = auto()
    GIVE_VOXEL_SIZE = auto()
    GIVE_LABELS = auto()
    GIVE_GUIDE = auto()
    CHOOSE_ANOTHER_FOLDER = auto()
    SAVE_ONE_IMAGE = auto()
    CONVERT_COLOURS = auto()
    INSTALL_IMAGECODECS = auto()
    REPLACE_DAMAGED = auto()
    SAVE_AS_NIFTI = auto()
    NAME_ONE_FILE = auto()
    NAME_A_FILE_OF_THE_FOLDER = auto()
    NAME_RESULTS = auto()
    MAKE_FOLDER = auto()
    CONVERT_FORMAT = auto()
    CONVERT_DICOM = auto()
    RESAMPLE_REGIONS = auto()
    RESAMPLE_GUIDE = auto()
    FILTER_LESS = auto()
    CHECK_UNITS = auto()
    TAKE_FEWER_STAGES = auto()
    ALLOW_MORE_MEMORY = auto()
    RAISE_BUDGET = auto()
    NAME_AN_IMAGE = auto()
    CONTINUE = auto()
    START_AGAIN = auto()
    RUN_ON_THE_WHOLE = auto()
    LEAVE_OUTPUTS = auto()
    CHOOSE_RESULT_FOLDER = auto()
    SAVE_ONE_BY_ONE = auto()


#: Words for what the user does in another program; they are the same in every front end.
SHARED_WORDS = {
    Remedy.CHOOSE_ANOTHER_FOLDER: "choose another folder for the results",
    Remedy.MAKE_FOLDER: "make it first",
    Remedy.CONVERT_FORMAT: "convert it to NIfTI or TIFF",
    Remedy.SAVE_ONE_IMAGE: "save the one to filter to a file of its own",
    Remedy.CONVERT_COLOURS: "convert it to grey or RGB",
    Remedy.INSTALL_IMAGECODECS: 'install it with pip install "napari-diffusion[io]"',
    Remedy.REPLACE_DAMAGED: "copy or download it again",
    Remedy.SAVE_AS_NIFTI: "convert it to a single .nii file",
    Remedy.NAME_ONE_FILE: "name a file of the series to filter",
    Remedy.CONVERT_DICOM: "convert it to NIfTI with a program such as dcm2niix",
    Remedy.RESAMPLE_REGIONS: "resample it to the grid of the image, with nearest neighbours",
    Remedy.RESAMPLE_GUIDE: "resample it to the grid of the image",
    Remedy.FILTER_LESS: (
        "filter a smaller region, fewer axes at once, or convert the image to float32"
    ),
    Remedy.NAME_AN_IMAGE: "name one of them, as in plate.ome.zarr/A/1/0",
    Remedy.CONTINUE: "the blocks before it are kept: run it again to continue",
    Remedy.RAISE_BUDGET: "raise the budget, or use a shorter time or another scheme",
    Remedy.SAVE_ONE_BY_ONE: "save each of them to a file of its own",
    Remedy.RUN_ON_THE_WHOLE: "filter the whole image",
    Remedy.LEAVE_OUTPUTS: "ask for the result alone",
    Remedy.CHOOSE_RESULT_FOLDER: "name a folder that can be written to",
    Remedy.CHECK_UNITS: (
        "check the units of time and voxel size, or use the linear model without mask"
    ),
}
#: Words of Python for each remedy.
PYTHON_WORDS: Mapping[Remedy, str] = SHARED_WORDS | {
    Remedy.MASK_NAN: "use nan='mask'",
    Remedy.ALLOW_OVERWRITING: "use overwrite=True or choose another name",
    Remedy.CHOOSE_ANOTHER_NAME: "choose another name",
    Remedy.NAME_RESULTS: "use another pattern for the names",
    Remedy.NAME_A_FILE_OF_THE_FOLDER: "name a file in it",
    Remedy.WRITE_ANOTHER_FORMAT: "write NIfTI or .npy",
    Remedy.WRITE_STORE: "write an OME-Zarr, with a name such as out.ome.zarr",
    Remedy.WRITE_FLOATING_POINT: "use preserve_dtype=False, or write NIfTI or .npy",
    Remedy.NAME_PLANES: "name the axes z, y, x of a stack, or y, x to filter each by itself",
    Remedy.NAME_AXES: "name the axes to smooth along",
    Remedy.NAME_CHANNEL_AXIS: "give channel_axis",
    Remedy.GIVE_VOXEL_SIZE: "give spacing, one number per smoothed axis",
    Remedy.GIVE_LABELS: "give labels or mask, or take the labels out of the recipe",
    Remedy.GIVE_GUIDE: "give guide, or take the guide out of the recipe",
    Remedy.ALLOW_MORE_MEMORY: "filter a smaller region, keep fewer snapshots, or raise the limit",
    Remedy.TAKE_FEWER_STAGES: "use a larger tolerance, a shorter time, or another scheme",
    Remedy.START_AGAIN: "use the same settings, or resume=False to start again",
    Remedy.FILTER_LESS: (
        "use diffuse_store, which filters in blocks, a smaller region, or fewer axes at once"
    ),
}


class DescribedError(Exception):
    """Base of the errors whose advice each front end words for itself.

    Parameters
    ----------
    description
        What is wrong: a thing and its value, without advice, without the name of the file, and
        without a final period.
    remedy
        What the user can do about it, ``None`` where the description says all.
    path
        File that the description is about, ``None`` if it is about no file.

    Attributes
    ----------
    description, remedy, path
        The parameters.
    purpose
        What the remedy achieves, as the end of the sentence.
    """

    purpose: str = ""

    def __init__(
        self, description: str, remedy: Remedy | None = None, path: Path | None = None
    ) -> None:
        self.description, self.remedy, self.path = description, remedy, path
        super().__init__(self.sentence(PYTHON_WORDS))

    def sentence(self, words: Mapping[Remedy, str], *, with_folder: bool = True) -> str:
        """Return the message in the words of a front end.

        Parameters
        ----------
        words
            Words of the front end for each remedy.
        with_folder
            Whether the file is named with its folder.
        """
        sentence = self.description
        if self.path is not None:
            sentence = f"{self.path if with_folder else self.path.name}: {sentence}"
        if self.remedy is not None:
            advice = " ".join(part for part in (words[self.remedy], self.purpose) if part)
            sentence = f"{sentence}; {advice}"
        return f"{sentence}."

    def about(self, path: Path) -> Self:
        """Return the error as one about another file."""
        self.path = path
        self.args = (self.sentence(PYTHON_WORDS),)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the error from its parameters, as for another process."""
        return type(self), (self.description, self.remedy, self.path), vars(self)


class InputError(DescribedError, ValueError):
    """An image, a file or an argument cannot be used as it is."""


class NotFinite(InputError):
    """Some values are NaN or infinite.

    Attributes
    ----------
    count
        Number of NaN and infinite values.
    index
        Index of the first of them in the user's array.
    subject
        Name of the array in the message.
    """

    def __init__(self, count: int, index: tuple[int, ...], subject: str) -> None:
        self.count, self.index, self.subject = count, index, subject
        several = count > 1
        values, them = ("values that are", "them") if several else ("value that is", "it")
        place = f"{', one' if several else ''} at index {list(index)}"
        self.purpose = f"to diffuse around {them}"
        super().__init__(f"{subject} has {count} {values} NaN or infinite{place}", Remedy.MASK_NAN)

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the error from its parameters, as for another process."""
        return type(self), (self.count, self.index, self.subject), vars(self)


class SourceMissing(DescribedError, FileNotFoundError):
    """There is no file of this name to read."""


class SourceLocked(DescribedError, PermissionError):
    """A file may not be read."""


class TargetExists(DescribedError, FileExistsError):
    """A result would replace a file or a folder."""


class WriteError(DescribedError, OSError):
    """A file cannot be written."""


class BlockFailed(DescribedError, RuntimeError):
    """A block of a run in blocks has failed; the blocks before it are kept."""


class NotEnoughMemory(DescribedError, MemoryError):
    """A run needs more memory than is free or allowed."""


class DeviceFailed(RuntimeError):
    """A device, such as a graphics card, cannot be used; the message has no final period."""


class DeviceMemoryError(DeviceFailed):
    """The memory of a device is too small."""


class MissingLibraryError(ImportError):
    """A file format needs a library that is not installed."""


def reason_of(error: Exception) -> str:
    """Return the message of an error, also of another library, as a part of a sentence."""
    if isinstance(error, DescribedError):
        return error.description
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The message of a KeyError is usually the key alone.
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(key, str) and key.isidentifier():
        return f"the entry {key!r} is missing"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def shown(value: Any) -> str:
    """Return an argument as a part of a sentence: on one line, and at most 60 letters of it."""
    try:
        return f"{' '.join(repr(value).split()):.60}"
    except Exception:  # of another library; and integers of thousands of digits
        return type(value).__name__
