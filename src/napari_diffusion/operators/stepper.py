"""What the stages of a frame share, and how they are applied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from napari_diffusion.backends.base import Backend
from napari_diffusion.core.arrays import Field, Stored
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scratch import Scratch
from napari_diffusion.operators.smoothing import SmoothedPlanes

#: Most stages of a pass over memory. Of n stages, n² planes at each border between two ranges wait
#: for both of them.
MAX_PASS_STAGES = 8
#: Memory of the planes of a pass, which have to stay in the cache that the cores share [bytes], and
#: voxels that a stage computes at once: kernel calls then take longer than the Python around them.
PASS_BYTES, PASS_VOXELS = 12 << 20, 1 << 19


class Slabs(Protocol):
    """Runs a function over slabs of planes, in threads."""

    threads: int

    def run(
        self,
        work: Callable[[int, int], None],
        planes: int,
        height: int,
        chunk: int | None = None,
        quiet: bool = False,
    ) -> None:
        """Call ``work(lo, hi)`` on the chunks of all slabs; unless ``quiet``, report the share."""

    def run_stages(
        self,
        work: Callable[[int, int, int], None],
        planes: int,
        height: int,
        stages: int,
        reach: int,
        block: int,
    ) -> None:
        """Call ``work(stage, lo, hi)`` for several stages, in one pass over memory."""

    def report(self, share: float) -> object:
        """Report the share of the stage that is done."""


@dataclass(slots=True)
class StageContext:
    """What the stages of a frame share.

    Attributes
    ----------
    build
        Returns the operator for features: `Model.operator`.
    grid
        Voxel size and open faces of the frame.
    backend
        The kernels.
    weights
        Weight of each channel's gradient; their sum is 1.
    scratch
        Work arrays of each thread.
    slabs
        Threads, cancel and progress.
    height, chunk
        Planes of a slab, through which one thread passes, and of a chunk, computed at once.
    strict
        Whether the extremum principle is guaranteed.
    new_field
        Returns a work field that is none of the given ones; its contents are arbitrary.
    stores_operator
        Whether a stage of the run reuses the operator of an earlier one.
    source
        The input f, to which stages with a `Stage.rate` return; ``None`` without such stages.
    guide
        Field whose last channels are those of a guide, and whose first channels, if it has more,
        are overwritten by the image; ``None`` without a guide.
    feature_weights
        Weight of the gradient of each channel of ``guide``.
    guide_is_alone
        Whether all channels of ``guide`` are those of the guide.
    """

    build: Callable[[Features], Any]
    grid: Grid
    backend: Backend
    weights: Field
    scratch: Scratch
    slabs: Slabs
    height: int
    chunk: int
    strict: bool
    new_field: Callable[..., Field]
    stores_operator: bool
    source: Field | None = None
    guide: Field | None = None
    feature_weights: Field | None = None
    guide_is_alone: bool = True

    def with_guide(self, u: Field) -> Field:
        """Return the field whose features make the operator: ``u``, or one with the guide."""
        if self.guide is None:
            return u
        if not self.guide_is_alone:
            self.guide[: len(u)] = u
        return self.guide

    def features(
        self,
        u: Field,
        lo: int,
        hi: int,
        previous: Features | None = None,
        known: Sequence[SmoothedPlanes] = (),
    ) -> Features:
        """Return the features of planes ``lo:hi`` of a field; see `Features`."""
        return Features(
            u,
            lo,
            hi,
            self.grid,
            self.backend,
            self.weights_of_features,
            self.scratch,
            previous=previous,
            known=known,
        )

    @property
    def weights_of_features(self) -> Field:
        """Weight of the gradient of each channel from which features are made."""
        return self.weights if self.feature_weights is None else self.feature_weights

    def run_on_slabs(self, work: Callable[[int, int], None], u: Field, quiet: bool = False) -> None:
        """Call ``work(lo, hi)`` on the chunks of all slabs of a field."""
        self.slabs.run(work, u.shape[1], self.height, self.chunk, quiet)

    def conductance(self, u: Field) -> Field:
        """Return the diffusivity at the voxels of a field, shape ``space``."""
        u = self.with_guide(u)
        values: Field = self.backend.empty(u.shape[1:], u.dtype)

        def work(lo: int, hi: int) -> None:
            features = self.features(u, lo, hi)
            values[lo:hi] = self.build(features).conductance(features)

        self.run_on_slabs(work, u, quiet=True)
        return values


class Stepper(ABC):
    """Applies the stages of a frame with one kind of operator.

    Attributes
    ----------
    context
        What the stages of the frame share.
    stored
        What is stored of the operator between two stages; ``None`` if nothing is.
    """

    stored: Stored | None = None
    #: Planes by which a stage with the stored operator reads beyond what it computes; ``None`` if
    #: stages are computed one by one.
    stage_reach: int | None = None

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self._sizes: tuple[int, int] | None = None

    def take_memory(self, stored: Stored | None) -> None:
        """Overwrite what was stored for an earlier frame, if it fits; this saves an allocation."""
        space = self.context.grid.shape
        if stored is not None and stored.shape[-len(space) :] == space:
            self.stored = stored

    def prepare(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, is_first: bool
    ) -> None:
        """Compute what is stored of the operator, before a stage that does not reuse it.

        Parameters
        ----------
        stage
            The stage.
        u
            Field before the stage.
        out
            Field that a predicted or extrapolated state may overwrite.
        superstep_start
            Field at the start of the superstep to which the previous stage belongs.
        is_first
            Whether this is the first stage of the frame.
        """
        if stage.reuse_operator or not self.context.stores_operator:
            return
        if stage.extrapolation:
            self._extrapolate(u, superstep_start, stage.extrapolation, out)
            self.store(self.context.with_guide(out))
            return
        if is_first or not stage.predictor_step:
            self.store(self.context.with_guide(u))
        if stage.predictor_step:
            predictor = Stage(0.0, stage.predictor_step, None, rate=stage.rate)
            self.apply(predictor, u, out, u, quiet=True)
            self.store(self.context.with_guide(out))

    def store(self, u: Field) -> None:
        """Compute and store the operator of the field ``u``."""
        raise NotImplementedError

    @abstractmethod
    def apply(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, quiet: bool = False
    ) -> None:
        """Compute one stage of the field ``u`` into ``out``.

        Parameters
        ----------
        stage
            The stage.
        u
            Field before the stage.
        out
            Field after the stage. With momentum, it holds the field of the previous stage before.
        superstep_start
            Field at the start of the superstep, of which `Stage.start_weight` mixes in a share.
        quiet
            Whether the progress of the stage is not reported.
        """

    def pass_stages(self, u: Field) -> int:
        """Return how many stages with the stored operator one pass over memory computes.

        Only for steppers with a `stage_reach`.
        """
        return self._pass_sizes(u)[0]

    def apply_in_one_pass(
        self, stages: Sequence[Stage], u: Field, out: Field, superstep_start: Field
    ) -> None:
        """Compute stages with the stored operator; ``u`` and ``out`` are overwritten in turn.

        The first stage reads ``u``, the second one ``out``, and so on.

        Parameters
        ----------
        stages
            At most `pass_stages` stages, and at least two.
        u
            Field before the first stage; no other array of the run.
        out, superstep_start
            As in `apply`.
        """
        fields, reach = (u, out), self.stage_reach
        assert reach is not None

        def work(number: int, lo: int, hi: int) -> None:
            before, after = fields[number % 2], fields[1 - number % 2]
            self.apply_on_planes(stages[number], before, after, superstep_start, lo, hi)

        context, block = self.context, self._pass_sizes(u)[1]
        context.slabs.run_stages(work, u.shape[1], context.height, len(stages), reach, block)

    def apply_on_planes(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, lo: int, hi: int
    ) -> None:
        """Compute one stage with the stored operator on planes ``lo:hi``; others as in `apply`."""
        raise NotImplementedError

    def _pass_sizes(self, u: Field) -> tuple[int, int]:
        """Return the number of stages of a pass, and of the planes that each computes at once."""
        if self._sizes is not None:
            return self._sizes
        assert self.stored is not None
        planes, reach = u.shape[1], max(self.stage_reach or 0, 1)
        held = PASS_BYTES // max(1, (2 * u.nbytes + self.stored.nbytes) // planes)
        block = max(1, min(PASS_VOXELS * planes // max(1, u.size), held // 2))
        stages = (held - block - 1) // reach
        self._sizes = max(1, min(stages, MAX_PASS_STAGES, planes // (2 * reach))), block
        return self._sizes

    def _extrapolate(self, u: Field, earlier: Field, share: float, out: Field) -> None:
        r"""Write :math:`u + c\,(u - u_0)` to ``out``, with a share c and the ``earlier`` u_0."""

        def work(lo: int, hi: int) -> None:
            out[:, lo:hi] = u[:, lo:hi]
            self.mix_in_start(out, earlier, -share, lo, hi)

        self.context.run_on_slabs(work, u, quiet=True)

    def finish(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, planes: slice
    ) -> None:
        r"""Add the source of the fidelity to ``out``, and mix in the start of the superstep.

        .. math:: out \mathrel{+}= \tau\,(f - u)/\ell^2

        Parameters
        ----------
        stage
            The stage.
        u, out
            Field before the stage, and after it without the source.
        superstep_start
            Field at the start of the superstep.
        planes
            Planes of ``out`` to change.
        """
        source, lo, hi = self.context.source, planes.start, planes.stop
        if source is not None:
            self._add_difference(out, source, u, stage.step * stage.rate, lo, hi)
        self.mix_in_start(out, superstep_start, stage.start_weight, lo, hi)

    def mix_in_start(
        self, out: Field, superstep_start: Field, share: float, lo: int, hi: int
    ) -> None:
        r"""Replace :math:`u` by :math:`u + c\,(u_0 - u)` on planes ``lo:hi`` of ``out``.

        :math:`u_0` is the start of the superstep and c the ``share``.
        """
        self._add_difference(out, superstep_start, out, share, lo, hi)

    def _add_difference(
        self, out: Field, field: Field, other: Field, share: float, lo: int, hi: int
    ) -> None:
        """Add ``share`` times the difference of two fields to planes ``lo:hi`` of ``out``."""
        if not share:
            return
        scratch, backend = self.context.scratch, self.context.backend
        backend.add_difference(out, field, other, share, lo, hi, partial(scratch.take, "pull"))
