"""A recipe on the axes of a file: matching the axes, checking the match, describing the run."""

from __future__ import annotations

from dataclasses import replace

from napari_diffusion.core import units
from napari_diffusion.core.axes.names import AxisKind, kind_of
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, AxisRequest
from napari_diffusion.io.volume import UNKNOWN_AXES

#: Letters of the axes 5, 6 and 7 of NIfTI, whose kind the format does not say.
NIFTI_EXTRA_AXES = "VUW"


def axes_from_recipe(recipe: Recipe, volume: Volume, request: AxisRequest) -> AxisRequest:
    """Add the axes and the voxel size of a recipe to a request.

    What the request says is kept, and the metadata of the file take precedence. Axes are matched by
    name if the file has all axes of the recipe. They are matched by number if neither side has
    names and both end with the same axis. This is the case for stacks in plain TIFF and NumPy
    files. A recipe in pixels also gives the voxel size of a file without one, whose axes are in the
    order of arrays (z, y, x).

    Parameters
    ----------
    recipe
        The recipe.
    volume
        The volume to filter.
    request
        What the user says about the axes.

    Returns
    -------
    AxisRequest
        The request, with ``axes`` and ``spacing`` where the recipe gives them.
    """
    sizes = recipe.spacing or ()
    letters = [letter for letter in volume.axes if letter in "XYZ"]
    if request.axes is None:
        names = tuple(name.upper() for name in recipe.axis_names or ())
        places = [i for i in range(len(volume.axes)) if i != volume.channel_axis]
        nameless = any(volume.axes[i] in UNKNOWN_AXES and volume.shape[i] > 1 for i in places)
        if names and all(name in list(volume.axes) for name in names):
            request = replace(request, axes=names)
        elif nameless and recipe.axes and not names and max(recipe.axes) == max(places):
            request = replace(request, axes=tuple(recipe.axes))
        elif len(letters) != len(sizes) or letters != sorted(letters, reverse=True):
            sizes = ()
        unsized = recipe.unit == volume.unit == "pixel" and {*volume.spacing} <= {None, 1.0}
        if sizes and unsized and request.spacing is None and request.unit is None:
            request = replace(request, spacing=tuple(map(float, sizes)))
    return request


def check_recipe(
    recipe: Recipe,
    assignment: AxisAssignment,
    request: AxisRequest,
    has_regions: bool,
    is_guided: bool,
) -> None:
    """Check that a recipe fits the axes of a file, and that its labels and guide are given.

    The axes of a recipe are those of its own array, which may differ from the axes of the file.

    Parameters
    ----------
    recipe
        The recipe.
    assignment
        The roles of the axes of the file.
    request
        What the user or `axes_from_recipe` says about the axes.
    has_regions
        Whether labels or a mask are given.
    is_guided
        Whether a guide is given.

    Raises
    ------
    InputError
        When the number of axes differs, when axes by number are not the space axes of the file,
        when labels or guide of the recipe are missing, or when the channel axis is unknown.
    """
    letters, numbers = assignment.letters, recipe.axes or ()
    if request.axes is None:
        count, file_count = len(numbers or assignment.axes), len(assignment.axes)
        if count != file_count:
            raise InputError(
                f"The recipe smooths along {count} axes and the file has {file_count} axes "
                "of space",
                Remedy.NAME_AXES,
            )
        same_ndim = bool(numbers) and max(numbers) + 1 == len(letters)
        if recipe.axis_names is None and same_ndim and set(numbers) != set(assignment.axes):
            by_number = ", ".join(letters[i] for i in numbers)
            space = ", ".join(letters[i] for i in assignment.axes)
            raise InputError(
                f"The recipe's axes have no names: by number they are {by_number} here, "
                f"and those of space are {space}",
                Remedy.NAME_AXES,
            )
    if recipe.labels is not None and not has_regions:
        raise InputError(f"The recipe smooths within {recipe.labels!r}", Remedy.GIVE_LABELS)
    if recipe.guide is not None and not is_guided:
        raise InputError(f"The recipe takes its edges from {recipe.guide!r}", Remedy.GIVE_GUIDE)
    if recipe.channel_axis is not None and assignment.channel_axis is None:
        raise InputError(
            "The recipe couples channels and the file does not say which axis they are",
            Remedy.NAME_CHANNEL_AXIS,
        )


def describe_file_run(volume: Volume, assignment: AxisAssignment, recipe: Recipe) -> str:
    """Describe a run on a file in words: the image, the axes to smooth along, and the recipe."""
    letters, unit = assignment.letters, units.symbol(assignment.unit)
    shape = " x ".join(f"{letter} {n}" for letter, n in zip(letters, volume.shape, strict=True))
    along = ", ".join(letters[i] for i in assignment.axes)
    voxel = " x ".join(f"{h:.4g}" for h in assignment.spacing)
    remarks = ""
    for i, (letter, n) in enumerate(zip(letters, volume.shape, strict=True)):
        if i == assignment.channel_axis:
            copied = " and the opacity copied" if volume.alpha is not None else ""
            remarks += f"; {n} {_samples_of(letter)} along {letter} together{copied}"
        elif i not in assignment.axes and n > 1:
            noun = "samples" if letter == "S" else _samples_of(letter)  # they are no colours
            remarks += f"; each of {n} {noun} along {letter} by itself"
    return (
        f"{volume.path}: {shape}, {volume.stored}. "
        f"Smooths along {along}, voxel {voxel} {unit}{remarks}.\n{recipe.describe()}."
    )


def _samples_of(letter: str) -> str:
    """Return the noun for the samples along an axis of a file."""
    if letter == "S":
        return AxisKind.SAMPLE.value  # in OME, S is also a scene
    unknown = letter in UNKNOWN_AXES + NIFTI_EXTRA_AXES
    return (AxisKind.UNKNOWN if unknown else kind_of(letter)).value
