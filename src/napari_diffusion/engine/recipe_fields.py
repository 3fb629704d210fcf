"""Fields of a recipe: the options of a run and the record of its image, declared once each.

The command line, the widgets, saved recipes and the documentation read the declarations.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self, cast

import numpy as np

from napari_diffusion import schemes
from napari_diffusion.backends.devices import PROCESSOR
from napari_diffusion.core import units
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.errors import shown
from napari_diffusion.core.geometry import Geometry
from napari_diffusion.core.parameters import (
    Parameter,
    as_number,
    check_parameters,
    param,
    parameters,
    rescaled,
)
from napari_diffusion.core.transforms import anscombe
from napari_diffusion.models import Model
from napari_diffusion.schemes import Scheme

#: Factor of the time of the steady state. With 1, the residual of edge-enhancing diffusion was up
#: to twice the tolerance; with 1.5, it is below (docs/develop/decisions.md has the exceptions).
STEADY_MARGIN = 1.5


@cache
def package_version() -> str:
    """Return the version of this package."""
    try:
        return version("napari-diffusion")
    except PackageNotFoundError:
        return "unknown"


def _listed(
    name: str, is_valid: Callable[[Any], bool], description: str, distinct: bool = False
) -> Callable[[Any], Any]:
    """Return a check of a list with valid entries, which returns it as a tuple.

    With ``distinct``, no entry may be repeated.
    """

    def convert(values: Any) -> tuple[Any, ...]:
        is_list = hasattr(values, "__iter__") and not isinstance(values, str | bytes)
        entries = tuple(map(_plain, values)) if is_list else ()
        all_valid = is_list and all(map(is_valid, entries))
        if not all_valid or (distinct and len(set(entries)) < len(entries)):
            raise ValueError(f"{name} must be a list of {description}, got {shown(values)}.")
        return entries

    return convert


def _plain(value: Any) -> Any:
    """Convert a NumPy number to a Python number, for text that others read."""
    return value.item() if isinstance(value, np.generic) else value


def _is_size(value: Any) -> bool:
    """Whether a value is a finite number > 0 and not subnormal."""
    number = as_number(value)
    return number is not None and sys.float_info.min <= number < math.inf


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _text(name: str, description: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{name} must be {description}, got {shown(value)}.")
        return value

    return convert


def _axis(value: Any) -> int:
    if not _is_whole(value):
        raise ValueError(f"channel_axis must be a whole number, got {shown(value)}.")
    return int(value)


def _model(model: Any) -> Model:
    if not isinstance(model, Model):
        raise TypeError(
            f"model must be a diffusion model such as nd.Linear(), got {type(model).__name__}."
        )
    return model


def steady_time(fidelity_length: float | None, tolerance: float) -> float:
    r"""Return the diffusion time after which a run with a fidelity length is steady.

    .. math:: T = 1.5\,\ell^2 \ln(1/\epsilon)

    For :math:`u_t = A(u) + (f - u)/\ell^2` with a monotone A, such as linear diffusion and total
    variation, two solutions approach each other at least as :math:`e^{-t/\ell^2}`, and so does the
    residual :math:`u_t`. The time is therefore known before the run, whatever the image. The factor
    `STEADY_MARGIN` is for the other models, which come to rest more slowly.

    Parameters
    ----------
    fidelity_length
        Fidelity length :math:`\ell` [length].
    tolerance
        Tolerance :math:`\epsilon` of the run.

    Raises
    ------
    TypeError
        Without a fidelity length: the image then becomes constant in the end.
    """
    if fidelity_length is None:
        raise TypeError(
            "time is missing: give the diffusion time [length²], or a fidelity length for the "
            "steady state."
        )
    return STEADY_MARGIN * fidelity_length**2 * max(1.0, math.log(1 / tolerance))


@dataclass(frozen=True)
class RecipeFields:
    """The fields of a `Recipe`, checked; its docstring describes them."""

    model: Model = param(MISSING, "Diffusion model.", convert=_model, hidden=True)
    time: float = param(
        MISSING,
        "Diffusion time T. Linear diffusion over T is a Gaussian of sigma = sqrt(2T).",
        unit="length^2",
        ge=0,
        hidden=True,
    )
    unit: str = param(
        "pixel",
        "Unit of all lengths.",
        convert=units.canonical,
        hidden=True,
    )
    scheme: str | Scheme = param(
        schemes.AUTO,
        'Scheme of the time integration; "auto" takes the fastest one that is accurate enough.',
        convert=schemes.checked_scheme,
        offered=schemes.names,
        label="Scheme",
    )
    tolerance: float = param(
        1e-3,
        "Target error of the time integration, as a share of the intensity range.",
        gt=0,
        label="Tolerance",
    )
    strict: bool = param(
        False,
        "Guarantee the extremum principle: no value leaves the range of the input.",
        label="Keep within intensity range",
    )
    nan: str = param(
        "raise",
        'NaN and infinite values: "raise" refuses them, "mask" keeps them and diffuses around '
        "them.",
        choices=("raise", "mask"),
        label="NaN",
        choice_labels=("report an error", "ignore, keep NaN"),
    )
    impulses: str = param(
        "keep",
        'Hot and dead voxels, far outside the noise around them: "keep" smooths them as they are, '
        '"mask" first replaces them from their neighbours.',
        choices=("keep", "mask"),
        label="Hot, dead voxels",
        choice_labels=("keep", "replace"),
    )
    fidelity_length: float | None = param(
        None,
        "Fidelity length l: the source (f - u)/l² holds the result u to the input f. Structures "
        "much wider than l keep their intensity. By default, there is no source.",
        unit="length",
        ge=1e-12,
        le=1e12,
        label="Fidelity length",
    )
    guide_weight: float = param(
        1.0,
        "With a guide: share of the squared gradients that comes from the guide; the rest comes "
        "from the image.",
        gt=0,
        le=1,
        label="Guide weight",
    )
    preserve_dtype: bool = param(
        False,
        "Round and saturate to the integer type of the input; by default integers become floats.",
        label="Output data type same as input",
    )
    transform: str = param(
        "none",
        'Transform of the intensities during the run: "anscombe" makes photon noise uniform, with '
        "a standard deviation of 1. Thresholds of the model are then in units of the noise.",
        choices=("none", "anscombe"),
        label="Photon noise",
        choice_labels=("as it is", "make uniform"),
    )
    gain: float = param(
        1.0, "With a transform: intensity per photon.", unit="intensity", gt=0, label="Gain"
    )
    offset: float = param(
        0.0, "With a transform: intensity without light.", unit="intensity", label="Offset"
    )
    read_noise: float = param(
        0.0,
        "With a transform: standard deviation of the noise without light.",
        unit="intensity",
        ge=0,
        label="Read noise",
    )
    spacing: tuple[float, ...] | None = param(
        None,
        "Voxel size of the image.",
        unit="length",
        convert=_listed("spacing", _is_size, "numbers > 0"),
        hidden=True,
    )
    axes: tuple[int, ...] | None = param(
        None,
        "Diffusing axes.",
        convert=_listed("axes", _is_whole, "different whole numbers", distinct=True),
        hidden=True,
    )
    channel_axis: int | None = param(None, "Axis of the channels.", convert=_axis, hidden=True)
    axis_names: tuple[str, ...] | None = param(
        None,
        "Names of the axes.",
        convert=_listed("axis_names", _is_text, "different names", distinct=True),
        hidden=True,
    )
    labels: str | None = param(
        None, "Name of the labels.", convert=_text("labels", "the name of labels"), hidden=True
    )
    guide: str | None = param(
        None, "Name of the guide.", convert=_text("guide", "the name of an image"), hidden=True
    )
    remarks: tuple[str, ...] = param(
        (),
        "Sentences about the recipe, such as what differs from another program.",
        convert=_listed("remarks", _is_text, "sentences"),
        hidden=True,
    )
    computed_on: tuple[str, ...] = param(
        (),
        "Names of the devices that computed the result; empty for the processor alone.",
        convert=_listed("computed_on", _is_text, "names of devices"),
        hidden=True,
    )
    version: str = dataclasses.field(default_factory=package_version)

    def __post_init__(self) -> None:
        """Check the fields, and replace the time ``None`` by that of the steady state."""
        if cast(Any, self.time) is None:
            object.__setattr__(self, "time", 0.0)
            check_parameters(self)
            object.__setattr__(self, "time", steady_time(self.fidelity_length, self.tolerance))
        check_parameters(self)
        if not isinstance(self.version, str):
            raise ValueError(f"version must be text, got {shown(self.version)}.")
        if self.transform != "none" and self.model.has_transform:
            raise ValueError(
                f"{self.model.title} transforms the intensities itself; leave out transform, or "
                "take another model."
            )
        if self.transform != "none" and self.read_noise > anscombe.LARGEST_READ_NOISE * self.gain:
            raise ValueError(
                f"The read noise is more than {anscombe.LARGEST_READ_NOISE:g} photons, so that "
                "photon noise does not matter; leave out transform."
            )
        if self.strict and not self.model.keeps_extrema:
            raise ValueError(
                f"{self.model.title} has no extremum principle that strict could guarantee; leave "
                "out strict, or take another model."
            )
        for name in ("spacing", "axis_names"):
            entries = getattr(self, name)
            if entries and self.axes and len(entries) != len(self.axes):
                raise ValueError(
                    f"{name} must have one entry for each of the {len(self.axes)} axes, "
                    f"got {len(entries)}."
                )

    @property
    def fidelity_rate(self) -> float:
        """Rate at which the result returns to the input [1/length²]; 0 without a source."""
        return 0.0 if self.fidelity_length is None else self.fidelity_length**-2

    @property
    def steady_time(self) -> float | None:
        """The diffusion time if the run goes to the steady state [length²]; otherwise None."""
        if self.fidelity_length is None:
            return None
        steady = steady_time(self.fidelity_length, self.tolerance)
        return self.time if math.isclose(self.time, steady, rel_tol=1e-6) else None

    @property
    def has_transform(self) -> bool:
        """Whether transformed intensities are diffused."""
        return self.model.has_transform or self.transform != "none"

    @property
    def transform_options(self) -> dict[str, Any]:
        """The transform and its numbers; empty without one."""
        if self.transform == "none":
            return {}
        return {name: getattr(self, name) for name in ("transform", *transform_numbers())}

    def stabilise(self, u: Field) -> None:
        """Make photon noise uniform, in place, if `transform` says so."""
        if self.transform != "none":
            anscombe.stabilise(u, self.gain, self.offset, self.read_noise)

    def encode(self, u: Field) -> None:
        """Transform intensities in place, before the first stage."""
        self.stabilise(u)
        self.model.encode(u)

    def decode(self, u: Field) -> None:
        """Transform back to intensities in place, after the last stage."""
        self.model.decode(u)
        if self.transform != "none":
            anscombe.restore(u, self.gain, self.offset, self.read_noise)

    @property
    def geometry(self) -> Geometry:
        """Recorded geometry of the image, with voxels of size 1 without a record."""
        spacing = 1.0 if self.spacing is None else self.spacing
        return Geometry(spacing, self.axes, self.channel_axis)

    def geometry_with(
        self,
        spacing: float | Sequence[float] | None,
        axes: Sequence[int] | None,
        channel_axis: int | None,
        channel_weights: Sequence[float | None] | None,
    ) -> Geometry:
        """Return the geometry of an image; the record stands in for all that is ``None``.

        Raises
        ------
        ValueError
            When the axes are others than the recorded ones, and the voxel size is not given.
        """
        return Geometry(
            self._spacing_along(axes) if spacing is None else spacing,
            self.axes if axes is None else axes,
            self.channel_axis if channel_axis is None else channel_axis,
            channel_weights,
        )

    def _spacing_along(self, axes: Sequence[int] | None) -> float | tuple[float, ...]:
        """Return the recorded voxel size along some axes; 1 without a record."""
        sizes = self.spacing
        if sizes is None or axes is None or not hasattr(axes, "__iter__"):
            return 1.0 if sizes is None else sizes
        if self.axes is not None and set(self.axes) == set(axes):
            return tuple(sizes[self.axes.index(axis)] for axis in axes)
        if len(set(sizes)) == 1:
            return sizes[0]
        raise ValueError(
            f"The recipe records the voxel size along the axes {self.axes}; "
            f"give spacing for the axes {tuple(axes)}."
        )

    def on_devices(self, names: Sequence[str]) -> Self:
        """Return the recipe with the record of the devices that have computed its result."""
        recorded = () if set(names) <= {PROCESSOR} else tuple(names)
        return (
            self
            if recorded == self.computed_on
            else dataclasses.replace(self, computed_on=recorded)
        )

    def in_unit(self, unit: str) -> Self:
        """Return the same recipe with every length converted to another unit of length.

        Raises
        ------
        ValueError
            When one of the units is not a unit of length, or when exactly one of them is the pixel.
        """
        unit = units.canonical(unit)
        if unit == self.unit:
            return self
        if "pixel" in (unit, self.unit):
            remedy = "count the image in pixels too"
            if unit == "pixel":
                remedy = "give the image a voxel size"
            raise ValueError(
                f"A recipe in {self.unit} cannot be used on an image in {unit}: {remedy}, "
                f"or make a new recipe in {unit}."
            )
        factor = units.factor(self.unit, unit)
        return dataclasses.replace(
            rescaled(self, factor),
            model=rescaled(self.model, factor),
            scheme=schemes.in_unit(self.scheme, factor),
            unit=unit,
        )

    def on(self, names: Sequence[str]) -> Self:
        """Return the recipe for an array with axes of these names, in any order.

        Names are compared without regard to case. The channel axis is unchanged.

        Raises
        ------
        ValueError
            When the recipe does not name its axes, or the array lacks one of them.
        """
        image_names = [name.lower() for name in names]
        own_names = [name.lower() for name in self.axis_names or ()]
        if not own_names or any(image_names.count(name) != 1 for name in own_names):
            along = ", ".join(own_names) or "axes without names"
            raise ValueError(
                f"The recipe smooths along {along}, and the axes of the image are "
                f"{', '.join(names)}; choose the axes by hand."
            )
        return dataclasses.replace(self, axes=tuple(image_names.index(name) for name in own_names))


def run_options(kind: Any = RecipeFields) -> tuple[Parameter, ...]:
    """Return the declared options of a run that the command line and the widgets offer.

    Parameters
    ----------
    kind
        `RecipeFields` for what is done, `Execution` for how it is computed.
    """
    return _run_options(kind)


@cache
def _run_options(kind: Any) -> tuple[Parameter, ...]:
    return tuple(parameter for parameter in parameters(kind) if not parameter.hidden)


@cache
def transform_numbers() -> tuple[str, ...]:
    """Return the names of the numbers of a transform: gain, offset and read noise."""
    start = "With a transform: "
    return tuple(option.name for option in run_options() if option.doc.startswith(start))
