"""Laws that every backend satisfies, as public checks: it computes what the reference computes.

``check_backend("name")`` checks all laws for a registered backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from napari_diffusion import backends
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.blocks import run_in_blocks
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import BUILTIN, EdgeEnhancing, PeronaMalik, TotalVariation
from napari_diffusion.operators.diffusivity import CODES
from napari_diffusion.testing.cases import CASES, RANGE, ROUNDING, named

#: All models, and Perona-Malik with each diffusivity at faces and at voxels.
MODELS = (
    *(kind() for kind in BUILTIN),
    *(PeronaMalik(diffusivity=name, sigma=sigma) for name in [*CODES][1:] for sigma in (0.0, 1.0)),
)
#: Models with a map of their threshold, in 2-D and in 3-D.
_MAPS: Any = [0.5 + np.arange(12).reshape(shape) % 5 for shape in ((4, 3), (2, 3, 2))]
MAPPED = tuple(
    kind(kappa_map=values)
    for kind in (PeronaMalik, TotalVariation, EdgeEnhancing)
    for values in _MAPS
)
#: Cases with unequal voxel sizes, which show every factor of a spacing.
UNEQUAL = tuple(case for case in CASES if len(set(case.spacing)) > 1)
#: Factor of the rounding error of strict runs, whose weights are rounded to few bits.
STRICT_GAIN = 4
#: One run of so many is also cut into threads, passes and blocks.
CUT_EVERY = 5


def problems() -> Iterator[Problem]:
    """Yield runs of all models: 2-D and 3-D, both data types, plain, strict and with labels."""
    for model in (*MODELS, *MAPPED):
        for case in filter(lambda case: case.fits(model), UNEQUAL):
            labels = np.indices(case.shape).sum(0) // 3 % 4
            for strict, regions in ((False, None), (True, None), (False, labels)):
                recipe = RecipeFields(model, case.time(model) / 4, strict=strict)
                geometry, domain = Geometry(case.spacing), Domain(labels=regions)
                yield make_problem(case.picture(), recipe, geometry, domain)


def results_are_those_of_the_reference(name: str) -> None:
    """Every run agrees with the reference backend up to rounding."""
    for problem in problems():
        expected = run(problem, Execution(backend="reference"))
        result = run(problem, Execution(backend=name))
        model = problem.recipe.model
        slack = ROUNDING[str(problem.working)] * RANGE * model.rounding_gain
        slack *= STRICT_GAIN if problem.recipe.strict else 1
        if model.has_transform:  # squares are compared, since roots near zero amplify rounding
            result, expected, slack = result**2, expected**2, slack * 2 * RANGE
        difference = np.abs(result - expected).max()
        assert difference <= slack, f"{model} differs by {difference:g}, at most {slack:g}"


def bits_do_not_depend_on_the_cut(name: str) -> None:
    """Threads, slabs, passes and blocks do not change a bit."""
    execution = Execution(threads=3, backend=name)
    for problem in islice(problems(), 0, None, CUT_EVERY):
        cuts, block = range(1, make_plan(problem).steps), [-(-n // 2) for n in problem.shape]
        in_blocks = run_in_blocks(problem, cuts, block, execution)
        one = run(problem, Execution(threads=1, backend=name))
        np.testing.assert_array_equal(in_blocks, one, err_msg=f"blocks of {problem.recipe.model}")
        for height, chunk in ((2, 1), (3, 2)):
            plan = replace(make_plan(problem, execution), height=height, chunk=chunk)
            np.testing.assert_array_equal(run(problem, plan=plan), one, err_msg="slabs")


def memory_is_as_declared(name: str) -> None:
    """A stored tensor takes `tensor_bytes`, and `empty` returns writable contiguous arrays."""
    axes, shape = 3, (4, 3, 5)
    backend = backends.get_backend(name, axes)
    stored = backend.tensors(shape)
    assert stored.shape[-axes:] == shape, "the last axes of stored tensors are those of space"
    assert stored.nbytes == math.prod(shape) * backend.tensor_bytes(axes)
    array = backend.empty(shape, np.float32)
    assert array.shape == shape
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.flags.writeable


def plan_names_the_backend(name: str) -> None:
    """A plan names the backend, and its kernels have a key that is the same for equal runs."""
    problem = next(problems())
    plan = make_plan(problem, Execution(backend=name))
    assert plan.backend == name
    other = replace(problem, recipe=replace(problem.recipe, time=problem.recipe.time / 2))
    assert make_plan(other, Execution(backend=name)).kernel_key() == plan.kernel_key()


LAWS: tuple[Callable[[str], None], ...] = (
    plan_names_the_backend,
    memory_is_as_declared,
    results_are_those_of_the_reference,
    bits_do_not_depend_on_the_cut,
)


def check_backend(name: str) -> None:
    """Check every law in `LAWS` for a backend.

    Parameters
    ----------
    name
        Name of the backend, which is registered under the entry point group
        ``napari_diffusion.backends``.

    Raises
    ------
    AssertionError
        If the backend violates a law. The message names the law and what it states.
    """
    for law in LAWS:
        with named(name, law):
            law(name)
