"""Report of a suggestion in words: the same in napari, Python and the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.estimation.aims import MIN_CONTRAST
from napari_diffusion.estimation.noise_kinds import Noise
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.search import ESTIMATORS, Choice, Search
from napari_diffusion.models import Model, Parameter, parameters

#: Correlation of neighbours above which noise is not white.
MIN_CORRELATION = 0.15
#: Gain [dB] below which filtering is hardly worth it.
MIN_GAIN_DB = 0.5
#: Minimum number of voxels with noise for a certain choice.
MIN_VOXELS = 2000
#: Share of extreme values that counts as saturation.
SATURATED_SHARE = 0.01
#: Share of noise in the removed part below which it is mostly detail.
MIN_REPORTED_SHARE = 0.5
#: Standard deviation of the values, in noise levels, below which there is noise alone.
MIN_SCATTER = 1.1
_KINDS = {
    "gaussian": "Gaussian",
    "rician": "Rician (magnitude of complex data)",
    "poisson": "Poisson-Gaussian (photon counting)",
    "speckle": "speckle (multiplicative)",
}
_WHY = {
    "threshold": "steeper places are smoothed less",
    "scale": "gradients are read at this scale",
    "flux": "what differs by less than the noise is smoothed",
    "voxels": "a neighbourhood of a few voxels",
    "noise": "the noise level",
    "speckle": "the speckle level",
}


@dataclass(frozen=True)
class Outcome:
    """A suggestion with the quantities that its report needs.

    Attributes
    ----------
    choice, noise, gain, noise_share
        As in the suggestion.
    spares_detail
        Whether a careful choice replaced the choice of minimum error.
    search
        The search for the parameters.
    candidates
        The models from which one was chosen.
    patches
        The patches of the image.
    options
        The options of the suggestion.
    """

    choice: Choice
    noise: Noise
    gain: float
    noise_share: float
    spares_detail: bool
    search: Search
    candidates: Sequence[Model]
    patches: Sequence[Patch]
    options: SuggestionOptions


def reasons(outcome: Outcome) -> tuple[str, ...]:
    """Sentences about the measured noise, the choice, and the reasons for it."""
    choice, noise, unit = outcome.choice, outcome.noise, outcome.options.unit
    lines = [_noise_line(noise, outcome.patches)]
    others = [m.title for m in outcome.candidates if type(m) is not type(choice.model)]
    if others:
        better = "its estimated error is smaller than that of"
        if outcome.options.aim == "segmentation":
            better = "regions are more even with it than with"
        lines.append(f"Model: {choice.model.title}; {better} {', '.join(others)}.")
    lines += [
        _parameter_line(p, outcome)
        for p in parameters(choice.model)
        if p.suggest in ESTIMATORS and p.name not in outcome.search.fixed
    ]
    sigma = f"{equivalent_sigma(choice.time):.3g} {unit}"
    amount = f"at most a Gaussian of sigma {sigma}"
    lines.append(f"time = {choice.time:.3g} {unit}² ({amount}): {_why_time(outcome)}.")
    left = f"; {100 * choice.noise_left:.0f} % of the noise is left"
    removed = f"; {100 * outcome.noise_share:.0f} % of what is removed is noise"
    left = "" if math.isnan(choice.noise_left) else left
    removed = "" if math.isnan(outcome.noise_share) else removed
    lines.append(f"Expected: {outcome.gain:+.1f} dB signal-to-noise ratio{left}{removed}.")
    return tuple(lines)


def _noise_line(noise: Noise, patches: Sequence[Patch]) -> str:
    voxels = sum(patch.field.size for patch in patches)
    pieces = f" in {len(patches)} pieces of the image" if len(patches) > 1 else ""
    frames = " and what changes between frames" if noise.between_frames else ""
    level = f"standard deviation {noise.sigma:.3g} ± {noise.error:.1g} [intensity]"
    source = f"from {voxels} voxels{pieces}{frames}"
    return f"Noise: {_KINDS[noise.kind]}, {level}, {source}{_details(noise)}."


def _parameter_line(p: Parameter, outcome: Outcome) -> str:
    model = outcome.choice.model
    value = getattr(model, p.name)
    tried = outcome.search.tried.values()
    count = len({getattr(c.model, p.name) for c in tried if type(c.model) is type(model)})
    why = f"the best of {count} values tried" if count > 1 else "by rule of thumb"
    if outcome.spares_detail and p.suggest == "scale":
        why = "the least, to spare detail"
    assert p.suggest is not None
    number = f"{p.name} = {value:.3g} {p.unit_in(outcome.options.unit)}".rstrip()
    return f"{number}: {_WHY[p.suggest]}; {why}."


def _why_time(outcome: Outcome) -> str:
    options = outcome.options
    if options.fwhm is not None:
        return (
            f"a Gaussian of {options.fwhm:.3g} {options.unit} full width at half maximum, "
            "as asked for"
        )
    if options.noise_reduction is not None:
        reached = f"{1 / outcome.choice.noise_left:.3g} times"
        return f"the noise falls {reached}, {options.noise_reduction:.3g} were asked for"
    if options.aim == "segmentation":
        return (
            "regions are as even as they can be while their boundaries keep "
            f"{100 * MIN_CONTRAST:.0f} % of the contrast of the least-error result"
        )
    spared = ", of what removes mostly noise" if outcome.spares_detail else ""
    return f"there the estimated error is smallest{spared}"


def _details(noise: Noise) -> str:
    details = {
        "poisson": f"; its variance is {noise.offset:.3g} + {noise.gain:.3g} times the intensity",
        "speckle": f"; {100 * noise.speckle:.0f} % of the intensity",
    }.get(noise.kind, "")
    shared = f"; neighbouring voxels share it (correlation {noise.correlation:.2f})"
    return details + (shared if noise.correlation > 0 and noise.allowed else "")


def warnings_about(outcome: Outcome) -> tuple[str, ...]:
    """Sentences about properties of the image that may make the choice worse than expected."""
    choice, noise, patches = outcome.choice, outcome.noise, outcome.patches
    lines = [_correlation_warning(noise, outcome.options.criterion)]
    counted = sum(int(patch.valid.sum()) for patch in patches)
    if counted < MIN_VOXELS:
        lines.append(f"Only {counted} voxels carry noise; the choice is uncertain.")
    ends = _extremes(patches)
    shares = [float(np.mean(p.field[:, p.valid] == end)) for p in patches for end in ends]
    saturated = max(shares, default=0.0)
    if saturated > SATURATED_SHARE:
        lines.append(
            f"{100 * saturated:.0f} % of the values of a piece are the largest or smallest one: "
            "saturated values hide their noise."
        )
    if choice.at_end and max(patch.activity for patch in patches) < MIN_SCATTER * noise.sigma:
        lines.append(
            "The estimated error falls up to the longest time tried: "
            "there is no structure above the noise."
        )
    elif 2 * noise.error >= noise.sigma:
        lines.append("The noise is too uncertain to tell what filtering gains.")
    elif outcome.options.aim == "segmentation":
        if outcome.gain < 0:
            lines.append(
                "For even regions, more detail is removed than there was noise: "
                "measure brightness in the original."
            )
    elif outcome.gain < MIN_GAIN_DB:
        lines.append(f"The image is already smooth: filtering gains only {outcome.gain:.1f} dB.")
    if outcome.spares_detail:
        lines.append(
            "Detail is spared: at the smallest estimated error, "
            "too little of what is removed from it would be noise."
        )
    elif outcome.noise_share < MIN_REPORTED_SHARE:
        share = f"{100 * outcome.noise_share:.0f} %"
        lines.append(f"Only {share} of what is removed is noise; the rest is detail.")
    return tuple(line for line in lines if line)


def _correlation_warning(noise: Noise, criterion: str) -> str:
    """Warning about correlated noise; empty for white noise."""
    if noise.correlation <= MIN_CORRELATION:
        return ""
    observed = f"Neighbouring voxels of the flattest parts are correlated ({noise.correlation:.2f})"
    if not noise.allowed:
        return (
            f"{observed}, which looks more like fine detail than like noise; "
            "if it is noise, the choice smooths too little."
        )
    if criterion != "sure":
        return (
            f"{observed}, which the criterion {criterion} does not allow for: "
            "the choice smooths too little."
        )
    if noise.between_frames:
        return ""
    return (
        f"{observed}; this is taken for noise that was interpolated or reconstructed; "
        "fine texture would go with it."
    )


def _extremes(patches: Sequence[Patch]) -> tuple[float, float]:
    """Smallest and largest value of all patches."""
    values = [patch.field[:, patch.valid] for patch in patches if patch.valid.any()]
    if not values:
        return math.nan, math.nan
    return min(float(v.min()) for v in values), max(float(v.max()) for v in values)
