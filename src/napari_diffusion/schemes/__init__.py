"""The time integrators. ``"auto"`` chooses by model, time and tolerance, never by the image."""

from __future__ import annotations

from napari_diffusion.core.grid import Grid
from napari_diffusion.operators import Operator
from napari_diffusion.operators.divergence import (
    ConstantDiffusivity,
    GradientDiffusivity,
    VoxelDiffusivity,
)
from napari_diffusion.operators.tensor import DiffusionTensor
from napari_diffusion.schemes.base import Scheme, Stage
from napari_diffusion.schemes.exact import Exact
from napari_diffusion.schemes.explicit import SAFETY, Explicit
from napari_diffusion.schemes.fsi import FSI
from napari_diffusion.schemes.midpoint import Midpoint
from napari_diffusion.schemes.rkl2 import RKL2

BUILTIN: tuple[type[Scheme], ...] = (Explicit, Exact, RKL2, FSI, Midpoint)


def choose_scheme(
    scheme: str | Scheme,
    operator: Operator,
    grid: Grid,
    strict: bool,
    time: float,
    tolerance: float,
) -> Scheme:
    """Return the scheme to use, or say in one sentence why the wanted one cannot run this model on this grid."""
    # Between walls the exact solution is a series, positive only to its rounding.
    solvable = isinstance(operator, ConstantDiffusivity) and not (
        strict and grid.open_faces is not None
    )
    if isinstance(scheme, str):
        known = {cls.name: cls for cls in BUILTIN}
        if scheme == "auto":
            return Exact() if solvable else _steps(operator, grid, strict, time, tolerance)
        if scheme not in known:
            raise ValueError(
                f"There is no scheme named {scheme!r}; the schemes are auto, {', '.join(known)}."
            )
        scheme = known[scheme]()
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be a name or one of nd.schemes, got {type(scheme).__name__}.")
    if isinstance(scheme, Exact) and not solvable:
        why = (
            "strict=True with walls needs steps"
            if isinstance(operator, ConstantDiffusivity)
            else "its diffusivity is not constant"
        )
        raise ValueError(f"Scheme 'exact' cannot run this model here: {why}; scheme='auto' can.")
    if isinstance(scheme, Midpoint) and not isinstance(
        operator, DiffusionTensor | ConstantDiffusivity
    ):
        raise ValueError(
            "Scheme 'midpoint' is for models with a diffusion tensor, which it makes few times; scheme='auto' can."
        )
    if strict and not scheme.monotone:
        raise ValueError(
            f"strict=True needs a scheme that guarantees the extremum principle; {scheme.name!r} does not, 'explicit' does."
        )
    return scheme


def _steps(operator: Operator, grid: Grid, strict: bool, time: float, tolerance: float) -> Scheme:
    """Return explicit steps, or second-order supersteps where these save a fifth of the evaluations.

    Only a diffusivity made from a smoothed field, or total variation with its convex energy, has a limit that a higher order could
    approach: with one per face, Euler runs with halved steps stay 1e-2 of the range apart (measured), and explicit steps keep the extremum
    principle. A tensor costs as much as several stages.
    """
    if isinstance(operator, DiffusionTensor) and not strict:
        return Midpoint()
    limit = operator.max_step(grid)
    if strict or not isinstance(operator, VoxelDiffusivity | GradientDiffusivity):
        return Explicit()
    return (
        RKL2()
        if len(RKL2().stages(time, limit, tolerance)) < 0.8 * time / (SAFETY * limit)
        else Explicit()
    )


__all__ = [
    "BUILTIN",
    "FSI",
    "RKL2",
    "Exact",
    "Explicit",
    "Midpoint",
    "Scheme",
    "Stage",
    "choose_scheme",
]
