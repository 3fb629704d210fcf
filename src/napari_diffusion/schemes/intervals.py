"""A scheme that reports the state at times in geometric progression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from napari_diffusion.core.stage import Stage
from napari_diffusion.schemes.base import Scheme

#: Default ratio of consecutive times.
TIME_RATIO = 1.25


@dataclass(frozen=True)
class GeometricTimes(Scheme):
    """Steps to times in geometric progression; it is not offered by name.

    Attributes
    ----------
    count
        Number of times.
    scheme
        Scheme that makes the steps from one time to the next, by `Scheme.for_interval`.
    ratio
        Ratio of consecutive times.
    """

    name = "geometric-times"
    order = 1
    monotone = False
    count: int
    scheme: Scheme
    ratio: float = TIME_RATIO

    def times(self, time: float) -> list[float]:
        """Return all times; the last one is ``time``."""
        return [time / self.ratio ** (self.count - 1 - k) for k in range(self.count)]

    def stages(self, time: float, max_step: float, tolerance: float) -> Iterator[Stage]:
        """Yield the stages from one time to the next; only the times themselves are reported."""
        if time == 0:
            return
        previous = 0.0
        for end in self.times(time):
            interval = end - previous
            scheme = self.scheme.for_interval(interval, max_step)
            assert scheme is not None
            silent = [
                stage if stage.time is None else stage._replace(time=None)
                for stage in scheme.stages(interval, max_step, tolerance)
            ]
            yield from silent[:-1]
            yield silent[-1]._replace(time=end)
            previous = end
