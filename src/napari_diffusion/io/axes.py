"""Axes of a file: which of them are smoothed, and with which voxel size."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_diffusion.core import units
from napari_diffusion.core.axes.names import is_short
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.core.geometry import Geometry
from napari_diffusion.io import Volume
from napari_diffusion.io.volume import UNKNOWN_AXES


@dataclass(frozen=True)
class AxisRequest:
    """What the user says about the axes of a file; it takes precedence over the metadata.

    Attributes
    ----------
    axes
        Axes to smooth along, each by its letter or by its number; ``None`` for the axes of space.
        The letters X, Y and Z may also name axes of unknown kind.
    channel_axis
        Axis whose values are coupled, by its letter or its number; ``None`` for that of the file.
    spacing
        Voxel size along ``axes`` [unit], or one number for all of them; ``None`` for that of the
        file.
    unit
        Unit of length; ``None`` for that of the file.
    """

    axes: tuple[str | int, ...] | None = None
    channel_axis: str | int | None = None
    spacing: tuple[float, ...] | None = None
    unit: str | None = None


@dataclass(frozen=True)
class AxisAssignment:
    """The role of each axis of a file in a run.

    Attributes
    ----------
    letters
        One letter per axis, as in `Volume.axes`.
    axes
        Axes to smooth along.
    channel_axis
        Axis whose values are coupled, or ``None``.
    spacing
        Voxel size along ``axes`` [unit].
    unit
        Unit of length.
    channel_weights
        Weight of each channel along ``channel_axis``, ``None`` for one that is copied; ``None`` for
        equal weights.
    notes
        Sentences about what was assumed.
    """

    letters: str
    axes: tuple[int, ...]
    channel_axis: int | None
    spacing: tuple[float, ...]
    unit: str
    channel_weights: tuple[float | None, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """Geometry of the run."""
        return Geometry(self.spacing, self.axes, self.channel_axis, self.channel_weights)


def resolve_axes(volume: Volume, request: AxisRequest) -> AxisAssignment:
    """Combine the metadata of a file with the request of the user.

    Raises
    ------
    InputError
        When an axis or a voxel size remains unknown: a guess might smooth over time. Also when the
        request does not fit the file.
    ValueError
        When the requested unit is unknown.
    """
    letters, axes, channel = _resolve_letters(volume, request)
    unit = volume.unit if request.unit is None else units.canonical(request.unit)
    weights = volume.channel_weights if channel == volume.channel_axis else None
    if request.spacing is not None:
        sizes = request.spacing * (len(axes) if len(request.spacing) == 1 else 1)
        if len(sizes) != len(axes):
            raise _refusal(
                volume,
                f"{len(sizes)} voxel sizes were given for {len(axes)} smoothed axes",
                Remedy.GIVE_VOXEL_SIZE,
            )
        notes = _unit_assumed(volume) if request.unit is None else ()
        return AxisAssignment(letters, axes, channel, sizes, unit, weights, notes)
    if unit != volume.unit and "pixel" in (unit, volume.unit):
        old, new = units.symbol(volume.unit), units.symbol(unit)
        raise _refusal(
            volume,
            f"its voxel size in {old} cannot be converted to {new}",
            Remedy.GIVE_VOXEL_SIZE,
        )
    scale = units.factor(volume.unit, unit)
    own_sizes = []
    for i in axes:
        own = volume.spacing[i]
        if own is None and (volume.unit == "pixel" or volume.shape[i] == 1):
            own = 1.0  # nothing flows along an axis of one voxel
        if own is None:
            remark = f" ({volume.size_remark})" if volume.size_remark else ""
            raise _refusal(
                volume,
                f"it gives no voxel size along {letters[i]}{remark}",
                Remedy.GIVE_VOXEL_SIZE,
            )
        own_sizes.append(own * scale)
    notes = _unit_assumed(volume)
    if volume.size_remark:
        notes = (f"{volume.size_remark[0].upper()}{volume.size_remark[1:]}.", *notes)
    return AxisAssignment(letters, axes, channel, tuple(own_sizes), unit, weights, notes)


def _unit_assumed(volume: Volume) -> tuple[str, ...]:
    """Return a sentence if the unit of the voxel size is an assumption."""
    if not volume.unit_is_assumed:
        return ()
    return (f"It gives no unit of length; {units.symbol(volume.unit)} is assumed.",)


def apply_axes(volume: Volume, assignment: AxisAssignment) -> Volume:
    """Return the volume with the letters, the voxel size and the unit of an assignment.

    They matter for a target whose header is not a copy of the source's header.
    """
    assigned = dict(zip(assignment.axes, assignment.spacing, strict=True))
    scale = None
    if (volume.unit == "pixel") == (assignment.unit == "pixel"):
        scale = units.factor(volume.unit, assignment.unit)
    own = [None if size is None or scale is None else size * scale for size in volume.spacing]
    spacing = tuple(
        assigned.get(i, own[i]) if letter in "XYZ" else None
        for i, letter in enumerate(assignment.letters)
    )
    affine = volume.affine
    if affine is not None and scale is not None:
        affine = affine.copy()
        affine[:-1] *= scale
    return replace(
        volume, axes=assignment.letters, spacing=spacing, unit=assignment.unit, affine=affine
    )


def _resolve_letters(
    volume: Volume, request: AxisRequest
) -> tuple[str, tuple[int, ...], int | None]:
    """Return the letters of all axes, the axes to smooth along, and the channel axis."""
    letters = list(volume.axes)
    channel = volume.channel_axis
    if request.channel_axis is not None:
        channel = _axis_index(request.channel_axis, letters, volume)
    unknown = [i for i, letter in enumerate(letters) if letter in UNKNOWN_AXES and i != channel]
    if request.axes is None:
        if any(volume.shape[i] > 1 for i in unknown):
            planes = " x ".join(str(volume.shape[i]) for i in unknown)
            raise _refusal(
                volume, f"it does not say what its {planes} planes are", Remedy.NAME_PLANES
            )
        axes = [i for i in volume.space if i != channel]
    else:
        axes = []
        for axis in request.axes:
            letter = axis.upper() if isinstance(axis, str) else ""
            if letter in ("X", "Y", "Z") and letter not in letters and unknown:
                place = _place_of_planes(volume.shape, unknown)
                letters[place] = letter
                unknown.remove(place)
            axes.append(_axis_index(axis, letters, volume))
    if not axes or len(set(axes)) < len(axes) or channel in axes:
        named = ", ".join(letters[i] for i in axes) or "none"
        raise _refusal(
            volume,
            "the axes to smooth along must be different axes, without the channel axis, "
            f"got {named} of {', '.join(letters)}",
        )
    return "".join(letters), tuple(axes), channel


def _place_of_planes(shape: tuple[int, ...], unknown: list[int]) -> int:
    """Return the axis of unknown kind that holds planes.

    It is the last one, because planes of a stack vary faster than frames. Axes of one sample, and
    of few samples beside a longer axis, are left out where others remain: the latter hold channels.
    """
    longest = max(shape[i] for i in unknown)
    return ([i for i in unknown if not is_short(shape[i], longest)] or unknown)[-1]


def _axis_index(axis: str | int, letters: list[str], volume: Volume) -> int:
    """Return the index of an axis that is given by its letter or its number."""
    if isinstance(axis, int):
        if -len(letters) <= axis < len(letters):
            return axis % len(letters)
    elif axis.upper() in letters:
        return letters.index(axis.upper())
    raise _refusal(volume, f"it has no axis {axis}, its axes are {', '.join(letters)}")


def _refusal(volume: Volume, reason: str, remedy: Remedy | None = None) -> InputError:
    """Return the error about a volume; one without a file is called the image."""
    if volume.path is None:
        return InputError(f"The image: {reason}", remedy)
    return InputError(reason, remedy, volume.path)
