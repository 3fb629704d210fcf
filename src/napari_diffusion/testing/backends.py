"""Laws that every backend satisfies, as public checks: it computes what the reference computes.

``check_backend("name")`` checks all laws for a registered backend.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from napari_diffusion import backends
from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.reference.tensor import cell_counts
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import BUILTIN, EdgeEnhancing, Model, PeronaMalik, TotalVariation
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
#: The methods of a backend that compute: those that the base class does not implement.
KERNELS = tuple(
    name
    for name, member in vars(Backend).items()
    if "NotImplementedError" in getattr(getattr(member, "__code__", None), "co_names", ())
)
#: Kernels on stored tensors, whose format differs between backends.
_ON_TENSORS = (
    "tensor_bytes",
    "tensors",
    "cell_tensors",
    "compose",
    "average",
    "tensor_step",
    "incident",
    "selling_step",
)
#: Factor of the rounding error of strict runs, whose weights are rounded to few bits.
STRICT_GAIN = 4
#: Distance of the runs that neighbouring models have cut, so that all kinds of runs occur.
CUT_STRIDE = 5


def problems_of(model: Model) -> Iterator[Problem]:
    """Yield runs of a model: 2-D and 3-D, both data types, plain, strict and with labels."""
    for case in filter(lambda case: case.fits(model), UNEQUAL):
        labels = np.indices(case.shape).sum(0) // 3 % 4
        for strict, regions in ((False, None), (True, None), (False, labels)):
            if strict and not model.keeps_extrema:
                continue
            recipe = RecipeFields(model, case.time(model) / 4, strict=strict)
            geometry, domain = Geometry(case.spacing), Domain(labels=regions)
            yield make_problem(case.picture(), recipe, geometry, domain)


def problems() -> Iterator[Problem]:
    """Yield the runs of all models, see `problems_of`."""
    for model in (*MODELS, *MAPPED):
        yield from problems_of(model)


def problems_to_cut() -> Iterator[Problem]:
    """Yield one run of every model; neighbouring models take others of their runs."""
    for turn, model in enumerate((*MODELS, *MAPPED)):
        own = [*problems_of(model)]
        yield own[CUT_STRIDE * turn % len(own)]


def kernels_are_complete(name: str) -> None:
    """Every kernel is implemented, with the arguments that `Backend` lists."""
    kind = backends.REGISTRY.get(name)
    missing = [kernel for kernel in KERNELS if getattr(kind, kernel) is getattr(Backend, kernel)]
    assert not missing, f"it lacks {', '.join(missing)}; inherit them from ReferenceBackend"
    for kernel in KERNELS:
        expected = [*inspect.signature(getattr(Backend, kernel)).parameters][1:]
        method = getattr(backends.get_backend(name, 1), kernel)
        try:
            inspect.signature(method).bind(*expected)
        except TypeError as error:
            raise AssertionError(
                f"{kernel} must accept the arguments {', '.join(expected)}: {error}"
            ) from None


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
        if not difference <= slack:
            case = f"{problem.image.ndim}-D, {problem.working}"
            raise AssertionError(
                f"{model} in {case} differs by {difference:g}, at most {slack:g}. "
                f"{_kernel_to_check(problem, name)}"
            )


def bits_do_not_depend_on_the_cut(name: str) -> None:
    """Threads, slabs, passes and blocks do not change a bit."""
    execution = Execution(threads=3, backend=name)
    for problem in problems_to_cut():
        cuts, block = range(1, make_plan(problem).steps), [-(-n // 2) for n in problem.shape]
        in_blocks = run_in_blocks(problem, cuts, block, execution)
        one = run(problem, Execution(threads=1, backend=name))
        np.testing.assert_array_equal(in_blocks, one, err_msg=f"blocks of {problem.recipe.model}")
        for height, chunk in ((2, 1), (3, 2)):
            plan = replace(make_plan(problem, execution), height=height, chunk=chunk)
            words = f"slabs of {height} planes, {problem.recipe.model}"
            np.testing.assert_array_equal(run(problem, plan=plan), one, err_msg=words)


def memory_is_as_declared(name: str) -> None:
    """A stored tensor takes `tensor_bytes`, and `empty` returns writable contiguous arrays."""
    axes, shape = 3, (4, 3, 5)
    backend = backends.get_backend(name, axes)
    for allocate, counts in ((backend.tensors, shape), (backend.cell_tensors, cell_counts(shape))):
        stored, kind = allocate(shape), allocate.__name__
        assert stored.shape[-axes:] == counts, f"the last axes of {kind} are those of space"
        size = math.prod(counts) * backend.tensor_bytes(axes)
        assert stored.nbytes == size, f"{kind} takes {stored.nbytes} bytes, not {size}"
    array = backend.empty(shape, np.float32)
    assert array.shape == shape, f"empty returned the shape {array.shape} for {shape}"
    assert array.dtype == np.float32, f"empty returned {array.dtype} for float32"
    assert array.flags.c_contiguous, "empty returned an array that is not C-contiguous"
    assert array.flags.writeable, "empty returned an array that is read-only"


def plan_names_the_backend(name: str) -> None:
    """A plan names the backend, and its kernels have a key that is the same for equal runs."""
    problem = next(problems())
    plan = make_plan(problem, Execution(backend=name))
    assert plan.backend == name
    other = replace(problem, recipe=replace(problem.recipe, time=problem.recipe.time / 2))
    assert make_plan(other, Execution(backend=name)).kernel_key() == plan.kernel_key()


LAWS: tuple[Callable[[str], None], ...] = (
    kernels_are_complete,
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


class _Compared:
    """Passes every call of a kernel on to a backend, and compares the result with the reference.

    Attributes
    ----------
    differences
        Largest difference of each kernel, as a share of the largest value.
    types
        A sentence for each kernel that returns another data type.
    """

    def __init__(self, backend: Backend, axes: int) -> None:
        self._backend, self._reference = backend, backends.get_backend("reference", axes)
        self.differences: dict[str, float] = {}
        self.types: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the backend; kernels are compared."""
        attribute = getattr(self._backend, name)
        if name not in KERNELS or name in _ON_TENSORS:
            return attribute
        return partial(self._call, name, attribute)

    def _call(self, name: str, kernel: Callable[..., Any], *values: Any) -> Any:
        copies = [value.copy() if isinstance(value, np.ndarray) else value for value in values]
        expected = getattr(self._reference, name)(*copies)
        result = kernel(*values)
        pairs = [*zip(values, copies, strict=True), (result, expected)]
        for own, reference in pairs:
            if isinstance(own, np.ndarray) and isinstance(reference, np.ndarray):
                largest = float(np.nanmax(np.abs(reference), initial=0))
                difference = float(np.nanmax(np.abs(own - reference), initial=0))
                share = difference / largest if largest else difference
                self.differences[name] = max(self.differences.get(name, 0.0), share)
                if own.dtype != reference.dtype:
                    self.types[name] = f" It returns {own.dtype}, not {reference.dtype}."
        return result


def _kernel_to_check(problem: Problem, name: str) -> str:
    """Return a sentence on the kernel that differs most from the reference in a run."""
    plan = make_plan(problem, Execution(threads=1, backend=name))
    compared: Any = _Compared(plan.kernels, len(problem.space))
    run(problem, plan=replace(plan, kernels=compared))
    ranked = sorted(compared.differences.items(), key=lambda item: -item[1])
    if not ranked or ranked[0][1] == 0:
        return f"Check the kernels on stored tensors: {', '.join(_ON_TENSORS[1:])}."
    kernel, share = ranked[0]
    wrong_type: str = compared.types.get(kernel, "")
    words = f"The kernel that differs most is {kernel}, by {share:.1g} of its largest value."
    return words + wrong_type
