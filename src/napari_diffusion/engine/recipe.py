"""Recipes: the settings of a run, shared by the widgets, Python and the command line."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.core.units import length_factor, symbol
from napari_diffusion.engine.in_memory import State
from napari_diffusion.engine.request import Request
from napari_diffusion.models import BUILTIN, Model, get, parameters
from napari_diffusion.models.base import as_number
from napari_diffusion.schemes import BUILTIN as SCHEMES
from napari_diffusion.schemes import Scheme

#: Version of the saved format. It grows when an older version could misread a recipe.
RECIPE_FORMAT = 1
#: Power of the unit of length in the unit of a parameter.
_LENGTH_POWER = {"length": 1, "length^2": 2, "intensity/length": -1}


#: Fields of a recipe that define the run, and those that describe its image; all are keywords of
#: `napari_diffusion.diffuse`.
RUN_KEYWORDS = ("time", "scheme", "tolerance", "strict", "nan", "preserve_dtype")
IMAGE_KEYWORDS = ("spacing", "axes", "channel_axis")


def package_version() -> str:
    """Return the version of this package."""
    try:
        return version("napari-diffusion")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class Recipe:
    """The settings of a run, without image, mask and channel weights.

    Attributes
    ----------
    model, time
        The model with its parameters and the diffusion time [unit²].
    unit
        Unit of every length in the recipe, such as ``"micrometer"``; ``"pixel"`` for voxels without
        a size.
    scheme, tolerance, strict, nan, preserve_dtype
        As in `napari_diffusion.diffuse`.
    spacing
        Voxel size of the image that the recipe was made for [unit]. It is the default of `diffuse`
        and `evolve`.
    axes, channel_axis
        Axes of that image; the defaults of `diffuse` and `evolve`.
    axis_names
        Names of ``axes``, such as ``("z", "y", "x")``. With them, `on` converts the recipe to an
        array whose axes have another order.
    labels
        Name of the labels or mask within which the image was smoothed. A run of the recipe then
        needs labels or a mask, or an explicit ``labels=None``.
    version
        Version of napari-diffusion that wrote the recipe.
    """

    model: Model
    time: float
    unit: str = "pixel"
    scheme: str | Scheme = "auto"
    tolerance: float = 1e-3
    strict: bool = False
    nan: str = "raise"
    preserve_dtype: bool = False
    spacing: tuple[float, ...] | None = None
    axes: tuple[int, ...] | None = None
    channel_axis: int | None = None
    axis_names: tuple[str, ...] | None = None
    labels: str | None = None
    version: str = dataclasses.field(default_factory=package_version)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON types.

        Raises
        ------
        ValueError
            When a parameter of the model is a function.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {"format": RECIPE_FORMAT} | fields
        plain["model"] = self.model.name
        plain["parameters"] = self._parameters()
        if isinstance(self.scheme, Scheme):
            options = dataclasses.asdict(self.scheme)  # type: ignore[call-overload]
            plain["scheme"] = {"name": self.scheme.name, **options}
        for name in ("spacing", "axes", "axis_names"):
            plain[name] = None if plain[name] is None else [_plain(value) for value in plain[name]]
        return {name: _plain(value) for name, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Rebuild a recipe from plain JSON types.

        Raises
        ------
        ValueError, TypeError
            When a field is missing, unknown or invalid; the message names it.
        """
        if not isinstance(plain, dict):
            raise ValueError(f"A recipe is a JSON object, got {type(plain).__name__}.")
        _check_format(plain.get("format", 0))
        for name in ("model", "time"):
            if name not in plain:
                raise ValueError(f"The recipe does not say {name!r}.")
        read_apart = ("format", "model", "parameters", "scheme")
        fields = {name: value for name, value in plain.items() if name not in read_apart}
        _check_fields(fields)
        for name in ("spacing", "axes", "axis_names"):
            fields[name] = None if fields.get(name) is None else tuple(fields[name])
        model = _model(plain["model"], plain.get("parameters", {}))
        return cls(model=model, scheme=_scheme(plain.get("scheme", "auto")), **fields)

    def _parameters(self) -> dict[str, Any]:
        """Return the parameters of the model by name; raises ValueError for a function."""
        values = {p.name: getattr(self.model, p.name) for p in parameters(self.model)}
        for name, value in values.items():
            if callable(value):
                raise ValueError(
                    f"A recipe cannot hold a function, and {name} is {value!r:.60}; "
                    "run it from Python, or choose a name."
                )
        return values

    def to_json(self) -> str:
        """Return the recipe as JSON text; errors as in `to_dict`."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a recipe from JSON text; errors as in `from_dict`."""
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"The recipe is not valid JSON: {error}.") from None
        return cls.from_dict(plain)

    def save(self, path: str | Path) -> None:
        """Write the recipe to a JSON file; errors as in `to_dict`."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recipe from a JSON file; errors as in `from_dict`."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{Path(path).name} is not a recipe: it is not text.") from None
        return cls.from_json(text)

    def in_unit(self, unit: str) -> Self:
        """Return the same recipe with every length converted to another unit of length.

        Raises
        ------
        ValueError
            When one of the units is not a unit of length, or when exactly one of them is the pixel.
        """
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
        factor = length_factor(self.unit, unit)
        changed = {
            p.name: getattr(self.model, p.name) * factor ** _LENGTH_POWER[p.unit]
            for p in parameters(self.model)
            if p.unit in _LENGTH_POWER
        }
        scheme = self.scheme
        step = getattr(scheme, "step", None)
        if step is not None and not isinstance(scheme, str):
            scheme = dataclasses.replace(scheme, step=step * factor**2)  # type: ignore[type-var]
        return dataclasses.replace(
            self,
            model=dataclasses.replace(self.model, **changed),
            time=self.time * factor**2,
            unit=unit,
            scheme=scheme,
            spacing=None if self.spacing is None else tuple(h * factor for h in self.spacing),
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

    def _options(
        self, spacing: float | Sequence[float] | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the keywords of `napari_diffusion.diffuse`; ``options`` take precedence."""
        if self.labels is not None and not {"labels", "mask"} & options.keys():
            raise ValueError(
                f"The recipe smooths within {self.labels!r}: give labels or a mask, "
                "or labels=None to smooth across them."
            )
        if spacing is None:
            spacing = 1.0 if self.spacing is None else self.spacing
        own = {"axes": self.axes, "channel_axis": self.channel_axis, "spacing": spacing}
        return own | {name: getattr(self, name) for name in RUN_KEYWORDS} | options

    @property
    def keywords(self) -> dict[str, Any]:
        """Keywords of `napari_diffusion.diffuse` that the recipe holds, beside the model."""
        return {name: getattr(self, name) for name in (*RUN_KEYWORDS, *IMAGE_KEYWORDS)}

    def diffuse(
        self, image: Any, *, spacing: float | Sequence[float] | None = None, **options: Any
    ) -> Image:
        """Run the recipe on an image.

        Parameters
        ----------
        image
            As in `napari_diffusion.diffuse`.
        spacing
            Voxel size in the `unit` of the recipe; default the voxel size of the recipe.
        **options
            Further keywords of `napari_diffusion.diffuse`, such as ``labels``. They take precedence
            over those of the recipe.

        Returns
        -------
        numpy.ndarray
            As `napari_diffusion.diffuse`.

        Raises
        ------
        ValueError
            When the recipe has `labels` and neither labels nor a mask are given.
        TypeError, ValueError, MemoryError, Cancelled
            As `napari_diffusion.diffuse`.
        """
        progress, cancel = options.pop("progress", None), options.pop("cancel", None)
        request = Request.of(image, self.model, **self._options(spacing, options))
        return request.result(progress, cancel)

    def evolve(
        self, image: Any, *, spacing: float | Sequence[float] | None = None, **options: Any
    ) -> Generator[State, None, None]:
        """Run the recipe step by step, as `napari_diffusion.evolve`; arguments as in `diffuse`."""
        progress, cancel = options.pop("progress", None), options.pop("cancel", None)
        request = Request.of(image, self.model, **self._options(spacing, options))
        return request.evolve(progress, cancel)

    def _default(self, name: str) -> Any:
        return next(field.default for field in dataclasses.fields(self) if field.name == name)

    def describe(self) -> str:
        """Return the model, its parameters, the time and the labels in words."""
        unit = symbol(self.unit)
        phrases = [
            f"{p.name} {getattr(self.model, p.name)} {p.unit_in(unit)}".rstrip()
            for p in parameters(self.model)
        ]
        phrases += [
            f"time {self.time:.4g} {unit}²",
            f"as a Gaussian of sigma {equivalent_sigma(self.time):.4g} {unit} at most",
        ]
        if self.labels is not None:
            phrases.append(f"within {self.labels}")
        return f"{self.model.title}: {', '.join(phrases)}"

    def to_python(self, image: str = "image", labels: str | None = None) -> str:
        """Return the Python code of this run; ``image`` and ``labels`` are names of variables."""
        options = {"time": self.time, **self._options(None, {"labels": None})}
        if labels is None and self.labels is not None:
            labels = "labels"
        arguments = [
            f"{name}={_code(value)}"
            for name, value in options.items()
            if name == "spacing" or value != self._default(name)
        ]
        if labels is not None:
            arguments.append(f"labels={labels}")
        kind = type(self.model)
        imports, constructor = "import napari_diffusion as nd\n", f"nd.{kind.__name__}"
        if kind not in BUILTIN:
            imports += f"from {kind.__module__} import {kind.__name__}\n"
            constructor = kind.__name__
        values = ", ".join(f"{name}={value!r}" for name, value in self._parameters().items())
        call = f"nd.diffuse({image}, {constructor}({values}), {', '.join(arguments)})"
        return f"{imports}\nresult = {call}\n"

    def to_command(self, source: str = "IN", target: str = "OUT", labels: str | None = None) -> str:
        """Return the command line of this run; lengths are in `unit`.

        It contains axes and voxel size if each axis name of the recipe is a single letter.
        Otherwise the axes and the voxel size of the file are used.

        Raises
        ------
        ValueError
            When the scheme is an object with options, which a command line cannot hold.
        """
        if isinstance(self.scheme, Scheme):
            raise ValueError(
                f"A command line cannot hold {self.scheme}; "
                "save the recipe as JSON and run it with --recipe."
            )
        words = ["napari-diffusion", "run", source, target, "--model", self.model.name]
        for name, value in self._parameters().items():
            words += [f"--{name.replace('_', '-')}", f"{value}"]
        words += ["--time", f"{self.time!r}", "--unit", self.unit]
        if self.axis_names and all(len(name) == 1 for name in self.axis_names):
            words += ["--axes", "".join(self.axis_names).upper()]
            if self.spacing is not None:
                words += ["--spacing", ",".join(f"{float(h)!r}" for h in self.spacing)]
        if labels is None and self.labels is not None:
            labels = "LABELS"
        if labels is not None:
            words += ["--labels", labels]
        for name in ("scheme", "tolerance", "nan"):
            if getattr(self, name) != self._default(name):
                words += [f"--{name}", str(getattr(self, name))]
        if self.strict:
            words.append("--strict")
        if self.preserve_dtype:
            words.append("--preserve-dtype")
        return shlex.join(words)


def _check_format(number: Any) -> None:
    """Refuse the recipe of a later version; the first recipes have no format number."""
    if not _is_whole(number) or number < 0:
        raise ValueError(f"In the recipe, format must be a whole number >= 0, got {number!r:.60}.")
    if number > RECIPE_FORMAT:
        raise ValueError(
            f"The recipe has format {number}, and this version of napari-diffusion "
            f"({package_version()}) reads formats up to {RECIPE_FORMAT}; "
            "update napari-diffusion to use it."
        )


def _check_fields(fields: dict[str, Any]) -> None:
    """Check all fields of a recipe but its format, model, parameters and scheme."""
    for name, value in fields.items():
        if name not in _FIELD_CHECKS:
            raise ValueError(f"The recipe says {name!r}, which no recipe has.")
        is_valid, description = _FIELD_CHECKS[name]
        if not is_valid(value):
            raise ValueError(f"In the recipe, {name} must be {description}, got {value!r:.60}.")
    axes = fields.get("axes")
    for name in ("spacing", "axis_names"):
        if fields.get(name) and axes and len(fields[name]) != len(axes):
            raise ValueError(
                f"In the recipe, {name} must have one entry for each of its {len(axes)} axes, "
                f"got {len(fields[name])}."
            )


def _model(name: Any, values: Any) -> Model:
    """Return the model of a recipe from its name and its parameters."""
    if not (isinstance(name, str) and isinstance(values, dict)):
        raise ValueError("In the recipe, model must be a name and parameters a JSON object.")
    kind = get(name)
    if unknown := set(values) - {p.name for p in parameters(kind)}:
        raise ValueError(f"The recipe says {min(unknown)!r}, which is no parameter of {kind.name}.")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"The recipe cannot be read: {error}") from None


def _scheme(plain: Any) -> str | Scheme:
    """Return the scheme of a recipe from its name, or from an object with name and options."""
    options = dict(plain) if isinstance(plain, dict) else {"name": plain}
    name = options.pop("name", None)
    kinds = {scheme.name: scheme for scheme in SCHEMES}
    if name not in (*kinds, *([] if isinstance(plain, dict) else ["auto"])):
        raise ValueError(
            f"There is no scheme named {name!r:.60}; the schemes are auto, {', '.join(kinds)}."
        )
    try:
        scheme = kinds[name](**options) if isinstance(plain, dict) else str(name)
    except TypeError as error:
        raise ValueError(f"The scheme of the recipe cannot be read: {error}.") from None
    for option, value in options.items():
        is_count = option != "step"
        if value is not None and not (_is_positive(value) and (_is_whole(value) or not is_count)):
            raise ValueError(
                f"In the recipe's scheme, {option} must be a {'whole ' * is_count}number > 0, "
                f"got {value!r:.60}."
            )
    return scheme


def _is_number(value: Any, minimum: float) -> bool:
    number = as_number(value)
    return number is not None and minimum <= number < math.inf


def _is_positive(value: Any) -> bool:
    """Whether a value is a finite number > 0 and not subnormal."""
    return _is_number(value, sys.float_info.min)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: Any, is_valid: Callable[[Any], bool]) -> bool:
    """Whether a value is ``None`` or a list of valid entries."""
    return value is None or (isinstance(value, list | tuple) and all(map(is_valid, value)))


def _are_distinct(values: Any) -> bool:
    return values is None or len(set(values)) == len(values)


#: Check of each plain field of a recipe, and its description in an error message.
_FIELD_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "time": (lambda v: _is_number(v, 0), "a number >= 0 and finite"),
    "tolerance": (_is_positive, "a number > 0 and finite"),
    "unit": (lambda v: isinstance(v, str), "the name of a unit"),
    "strict": (lambda v: isinstance(v, bool), "true or false"),
    "preserve_dtype": (lambda v: isinstance(v, bool), "true or false"),
    "nan": (lambda v: v in ("raise", "mask"), "'raise' or 'mask'"),
    "spacing": (lambda v: _is_list(v, _is_positive), "a list of numbers > 0"),
    "axes": (
        lambda v: _is_list(v, _is_whole) and _are_distinct(v),
        "a list of different whole numbers",
    ),
    "channel_axis": (lambda v: v is None or _is_whole(v), "a whole number"),
    "axis_names": (
        lambda v: _is_list(v, lambda name: isinstance(name, str)) and _are_distinct(v),
        "a list of different names",
    ),
    "labels": (lambda v: v is None or isinstance(v, str), "the name of labels"),
    "version": (lambda v: isinstance(v, str), "text"),
}


def _plain(value: Any) -> Any:
    """Convert a NumPy number to a Python number, for JSON."""
    return value.item() if isinstance(value, np.generic) else value


def _code(value: Any) -> str:
    """Return the Python code of a value."""
    if isinstance(value, Scheme):
        return f"nd.schemes.{value!r}"
    return repr(tuple(value) if isinstance(value, list) else value)
