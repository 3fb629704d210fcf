"""Recipes: the settings of a run, shared by the widgets, Python and the command line."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from napari_diffusion import schemes
from napari_diffusion.core import units
from napari_diffusion.core.arrays import Image
from napari_diffusion.core.errors import shown
from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.core.geometry import Domain
from napari_diffusion.core.parameters import Parameter, parameters
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import State, evolve, run
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields, package_version, run_options
from napari_diffusion.models import BUILTIN, Model, get
from napari_diffusion.operators.threshold_map import in_words

#: Version of the saved format. It grows when an older version could misread a recipe.
RECIPE_FORMAT = 1
#: Largest file of a recipe [bytes]; a map of the threshold is far smaller.
_LONGEST_FILE = 1 << 26

_Part = TypeVar("_Part", Domain, Execution)


@dataclass(frozen=True)
class Recipe(RecipeFields):
    """The settings of a run, without image, mask and channel weights.

    Attributes
    ----------
    model, time
        The model with its parameters and the diffusion time [unit²].
    unit
        Unit of every length in the recipe, such as ``"micrometer"``; ``"pixel"`` for voxels without
        a size.
    scheme, tolerance, strict, nan, impulses, preserve_dtype
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
    guide
        Name of the image from which the edges came. A run of the recipe then needs a guide, or an
        explicit ``guide=None``.
    remarks
        Sentences about the recipe: for one of `napari_diffusion.presets`, what differs from the
        other program.
    computed_on
        Names of the devices that computed the result to which the recipe belongs. It is empty for
        the processor alone, and a run does not read it: see `Execution`.
    version
        Version of napari-diffusion that wrote the recipe.
    """

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
        plain["scheme"] = schemes.to_plain(self.scheme)
        if not self.computed_on:  # versions without devices read the recipe, too
            del plain["computed_on"]
        return {name: _plain(value) for name, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Rebuild a recipe from plain JSON types.

        Raises
        ------
        ValueError
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
        if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(cls)}):
            raise ValueError(f"The recipe says {unknown[0]!r}, which no recipe has.")
        model = _model(plain["model"], plain.get("parameters", {}))
        try:
            scheme = schemes.from_plain(plain.get("scheme", schemes.AUTO))
            return cls(model=model, scheme=scheme, **fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"In the recipe, {error}") from None

    def _parameters(self) -> dict[str, Any]:
        """Return the parameters of the model by name, without maps that are not set.

        Raises ValueError for a function.
        """
        maps = self.model.maps
        values = {
            p.name: getattr(self.model, p.name)
            for p in parameters(self.model)
            if not p.is_map or p.name in maps
        }
        for name, value in values.items():
            if callable(value):
                raise ValueError(
                    f"A recipe cannot hold a function, and {name} is {shown(value)}; "
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
            plain = json.loads(text.removeprefix("\ufeff"))  # some editors write a byte order mark
        except (ValueError, RecursionError) as error:
            raise ValueError(f"The recipe is not valid JSON: {error}.") from None
        return cls.from_dict(plain)

    def save(self, path: str | Path) -> None:
        """Write the recipe to a JSON file; errors as in `to_dict`."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recipe from a JSON file; errors as in `from_dict`."""
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST_FILE + 1)
        name = Path(path).name
        if len(content) > _LONGEST_FILE:
            raise ValueError(f"{name} is not a recipe: it has more than {_LONGEST_FILE:,} bytes.")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name} is not a recipe: it is not text.") from None
        return cls.from_json(text)

    def _bind(
        self, image: Any, spacing: float | Sequence[float] | None, options: dict[str, Any]
    ) -> tuple[Problem, Execution]:
        """Return the problem of an image, and the execution; ``options`` take precedence."""
        if self.labels is not None and not {"labels", "mask"} & options.keys():
            raise ValueError(
                f"The recipe smooths within {self.labels!r}: give labels or a mask, "
                "or labels=None to smooth across them."
            )
        if self.guide is not None and "guide" not in options:
            raise ValueError(
                f"The recipe takes its edges from {self.guide!r}: give a guide, or guide=None to "
                "take them from the image."
            )
        names = ("axes", "channel_axis", "channel_weights")
        geometry = self.geometry_with(spacing, *(options.get(name) for name in names))
        options = {name: value for name, value in options.items() if name not in names}
        domain, options = _taken(Domain(), options)
        execution, options = _taken(Execution(), options)
        if unknown := sorted(options.keys() - {"time", *(p.name for p in run_options())}):
            raise TypeError(f"{unknown[0]!r} is no option of a run.")
        return make_problem(image, replace(self, **options), geometry, domain), execution

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
        problem, execution = self._bind(image, spacing, options)
        return run(problem, execution, progress, cancel)

    def evolve(
        self, image: Any, *, spacing: float | Sequence[float] | None = None, **options: Any
    ) -> Generator[State, None, None]:
        """Run the recipe step by step, as `napari_diffusion.evolve`; arguments as in `diffuse`."""
        progress, cancel = options.pop("progress", None), options.pop("cancel", None)
        problem, execution = self._bind(image, spacing, options)
        return evolve(problem, execution, progress, cancel)

    def describe(self) -> str:
        """Return the model, its parameters, the time and the labels in words."""
        unit = units.symbol(self.unit)
        phrases = [
            f"{p.name} {getattr(self.model, p.name)} {p.unit_in(unit)}".rstrip()
            for p in parameters(self.model)
            if not p.is_map
        ]
        phrases += [f"{name} of {in_words(values)}" for name, values in self.model.maps.items()]
        phrases += [
            f"time {self.time:.4g} {unit}²",
            f"as a Gaussian of sigma {equivalent_sigma(self.time):.4g} {unit} at most",
        ]
        if self.fidelity_length is not None:
            phrases.append(f"held to the input over {self.fidelity_length:.4g} {unit}")
        if self.labels is not None:
            phrases.append(f"within {self.labels}")
        if self.guide is not None:
            share = "" if self.guide_weight == 1 else f", by {self.guide_weight:.3g},"
            phrases.append(f"with edges of {self.guide}{share}".rstrip(","))
        return f"{self.model.title}: {', '.join(phrases)}"

    def to_python(
        self,
        image: str = "image",
        labels: str | None = None,
        channel_weights: Sequence[float | None] | None = None,
        guide: str | None = None,
    ) -> str:
        """Return the Python code of this run.

        Parameters
        ----------
        image, labels, guide
            Names of variables, or code.
        channel_weights
            Weight of each channel, as in `napari_diffusion.diffuse`.
        """
        if labels is None and self.labels is not None:
            labels = "labels"
        if guide is None and self.guide is not None:
            guide = "guide"
        geometry = self.geometry
        arguments = [f"time={self.time!r}"]
        arguments += [f"axes={geometry.axes!r}"] if geometry.axes is not None else []
        if geometry.channel_axis is not None:
            arguments.append(f"channel_axis={geometry.channel_axis!r}")
        if channel_weights is not None:
            arguments.append(f"channel_weights={tuple(channel_weights)!r}")
        arguments.append(f"spacing={geometry.spacing!r}")
        arguments += [
            f"{option.name}={_code(getattr(self, option.name))}" for option in self._changed_options
        ]
        if labels is not None:
            arguments.append(f"labels={labels}")
        if guide is not None:
            arguments.append(f"guide={guide}")
        kind = type(self.model)
        imports, constructor = "import napari_diffusion as nd\n", f"nd.{kind.__name__}"
        if kind not in BUILTIN:
            imports += f"from {kind.__module__} import {kind.__name__}\n"
            constructor = kind.__name__
        imports += schemes.imports_of(self.scheme)
        values = ", ".join(f"{name}={value!r}" for name, value in self._parameters().items())
        call = f"nd.diffuse({image}, {constructor}({values}), {', '.join(arguments)})"
        return f"{imports}\nresult = {call}\n"

    def to_command(
        self,
        source: str = "IN",
        target: str = "OUT",
        labels: str | None = None,
        guide: str | None = None,
    ) -> str:
        """Return the command line of this run; lengths are in `unit`.

        It contains axes and voxel size if each axis name of the recipe is a single letter.
        Otherwise the axes and the voxel size of the file are used.

        Raises
        ------
        ValueError
            When the scheme is an object with options, or the model has a map of its threshold. A
            command line cannot hold them.
        """
        scheme = [str(self.scheme)] if schemes.is_scheme(self.scheme) else []
        if too_long := [*scheme, *self.model.maps]:
            raise ValueError(
                f"A command line cannot hold {too_long[0]}; "
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
        if guide is None and self.guide is not None:
            guide = "GUIDE"
        if guide is not None:
            words += ["--guide", guide]
        for option in self._changed_options:
            words.append(f"--{option.name.replace('_', '-')}")
            words += [] if option.type is bool else [str(getattr(self, option.name))]
        return shlex.join(words)

    @property
    def _changed_options(self) -> list[Parameter]:
        """Options of the run that differ from their defaults."""
        return [p for p in run_options(type(self)) if getattr(self, p.name) != p.default]


def _taken(part: _Part, options: dict[str, Any]) -> tuple[_Part, dict[str, Any]]:
    """Return a dataclass with those options that are its fields, and the other options."""
    own = {field.name for field in dataclasses.fields(part)} & options.keys()
    changed: Any = replace(part, **{name: options[name] for name in own})
    return changed, {name: value for name, value in options.items() if name not in own}


def _check_format(number: Any) -> None:
    """Refuse the recipe of a later version; the first recipes have no format number."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"In the recipe, format must be a whole number >= 0, got {shown(number)}.")
    if number > RECIPE_FORMAT:
        raise ValueError(
            f"The recipe has format {number}, and this version of napari-diffusion "
            f"({package_version()}) reads formats up to {RECIPE_FORMAT}; "
            "update napari-diffusion to use it."
        )


def _model(name: Any, values: Any) -> Model:
    """Return the model of a recipe from its name and its parameters."""
    if not (isinstance(name, str) and isinstance(values, dict)):
        raise ValueError("In the recipe, model must be a name and parameters a JSON object.")
    kind = get(name)
    if unknown := set(values) - {p.name for p in parameters(kind)}:
        raise ValueError(f"The recipe says {min(unknown)!r}, which is no parameter of {kind.name}.")
    older = {p.name: p.absent for p in parameters(kind) if p.absent is not None}
    try:
        return kind(**(older | values))
    except TypeError as error:
        raise ValueError(f"The recipe cannot be read: {error}") from None


def _plain(value: Any) -> Any:
    """Convert NumPy numbers to Python numbers and tuples to lists, for JSON."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _code(value: Any) -> str:
    """Return the Python code of an option: a scheme is one, all others are plain."""
    return schemes.code_of(value) if schemes.is_scheme(value) else repr(value)
