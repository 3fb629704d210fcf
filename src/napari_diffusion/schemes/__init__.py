"""Time integration schemes.

``"auto"`` selects a scheme from the model, the grid, the time and the tolerance. The intensities
have no influence.
"""

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
from napari_diffusion.schemes.explicit import SAFETY_FACTOR, Explicit
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
    """Return the scheme for an operator on a grid.

    Parameters
    ----------
    scheme
        A scheme, its name, or ``"auto"``.
    operator
        Operator of the model, for its type and its stable step.
    grid
        Voxel size and walls.
    strict
        Whether the scheme must guarantee the extremum principle.
    time
        Diffusion time [length²].
    tolerance
        Target error of the time integration, as a share of the intensity range.

    Raises
    ------
    ValueError
        If no scheme has this name, or if the scheme cannot run this operator on this grid.
    TypeError
        If ``scheme`` is neither a name nor a scheme.
    """
    # Between walls the exact solution is a series, which is positive only up to rounding.
    solvable = isinstance(operator, ConstantDiffusivity) and not (
        strict and grid.open_faces is not None
    )
    if isinstance(scheme, str):
        known = {cls.name: cls for cls in BUILTIN}
        if scheme == "auto":
            if solvable:
                return Exact()
            return _stepping_scheme(operator, grid, strict, time, tolerance)
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
            "Scheme 'midpoint' is for models with a diffusion tensor, which it makes few times; "
            "scheme='auto' can."
        )
    if strict and not scheme.monotone:
        raise ValueError(
            "strict=True needs a scheme that guarantees the extremum principle; "
            f"{scheme.name!r} does not, 'explicit' does."
        )
    return scheme


def _stepping_scheme(
    operator: Operator, grid: Grid, strict: bool, time: float, tolerance: float
) -> Scheme:
    """Return the scheme of ``"auto"`` for operators without an exact solution.

    Explicit steps are the default, since they satisfy the extremum principle. Second-order
    supersteps replace them where they save a fifth of the evaluations. They are used only if the
    result converges as the steps shrink. It does with a diffusivity at the voxels, and with total
    variation, whose energy is convex. With one diffusivity per face, Euler runs with halved steps
    still differ by 1e-2 of the range (measured). Tensor models use `Midpoint`, because a tensor
    costs as much as several stages.
    """
    if isinstance(operator, DiffusionTensor) and not strict:
        return Midpoint()
    limit = operator.max_step(grid)
    if strict or not isinstance(operator, VoxelDiffusivity | GradientDiffusivity):
        return Explicit()
    supersteps = RKL2()
    count = len(supersteps.stages(time, limit, tolerance))
    return supersteps if count < 0.8 * time / (SAFETY_FACTOR * limit) else Explicit()


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
