"""Logarithmic scale of a slider."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Steps of a slider from end to end.
STEPS = 400
#: Ratio of either end of a scale to its centre.
RATIO = 100.0


@dataclass(frozen=True)
class LogScale:
    """Positions 0 to `STEPS` of a slider for the positive values between two ends.

    Attributes
    ----------
    low, high
        Values at the ends, 0 < low < high.
    """

    low: float
    high: float

    @classmethod
    def around(cls, centre: float) -> LogScale:
        """Return the scale from a `RATIO`-th of a positive value to `RATIO` times the value."""
        return cls(centre / RATIO, centre * RATIO)

    def including(self, value: float) -> LogScale:
        """Return this scale, or a longer one that reaches a positive value."""
        return LogScale(min(self.low, value), max(self.high, value))

    def position(self, value: float) -> int:
        """Return the position that is closest to a value; values beyond an end are at the end."""
        if value <= self.low:
            return 0
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return min(STEPS, round(share * STEPS))

    def value(self, position: int) -> float:
        """Return the value at a position, with three significant digits."""
        value = self.low * (self.high / self.low) ** (position / STEPS)
        return float(f"{value:.3g}")
