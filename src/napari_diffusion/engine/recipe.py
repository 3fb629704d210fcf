"""A run as plain numbers: the recipe that napari, Python, command line and cluster share."""

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

_LENGTH_POWER = {"length": 1, "length^2": 2, "intensity/length": -1}


#: Number of the format in which recipes are saved. It grows when an older version could misread a recipe.
RECIPE_FORMAT = 1


def package_version() -> str:
    """Return the version of this package."""
    try:
        return version("napari-diffusion")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a run except the image and its voxel size.

    Attributes
    ----------
    model, time
        The model with its parameters and the diffusion time [unit²].
    unit
        Unit of every length in the recipe, such as ``"micrometer"``; ``"pixel"`` when the voxels have no size.
    scheme, tolerance, strict, nan, preserve_dtype
        As in `diffuse`.
    spacing, axes, channel_axis
        Voxel size and axes that the recipe was made with, for the record; `diffuse` takes those of its image.
    axis_names
        Names of ``axes``, such as ``("z", "y", "x")``, by which an array in another order is smoothed along the same axes; see `on`.
    labels
        Name of the labels or mask that bounded the smoothing; whoever runs the recipe has to give some, or says that there are none.
    version
        Version of napari-diffusion that wrote it.
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
        """Return the recipe as plain JSON types."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {"format": RECIPE_FORMAT} | fields
        plain["model"] = self.model.name
        plain["parameters"] = self._parameters()
        if isinstance(self.scheme, Scheme):
            plain["scheme"] = {"name": self.scheme.name, **dataclasses.asdict(self.scheme)}  # type: ignore[call-overload]
        for name in ("spacing", "axes", "axis_names"):
            plain[name] = None if plain[name] is None else [_plain(value) for value in plain[name]]
        return {name: _plain(value) for name, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Rebuild a recipe; says in one sentence what is missing, unknown or wrong."""
        if not isinstance(plain, dict):
            raise ValueError(f"A recipe is a JSON object, got {type(plain).__name__}.")
        _check_format(plain.get("format", 0))
        for name in ("model", "time"):
            if name not in plain:
                raise ValueError(f"The recipe does not say {name!r}.")
        rest = {
            name: value
            for name, value in plain.items()
            if name not in ("format", "model", "parameters", "scheme")
        }
        known = {field.name for field in dataclasses.fields(cls)}
        for name, value in rest.items():
            if name not in known:
                raise ValueError(f"The recipe says {name!r}, which no recipe has.")
            allowed, wanted = _ALLOWED[name]
            if not allowed(value):
                raise ValueError(f"In the recipe, {name} must be {wanted}, got {value!r:.60}.")
        for name in ("spacing", "axis_names"):
            if rest.get(name) and rest.get("axes") and len(rest[name]) != len(rest["axes"]):
                raise ValueError(
                    f"In the recipe, {name} must have one entry for each of its {len(rest['axes'])} axes, got {len(rest[name])}."
                )
        for name in ("spacing", "axes", "axis_names"):
            rest[name] = None if rest.get(name) is None else tuple(rest[name])
        model = _model(plain["model"], plain.get("parameters", {}))
        return cls(model=model, scheme=_scheme(plain.get("scheme", "auto")), **rest)

    def _parameters(self) -> dict[str, Any]:
        values = {p.name: getattr(self.model, p.name) for p in parameters(self.model)}
        for name, value in values.items():
            if callable(value):
                raise ValueError(
                    f"A recipe cannot hold a function, and {name} is {value!r:.60}; run it from Python, or choose a name."
                )
        return values

    def to_json(self) -> str:
        """Return the recipe as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a recipe from JSON."""
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"The recipe is not valid JSON: {error}.") from None
        return cls.from_dict(plain)

    def save(self, path: str | Path) -> None:
        """Write the recipe to a JSON file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recipe from a JSON file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{Path(path).name} is not a recipe: it is not text.") from None
        return cls.from_json(text)

    def in_unit(self, unit: str) -> Self:
        """Return the same recipe with every length in another unit of length."""
        if unit == self.unit:
            return self
        if "pixel" in (unit, self.unit):
            remedy = (
                "give the image a voxel size"
                if unit == "pixel"
                else "count the image in pixels too"
            )
            raise ValueError(
                f"A recipe in {self.unit} cannot be used on an image in {unit}: {remedy}, or make the recipe anew in {unit}."
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
        """Return the recipe for an array whose axes have these names, whatever their order; the channel axis stays.

        Raises
        ------
        ValueError
            When the recipe names no axes, or one that the array has not.
        """
        here = [name.lower() for name in names]
        wanted = [name.lower() for name in self.axis_names or ()]
        if not wanted or any(here.count(name) != 1 for name in wanted):
            along = ", ".join(wanted) or "axes without names"
            raise ValueError(
                f"The recipe smooths along {along}, and the axes of the image are {', '.join(names)}; choose the axes by hand."
            )
        return dataclasses.replace(self, axes=tuple(here.index(name) for name in wanted))

    def _options(
        self, spacing: float | Sequence[float] | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        if self.labels is not None and not {"labels", "mask"} & options.keys():
            raise ValueError(
                f"The recipe smooths within {self.labels!r}: give labels or a mask, or labels=None to smooth across them."
            )
        own = {
            "axes": self.axes,
            "channel_axis": self.channel_axis,
            "spacing": self.spacing if spacing is None else spacing,
        }
        own |= {
            name: getattr(self, name)
            for name in ("time", "scheme", "tolerance", "strict", "nan", "preserve_dtype")
        }
        own["spacing"] = 1.0 if own["spacing"] is None else own["spacing"]
        return own | options

    def diffuse(
        self, image: Any, *, spacing: float | Sequence[float] | None = None, **options: Any
    ) -> Image:
        """Run the recipe; ``spacing`` [unit] defaults to the recipe's own, ``options`` such as ``labels`` go to `diffuse`."""
        progress, cancel = options.pop("progress", None), options.pop("cancel", None)
        request = Request.of(image, self.model, **self._options(spacing, options))
        return request.result(progress, cancel)

    def evolve(
        self, image: Any, *, spacing: float | Sequence[float] | None = None, **options: Any
    ) -> Generator[State, None, None]:
        """Run the recipe step by step, as `evolve`."""
        progress, cancel = options.pop("progress", None), options.pop("cancel", None)
        request = Request.of(image, self.model, **self._options(spacing, options))
        return request.evolve(progress, cancel)

    def _default(self, name: str) -> Any:
        return next(field.default for field in dataclasses.fields(self) if field.name == name)

    def describe(self) -> str:
        """Say in words what it does."""
        unit = symbol(self.unit)
        told = [
            f"{p.name} {getattr(self.model, p.name)} {p.unit_in(unit)}".rstrip()
            for p in parameters(self.model)
        ]
        told += [
            f"time {self.time:.4g} {unit}²",
            f"as a Gaussian of sigma {equivalent_sigma(self.time):.4g} {unit} at most",
        ]
        told += [] if self.labels is None else [f"within {self.labels}"]
        return f"{self.model.title}: {', '.join(told)}"

    def to_python(self, image: str = "image", labels: str | None = None) -> str:
        """Return the Python code of this run on the arrays of these names."""
        told = ", ".join(f"{name}={value!r}" for name, value in self._parameters().items())
        options = {"time": self.time, **self._options(None, {"labels": None})}
        labels = "labels" if labels is None and self.labels is not None else labels
        shown = [
            f"{name}={_code(value)}"
            for name, value in options.items()
            if name == "spacing" or value != self._default(name)
        ]
        shown += [] if labels is None else [f"labels={labels}"]
        model = type(self.model)
        ours = model in BUILTIN
        imports = "import napari_diffusion as nd\n" + (
            "" if ours else f"from {model.__module__} import {model.__name__}\n"
        )
        return f"{imports}\nresult = nd.diffuse({image}, {'nd.' if ours else ''}{model.__name__}({told}), {', '.join(shown)})\n"

    def to_command(self, source: str = "IN", target: str = "OUT", labels: str | None = None) -> str:
        """Return the command line of this run; lengths are in `unit`.

        Axes and voxel size are told where the recipe names its axes by letters, as files do; otherwise they are those of the file.
        """
        if isinstance(self.scheme, Scheme):
            raise ValueError(
                f"A command line cannot hold {self.scheme}; save the recipe as JSON and run it with --recipe."
            )
        words = ["napari-diffusion", "run", source, target, "--model", self.model.name]
        for name, value in self._parameters().items():
            words += [f"--{name.replace('_', '-')}", f"{value}"]
        words += ["--time", f"{self.time!r}", "--unit", self.unit]
        if self.axis_names and all(len(name) == 1 for name in self.axis_names):
            words += ["--axes", "".join(self.axis_names).upper()]
            words += (
                []
                if self.spacing is None
                else ["--spacing", ",".join(f"{float(h)!r}" for h in self.spacing)]
            )
        labels = "LABELS" if labels is None and self.labels is not None else labels
        words += [] if labels is None else ["--labels", labels]
        for name in ("scheme", "tolerance", "nan"):
            if getattr(self, name) != self._default(name):
                words += [f"--{name}", str(getattr(self, name))]
        words += [
            flag
            for flag, on in (("--strict", self.strict), ("--preserve-dtype", self.preserve_dtype))
            if on
        ]
        return shlex.join(words)


def _check_format(number: Any) -> None:
    """Refuse the recipe of a later version; the first recipes have no format number."""
    if not _whole(number) or number < 0:
        raise ValueError(f"In the recipe, format must be a whole number >= 0, got {number!r:.60}.")
    if number > RECIPE_FORMAT:
        raise ValueError(
            f"The recipe has format {number}, and this version of napari-diffusion "
            f"({package_version()}) reads formats up to {RECIPE_FORMAT}; "
            "update napari-diffusion to use it."
        )


def _model(name: Any, values: Any) -> Model:
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
    options = dict(plain) if isinstance(plain, dict) else {"name": plain}
    name = options.pop("name", None)
    known = {scheme.name: scheme for scheme in SCHEMES}
    if name not in (*known, *([] if isinstance(plain, dict) else ["auto"])):
        raise ValueError(
            f"There is no scheme named {name!r:.60}; the schemes are auto, {', '.join(known)}."
        )
    try:
        scheme = known[name](**options) if isinstance(plain, dict) else str(name)
    except TypeError as error:
        raise ValueError(f"The scheme of the recipe cannot be read: {error}.") from None
    for option, value in options.items():
        counted = option != "step"
        if value is not None and not (_number(value, _TINY) and (_whole(value) or not counted)):
            raise ValueError(
                f"In the recipe's scheme, {option} must be a {'whole ' * counted}number > 0, got {value!r:.60}."
            )
    return scheme


def _number(value: Any, least: float) -> bool:
    number = as_number(value)
    return number is not None and least <= number < math.inf


def _list(value: Any, allowed: Callable[[Any], bool]) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(map(allowed, value)))


def _different(values: Any) -> bool:
    return values is None or len(set(values)) == len(values)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TINY = sys.float_info.min
#: What a field of a recipe may hold: a check, and the same in words.
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "time": (lambda v: _number(v, 0), "a number >= 0 and finite"),
    "tolerance": (lambda v: _number(v, _TINY), "a number > 0 and finite"),
    "unit": (lambda v: isinstance(v, str), "the name of a unit"),
    "strict": (lambda v: isinstance(v, bool), "true or false"),
    "preserve_dtype": (lambda v: isinstance(v, bool), "true or false"),
    "nan": (lambda v: v in ("raise", "mask"), "'raise' or 'mask'"),
    "spacing": (lambda v: _list(v, lambda h: _number(h, _TINY)), "a list of numbers > 0"),
    "axes": (lambda v: _list(v, _whole) and _different(v), "a list of different whole numbers"),
    "channel_axis": (lambda v: v is None or _whole(v), "a whole number"),
    "axis_names": (
        lambda v: _list(v, lambda name: isinstance(name, str)) and _different(v),
        "a list of different names",
    ),
    "labels": (lambda v: v is None or isinstance(v, str), "the name of labels"),
    "version": (lambda v: isinstance(v, str), "text"),
}


def _plain(value: Any) -> Any:
    """Numbers of NumPy as JSON knows them."""
    return value.item() if isinstance(value, np.generic) else value


def _code(value: Any) -> str:
    if isinstance(value, Scheme):
        return f"nd.schemes.{value!r}"
    return repr(tuple(value) if isinstance(value, list) else value)
