"""Arguments of a call, bound to an image. Equal ones are checked once, because of small images."""

from __future__ import annotations

import marshal
from collections.abc import Collection, Hashable
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import numpy as np

from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.dry_run import MARSHAL_VERSION, content_of
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields, run_options

#: Number of problems that are kept without their images.
KEPT_PROBLEMS = 64
#: Types whose bytes say their value: NumPy's numbers have the same bytes in several types.
_PLAIN = frozenset((float, int, bool, str, type(None)))
_LISTS = (tuple, list)


def refuse_doubles(given: Collection[str]) -> None:
    """Raise TypeError if options of a run are given beside a recipe, which already has them."""
    for name in ("time", *(p.name for p in run_options())):
        if name in given:
            raise TypeError(
                f"{name} is already set by the recipe; leave it out, or change the recipe by "
                f"dataclasses.replace(recipe, {name}=...)."
            )


def recipe_of(model: Any, domain: Domain, time: float | None, *options: Any) -> RecipeFields:
    """Return the recipe of a model, or the recipe that stands in its place.

    Parameters
    ----------
    model
        A model, or a recipe.
    domain
        Mask and labels of the run.
    time
        Diffusion time [length²]; ``None`` for the steady state of a run with a fidelity length.
    *options
        Values of `run_options`, in their order.

    Raises
    ------
    TypeError
        If neither a time nor a fidelity length is given beside a model.
    ValueError
        If the recipe needs labels, which only its own method `Recipe.diffuse` can leave out.
    """
    declared = run_options()
    if not isinstance(model, RecipeFields):
        named = {p.name: value for p, value in zip(declared, options, strict=True)}
        return RecipeFields(model, cast(float, time), **named)  # None is the steady state
    if model.labels is not None and domain.mask is None and domain.labels is None:
        raise ValueError(
            f"The recipe smooths within {model.labels!r}: give labels or a mask, "
            "or use recipe.diffuse(image, labels=None) to smooth across them."
        )
    if model.guide is not None and domain.guide is None:
        raise ValueError(
            f"The recipe takes its edges from {model.guide!r}: give a guide, or use "
            "recipe.diffuse(image, guide=None) to take them from the image."
        )
    return model


def problem_of(
    image: Any, model: Any, domain: Domain, geometry: tuple[Any, ...], *settings: Any
) -> Problem:
    """Return the problem of a call with a flat signature.

    Parameters
    ----------
    image
        The image.
    model
        A model, or a recipe.
    domain
        Mask, labels and guide.
    geometry
        Arguments of `RecipeFields.geometry_with`.
    *settings
        Time and options of `recipe_of`.

    Raises
    ------
    TypeError, ValueError
        As `recipe_of` and `make_problem`.
    """
    key = _key(image, model, geometry, settings)
    kept = [] if key is None else kept_problem(key)
    if kept:
        return kept[0].on(image, domain)
    recipe = recipe_of(model, domain, *settings)
    problem = make_problem(image, recipe, recipe.geometry_with(*geometry), domain)
    if key is not None:
        kept.append(_without_arrays(problem))
    return problem


@lru_cache(maxsize=KEPT_PROBLEMS)
def kept_problem(key: Hashable) -> list[Problem]:
    """Return a list for the problem of these arguments, which is empty until they are checked."""
    return []


def _key(
    image: Any, model: Any, geometry: tuple[Any, ...], settings: tuple[Any, ...]
) -> Hashable | None:
    """Return the arguments as a key, to the type and the bit.

    It is ``None`` for a lazy or masked image, and for arguments beyond numbers, texts and lists of
    them.
    """
    if type(image) is not np.ndarray or isinstance(model, RecipeFields):
        return None
    dtype, types = image.dtype, set(map(type, settings))
    for value in geometry:
        if value is not None:
            types.update(map(type, value) if type(value) in _LISTS else (type(value),))
    content = content_of(model)
    if content is None or dtype.metadata is not None or not types <= _PLAIN:
        return None
    values = marshal.dumps((geometry, settings), MARSHAL_VERSION)
    return content, values, image.shape, dtype.char, dtype.byteorder


def _without_arrays(problem: Problem) -> Problem:
    """Return a problem without image, mask, labels and guide, and with a model of its own.

    The caller may change its own later, by `object.__setattr__`.
    """
    recipe = replace(problem.recipe, model=copy(problem.recipe.model))
    domain = Domain(place=problem.place)
    kept = replace(problem, recipe=recipe, image=None, domain=domain, regions=None)
    for name in ("key", "space", "frame_axes"):  # computed once, for all problems on images
        getattr(kept, name)
    return kept
