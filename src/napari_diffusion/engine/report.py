"""What `suggest` found, in words: the same in napari, Python and the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from napari_diffusion.engine.choose import HOOKS, Choice, Search
from napari_diffusion.engine.recipe import equivalent_sigma
from napari_diffusion.engine.sample import Piece
from napari_diffusion.estimate import Noise
from napari_diffusion.models import Model, parameters

#: Correlation of neighbours above which noise is not white, gain [dB] below which filtering is hardly worth it, and so on.
CORRELATED, WORTH, FEW, SATURATED = 0.15, 0.5, 2000, 0.01
#: Share of noise in what is removed below which it is mostly detail.
HALF = 0.5
#: Scatter of the values, in noise levels, below which there is nothing but noise.
STRUCTURE = 1.1
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


def reasons(
    choice: Choice,
    noise: Noise,
    gain: float,
    share: float,
    spared: bool,
    search: Search,
    candidates: Sequence[Model],
    pieces: Sequence[Piece],
    unit: str,
    asked: tuple[float | None, float | None],
) -> tuple[str, ...]:
    """Say what was measured, what was chosen and why."""
    voxels = sum(piece.field.size for piece in pieces)
    where = f"from {voxels} voxels in {len(pieces)} pieces of the image" if len(pieces) > 1 else f"from {voxels} voxels"
    where += " and what changes between frames" if noise.between_frames else ""
    told = [f"Noise: {_KINDS[noise.kind]}, standard deviation {noise.sigma:.3g} ± {noise.error:.1g} [intensity], {where}{_details(noise)}."]
    others = [model.title for model in candidates if type(model) is not type(choice.model)]
    if others:
        told.append(f"Model: {choice.model.title}; its estimated error is smaller than that of {', '.join(others)}.")
    for p in parameters(choice.model):
        if p.suggest in HOOKS and p.name not in search.fixed:
            value = getattr(choice.model, p.name)
            count = len({getattr(one.model, p.name) for one in search.tried.values() if type(one.model) is type(choice.model)})
            why = f"the best of {count} values tried" if count > 1 else "by rule of thumb"
            if spared and p.suggest == "scale":
                why = "the least, to spare detail"
            in_unit = p.unit_in(unit)
            said = f"{p.name} = {value:.3g} {in_unit}".rstrip()
            told.append(f"{said}: {_WHY[p.suggest]}; {why}.")
    fwhm, reduction = asked
    if fwhm is not None:
        why = f"a Gaussian of {fwhm:.3g} {unit} full width at half maximum, as asked for"
    elif reduction is not None:
        why = f"the noise falls {1 / choice.left:.3g} times, {reduction:.3g} were asked for"
    else:
        why = "there the estimated error is smallest" + (", of what removes mostly noise" if spared else "")
    told.append(f"time = {choice.time:.3g} {unit}² (at most a Gaussian of sigma {equivalent_sigma(choice.time):.3g} {unit}): {why}.")
    left = "" if math.isnan(choice.left) else f"; {100 * choice.left:.0f} % of the noise is left"
    removed = "" if math.isnan(share) else f"; {100 * share:.0f} % of what is removed is noise"
    told.append(f"Expected: {gain:+.1f} dB signal-to-noise ratio{left}{removed}.")
    return tuple(told)


def _details(noise: Noise) -> str:
    told = {
        "poisson": f"; its variance is {noise.offset:.3g} + {noise.gain:.3g} times the intensity",
        "speckle": f"; {100 * noise.speckle:.0f} % of the intensity",
    }.get(noise.kind, "")
    shared = f"; neighbouring voxels share it (correlation {noise.correlation:.2f})"
    return told + (shared if noise.correlation > 0 and noise.allowed else "")


def warnings_about(
    choice: Choice, noise: Noise, gain: float, share: float, spared: bool, pieces: Sequence[Piece], criterion: str
) -> tuple[str, ...]:
    """Say what may make the choice worse than it looks."""
    told = []
    counted = sum(int(piece.usable.sum()) for piece in pieces)
    if noise.correlation > CORRELATED:
        whence = f"Neighbouring voxels of the flattest parts are correlated ({noise.correlation:.2f})"
        if not noise.allowed:
            told.append(f"{whence}, which looks more like fine detail than like noise; if it is noise, the choice smooths too little.")
        elif criterion != "sure":
            told.append(f"{whence}, which the criterion {criterion} does not allow for: the choice smooths too little.")
        elif not noise.between_frames:
            told.append(f"{whence}; this is taken for noise that was interpolated or reconstructed; fine texture would go with it.")
    if counted < FEW:
        told.append(f"Only {counted} voxels carry noise; the choice is uncertain.")
    ends = max(float(np.mean(piece.field[:, piece.usable] == top)) for piece in pieces for top in _ends(pieces)) if pieces else 0.0
    if ends > SATURATED:
        told.append(f"{100 * ends:.0f} % of the values of a piece are the largest or smallest one: saturated values hide their noise.")
    if choice.at_end and max(piece.activity for piece in pieces) < STRUCTURE * noise.sigma:
        told.append("The estimated error falls up to the longest time tried: there is no structure above the noise.")
    elif 2 * noise.error >= noise.sigma:
        told.append("The noise is too uncertain to tell what filtering gains.")
    elif gain < WORTH:
        told.append(f"The image is already smooth: filtering gains only {gain:.1f} dB.")
    if spared:
        told.append("Detail is spared: at the smallest estimated error, too little of what is removed from it would be noise.")
    elif share < HALF:
        told.append(f"Only {100 * share:.0f} % of what is removed is noise; the rest is detail.")
    return tuple(told)


def _ends(pieces: Sequence[Piece]) -> tuple[float, float]:
    values = [piece.field[:, piece.usable] for piece in pieces if piece.usable.any()]
    return (min(float(v.min()) for v in values), max(float(v.max()) for v in values)) if values else (math.nan, math.nan)
