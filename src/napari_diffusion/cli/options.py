"""What was asked for: the options that the models declare, and the recipe that a command line amounts to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from napari_diffusion.engine.recipe import Recipe
    from napari_diffusion.models import Parameter

_FWHM = 2 * math.sqrt(2 * math.log(2))  # full width at half maximum of a Gaussian of sigma 1
AUTO_ONLY = ("share", "noise", "noise_reduction")  # what only --auto reads
TIMES = ("time", "smoothing_sigma", "fwhm")  # three ways to say how far


@cache
def declared() -> dict[str, list[tuple[str, Parameter]]]:
    """List the (model name, declaration) pairs of every parameter name."""
    from napari_diffusion import models

    found: dict[str, list[tuple[str, Parameter]]] = {}
    for model in models.all_models():
        for parameter in models.parameters(model):
            found.setdefault(parameter.name, []).append((model.name, parameter))
    return found


@cache
def model_options() -> list[click.Parameter]:
    """Return the options that the models declare; models that share a name share the option."""
    return [_model_option(name, owners) for name, owners in declared().items()]


def _model_option(name: str, owners: list[tuple[str, Parameter]]) -> click.Option:
    first = owners[0][1]
    choices = {choice for _, parameter in owners for choice in parameter.choices or ()}
    unit = f" [{first.unit_in('length')}]" if first.unit != "1" else ""
    defaults = "; ".join(f"{model}: {parameter.default}" for model, parameter in owners)
    return click.Option(
        [f"--{name.replace('_', '-')}", name],
        type=click.Choice(sorted(choices)) if choices else first.type,
        help=f"{first.doc}{unit} (default for {defaults})",
        metavar=None if choices else first.type.__name__.upper(),
    )


def recipe_from_options(options: dict[str, Any]) -> Callable[[str], Recipe]:
    """Check what is asked for, and return the recipe as a function of the unit of length, which only the file may know."""
    from napari_diffusion import models
    from napari_diffusion.engine.recipe import Recipe

    given = {name: options[name] for name in declared() if options.get(name) is not None}
    times = {name: options[name] for name in TIMES if options.get(name) is not None}
    extra = {
        name: options[name]
        for name in ("nan", "scheme", "tolerance")
        if options.get(name) is not None
    }
    extra |= {name: True for name in ("strict", "preserve_dtype") if options.get(name)}
    if options.get("recipe") is not None:
        said = [name for name in ("model", "auto") if options.get(name)] + [*given, *times]
        if said:
            raise click.UsageError(
                f"{flag(said[0])} is already said by the recipe; give one or the other."
            )
        loaded = replace(Recipe.load(options["recipe"]), **extra)
        return lambda unit: loaded.in_unit(unit)
    auto = bool(options.get("auto"))
    for name in AUTO_ONLY:
        if options.get(name) and not auto:
            raise click.UsageError(f"{flag(name)} is about what --auto chooses; give --auto too.")
    if options.get("model") is None and auto and not given:
        model: type[models.Model] = models.Linear  # until the image has been read
    elif options.get("model") is None:
        names = " or ".join(known.name for known in models.all_models())
        raise click.UsageError(
            f"Say which model to use: --model {names}, or --recipe FILE{'' if given else ', or --auto'}."
        )
    else:
        model = models.get(options["model"])
    own = [parameter.name for parameter in models.parameters(model)]
    for name in given:
        if name not in own:
            has = f"its options are {', '.join(map(flag, own))}" if own else "it has no options"
            raise click.UsageError(f"{flag(name)} is no option of the model {model.name}; {has}.")
    if times and options.get("noise_reduction") is not None:
        raise click.UsageError(
            f"--noise-reduction and {flag(next(iter(times)))} both say how far to smooth; give one of them."
        )
    if auto and not times:
        times = {"time": 0.0}  # until the image has been read
    if len(times) != 1:
        problem = (
            f"{', '.join(map(flag, times))} say the same thing; give one"
            if times
            else "Say how far to smooth"
        )
        raise click.UsageError(
            f"{problem}: --time [length²], or --smoothing-sigma or --fwhm [length] of the equivalent Gaussian."
        )
    ((kind, value),) = times.items()
    if value < 0 or not math.isfinite(value):
        raise click.UsageError(f"{flag(kind)} must be >= 0 and finite, got {value:g}.")
    sigma = value / _FWHM if kind == "fwhm" else value
    made = Recipe(model(**given), time=value if kind == "time" else sigma**2 / 2, **extra)
    return lambda unit: replace(made, unit=unit)


def flag(name: str) -> str:
    """Return a name as an option."""
    return "--" + name.replace("_", "-")
