"""How to cite a run."""

from __future__ import annotations

from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import Model
from napari_diffusion.workflows.citation import citation


def cite(recipe: RecipeFields | Model, plan: Plan | None = None) -> str:
    """Return BibTeX entries of what a run used: this software, its model and its scheme.

    Parameters
    ----------
    recipe
        A recipe, which names the version of this software that made it, or a model.
    plan
        Plan of the run, which names the scheme that ``"auto"`` chose for the image. Without a plan,
        only a scheme that the recipe names is cited.

    Returns
    -------
    str
        One or more BibTeX entries, separated by empty lines.

    Raises
    ------
    TypeError
        If ``recipe`` is neither a recipe nor a model.
    ValueError
        If a model or scheme of another package names an unknown reference.

    Examples
    --------
    >>> import napari_diffusion as nd
    >>> print(nd.cite(nd.Recipe(nd.TotalVariation(), time=2.0)))  # doctest: +ELLIPSIS
    @software{napari-diffusion,
    ...
    """
    return citation(recipe, plan)
