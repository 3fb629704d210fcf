r"""Base of the time integration schemes.

A scheme is a schedule of stages. It depends on the stable step, the time and the tolerance, not on
the intensities. Most schemes apply the operator in every stage, which needs only two fields:

.. math:: u^{k+1} = u^k + m_k\,(u^k - u^{k-1}) + \tau_k\,A(u^k)\,u^k

A *direct* scheme computes a stage itself, for example by solving a linear system.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import Field as Option
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import numpy as np

from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.parameters import check_parameters, parameters
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator
from napari_diffusion.operators.stepper import StageContext

#: Largest number of steps that is counted. Runs are far shorter, and a quotient of a time and a
#: step may overflow.
MAX_COUNT = 10**18


def whole_number(steps: float) -> int:
    """Return the smallest whole number of steps that suffices, at most `MAX_COUNT`."""
    return math.ceil(min(steps, MAX_COUNT))


def end_of_step(time: float, step: int, count: int) -> float:
    """Return the diffusion time after ``step`` of ``count`` equal steps.

    At the end it is exactly ``time``, whose product with ``count`` might be rounded or overflow.
    """
    if step == count:
        return time
    reached = time * step / count
    return reached if reached < time else time * (step / count)


def step_with_source(max_step: float, rate: float) -> float:
    r"""Return the largest explicit step of an operator with the source of a fidelity length.

    .. math:: \tau_{max} = \Bigl(\frac{1}{\tau_A} + \frac{1}{\ell^2}\Bigr)^{-1}

    With :math:`\tau \le \tau_{max}`, the new value of a voxel is a mean of old values and of its
    input, with weights of at least 0. :math:`2/\tau_{max}` bounds the eigenvalues.

    Parameters
    ----------
    max_step
        Largest step :math:`\tau_A` of the operator alone [length²].
    rate
        :math:`1/\ell^2` [1/length²]; 0 without a fidelity length.
    """
    return 1 / (1 / max_step + rate) if rate and math.isfinite(max_step) else max_step


def check_declaration(kind: type[Scheme]) -> None:
    """Check that a class declares all that a plan, a recipe and the command line read of a scheme.

    Raises
    ------
    TypeError
        If an attribute or a method is missing, or the class is no frozen dataclass.
    """
    needed: dict[str, tuple[Any, str]] = {
        "name": (str, "a text"),
        "order": ((int, float), "a number"),
        "monotone": (bool, "True or False"),
    }
    for attribute, (types, words) in needed.items():
        if not isinstance(getattr(kind, attribute, None), types):
            raise TypeError(f"{kind.__name__} needs the class attribute {attribute!r}, {words}")
    # The decorator replaces the declarations by their defaults, and checks the base class.
    if not is_dataclass(kind) or any(isinstance(value, Option) for value in vars(kind).values()):
        raise TypeError(f"{kind.__name__} needs the line @dataclass(frozen=True)")
    declared = {parameter.name for parameter in parameters(kind)}
    for own in fields(kind):
        if own.name not in declared:
            raise TypeError(f"{kind.__name__}: the field {own.name!r} is not declared by param()")
    for method in ("stages", "solve") if kind.is_direct else ("stages",):
        if getattr(kind, method) is getattr(Scheme, method):
            raise TypeError(f"{kind.__name__} has no method {method!r}")


class Scheme:
    r"""Base class of the time integration schemes: frozen dataclasses with fields by `param`.

    Attributes
    ----------
    name
        Name on the command line and for ``scheme=``.
    order
        Order of convergence in time.
    monotone
        Whether the scheme guarantees the extremum principle.
    is_direct
        Whether the scheme computes its stages itself, in `solve`.
    solves_fidelity
        Whether a direct scheme includes the source :math:`(f - u)/\ell^2` of a fidelity length,
        whose rate :math:`1/\ell^2` is `Stage.rate`. The other schemes need nothing of their own.
    references
        Keys of `workflows/references.bib`, or BibTeX entries, of the sources of the scheme.
    """

    name: ClassVar[str]
    order: ClassVar[float]
    monotone: ClassVar[bool]
    is_direct: ClassVar[bool] = False
    solves_fidelity: ClassVar[bool] = False
    references: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check every declared field."""
        check_parameters(self, type(self).__name__)

    def refusal(self, operator: Operator, grid: Grid, strict: bool) -> str | None:
        """Return why the scheme cannot run an operator, as a part of a sentence; None if it can.

        Parameters
        ----------
        operator
            Operator of the model, evaluated on a few zeros.
        grid
            Voxel size and walls.
        strict
            Whether the extremum principle must be guaranteed.
        """
        return None

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterable[Stage]:
        r"""Return the stages that reach a diffusion time.

        Parameters
        ----------
        time
            Diffusion time [length²].
        max_step
            Largest explicit step that satisfies the extremum principle [length²],
            :math:`2/\lambda_{max}`.
        tolerance
            Target error of the time integration, as a share of the intensity range.
        """
        raise NotImplementedError

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int | None:
        """Return the number of `stages`, which are not made for it; ``None`` if it is unknown.

        A plan refuses a run of far too many stages by this number. Without it, stages are made up
        to the limit. The arguments are those of `stages`.
        """
        return None

    def with_steps(self, time: float, count: int) -> Scheme | None:
        """Return this scheme with ``count`` steps or supersteps up to ``time`` [length²].

        None for a scheme that is exact in time, or whose steps are fixed.
        """
        return None

    def for_source(self, time: float, max_step: float, tolerance: float, rate: float) -> Scheme:
        """Return this scheme for a run with the source of a fidelity length.

        Parameters
        ----------
        time, max_step, tolerance
            As for `stages`.
        rate
            Rate of the source [1/length²].
        """
        return self

    def for_interval(self, time: float, max_step: float) -> Scheme | None:
        """Return a scheme for one of many consecutive intervals of ``time`` [length²].

        None for a scheme that solves each time from the start.
        """
        return None

    def solve(self, stage: Stage, u: Field, out: Field, context: StageContext) -> None:
        """Compute one stage of the field ``u`` into ``out``; direct schemes only.

        ``u`` must not be changed.
        """
        raise NotImplementedError

    def kernels(
        self, stages: Sequence[Stage], grid: Grid, dtype: np.dtype[Any], has_walls: bool
    ) -> tuple[str, ...]:
        """Return the names of the kernels of `solve`; empty if it needs more than kernels."""
        return ()

    def reach(
        self,
        stages: Sequence[Stage],
        operator: Operator,
        feature_reach: Sequence[int],
        grid: Grid,
        dtype: np.dtype[Any],
    ) -> list[int] | None:
        """Return the reach of some consecutive stages of a direct scheme, per axis [voxel].

        None for a scheme whose stages apply the operator, which knows its reach.
        """
        return [n - 1 for n in grid.shape] if self.is_direct else None

    def field_count(self, stages: Sequence[Stage], is_copied: bool, has_walls: bool) -> int:
        """Return the number of fields in memory, besides an input that is not copied."""
        keeps_start = any(stage.needs_start for stage in stages)
        return min(len(stages) + is_copied, 2) + keeps_start

    def scratch_planes(
        self,
        stages: Sequence[Stage],
        grid: Grid,
        dtype: np.dtype[Any],
        chunk: int,
        channels: int,
        threads: int,
    ) -> int:
        """Return the planes of scratch of one thread of a direct scheme.

        Parameters
        ----------
        stages, grid, dtype
            As in `reach`.
        chunk
            Planes that a thread computes at once.
        channels, threads
            Numbers of channels and threads.
        """
        return 0

    def fields_at_end(self, is_copied: bool, has_walls: bool) -> int:
        """Return the number of fields that are alive when the result is stored."""
        return 1

    @property
    def reads_ahead(self) -> bool:
        """Whether the last field of a frame is alive when the next frame is read."""
        return True
