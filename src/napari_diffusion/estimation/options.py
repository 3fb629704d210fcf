"""Options of a suggestion."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_diffusion.core.errors import shown
from napari_diffusion.core.gaussian import FWHM, time_for_sigma
from napari_diffusion.core.parameters import as_number, checked_flag
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
    steady_time
        Diffusion time of the steady state of a run with a fidelity length [length²], which fixes
        the time; None for no such run.
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
    steady_time: float | None = None

    def check(self) -> None:
        """Raise ValueError for options that do not exist or exclude each other."""
        if self.noise is not None and not _is_one_of(self.noise, KINDS):
            raise ValueError(
                f"noise must be one of {', '.join(KINDS)}, or None for the one "
                f"that the image shows; got {shown(self.noise)}."
            )
        if not _is_one_of(self.criterion, CRITERIA):
            raise ValueError(
                f"criterion must be one of {', '.join(CRITERIA)}, got {shown(self.criterion)}."
            )
        if self.fwhm is not None and self.noise_reduction is not None:
            raise ValueError(
                "fwhm and noise_reduction both say how far to smooth; give one of them."
            )
        if not _is_one_of(self.aim, AIMS):
            raise ValueError(f"aim must be one of {', '.join(AIMS)}, got {shown(self.aim)}.")
        if not isinstance(self.unit, str):
            raise TypeError(f"unit must be text, such as 'µm', got {shown(self.unit)}.")
        if not all(isinstance(name, str) for name in entries("fixed", self.fixed)):
            raise TypeError(f"fixed must be names of parameters, got {shown(self.fixed)}.")
        checked_flag("thorough", self.thorough)
        self._check_amount()
        _check_target("fwhm", self.fwhm, 0, " [length]")
        _check_target("noise_reduction", self.noise_reduction, 1, "")

    def _check_amount(self) -> None:
        """Raise ValueError if two options say how far to smooth."""
        strength = check_strength(self.strength)
        fixing = {
            "fwhm": "fwhm",
            "noise_reduction": "noise_reduction",
            "steady_time": "steady state",
        }
        for name, text in fixing.items():
            if getattr(self, name) is not None and strength != 0:
                raise ValueError(f"strength and {text} both say how far to smooth; give one.")
            if getattr(self, name) is not None and self.aim != "error":
                raise ValueError(
                    f"aim={self.aim!r} and {text} both say how far to smooth; give one."
                )

    @property
    def time(self) -> float | None:
        """Diffusion time that ``fwhm`` or a steady state fixes [length²]."""
        if self.steady_time is not None:
            return self.steady_time
        return None if self.fwhm is None else time_for_sigma(self.fwhm / FWHM)

    @property
    def noise_left(self) -> float | None:
        """Share of the noise's standard deviation that ``noise_reduction`` leaves."""
        return None if self.noise_reduction is None else 1 / self.noise_reduction


def entries(name: str, values: Any) -> Sequence[Any]:
    """Return the entries of an argument that is a list, or raise TypeError."""
    if isinstance(values, str | bytes) or getattr(values, "ndim", 1) == 0:
        raise TypeError(f"{name} must be a list, got {shown(values)}.")
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name} must be a list, got {shown(values)}.") from None


def _is_one_of(value: Any, names: Collection[str]) -> bool:
    return isinstance(value, str) and value in names


def _check_target(name: str, value: Any, lower: float, unit: str) -> None:
    number = math.nan if value is None else as_number(value)
    if value is not None and (number is None or not lower < number < math.inf):
        raise ValueError(f"{name} must be a number > {lower} and finite{unit}, got {shown(value)}.")


def check_strength(strength: Any) -> float:
    """Return a strength as a number, or raise ValueError."""
    number = as_number(strength)
    if number is None or not -1 <= number <= 1:
        raise ValueError(
            "strength must be a number from -1 (gentle) over 0 (recommended) to 1 (strong), "
            f"got {shown(strength)}."
        )
    return number
