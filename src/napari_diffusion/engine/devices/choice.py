"""Choice of a device for a run, and the runs that it cannot do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import cache

import numpy as np

from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.devices import Device, devices, get_device
from napari_diffusion.backends.opencl.backend import OpenCLBackend
from napari_diffusion.core.errors import reason_of
from napari_diffusion.engine.devices import records
from napari_diffusion.engine.devices.verdicts import pieces_of
from napari_diffusion.engine.dry_run import DryRun
from napari_diffusion.engine.execution import Execution
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
    # Eigenvalues of two axes are computed in float64 in any case.
    needs_float64 = problem.working == np.float64 or operator.has_tensor
    if needs_float64 and not device.has_float64:
        return "does not compute in float64"
    if operator.calls_function:
        return "cannot call a diffusivity function on faces"
    has_walls = problem.may_have_walls
    if scheme.is_direct:
        own = scheme.kernels(stages, grid, problem.working, has_walls)
        return (
            None
            if own and not missing_kernel(own, has_walls)
            else (f"has no kernels for the scheme {scheme.name} of such a run")
        )
    is_stored = problem.is_guided or operator.operators_made(stages) > 0
    calls = dry.calls, operator.stage_calls(strict, is_stored)
    kernel = missing_kernel(calls, has_walls)
    if kernel is None:
        return None
    kind = " in strict runs" if strict else " with mask or labels" if has_walls else ""
    return f"has no kernels for {problem.recipe.model.title}{kind} ({kernel})"


def known_device(name: str) -> str | None:
    """Return the name of a device, or ``None`` for the processor if it is empty or unknown."""
    try:
        return name if name and get_device(name) is not None else None
    except ValueError as error:
        say_fallback(reason_of(error))
        return None


def device_for(
    problem: Problem, execution: Execution, dry: DryRun, scheme: Scheme, stages: tuple[Stage, ...]
) -> Device | None:
    """Return the named device of a run, or ``None``.

    A device that cannot do the run is said in a warning.
    """
    device = get_device(execution.device)
    if device is None or not stages:
        return None
    reason = obstacle(problem, dry, scheme, stages, device)
    if reason is not None:
        say_fallback(f"{device.name} {reason}")
        return None
    return device


def faster_card(
    problem: Problem,
    dry: DryRun,
    schedule: tuple[Scheme, tuple[Stage, ...]],
    work: records.Work,
    kind: Callable[[], Hashable],
    needed: Callable[[], float],
) -> Device | None:
    """Return the card of a run without a named device, or ``None`` for the processor.

    It is a card that was proven to have the bits of the processor in such runs, and that saves
    time by the paces that were measured then. No card is searched, and no library is loaded,
    unless that is so.

    Parameters
    ----------
    problem, dry, schedule
        The run.
    work
        Its work.
    kind, needed
        Return what selects the kernels of the run, and its memory on a card [bytes].
    """
    scheme, stages = schedule
    if not stages or not records.has_proven_card():
        return None
    for card in records.proven_cards(kind(), devices, work):
        fits = pieces_of(card, needed()) == 1
        if fits and obstacle(problem, dry, scheme, stages, card) is None:
            return card
    return None


@cache
def say_fallback(reason: str) -> None:
    """Warn that the processor does the work of a device; each reason is said once."""
    warnings.warn(f"{reason}: the processor does the work.", RuntimeWarning, stacklevel=3)
