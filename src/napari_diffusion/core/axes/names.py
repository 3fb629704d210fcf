"""Names of image axes in microscopy and MRI, and the kind of axis that each name stands for.

This is the only table of axis names: napari layers, the readers of files and the command line use
it. A name is a word such as ``timepoint``, or a letter of tifffile, OME, CZI or NIfTI.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum


class AxisKind(Enum):
    """Kind of an image axis; the value is the plural noun for its samples."""

    SPACE = "planes"
    TIME = "time points"
    CHANNEL = "channels"
    SAMPLE = "colour samples"
    POSITION = "positions"
    MEASUREMENT = "measurements"
    UNKNOWN = "images"


#: Names in lower case, without plural and without separators. Sources: OME and OME-NGFF,
#: Bio-Formats (modulo axes), tifffile, CZI and LIF dimensions, Micro-Manager, NIfTI and BIDS
#: entities, DICOM, scikit-image.
_NAMES = {
    AxisKind.SPACE: "x y z depth height width length plane slice section row column col pln pl"
    " space xaxis yaxis zaxis dimx dimy dimz px py pz focus focalplane stack"
    " ap lr rl pa is si lateral axial elevation elevational sagittal coronal"
    " ra ras right anterior superior left posterior inferior",
    AxisKind.TIME: "t time zeit temps tiempo tempo timepoint tp timestep timeframe frame"
    " timelapse cycle repetition repeat rep volume vol dynamic sweep timeseries taxis tr hour"
    " minute second",
    AxisKind.CHANNEL: "c ch channel kanal canal color colour w wavelength lambda l e emission"
    " excitation band spectrum spectra spectral marker stain dye fluorophore antibody caxis laser"
    " filter polarization polarisation",
    AxisKind.SAMPLE: "sample rgb rgba samplesperpixel",
    AxisKind.POSITION: "p s pos position scene serie series tile r m mosaic mosaictile view v angle"
    " rotation illumination illuminationdirection region field fieldofview fov roi site point well"
    " block batch b n round phase h a image event file subject sub patient session ses run"
    " acquisition acq specimen animal embryo pose detector object",
    AxisKind.MEASUREMENT: "echo echotime te echoe direction dir diffusion diffusiontime dwi bval"
    " bvalue bvec gradient graddir inversion inv inversiontime ti coil flip flipangle fa part"
    " contrast lifetime microtime exposure parameter vector component tensor"
    " magnitude statistic stat average measurement energy dose condition",
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_SEPARATORS = re.compile(r"[\s_\-.:/()\[\]]+")
#: A unit or a number behind a name, as in ``t [s]``, ``z (um)`` or ``axis_x 1``.
_REMARK = re.compile(r"\s*[\[(].*[\])]\s*$")
#: Words that say nothing about the kind.
_EMPTY = re.compile(r"^(?:axis|dim|dimension)|(?:axis|dim|dimension|index|idx|number|no|id)$")
#: Largest number of samples of an axis without a name that is taken for channels or the like, and
#: the factor by which another axis must be longer. Stacks of four planes or less are rare.
FEW_SAMPLES, LONGER = 4, 8


def kind_of(name: str) -> AxisKind:
    """Return the kind of axis that a name stands for; `AxisKind.UNKNOWN` for other names.

    Upper and lower case, plural, separators, and a unit in brackets make no difference. Of an
    unknown name of several words, such as ``z_um``, the words count that are all of one kind.
    """
    plain = _REMARK.sub("", name.strip().lower())
    kind = _kind_of_word(_SEPARATORS.sub("", plain))
    if kind is not AxisKind.UNKNOWN:
        return kind
    kinds = {_kind_of_word(word) for word in _SEPARATORS.split(plain)} - {AxisKind.UNKNOWN}
    return kinds.pop() if len(kinds) == 1 else AxisKind.UNKNOWN


def time_axes(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the numbers of the axes of time; None if the name of an axis says nothing."""
    kinds = [kind_of(name) for name in names]
    if AxisKind.UNKNOWN in kinds:
        return None
    return tuple(i for i, kind in enumerate(kinds) if kind is AxisKind.TIME)


def _kind_of_word(bare: str) -> AxisKind:
    """Return the kind of a name in lower case without separators."""
    for word in (bare, _EMPTY.sub("", bare)):
        for form in (word, word.removesuffix("s"), word.rstrip("0123456789")):
            if form in _KINDS:
                return _KINDS[form]
    return AxisKind.UNKNOWN


def _kinds(names: Sequence[str | None]) -> list[AxisKind | None]:
    """Return the kind of each axis; ``None`` without a name, or with one such as ``dim_0``."""
    return [None if name is None or _is_number(name) else kind_of(name) for name in names]


def _is_number(name: str) -> bool:
    """Whether a name is only the number of its axis, as in ``axis-0``, ``dim_1`` and ``-3``."""
    bare = _SEPARATORS.sub("", _REMARK.sub("", name.strip().lower()))
    return not _EMPTY.sub("", bare).strip("0123456789")


def space_axes(
    names: Sequence[str | None], shape: Sequence[int], has_length: Sequence[bool]
) -> tuple[int, ...]:
    """Return the axes of space by default: at most three, in the order of the image.

    An axis of space has a name of space or no name. An axis with an unknown name is one only if no
    axis has a name of space. Where some of these axes have a length as unit, the others are not
    space. An axis without a name and without a length is not space if it has one sample. Neither is
    one with few samples (`FEW_SAMPLES`) beside longer axes (`LONGER` times): such axes are channels
    or time points more often than planes. The last three of the remaining axes are returned, or the
    last two axes of the image if none remains.

    Parameters
    ----------
    names
        Name of each axis; ``None`` for an axis without a name.
    shape
        Number of samples of each axis.
    has_length
        Whether the unit of each axis is a length.
    """
    kinds = _kinds(names)
    allowed = {None, AxisKind.SPACE}
    if AxisKind.SPACE not in kinds:
        allowed.add(AxisKind.UNKNOWN)
    space = [i for i, kind in enumerate(kinds) if kind in allowed]
    if any(has_length[i] for i in space):
        space = [i for i in space if has_length[i]]
    longest = max((shape[i] for i in space), default=0)
    short = [i for i in space if kinds[i] is None and not has_length[i]]
    short = [i for i in short if is_short(shape[i], longest)]
    space = [i for i in space if i not in short]
    return tuple(space or range(len(names))[-2:])[-3:]


def is_short(size: int, longest: int) -> bool:
    """Whether an axis has so few samples beside a longer one that they are hardly planes.

    Parameters
    ----------
    size, longest
        Number of samples of the axis, and of the longest axis that it is compared with.
    """
    return size == 1 or (1 < size <= FEW_SAMPLES and size * LONGER <= longest)


def assumptions(
    names: Sequence[str | None],
    shape: Sequence[int],
    has_length: Sequence[bool],
    axes: Sequence[int],
) -> tuple[str, ...]:
    """Return one sentence for each axis of which `space_axes` has guessed the role.

    Parameters
    ----------
    names, shape, has_length
        As for `space_axes`.
    axes
        Axes to smooth along. An axis that differs from `space_axes` was chosen by the user.
    """
    default, kinds = space_axes(names, shape, has_length), _kinds(names)
    sentences = []
    for i, kind in enumerate(kinds):
        is_space = i in default
        if is_space is not (i in axes) or shape[i] == 1:
            continue
        name = names[i] or f"axis {i}"
        if kind is AxisKind.UNKNOWN and is_space:
            sentences.append(f"The name {name} is not known here: taken as space.")
        elif kind is AxisKind.UNKNOWN:
            sentences.append(f"The name {name} is not known here: not taken as space.")
        elif kind is None and is_space and i not in default[-2:] and not has_length[i]:
            sentences.append(f"{_capital(name)} has no name: taken as z. Uncheck it if it is time.")
        elif kind is None and not is_space and is_short(shape[i], max(shape)):
            sentences.append(
                f"{_capital(name)} has {shape[i]} samples and no name: taken as channels. "
                "Check it to smooth along it."
            )
        elif kind in (None, AxisKind.SPACE) and not is_space:
            without = any(has_length) and not has_length[i]
            reason = "has no unit of length" if without else "is beyond the last three"
            sentences.append(f"{_capital(name)} {reason}: not taken as space.")
    return tuple(sentences)


def _capital(text: str) -> str:
    return text if len(text) == 1 else text[0].upper() + text[1:]


def describe_axes(
    names: Sequence[str | None],
    shape: Sequence[int],
    axes: Sequence[int],
    coupled: int | None = None,
    sizes: str = "",
) -> str:
    """Describe the axes of a run in words.

    For example ``3-D: z, y, x; 2 channels and 5 time points separately``.

    Parameters
    ----------
    names
        Name of each axis; ``None`` for an axis without a name.
    shape
        Number of samples of each axis.
    axes
        Axes to smooth along.
    coupled
        Axis of the channels that share one diffusivity, or ``None``.
    sizes
        Voxel size along these axes in words, with its unit; empty to leave it out.
    """
    text = f"{len(axes)}-D: " + ", ".join(names[i] or f"axis {i}" for i in sorted(axes))
    text += f" · {sizes}" if sizes else ""
    others = [i for i in range(len(names)) if i not in axes and i != coupled and shape[i] != 1]
    # An axis without a name is taken for channels where it has few samples, see `assumptions`.
    longest = max((n for i, n in enumerate(shape) if i != coupled), default=0)
    counts = [
        f"{shape[i]} "
        + _noun(names[i], AxisKind.CHANNEL if is_short(shape[i], longest) else AxisKind.UNKNOWN)
        for i in others
    ]
    if coupled is not None:
        text += f"; {shape[coupled]} {_noun(names[coupled], AxisKind.CHANNEL)} together"
    if counts:
        text += f"; {_listed(counts)} separately"
    return text


def _noun(name: str | None, default: AxisKind = AxisKind.UNKNOWN) -> str:
    """Return the plural noun for the samples of an axis."""
    kind = default if name is None else kind_of(name)
    if kind is AxisKind.UNKNOWN and name is not None:
        return f"samples of {name}"
    return (default if kind is AxisKind.UNKNOWN else kind).value


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
