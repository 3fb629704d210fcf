"""Citation of a run: the BibTeX entries of this package, of a model, and of a scheme."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from napari_diffusion import schemes
from napari_diffusion.core.errors import shown
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import Model
from napari_diffusion.schemes import Scheme

#: Key of this package among the references.
SOFTWARE = "napari-diffusion"
#: The stencil of tensor models that keeps the extremum principle.
STRICT_TENSOR = "fehrenbach2014"
#: The inverse of the transform of photon noise.
ANSCOMBE = "makitalo2013"
#: The source of a fidelity length.
FIDELITY = "nordstrom1990"


@cache
def bibliography() -> dict[str, str]:
    """Return the BibTeX entries of this package by their keys."""
    text = files("napari_diffusion.workflows").joinpath("references.bib").read_text("utf-8")
    entries = re.findall(r"^@.*?^\}", text, flags=re.DOTALL | re.MULTILINE)
    return {body[body.index("{") + 1 : body.index(",")]: body for body in entries}


def entry(reference: str) -> str:
    """Return the BibTeX entry of a reference, which may be such an entry itself.

    Raises
    ------
    ValueError
        If the reference is neither a key of the bibliography nor a BibTeX entry.
    """
    if reference.lstrip().startswith("@"):
        return reference.strip()
    try:
        return bibliography()[reference]
    except KeyError:
        known = ", ".join(bibliography())
        raise ValueError(
            f"{shown(reference)} is no BibTeX entry and none of these references: {known}."
        ) from None


def _software(version: str) -> str:
    """Return the entry of this package with a version."""
    return bibliography()[SOFTWARE].removesuffix("}") + f"  version = {{{version}}},\n}}"


def _references_of_scheme(scheme: str | Scheme) -> tuple[str, ...]:
    """Return the references of a scheme or of its name; none for ``"auto"``."""
    if isinstance(scheme, str):
        return () if scheme == schemes.AUTO else schemes.REGISTRY.get(scheme).references
    return scheme.references


def citation(run: RecipeFields | Model, plan: Plan | None) -> str:
    """Return the BibTeX entries of a recipe or a model, as `nd.cite` describes."""
    recipe = RecipeFields(run, 0.0) if isinstance(run, Model) else run
    if not isinstance(recipe, RecipeFields):
        raise TypeError(f"cite needs a recipe or a model, not {type(run).__name__}.")
    references = [*recipe.model.cited_references()]
    references += [ANSCOMBE] if recipe.transform == "anscombe" else []
    references += [FIDELITY] if recipe.fidelity_length is not None else []
    if plan is None:
        references += _references_of_scheme(recipe.scheme)
    else:
        references += [STRICT_TENSOR] if plan.strict and plan.operator.has_tensor else []
        references += plan.scheme.references
    entries = [_software(recipe.version), *map(entry, dict.fromkeys(references))]
    return "\n\n".join(entries) + "\n"
