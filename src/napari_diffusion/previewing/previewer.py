"""Previews for the screen: a draft first where the exact one takes long."""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.models import Model
from napari_diffusion.previewing.region import PreviewRequest

#: A preview that takes longer is preceded by a draft [s].
DRAFT_FREE_S = 0.2


@dataclass(frozen=True)
class PreviewImage:
    """A picture to show, and how to make a better one.

    Attributes
    ----------
    picture
        The filtered part, or a map over it.
    refine
        Makes the exact picture where this one is a draft; ``None`` where it is exact.
    seconds
        Expected duration of `refine` [s], where it is known.
    region
        The part of the image that the picture shows, where it is smaller than the part asked for.
    """

    picture: Any
    refine: Callable[[CancelEvent | None], PreviewImage] | None = None
    seconds: float | None = None
    region: tuple[Any, ...] | None = None


class Previewer:
    """Makes previews, and learns how fast each model runs on this computer."""

    def __init__(self) -> None:
        self._paces: dict[type[Model], deque[float]] = {}

    def preview(
        self, request: PreviewRequest, cancel: CancelEvent | None = None, drafted: bool = False
    ) -> PreviewImage:
        """Return the exact preview where it is quick or a draft has been shown, else a draft."""
        draft, seconds = replace(request, draft=True), self.expected_seconds(request)
        quick = seconds is not None and seconds <= DRAFT_FREE_S
        if drafted or quick or draft.work > request.work / 2:
            return PreviewImage(self._make(request, cancel))
        picture = self._make(draft, cancel)
        return PreviewImage(
            picture,
            lambda cancel: PreviewImage(self._make(request, cancel)),
            self.expected_seconds(request),
        )

    def expected_seconds(self, request: PreviewRequest) -> float | None:
        """Return the expected duration of a preview [s].

        ``None`` before two previews of its model: the first one may have waited for the compiler.
        """
        paces = self._paces.get(type(request.request.model), ())
        return min(paces) * request.work if len(paces) > 1 else None

    def _make(self, request: PreviewRequest, cancel: CancelEvent | None) -> Image:
        started = clock.perf_counter()
        picture = request.run(cancel=cancel)
        paces = self._paces.setdefault(type(request.request.model), deque(maxlen=3))
        paces.append((clock.perf_counter() - started) / max(request.work, 1.0))
        return picture
