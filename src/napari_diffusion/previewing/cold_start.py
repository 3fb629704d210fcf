"""First preview of a new installation: the NumPy kernels run while the others are compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from napari_diffusion.core.cancellation import CancelEvent, Cancelled
from napari_diffusion.core.resources import cpu_count
from napari_diffusion.engine.execution import Execution
from napari_diffusion.previewing.previewer import Previewer, PreviewImage
from napari_diffusion.previewing.request import PreviewRequest

#: Longest duration of a first preview [s].
FIRST_PREVIEW_S = 0.8
#: Seconds per unit of `PreviewRequest.work` for the NumPy kernels in one thread, with and without
#: tensors (docs/develop/decisions.md).
TENSOR_PACE_S, SCALAR_PACE_S = 6e-7, 8e-8
#: Smallest side of a first preview [voxel].
MIN_SIDE = 24


@dataclass(frozen=True)
class _EitherEvent:
    """An event that is set when another event is set, or when a condition holds."""

    event: CancelEvent | None
    condition: Callable[[], bool]

    def is_set(self) -> bool:
        return self.condition() or (self.event is not None and self.event.is_set())


def first_preview(
    previewer: Previewer,
    request: PreviewRequest,
    middle: Sequence[int],
    is_ready: Callable[[], bool],
    wait: Callable[[CancelEvent | None], object],
    cancel: CancelEvent | None = None,
) -> PreviewImage:
    """Make a preview while kernels are compiled, without loading the compiler.

    Parameters
    ----------
    previewer
        Makes the later previews.
    request
        The requested preview.
    middle
        Voxel around which a smaller part is shown if the whole part takes too long.
    is_ready
        Whether the kernels are compiled. It is called often, from this thread; the first preview is
        cancelled as soon as it returns true.
    wait
        Called with a cancel event before a better preview is made. It returns when the kernels are
        compiled, or when their compilation has failed.
    cancel
        As in `diffuse`.

    Returns
    -------
    PreviewImage
        A draft that can be refined, or the exact preview if it is quick or the kernels are
        compiled.

    Raises
    ------
    TypeError, ValueError, MemoryError, Cancelled
        As `preview`.
    """

    def refine(cancel: CancelEvent | None) -> PreviewImage:
        wait(cancel)
        drafted = first is not None and first.region == request.region
        return previewer.preview(request, cancel, drafted=drafted)

    if is_ready():
        return previewer.preview(request, cancel)
    first = affordable_preview(request, middle)
    if first is not None:
        try:
            picture = first.run(cancel=_EitherEvent(cancel, is_ready))
        except Cancelled:
            if not is_ready() or (cancel is not None and cancel.is_set()):
                raise
            first = None
        else:
            region = tuple(first.region)
            return PreviewImage(picture, refine if first.draft else None, region=region)
    return refine(cancel)


def affordable_preview(request: PreviewRequest, middle: Sequence[int]) -> PreviewRequest | None:
    """Return a preview that the NumPy kernels make within `FIRST_PREVIEW_S`.

    It is the exact preview, a draft, or a draft of a smaller part around the voxel ``middle``. It
    is ``None`` if all of these take too long: at long diffusion times, the surroundings of the
    smallest part are large. The region of the request is a slice with start and stop for every
    axis.
    """
    threads = request.execution.threads or cpu_count()
    # One processor is left to the compiler.
    execution = Execution(threads=max(1, threads - 1), backend="reference")
    exact = replace(request, execution=execution)
    pace = TENSOR_PACE_S if exact.plan.operator.has_tensor else SCALAR_PACE_S
    affordable_work = FIRST_PREVIEW_S / pace
    if exact.work <= affordable_work:
        return exact
    draft = replace(exact, draft=True)
    while draft.work > affordable_work:
        smaller = _smaller_region(draft, middle, affordable_work / draft.work)
        if smaller == draft.region:
            return None
        draft = replace(draft, region=smaller)
    return draft


def _smaller_region(
    request: PreviewRequest, middle: Sequence[int], share: float
) -> tuple[slice, ...]:
    """Return a region around ``middle`` with about ``share`` of the voxels.

    Its sides have at least `MIN_SIDE` voxels.
    """
    region: Any = list(request.region)
    axes = [i for i in request.problem.axes if region[i].stop - region[i].start > MIN_SIDE]
    for i in axes:
        size = region[i].stop - region[i].start
        side = max(MIN_SIDE, int(0.95 * size * share ** (1 / len(axes))))
        start = min(max(middle[i] - side // 2, region[i].start), region[i].stop - side)
        region[i] = slice(start, start + side)
    return tuple(region)
