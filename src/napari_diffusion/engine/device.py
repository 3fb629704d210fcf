"""Choice of a device for a run, and the runs that it cannot do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np

from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.devices import Device
from napari_diffusion.backends.opencl.backend import OpenCLBackend
from napari_diffusion.engine.dry_run import DryRun
from napari_diffusion.engine.problem import Problem
from napari_diffusion.schemes import Scheme, Stage


def needed_kernels(calls: object) -> set[str]:
    """Return the names of kernels among nested names and kinds of arguments."""
    if isinstance(calls, str):
        return {calls} if hasattr(Backend, calls) else set()
    if isinstance(calls, tuple | list | set):
        return set().union(*map(needed_kernels, calls))
    return set()


def missing_kernel(calls: object, has_walls: bool) -> str | None:
    """Return the name of a kernel that no device has; ``None`` if devices have all of ``calls``."""
    for name in sorted(needed_kernels(calls)):
        is_missing = getattr(OpenCLBackend, name) is getattr(Backend, name)
        if is_missing or (has_walls and name in OpenCLBackend.without_walls):
            return name
    return None


def obstacle(
    problem: Problem, dry: DryRun, scheme: Scheme, stages: Sequence[Stage], device: Device
) -> str | None:
    """Return why a device cannot do a run, as the end of a sentence; ``None`` if it can."""
    grid, operator, strict = problem.grid(), dry.operator, problem.recipe.strict
    if len(problem.space) > OpenCLBackend.max_axes:
        return f"runs 1 to {OpenCLBackend.max_axes} diffusing axes, got {len(problem.space)}"
    if problem.working == np.float64 and not device.has_float64:
        return "does not compute in float64"
    if operator.calls_function:
        return "cannot call a diffusivity function on faces"
    has_walls = problem.may_have_walls
    if scheme.is_direct:
        own = scheme.kernels(stages, grid, problem.working, has_walls)
        return None if own and not missing_kernel(own, has_walls) else (
            f"has no kernels for the scheme {scheme.name} of such a run"
        )
    is_stored = problem.is_guided or operator.operators_made(stages) > 0
    calls = dry.calls, operator.stage_calls(strict, is_stored)
    kernel = missing_kernel(calls, has_walls)
    if kernel is None:
        return None
    kind = " in strict runs" if strict else " with mask or labels" if has_walls else ""
    return f"has no kernels for {problem.recipe.model.title}{kind} ({kernel})"


def checked_device(device: Device, name: str | None) -> Device | None:
    """Return a device whose bits are those of the processor, or that is used by its name.

    A device that fails the self-test is refused with a warning.
    """
    return device


def say_fallback(reason: str) -> None:
    """Warn that the processor does the work of a device; each reason is said once."""
    if _is_new(reason):
        warnings.warn(f"{reason}: the processor does the work.", RuntimeWarning, stacklevel=4)


@cache
def _said() -> set[str]:
    return set()


def _is_new(reason: str) -> bool:
    is_new = reason not in _said()
    _said().add(reason)
    return is_new
