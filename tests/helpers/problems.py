"""Problem and execution of a run, from the keywords of `napari_diffusion.diffuse`."""

from dataclasses import fields

from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.problem import make_problem, unread_problem
from napari_diffusion.engine.recipe_fields import RecipeFields


def problem_of(image, model, *, read=True, **options):
    """Return the problem and the execution of a run; without ``read``, the labels are not read."""

    def taken(kind, *values):
        own = {field.name for field in fields(kind)} & options.keys()
        return kind(*values, **{name: options.pop(name) for name in own})

    geometry, domain, execution = map(taken, (Geometry, Domain, Execution))
    recipe = taken(RecipeFields, model)
    assert not options, options
    make = make_problem if read else unread_problem
    return make(image, recipe, geometry, domain), execution
