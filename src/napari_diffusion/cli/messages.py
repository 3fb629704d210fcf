"""Words of the command line for what the user can do about an error."""

from __future__ import annotations

from collections.abc import Mapping

import click

from napari_diffusion.core.errors import SHARED_WORDS, DescribedError, MissingLibraryError, Remedy

#: Options of the command ``run`` for each remedy.
COMMAND_LINE_WORDS: Mapping[Remedy, str] = SHARED_WORDS | {
    Remedy.MASK_NAN: "use --nan mask",
    Remedy.ALLOW_OVERWRITING: "use --overwrite or choose another name",
    Remedy.CHOOSE_ANOTHER_NAME: "choose another name",
    Remedy.NAME_RESULTS: "use another --name, such as {folder}_{stem}.nii",
    Remedy.NAME_A_FILE_OF_THE_FOLDER: "name a file in it, or use batch to filter all its files",
    Remedy.WRITE_ANOTHER_FORMAT: "write NIfTI or .npy",
    Remedy.WRITE_FLOATING_POINT: "leave out --preserve-dtype, or write NIfTI or .npy",
    Remedy.NAME_PLANES: (
        "give --axes ZYX if they are a stack, or --axes YX to filter each by itself"
    ),
    Remedy.NAME_AXES: "say which with --axes",
    Remedy.NAME_CHANNEL_AXIS: "give --channel-axis",
    Remedy.GIVE_VOXEL_SIZE: "give --spacing, one number per smoothed axis",
    Remedy.GIVE_LABELS: "give --labels or --mask, or take its labels out of it",
    Remedy.GIVE_GUIDE: "give --guide, or take its guide out of it",
    Remedy.ALLOW_MORE_MEMORY: "raise --memory, or write an .ome.zarr, which is filtered in blocks",
    Remedy.FILTER_LESS: "write an .ome.zarr, which is filtered in blocks, or use fewer --axes",
    Remedy.WRITE_STORE: "write an OME-Zarr, such as out.ome.zarr",
    Remedy.RAISE_BUDGET: "raise --memory, or use a shorter --time or another --scheme",
    Remedy.START_AGAIN: "use the same options, or --restart to start again",
    Remedy.TAKE_FEWER_STAGES: "use a larger --tolerance, a shorter --time, or another --scheme",
}


def code_and_message(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the message, in one sentence, for an error."""
    if isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, DescribedError):
        text = error.sentence(COMMAND_LINE_WORDS)
    elif isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}."
    elif isinstance(error, ValueError | TypeError | MemoryError | OSError | MissingLibraryError):
        text = str(error) or type(error).__name__
    else:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return 1, f"{text} (this is a fault of the program; --debug shows where)"
    return 2, " ".join(text.split())
