"""Previews for the screen: a draft comes first if the exact preview takes long."""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.models import Model
from napari_diffusion.previewing.request import PreviewRequest

#: A preview that takes longer is preceded by a draft [s].
DRAFT_FREE_S = 0.2


@dataclass(frozen=True)
class PreviewImage:
    """A preview image, and a function that makes a better one.

    Attributes
    ----------
    picture
        The filtered part, or a map over it.
    refine
        Makes the exact picture of a draft; ``None`` for an exact picture.
    seconds
        Expected duration of `refine` [s]; ``None`` if it is unknown.
    region
        The part of the image that the picture shows; ``None`` for the requested part.
    """

    picture: Any
    refine: Callable[[CancelEvent | None], PreviewImage] | None = None
    seconds: float | None = None
    region: tuple[Any, ...] | None = None


class Previewer:
    """Makes previews and measures the speed of each model on this computer."""

    def __init__(self) -> None:
        self._paces: dict[type[Model], deque[float]] = {}

    def preview(
        self, request: PreviewRequest, cancel: CancelEvent | None = None, drafted: bool = False
    ) -> PreviewImage:
        """Return the exact preview if it is quick or a draft has been shown, else a draft."""
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

        It is ``None`` before two previews of the model, because the first one may have waited for
        the compiler.
        """
        paces = self._paces.get(type(request.problem.recipe.model), ())
        return min(paces) * request.work if len(paces) > 1 else None

    def _make(self, request: PreviewRequest, cancel: CancelEvent | None) -> Image:
        started = clock.perf_counter()
        picture = request.run(cancel=cancel)
        paces = self._paces.setdefault(type(request.problem.recipe.model), deque(maxlen=3))
        paces.append((clock.perf_counter() - started) / max(request.work, 1.0))
        return picture
