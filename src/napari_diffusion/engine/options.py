"""Options of the time integration and of the execution, unchecked."""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.schemes import Scheme


@dataclass(frozen=True)
class Integration:
    """Diffusion time and time integration of a run.

    Attributes
    ----------
    time
        Diffusion time T [length²].
    scheme
        ``"auto"``, the name of a scheme, or a scheme.
    tolerance
        Target error of the time integration, as a share of the intensity range.
    strict
        Whether to guarantee the extremum principle.
    """

    time: float
    scheme: str | Scheme = "auto"
    tolerance: float = 1e-3
    strict: bool = False


@dataclass(frozen=True)
class Execution:
    """How a run is executed; the result does not depend on the number of threads.

    Attributes
    ----------
    threads
        Number of threads; ``None`` for all processors.
    backend
        ``"compiled"``, ``"reference"``, or ``None`` for the faster one that can run.
    """

    threads: int | None = None
    backend: str | None = None
