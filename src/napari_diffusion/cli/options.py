"""Options of the command ``run``: those that the models declare, and the recipe that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from napari_diffusion.core.gaussian import FWHM, time_for_sigma

if TYPE_CHECKING:
    from napari_diffusion.core.cancellation import CancelEvent
    from napari_diffusion.engine.recipe import Recipe
    from napari_diffusion.io import Volume
    from napari_diffusion.io.axes import AxisAssignment
    from napari_diffusion.models import Model, Parameter
    from napari_diffusion.presets import Preset
    from napari_diffusion.workflows.file_run import FileOptions

#: Options that are only used with ``--auto``.
AUTO_ONLY = ("share", "noise", "noise_region", "noise_reduction", "aim", "strength")
#: Alternative options for the diffusion time.
TIMES = ("time", "smoothing_sigma", "fwhm")
#: The time of a run to the steady state of a fidelity length.
STEADY = "steady"


class TimeType(click.ParamType):  # type: ignore[type-arg]
    """A diffusion time, or the word `STEADY`."""

    name = "float"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number, or the word."""
        return value if value == STEADY else click.FLOAT.convert(value, param, ctx)


@cache
def declared() -> dict[str, list[tuple[str, Parameter]]]:
    """Return the parameters of all models by name, each with the names of its models.

    Maps of thresholds are left out: a command line is too short for them.
    """
    from napari_diffusion import models

    owners: dict[str, list[tuple[str, Parameter]]] = {}
    for model in models.all_models():
        for parameter in _on_command_line(model):
            owners.setdefault(parameter.name, []).append((model.name, parameter))
    return owners


def _on_command_line(model: type[Model]) -> list[Parameter]:
    """Return the parameters of a model that are options."""
    from napari_diffusion import models

    return [parameter for parameter in models.parameters(model) if not parameter.hidden]


@cache
def model_options() -> list[click.Parameter]:
    """Return one option per parameter name; models with a parameter of the same name share it."""
    return [_model_option(name, owners) for name, owners in declared().items()]


def _model_option(name: str, owners: list[tuple[str, Parameter]]) -> click.Option:
    """Return the option of a parameter; models that give it another meaning have their sentence."""
    first = owners[0][1]
    choices = {choice for _, parameter in owners for choice in parameter.choices or ()}
    meanings: dict[str, list[str]] = {}
    for model, parameter in owners:
        unit = f" [{parameter.unit_in('length')}]" if parameter.unit != "1" else ""
        defaults = meanings.setdefault(f"{parameter.doc}{unit}", [])
        defaults.append(f"{model}: {parameter.default}")
    sentences = [f"{text} (default for {'; '.join(names)})" for text, names in meanings.items()]
    return click.Option(
        [f"--{name.replace('_', '-')}", name],
        type=click.Choice(sorted(choices)) if choices else first.type,
        help=" ".join(sentences),
        metavar=None if choices else first.type.__name__.upper(),
    )


@cache
def run_options() -> list[click.Parameter]:
    """Return one option for each declared option of a run and of its execution."""
    return [_run_option(parameter) for parameter in (*_recipe_options(), *_execution_options())]


def _recipe_options() -> tuple[Parameter, ...]:
    from napari_diffusion.engine.recipe_fields import run_options

    return run_options()


def _execution_options() -> tuple[Parameter, ...]:
    from napari_diffusion.engine.execution import Execution
    from napari_diffusion.engine.recipe_fields import run_options

    return run_options(Execution)


def _run_option(parameter: Parameter) -> click.Option:
    names = [flag(parameter.name), parameter.name]
    if parameter.type is bool:
        return click.Option(names, is_flag=True, help=parameter.doc)
    unit = f" [{parameter.unit_in('length')}]" if parameter.unit != "1" else ""
    default = "" if parameter.default is None else f" (default: {parameter.default})"
    kind: Any = parameter.type if parameter.type in (int, float) else str
    return click.Option(
        names,
        type=click.Choice(parameter.choices) if parameter.choices else kind,
        help=f"{parameter.doc}{unit}{default}",
        metavar="NAME" if parameter.convert is not None else None,
    )


def file_options_of(options: dict[str, Any]) -> FileOptions:
    """Return the options of a run on a file, besides its recipe."""
    from napari_diffusion.engine.execution import Execution
    from napari_diffusion.workflows.file_run import FileOptions

    own = {p.name: options.get(p.name) for p in _execution_options()}
    return FileOptions(
        mask=options.get("mask"),
        labels=options.get("labels"),
        guide=options.get("guide"),
        execution=Execution(**{name: value for name, value in own.items() if value is not None}),
        overwrite=bool(options.get("overwrite")),
    )


def recipe_from_options(options: dict[str, Any]) -> Callable[[str], Recipe]:
    """Check the options and return the recipe as a function of the unit of length.

    The unit may be known only after the file has been read.

    Parameters
    ----------
    options
        Options of the command ``run`` by name; absent ones have their defaults.

    Raises
    ------
    click.UsageError
        When options are missing or exclude each other.
    """
    from napari_diffusion.engine.recipe import Recipe

    given = {name: options[name] for name in declared() if options.get(name) is not None}
    times = {name: options[name] for name in TIMES if options.get(name) is not None}
    # A flag that is not given is False.
    extra = {
        p.name: options[p.name]
        for p in _recipe_options()
        if options.get(p.name) is not None and (p.type is not bool or options[p.name])
    }
    chosen = [name for name in ("model", "auto") if options.get(name)] + [*given, *times]
    for source, others in (("recipe", []), ("as", ["recipe"])):
        conflicts = [name for name in others if options.get(name) is not None] + chosen
        if options.get(source) is not None and conflicts:
            by = "the recipe" if source == "recipe" else "--as"
            raise click.UsageError(
                f"{flag(conflicts[0])} is already set by {by}; give one or the other."
            )
    if options.get("recipe") is not None:
        loaded = replace(Recipe.load(options["recipe"]), **extra)
        return lambda unit: loaded.in_unit(unit)
    auto = bool(options.get("auto"))
    for name in AUTO_ONLY:
        if options.get(name) not in (None, ()) and not auto:
            raise click.UsageError(f"{flag(name)} is only used with --auto; give --auto too.")
    if preset_of(options) is not None:
        placeholder = Recipe(_placeholder(), time=0.0, **extra)  # the image decides later
        return lambda unit: replace(placeholder, unit=unit)
    model = _model_class(options.get("model"), given, auto)
    _check_amounts(options, list(times))
    if is_steady(options) and len(times) < 2:
        time: Any = None
    elif auto and not times:
        time = 0.0  # --auto chooses it later
    else:
        time = _diffusion_time(times)
    made = Recipe(model(**given), time=time, **extra)
    return lambda unit: replace(made, unit=unit)


def preset_of(options: dict[str, Any]) -> Preset | None:
    """Return the filter of another program that ``--as`` names; ``None`` without it.

    Raises
    ------
    click.UsageError
        When the text cannot be read.
    """
    from napari_diffusion.presets import from_text

    text = options.get("as")
    try:
        return None if text is None else from_text(text)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"--as: {error}") from None


def converted(
    preset: Preset,
    volume: Volume,
    assignment: AxisAssignment,
    recipe: Recipe,
    options: dict[str, Any],
    cancel: CancelEvent | None = None,
) -> Recipe:
    """Return a recipe with the values of a filter of another program.

    Parameters
    ----------
    preset
        The filter.
    volume, assignment
        The volume to filter, and the roles of its axes.
    recipe
        The options of the run.
    options
        Options of the command ``run`` by name. A given scheme is kept.
    cancel
        Event that ends the measurement with `Cancelled`.
    """
    own = preset.recipe(volume.data, assignment.geometry, recipe.unit, cancel)
    scheme = own.scheme if options.get("scheme") is None else recipe.scheme
    return replace(recipe, model=own.model, time=own.time, scheme=scheme, remarks=own.remarks)


def _placeholder() -> Model:
    from napari_diffusion.models import Linear

    return Linear()


def _check_amounts(options: dict[str, Any], times: Sequence[str]) -> None:
    """Raise a click.UsageError if two options say how far ``--auto`` smooths."""
    amounts = [*times]
    if options.get("noise_reduction") is not None:
        amounts.append("noise_reduction")
    relative = ["strength"] if options.get("strength") else []
    relative += ["aim"] if options.get("aim") == "segmentation" else []
    pair = [*relative[:1], *amounts] if amounts and relative else amounts
    if len(pair) > 1 and pair != [*times]:  # several times have a message of their own
        raise click.UsageError(
            f"{flag(pair[-1])} and {flag(pair[0])} both say how far to smooth; give one of them."
        )


def _model_class(name: str | None, given: dict[str, Any], auto: bool) -> type[Model]:
    """Return the model of a name, after a check of the given parameters."""
    from napari_diffusion import models

    if name is not None:
        model = models.get(name)
    elif auto and not given:
        model = models.Linear  # a placeholder: --auto chooses the model later
    else:
        names = " or ".join(model.name for model in models.all_models())
        remedy = "" if given else ", or --auto"
        raise click.UsageError(
            f"Say which model to use: --model {names}, --as FILTER, or --recipe FILE{remedy}."
        )
    own = [parameter.name for parameter in _on_command_line(model)]
    for parameter in given:
        if parameter not in own:
            has = f"its options are {', '.join(map(flag, own))}" if own else "it has no options"
            raise click.UsageError(
                f"{flag(parameter)} is no option of the model {model.name}; {has}."
            )
    return model


def is_steady(options: dict[str, Any]) -> bool:
    """Whether a run goes to the steady state of a fidelity length, which no time means, too.

    Parameters
    ----------
    options
        Options of the command ``run`` by name.
    """
    amounts = [name for name in (*TIMES, "noise_reduction") if options.get(name) is not None]
    is_asked_for = options.get("time") == STEADY or not amounts
    return is_asked_for and options.get("fidelity_length") is not None


def _diffusion_time(times: dict[str, Any]) -> Any:
    """Return the diffusion time [length²] from exactly one of the options `TIMES`."""
    if len(times) != 1:
        problem = "Say how far to smooth"
        if times:
            problem = f"{', '.join(map(flag, times))} are alternatives; give one"
        raise click.UsageError(
            f"{problem}: --time [length²], "
            "or --smoothing-sigma or --fwhm [length] of the equivalent Gaussian."
        )
    ((kind, value),) = times.items()
    if value == STEADY:
        raise click.UsageError("--time steady needs --fidelity-length [length].")
    if value < 0 or not math.isfinite(value):
        raise click.UsageError(f"{flag(kind)} must be >= 0 and finite, got {value:g}.")
    if kind == "time":
        return value
    return time_for_sigma(value / FWHM if kind == "fwhm" else value)


def flag(name: str) -> str:
    """Return the option of a parameter name: ``--like-this`` for ``like_this``."""
    return "--" + name.replace("_", "-")
