"""How long a run will take, from the pace of the runs before it.

The duration of a run is proportional to its *work*: voxels times effort of the stages. The factor,
its *pace*, is measured at every run and kept for the session, for each kind of run. A kind that has
not been run yet has a cautious pace from a table. Where that says too little, as for the NumPy
backend, nothing is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace

from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem
from napari_diffusion.workflows.outputs import RunPlan

#: Backend of the paces in `CAUTIOUS_PACES`.
_BACKEND = "compiled"
#: Processor time per voxel and stage [s] of a direct scheme, of stages of a scalar operator, and of
#: a tensor. They are about three times those of the page of benchmarks: the processor may be
#: slower, or busy.
CAUTIOUS_PACES = {"direct": 120e-9, "scalar": 12e-9, "tensor": 60e-9}
#: Shorter runs are not measured: much of their time has nothing to do with their work [s].
MIN_MEASURED_S = 0.1


@dataclass(frozen=True)
class Work:
    """The work of a run.

    Attributes
    ----------
    kind
        Runs of one kind call the same kernels with the same number of threads. ``None`` for a run
        without compiled kernels, whose pace is not kept.
    amount
        Voxels times effort, over all frames, channels and snapshots.
    cautious_pace
        Pace from the table [s]; ``None`` without one.
    """

    kind: Hashable | None
    amount: float
    cautious_pace: float | None


def work_of(problem: Problem, planned: RunPlan) -> Work:
    """Return the work of a planned run."""
    plan, earlier = planned.plan, planned.times[:-1]
    runs = [replace(problem, recipe=replace(problem.recipe, time=time)) for time in earlier]
    effort = plan.effort + sum(make_plan(run).effort for run in runs)
    amount = math.prod(problem.shape) * effort
    key = plan.kernel_key()
    if plan.backend != _BACKEND or plan.device is not None or key is None:
        return Work(None, amount, None)
    return Work((key, plan.threads), amount, CAUTIOUS_PACES[kind_of(plan)] / plan.threads)


def kind_of(plan: Plan) -> str:
    """Return the kind of a run in `CAUTIOUS_PACES`."""
    if plan.scheme.is_direct:
        return "direct"
    return "tensor" if plan.operator.has_tensor else "scalar"


class Paces:
    """The paces that were measured in this session."""

    def __init__(self) -> None:
        self._paces: dict[Hashable, float] = {}

    def record(self, work: Work, seconds: float) -> None:
        """Keep the pace of a run that was done in full.

        Parameters
        ----------
        work
            Its work.
        seconds
            Its duration without waits for the compiler [s].
        """
        if work.kind is not None and work.amount > 0 and seconds >= MIN_MEASURED_S:
            self._paces[work.kind] = seconds / work.amount

    def seconds(self, work: Work) -> float | None:
        """Return the expected duration of a run [s], ``None`` where nothing is known."""
        pace = self._paces.get(work.kind, work.cautious_pace)
        return None if pace is None else pace * work.amount


#: The paces of this process.
SESSION = Paces()


def in_brief(seconds: float | None, memory: int) -> str:
    """Return duration and memory of a run in a few words, such as ``about 1 s · 20 MB``.

    Parameters
    ----------
    seconds
        Expected duration [s]; ``None`` leaves it out.
    memory
        Expected memory [bytes].
    """
    size = _size(memory)
    return size if seconds is None else f"about {_duration(seconds)} · {size}"


def _duration(seconds: float) -> str:
    """Return a duration with at most two digits: more would promise too much."""
    if seconds < 90:
        return f"{max(1, round(seconds, None if seconds < 9.5 else -1)):.0f} s"
    if seconds < 5400:
        return f"{_two_digits(seconds / 60):.0f} min"
    return f"{_two_digits(seconds / 3600):g} h"


def _size(memory: int) -> str:
    size = float(memory)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 995:
            return f"{_two_digits(size):g} {unit}"
        size /= 1000
    return f"{_two_digits(size):g} TB"


def _two_digits(number: float) -> float:
    return float(f"{number:.2g}")
