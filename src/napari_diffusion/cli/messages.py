"""Words of the command line for what the user can do about an error."""

from __future__ import annotations

from collections.abc import Mapping

from napari_diffusion.core.errors import SHARED_WORDS, Remedy

#: Options of the command ``run`` for each remedy.
COMMAND_LINE_WORDS: Mapping[Remedy, str] = SHARED_WORDS | {
    Remedy.MASK_NAN: "use --nan mask",
    Remedy.ALLOW_OVERWRITING: "use --overwrite or choose another name",
    Remedy.CHOOSE_ANOTHER_NAME: "choose another name",
    Remedy.WRITE_ANOTHER_FORMAT: "write NIfTI or .npy",
    Remedy.WRITE_FLOATING_POINT: "leave out --preserve-dtype, or write NIfTI or .npy",
    Remedy.NAME_PLANES: (
        "give --axes ZYX if they are a stack, or --axes YX to filter each by itself"
    ),
    Remedy.NAME_AXES: "say which with --axes",
    Remedy.NAME_CHANNEL_AXIS: "give --channel-axis",
    Remedy.GIVE_VOXEL_SIZE: "give --spacing, one number per smoothed axis",
    Remedy.GIVE_LABELS: "give --labels or --mask, or take its labels out of it",
    Remedy.ALLOW_MORE_MEMORY: "filter a smaller region",
    Remedy.TAKE_FEWER_STAGES: "use a larger --tolerance, a shorter --time, or another --scheme",
}
