"""Time integration schemes.

``"auto"`` selects a scheme from the model, the grid, the time and the tolerance. The intensities
have no influence. Other packages register schemes under the entry point group
``napari_diffusion.schemes``.
"""

from __future__ import annotations

import math
from typing import Any

from napari_diffusion.core.errors import shown
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.parameters import parameters, rescaled
from napari_diffusion.core.registry import Registry
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator
from napari_diffusion.schemes.base import Scheme, check_declaration, step_with_source, whole_number
from napari_diffusion.schemes.exact import Exact
from napari_diffusion.schemes.explicit import SAFETY_FACTOR, Explicit
from napari_diffusion.schemes.extrapolated import Extrapolated
from napari_diffusion.schemes.fsi import FSI
from napari_diffusion.schemes.midpoint import Midpoint
from napari_diffusion.schemes.rkl2 import RKL2

BUILTIN: tuple[type[Scheme], ...] = (Explicit, Exact, RKL2, FSI, Midpoint, Extrapolated)
#: Longest time [stable steps], and smallest tolerance, at which ``"auto"`` takes explicit steps for
#: a diffusivity at the voxels. They damp noise more than the exact solution, by up to 5e-3 of the
#: range, and keep the extremum principle (docs/develop/decisions.md).
EXPLICIT_STEPS, EXPLICIT_TOLERANCE = 8.0, 0.9e-3
#: Longest run [stable steps] with the operator of a guide that is one exponential.
LONGEST_FROZEN_EXPONENTIAL = 100.0
#: Name of the choice of a scheme by `choose_scheme`.
AUTO = "auto"


def _check(entry: Any) -> None:
    if not (isinstance(entry, type) and issubclass(entry, Scheme)):
        raise TypeError(f"{entry!r} is no subclass of napari_diffusion.schemes.Scheme")
    check_declaration(entry)
    if entry.name == AUTO:
        raise TypeError(f"the name {AUTO!r} stands for the automatic choice")


#: The schemes of this package and of other packages.
REGISTRY: Registry[type[Scheme]] = Registry("scheme", "napari_diffusion.schemes", BUILTIN, _check)


def names() -> list[str]:
    """Return ``"auto"`` and the names of all schemes."""
    return [AUTO, *(scheme.name for scheme in REGISTRY.all())]


def checked_scheme(scheme: Any) -> str | Scheme:
    """Return a scheme, its name or ``"auto"`` unchanged.

    Raises
    ------
    ValueError
        If no scheme has this name.
    TypeError
        If ``scheme`` is neither a name nor a scheme.
    """
    if isinstance(scheme, str):
        return scheme if scheme == AUTO else REGISTRY.get(scheme, also=[AUTO]).name
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be a name or one of nd.schemes, got {type(scheme).__name__}.")
    return scheme


def is_scheme(value: Any) -> bool:
    """Whether a value is a scheme object, and not a name."""
    return isinstance(value, Scheme)


def to_plain(scheme: str | Scheme) -> str | dict[str, Any]:
    """Return a scheme as plain JSON types: its name, or an object with name and options."""
    if isinstance(scheme, str):
        return scheme
    options = {p.name: getattr(scheme, p.name) for p in parameters(scheme)}
    return {"name": scheme.name, **options}


def from_plain(plain: Any) -> str | Scheme:
    """Return the scheme of `to_plain`.

    Raises
    ------
    ValueError
        If no scheme has this name, or if it has other options or bounds.
    """
    if not isinstance(plain, dict):
        return REGISTRY.get(plain, also=[AUTO]).name if plain != AUTO else AUTO
    options = dict(plain)
    kind = REGISTRY.get(options.pop("name", None), also=[AUTO])
    if unknown := sorted(set(options) - {p.name for p in parameters(kind)}):
        raise ValueError(f"{shown(unknown[0])} is no option of the scheme {kind.name}.")
    try:
        return kind(**options)
    except TypeError as error:
        raise ValueError(str(error)) from None


def in_unit(scheme: str | Scheme, factor: float) -> str | Scheme:
    """Return a scheme with its lengths in another unit, of which ``factor`` make an old one."""
    return scheme if isinstance(scheme, str) else rescaled(scheme, factor)


def code_of(scheme: str | Scheme) -> str:
    """Return the Python expression of a scheme, for code that imports napari_diffusion as nd."""
    if isinstance(scheme, str):
        return repr(scheme)
    kind = type(scheme)
    prefix = "nd.schemes." if kind in BUILTIN else ""
    options = ", ".join(f"{p.name}={getattr(scheme, p.name)!r}" for p in parameters(scheme))
    return f"{prefix}{kind.__name__}({options})"


def imports_of(scheme: str | Scheme) -> str:
    """Return the import that `code_of` needs besides nd: a line of code, or nothing."""
    kind = type(scheme)
    if isinstance(scheme, str) or kind in BUILTIN:
        return ""
    return f"from {kind.__module__} import {kind.__name__}\n"


def choose_scheme(
    scheme: str | Scheme,
    operator: Operator,
    grid: Grid,
    strict: bool,
    time: float,
    tolerance: float,
    rate: float = 0.0,
    is_frozen: bool = False,
) -> Scheme:
    """Return the scheme for an operator on a grid.

    Parameters
    ----------
    scheme
        A scheme, its name, or ``"auto"``.
    operator
        Operator of the model, for its properties and its stable step.
    grid
        Voxel size and walls.
    strict
        Whether the scheme must guarantee the extremum principle.
    time
        Diffusion time [length²].
    tolerance
        Target error of the time integration, as a share of the intensity range.
    rate
        Rate at which the field returns to the input [1/length²], 0 without a fidelity length.
    is_frozen
        Whether the operator is that of a guide for the whole run. A short run is then the
        exponential of the operator, up to the tolerance, and a long one takes supersteps.

    Raises
    ------
    ValueError
        If no scheme has this name, or if the scheme cannot run this operator on this grid.
    TypeError
        If ``scheme`` is neither a name nor a scheme.
    """
    scheme = checked_scheme(scheme)
    limit = step_with_source(operator.max_step(grid), rate)
    if not is_frozen:
        rate *= operator.source_cycles
    if isinstance(scheme, str):
        if scheme == AUTO:
            if Exact().refusal(operator, grid, strict) is None:
                return Exact()
            if is_frozen and not strict:
                own = _frozen_scheme(time, limit, tolerance, rate)
            else:
                own = _stepping_scheme(operator, limit, strict, time, tolerance)
            return own.for_source(time, limit, tolerance, rate) if rate else own
        scheme = REGISTRY.get(scheme)()
    reason = scheme.refusal(operator, grid, strict)
    if reason is None and rate and scheme.is_direct and not scheme.solves_fidelity:
        reason = "it does not include a fidelity length"
    if reason is not None:
        raise ValueError(
            f"Scheme {scheme.name!r} cannot run this model here: {reason}; scheme='auto' can."
        )
    if strict and not scheme.monotone:
        raise ValueError(
            "strict=True needs a scheme that guarantees the extremum principle; "
            f"{scheme.name!r} does not, 'explicit' does."
        )
    return scheme.for_source(time, limit, tolerance, rate) if rate else scheme


def _frozen_scheme(time: float, limit: float, tolerance: float, rate: float) -> Scheme:
    """Return the scheme of ``"auto"`` for the operator of a guide.

    Six supersteps have an error of at most 4e-4 of the range, for 100 to 26 000 stable steps
    (measured, docs/develop/decisions.md), and it falls with the square of their number. A
    fidelity length with the ``rate`` needs as many as `Scheme.for_source` says.
    """
    if time <= LONGEST_FROZEN_EXPONENTIAL * limit:
        return Midpoint(cycles=1)
    cycles = max(4, whole_number(6 * math.sqrt(1e-3 / tolerance)), whole_number(time * rate))
    return Extrapolated(cycles=cycles)


def with_one_operator(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return a schedule in which the first stage makes the operator, and all others reuse it.

    Stages that only predict the field of a new operator are left out.
    """
    first = next((i for i, stage in enumerate(stages) if stage.from_start), 0)
    return tuple(
        stage._replace(
            reuse_operator=i > 0, predictor_step=0.0, extrapolation=0.0, from_start=False
        )
        for i, stage in enumerate(stages[first:])
    )


def _stepping_scheme(
    operator: Operator, limit: float, strict: bool, time: float, tolerance: float
) -> Scheme:
    """Return the scheme of ``"auto"`` for operators without an exact solution.

    With ``strict``, explicit steps satisfy the extremum principle. A tensor, or a diffusivity that
    can be stored, costs as much as several stages: `Midpoint` and `Extrapolated` compute it once
    per cycle. Short runs with a diffusivity at the voxels are explicit. For other operators,
    supersteps of second order replace explicit steps where they save a fifth of the evaluations,
    if the result converges as the steps shrink. With one diffusivity of each face's difference,
    Euler runs with halved steps still differ by 1e-2 of the range (measured).

    ``limit`` is the stable step [length²].
    """
    if strict:
        return Explicit()
    if operator.has_tensor:
        return Midpoint()
    if operator.is_storable:
        is_short = operator.has_voxel_conductance and time <= EXPLICIT_STEPS * limit
        tolerated = tolerance * operator.error_factor >= EXPLICIT_TOLERANCE
        return Explicit() if is_short and tolerated else Extrapolated()
    if not operator.converges:
        return Explicit()
    longest = 0.8 * time / (SAFETY_FACTOR * limit)
    supersteps = RKL2()
    return supersteps if supersteps.stage_count(time, limit, tolerance) < longest else Explicit()


__all__ = [
    "AUTO",
    "BUILTIN",
    "FSI",
    "REGISTRY",
    "RKL2",
    "Exact",
    "Explicit",
    "Extrapolated",
    "Midpoint",
    "Scheme",
    "Stage",
    "checked_scheme",
    "choose_scheme",
    "code_of",
    "from_plain",
    "imports_of",
    "in_unit",
    "is_scheme",
    "names",
    "step_with_source",
    "to_plain",
    "with_one_operator",
]
