"""A suggestion: parameters and diffusion time for an image, with what is expected of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.options import check_strength
from napari_diffusion.estimation.report.strength import StrengthScale
from napari_diffusion.estimation.report.words import gain_sentence, share_sentences
from napari_diffusion.models import Model

#: Beginning of the line of the report about a strength.
_STRENGTH_LINE = "Strength "


@dataclass(frozen=True)
class Suggestion:
    """Parameters chosen for an image; unpacks to ``model, time``.

    Attributes
    ----------
    model, time
        The filled-in model, and the diffusion time [length²].
    noise
        Noise of the image: kind, standard deviation [intensity] with its standard error,
        correlations of neighbouring voxels, its map over the image, and a pattern in it.
    gain
        Expected gain in signal-to-noise ratio [dB], the reduction of the mean squared error over
        all voxels that carry noise: the central estimate.
    gain_interval
        Lower and upper limit of the gain [dB]. The gain lies between them with a probability of
        80 % for uniform white Gaussian noise and of 90 % otherwise, given the uncertainty of the
        noise level and of the estimated error. Where two noise levels are possible, the interval
        covers both. None after lossy compression, for a noise level with a standard error of half
        of it or more, and with another criterion than ``"sure"``.
    noise_left
        Share of the noise's standard deviation that is expected in the result; NaN for
        j-invariance.
    noise_share
        Share of noise in the removed part, by squares; the rest is image detail. NaN where nothing
        is removed, and with another criterion than ``"sure"``.
    reasons, warnings
        Sentences that explain the choice, and that warn about it.
    effect
        One sentence about what the filter does to the image, in plain words.
    strength
        Strength from -1 (gentle) over 0 (recommended) to 1 (strong).
    options
        Options of the run that the values are for: transform, gain, offset and read noise, as in
        ``nd.diffuse(image, model, time=time, **options)``. Empty without a transform.
    scale
        The amounts of smoothing of all strengths; None where ``fwhm`` or
        ``noise_reduction`` fixes the amount.
    """

    model: Model
    time: float
    noise: Noise
    gain: float
    gain_interval: tuple[float, float] | None
    noise_left: float
    noise_share: float
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    effect: str = ""
    strength: float = 0.0
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    scale: StrengthScale | None = field(default=None, repr=False)
    _recommended: Suggestion | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[Any]:
        """Unpack to model and time."""
        return iter((self.model, self.time))

    @property
    def report(self) -> str:
        """The summary, the warnings, and below them the numbers and the method."""
        warnings = [f"Warning: {text}" for text in self.warnings]
        return "\n".join([self.summary, *warnings, "", *self.reasons])

    @property
    def summary(self) -> str:
        """What the filter does and what is gained, in plain words."""
        gain = gain_sentence(self.gain, self.gain_interval)
        return " ".join([self.effect, gain, *share_sentences(self.noise_share, self.noise_left)])

    def with_strength(self, strength: float) -> Suggestion:
        """Return the suggestion of the same model at another strength, without a new measurement.

        The result has the time, the expected numbers and the effect of that strength. It is equal
        to that of ``suggest(..., strength=strength)``.

        Parameters
        ----------
        strength
            Number from -1 (gentle) over 0 (recommended) to 1 (strong), not relative to the present
            strength.

        Raises
        ------
        ValueError
            For other numbers, and where ``fwhm`` or ``noise_reduction`` has fixed the amount of
            smoothing.
        """
        strength, scale = check_strength(strength), self.scale
        if strength == self.strength:
            return self
        if scale is None:
            raise ValueError(
                "strength cannot change an amount of smoothing that fwhm or noise_reduction fixes."
            )
        amount = scale.amount(strength)
        reasons = [line for line in self.reasons if not line.startswith(_STRENGTH_LINE)]
        if strength != 0:
            reasons.append(scale.line(strength, _STRENGTH_LINE))
        return dataclasses.replace(
            self,
            time=amount.time,
            gain=amount.gain,
            gain_interval=self._interval_at(amount.gain),
            noise_left=amount.noise_left,
            noise_share=amount.noise_share,
            reasons=tuple(reasons),
            effect=scale.effect(amount),
            strength=strength,
            _recommended=self._recommended or self,
        )

    def _interval_at(self, gain: float) -> tuple[float, float] | None:
        """Interval of another gain: the recommended one, shifted by the difference."""
        own = self._recommended or self
        if own.gain_interval is None:
            return None
        shift = gain - own.gain
        return own.gain_interval[0] + shift, own.gain_interval[1] + shift
