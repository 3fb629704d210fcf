"""Options of a suggestion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_diffusion.core.gaussian import FWHM, time_for_sigma
from napari_diffusion.core.parameters import as_number
from napari_diffusion.estimation.noise.kinds import KINDS
from napari_diffusion.estimation.risk import CRITERIA

#: What a choice is for.
AIMS = ("error", "segmentation")


@dataclass(frozen=True)
class SuggestionOptions:
    """Options of a suggestion; the attributes are parameters of `napari_diffusion.suggest`.

    Attributes
    ----------
    time_axes
        Axes along which the same object is imaged again, where the names of the axes are known.
        None: the first frame axis may be one.
    noise_region
        Bool array of the first image; None for the whole image.
    """

    noise: str | None = None
    criterion: str = "sure"
    fwhm: float | None = None
    noise_reduction: float | None = None
    fixed: Sequence[str] = ()
    thorough: bool = True
    unit: str = "pixel"
    aim: str = "error"
    strength: float = 0.0
    time_axes: Sequence[int] | None = None
    noise_region: Any = field(default=None, repr=False, compare=False)

    def check(self) -> None:
        """Raise ValueError for options that do not exist or exclude each other."""
        if self.noise is not None and self.noise not in KINDS:
            raise ValueError(
                f"noise must be one of {', '.join(KINDS)}, or None for the one "
                f"that the image shows; got {self.noise!r:.60}."
            )
        if self.criterion not in CRITERIA:
            raise ValueError(
                f"criterion must be one of {', '.join(CRITERIA)}, got {self.criterion!r:.60}."
            )
        if self.fwhm is not None and self.noise_reduction is not None:
            raise ValueError(
                "fwhm and noise_reduction both say how far to smooth; give one of them."
            )
        if self.aim not in AIMS:
            raise ValueError(f"aim must be one of {', '.join(AIMS)}, got {self.aim!r:.60}.")
        self._check_amount()
        _check_target("fwhm", self.fwhm, 0, " [length]")
        _check_target("noise_reduction", self.noise_reduction, 1, "")

    def _check_amount(self) -> None:
        """Raise ValueError if two options say how far to smooth."""
        strength = check_strength(self.strength)
        for name in ("fwhm", "noise_reduction"):
            if getattr(self, name) is not None and strength != 0:
                raise ValueError(f"strength and {name} both say how far to smooth; give one.")
            if getattr(self, name) is not None and self.aim != "error":
                raise ValueError(
                    f"aim={self.aim!r} and {name} both say how far to smooth; give one."
                )

    @property
    def time(self) -> float | None:
        """Diffusion time that ``fwhm`` fixes [length²]."""
        return None if self.fwhm is None else time_for_sigma(self.fwhm / FWHM)

    @property
    def noise_left(self) -> float | None:
        """Share of the noise's standard deviation that ``noise_reduction`` leaves."""
        return None if self.noise_reduction is None else 1 / self.noise_reduction


def _check_target(name: str, value: Any, lower: float, unit: str) -> None:
    number = math.nan if value is None else as_number(value)
    if value is not None and (number is None or not lower < number < math.inf):
        raise ValueError(f"{name} must be a number > {lower} and finite{unit}, got {value!r:.60}.")


def check_strength(strength: Any) -> float:
    """Return a strength as a number, or raise ValueError."""
    number = as_number(strength)
    if number is None or not -1 <= number <= 1:
        raise ValueError(
            "strength must be a number from -1 (gentle) over 0 (recommended) to 1 (strong), "
            f"got {strength!r:.60}."
        )
    return number
