"""Report of a suggestion in words: the same in napari, Python and the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.estimation.aims import MIN_CONTRAST
from napari_diffusion.estimation.measurement.region import NoiseRegion
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.values import grey_step
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.search import ESTIMATORS, Choice, Search
from napari_diffusion.estimation.thin_structure import MAX_LOSS
from napari_diffusion.models import Model, Parameter, parameters
from napari_diffusion.operators.threshold_map import in_words

#: Correlation of neighbours above which noise is not white.
MIN_CORRELATION = 0.15
#: Gain [dB] below which filtering is hardly worth it.
MIN_GAIN_DB = 0.5
#: Minimum number of voxels with noise for a certain choice.
MIN_VOXELS = 2000
#: Share of extreme values that counts as saturation.
SATURATED_SHARE = 0.01
#: Number of values near an end of the range, but not at it, relative to those at it, from which on
#: values were cut off there. Of normal values cut off at their mean, it is two thirds. Beside a
#: background that was set to 0, it was 0.01 (measured).
MIN_NEAR_SATURATION = 0.1
#: Share of noise in the removed part below which it is mostly detail.
MIN_REPORTED_SHARE = 0.5
#: Share of the noise that is left from which on next to nothing is removed.
MAX_NOISE_LEFT = 0.97
#: Share of hot and dead voxels that is named.
MIN_IMPULSE_SHARE = 5e-4
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
    choice, noise, gain, gain_interval, noise_share
        As in the suggestion.
    is_compressed
        Whether the image was compressed with losses.
    impulse_share
        Share of hot and dead voxels.
    spares_detail
        Whether a careful choice replaced the choice of minimum error.
    keeps_lines
        Whether only settings were considered that keep the contrast of thin structure.
    left_out
        Sentences about models that cannot filter the image.
    search
        The search for the parameters.
    candidates
        The models from which one was chosen.
    patches
        The patches of the image.
    region
        The place at which the noise was measured; None where the whole image was measured.
    options
        The options of the suggestion.
    """

    choice: Choice
    noise: Noise
    gain: float
    gain_interval: tuple[float, float] | None
    noise_share: float
    is_compressed: bool
    impulse_share: float
    spares_detail: bool
    keeps_lines: bool
    left_out: Sequence[str]
    search: Search
    candidates: Sequence[Model]
    patches: Sequence[Patch]
    region: NoiseRegion | None
    options: SuggestionOptions


def reasons(outcome: Outcome) -> tuple[str, ...]:
    """Sentences about the measured noise, the choice, and the reasons for it."""
    choice, noise, unit = outcome.choice, outcome.noise, outcome.options.unit
    lines = [_noise_line(noise, outcome.patches, outcome.region)]
    if outcome.region is not None:
        lines.append("The noise is taken to be the same outside the noise region.")
    if outcome.search.edge_noise is not None:
        level = f"{outcome.search.edge_noise.sigma:.3g} [intensity]"
        lines.append(f"Thresholds follow the noise of the edges of the guide, {level}.")
    others = [m.title for m in outcome.candidates if type(m) is not type(choice.model)]
    if others:
        better = "within its uncertainty, its estimated error is the smallest beside"
        if outcome.options.aim == "segmentation":
            better = "regions are more even with it than with"
        lines.append(f"Model: {choice.model.title}; {better} {', '.join(others)}.")
    lines += outcome.left_out
    lines += [
        _parameter_line(p, outcome)
        for p in parameters(choice.model)
        if p.suggest in ESTIMATORS and p.name not in outcome.search.fixed
    ]
    lines += [
        f"{name} = {in_words(factors)}: the threshold follows the noise level."
        for name, factors in choice.model.maps.items()
    ]
    sigma = f"{equivalent_sigma(choice.time):.3g} {unit}"
    amount = f"at most a Gaussian of sigma {sigma}"
    if outcome.options.steady_time is not None:
        amount = "held to the image"
    lines.append(f"time = {choice.time:.3g} {unit}² ({amount}): {_why_time(outcome)}.")
    left = f"; {100 * choice.noise_left:.0f} % of the noise is left"
    left = "" if math.isnan(choice.noise_left) else left
    lines.append(f"Expected: {_gain_text(outcome.gain, outcome.gain_interval)}{left}.")
    return tuple(lines)


def gain_sentence(gain: float, interval: tuple[float, float] | None) -> str:
    """Sentence about the gain in signal-to-noise ratio [dB]; without an interval nothing holds."""
    if interval is None:
        return "How much the signal-to-noise ratio gains cannot be stated."
    if gain < MIN_GAIN_DB:
        return f"There is next to nothing to gain: {_gain_text(gain, interval)}."
    return f"The signal-to-noise ratio should rise by {_gain_text(gain, interval)}."


def _gain_text(gain: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{gain:+.1f} dB, without a bound"
    low, high = interval
    return f"{gain:.1f} dB ({low:.1f} to {high:.1f})"


def share_sentences(noise_share: float, noise_left: float) -> list[str]:
    """Sentence about what is removed; none where next to nothing is."""
    if math.isnan(noise_share) or not noise_left < MAX_NOISE_LEFT:
        return []
    percent = f"{100 * noise_share:.0f} %"
    if noise_share >= MIN_REPORTED_SHARE:
        return [f"Of what is removed, {percent} is noise."]
    return [f"Of what is removed, only {percent} is noise; the rest is detail."]


def _noise_line(noise: Noise, patches: Sequence[Patch], region: NoiseRegion | None) -> str:
    voxels = sum(patch.field.size for patch in patches)
    pieces = f" in {len(patches)} pieces of the image" if len(patches) > 1 else ""
    frames = " and what changes between frames" if noise.between_frames else ""
    # Through float, because the format g writes 70 with one digit as 7e+01.
    level = f"standard deviation {noise.sigma:.3g} ± {float(f'{noise.error:.1g}'):g} [intensity]"
    if noise.origin == "detail" and noise.correlation > MIN_CORRELATION:
        level += ", or more if neighbouring voxels share it"
    source = f"from {voxels} voxels{pieces}{frames}"
    if region is not None:
        source = f"from {region.voxels} voxels of the noise region{frames}"
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
    if options.steady_time is not None:
        return "the steady state of the fidelity length, as asked for"
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
    if outcome.keeps_lines:
        kept = f"{100 * (1 - MAX_LOSS):.0f} %"
        spared = f", of what keeps {kept} of the contrast of thin structure"
    return f"there the estimated error is smallest{spared}"


def _details(noise: Noise) -> str:
    details = ""
    if noise.kind == "poisson":
        details = f"; gain {noise.gain:.3g} [intensity]"
        if noise.offset < 0:
            details += f" above the offset {-noise.offset / noise.gain:.3g} [intensity]"
        elif noise.offset > 0:
            details += f", and {math.sqrt(noise.offset):.3g} at the intensity 0"
    if noise.coils > 1:
        details = f"; about {noise.coils} coils, combined by the sum of squares"
    if noise.kind == "speckle":
        details = f"; {100 * noise.speckle:.0f} % of the intensity"
    shared = f"; neighbouring voxels share it (correlation {noise.correlation:.2f})"
    return details + (shared if noise.correlation > 0 and noise.origin == "noise" else "")


def warnings_about(outcome: Outcome) -> tuple[str, ...]:
    """Sentences about properties of the image that may make the choice worse than expected."""
    choice, noise, patches = outcome.choice, outcome.noise, outcome.patches
    lines = [_compression_warning(outcome), _impulse_warning(outcome)]
    if outcome.region is not None and outcome.region.has_structure:
        lines.append(
            "The noise region contains structure: its values scatter more than neighbours differ. "
            "Mark an even place."
        )
    if not outcome.is_compressed:  # which explains all other patterns
        lines += [
            _correlation_warning(noise, outcome.options.criterion),
            _pattern_warning(noise),
            _place_warning(noise, patches),
            _grey_level_warning(noise, patches),
            _skewness_warning(noise),
        ]
    counted = sum(int(patch.valid.sum()) for patch in patches)
    if counted < MIN_VOXELS:
        lines.append(f"Only {counted} voxels carry noise; the choice is uncertain.")
    saturated = saturated_share(patches, noise.sigma)
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
        lines.append(
            "The noise is weak beside the detail of the image: there is next to nothing to gain."
        )
    if outcome.spares_detail:
        lines.append(
            "Detail is spared: at the smallest estimated error, "
            "too little of what is removed from it would be noise."
        )
    elif outcome.noise_share < MIN_REPORTED_SHARE and choice.noise_left < MAX_NOISE_LEFT:
        share = f"{100 * outcome.noise_share:.0f} %"
        lines.append(f"Only {share} of what is removed is noise; the rest is detail.")
    return tuple(line for line in lines if line)


def _correlation_warning(noise: Noise, criterion: str) -> str:
    """Warning about correlated noise; empty for white noise."""
    if noise.correlation <= MIN_CORRELATION:
        return ""
    observed = f"Neighbouring voxels of the flattest parts are correlated ({noise.correlation:.2f})"
    if noise.origin == "undecided":
        return (
            f"{observed}, and no calm place shows whether the noise or fine detail is. "
            f"The noise is {noise.sigma:.3g} or {noise.other_sigma:.3g}; "
            "the choice is the careful one, for the lower level."
        )
    if noise.origin != "noise":
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


def _compression_warning(outcome: Outcome) -> str:
    if not outcome.is_compressed:
        return ""
    return (
        "The image was compressed in blocks of 8 × 8 pixels, as in a JPEG file. This changes the "
        "noise, and what filtering gains cannot be stated; use the original data if they exist."
    )


def _impulse_warning(outcome: Outcome) -> str:
    share = outcome.impulse_share
    if share < MIN_IMPULSE_SHARE:
        return ""
    return (
        f"{100 * share:.2g} % of the voxels are hot or dead: they differ from all their neighbours "
        'by far more than the noise. The option impulses, set to "mask", replaces them.'
    )


def _pattern_warning(noise: Noise) -> str:
    if noise.pattern is None:
        return ""
    return (
        f"{noise.pattern.title} make up {100 * noise.pattern.share:.0f} % of the noise. "
        f"Diffusion removes a part of them; a filter for {noise.pattern.name} should come first."
    )


def _place_warning(noise: Noise, patches: Sequence[Patch]) -> str:
    """Warning about noise that differs from place to place, with the places."""
    if noise.level_map is None:
        return ""
    grid, whole = noise.level_map.grid, patches[0].whole
    ends = []
    for node in (int(grid.argmax()), int(grid.argmin())):
        index = np.unravel_index(node, grid.shape)
        place = [int((k + 0.5) / m * n) for k, m, n in zip(index, grid.shape, whole, strict=True)]
        level = noise.sigma * float(grid[index])
        ends.append(f"{level:.3g} near voxel ({', '.join(map(str, place))})")
    return (
        f"The noise differs from place to place: {ends[0]}, {ends[1]}. "
        "Everything stated here allows for that."
    )


def _grey_level_warning(noise: Noise, patches: Sequence[Patch]) -> str:
    steps = [grey_step(p.field[:, p.valid]) for p in patches if p.valid.any()]
    step = min(steps, default=0.0)
    if step < noise.sigma:
        return ""
    return (
        f"The grey levels are {step:.3g} apart, and the noise is {noise.sigma:.3g}: "
        "rounding hides a part of the noise."
    )


def _skewness_warning(noise: Noise) -> str:
    if noise.kind != "gaussian" or not noise.is_skewed:
        return ""
    return (
        f"The noise is skewed ({noise.skewness:+.1f}), as the logarithm of speckle is. The "
        "estimated error allows for it, and its level is less certain than that of Gaussian noise."
    )


def saturated_share(patches: Sequence[Patch], sigma: float) -> float:
    """Largest share of the values of a patch at an end of the range at which values are cut off.

    Other values are within the noise level of such an end. Those of a background that was set to 0
    are far from all others.
    """
    fields = [patch.field[:, patch.valid] for patch in patches if patch.valid.any()]
    saturated = 0.0
    for end in _extremes(patches):
        count = sum(int((field == end).sum()) for field in fields)
        near = sum(int((np.abs(field.astype(float) - end) <= sigma).sum()) for field in fields)
        if near - count >= MIN_NEAR_SATURATION * count:
            shares = [float(np.mean(field == end)) for field in fields]
            saturated = max(saturated, *shares)
    return saturated


def _extremes(patches: Sequence[Patch]) -> tuple[float, float]:
    """Smallest and largest value of all patches."""
    values = [patch.field[:, patch.valid] for patch in patches if patch.valid.any()]
    if not values:
        return math.nan, math.nan
    return min(float(v.min()) for v in values), max(float(v.max()) for v in values)
