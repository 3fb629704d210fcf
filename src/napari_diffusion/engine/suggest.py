"""Parameters from the image, chosen before a run, so that the run itself is plain numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion.engine.choose import HOOKS, MOST, Choice, Search
from napari_diffusion.engine.job import Job, make_job
from napari_diffusion.engine.path import Paths
from napari_diffusion.engine.probing import noises, probe, structures, together
from napari_diffusion.engine.report import reasons, warnings_about
from napari_diffusion.engine.sample import sample
from napari_diffusion.estimate import CRITERIA, KINDS, MOSTLY, Noise, Probe, Sums, careful, noise_share, sure, typical_share
from napari_diffusion.models import EdgeEnhancing, Model, PeronaMalik, SpeckleReducing, TotalVariation, parameters
from napari_diffusion.models.base import as_number

Risk = Callable[[Sums], float]
#: Pieces that the search looks at; the time is then read from all of them.
SEARCHED = 3
#: Models whose parameters are searched when the model is to be chosen too.
FINALISTS = 2
#: A model that is so many times worse in the heat is not among them: 1 dB, which a search does not make good.
BEHIND = 1.26
#: Gain [dB] below which it counts more that the picture stays.
LITTLE = 1.5
#: Full width at half maximum of a Gaussian of standard deviation 1.
FWHM = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True)
class Suggestion:
    """Parameters that suit an image; unpacks to ``model, time``.

    Attributes
    ----------
    model, time
        The filled-in model, and the diffusion time [length²].
    noise
        What the noise is: kind, standard deviation [intensity] with its standard error, correlations of neighbouring voxels.
    gain
        Expected gain in signal-to-noise ratio [dB]: by how much the mean squared error falls, at least.
    noise_left
        Share of the noise's standard deviation that is expected in the result.
    noise_share
        Share of noise in what is removed, by squares; the rest is picture. NaN with another criterion than ``"sure"``.
    reasons, warnings
        One sentence each.
    """

    model: Model
    time: float
    noise: Noise
    gain: float
    noise_left: float
    noise_share: float
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    def __iter__(self) -> Iterator[Any]:
        """Unpack to model and time."""
        return iter((self.model, self.time))

    @property
    def report(self) -> str:
        """All reasons and warnings as plain text, one sentence a line."""
        return "\n".join([*self.reasons, *(f"Warning: {text}" for text in self.warnings)])


def suggest(
    image: Any,
    model: Model | str = "auto",
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    noise: str | None = None,
    criterion: str = "sure",
    fwhm: float | None = None,
    noise_reduction: float | None = None,
    fixed: Sequence[str] = (),
    thorough: bool = True,
    others: Sequence[Any] = (),
    unit: str = "pixel",
) -> Suggestion:
    r"""Choose a model's parameters and a diffusion time by the estimated error of the result.

    The noise is measured (see `napari_diffusion.estimate`), and the parameters and the time are those of the smallest estimated mean
    squared error (SURE: Stein 1981; by Monte Carlo: Ramani, Blu & Unser 2008) on a few representative pieces of the image. Where that
    gains structure less than 1.5 dB and would remove its detail, those of the smallest error among what removes mostly noise are taken
    (docs/develop/decisions.md). It takes a bounded time for any image, and the same image gives the same numbers.

    Parameters
    ----------
    image, spacing, axes, channel_axis, mask, labels
        As in `diffuse`. Values that are not finite are ignored. Frames share one set of parameters.
    model
        A model, of which the parameters that declare it (``suggest=`` of `models.param`) are filled in; ``"auto"`` chooses the model too.
    noise
        Kind of noise, ``"gaussian"``, ``"rician"``, ``"poisson"`` or ``"speckle"``; by default the one that the image shows.
    criterion
        What is minimised: ``"sure"``, or, for white noise of any kind, ``"decorrelation"`` of the result and what was removed, or
        ``"j-invariance"``, the miss of hidden voxels.
    fwhm
        Full width at half maximum [length] of the Gaussian that the smoothing is to be equivalent to; this fixes the time.
    noise_reduction
        Factor > 1 by which the standard deviation of the noise is to fall; this fixes the time.
    fixed
        Names of parameters to leave as they are in ``model``.
    thorough
        ``False`` takes a rule of thumb for the parameters (a threshold of a third of the noise per voxel, a scale of half a voxel) and
        chooses the time only: a tenth of the work, for about half a decibel less.
    others
        More images of the same kind that are to share the choice, such as the rest of an experiment; same axes and voxel size.
    unit
        Name of the unit of length, for the words of the report.

    Returns
    -------
    Suggestion
        Unpacks to ``model, time``; its ``report`` says what was found and why.

    Raises
    ------
    ValueError
        When the image shows no noise (constant, binary, too few voxels), so that there is nothing to choose by.

    Examples
    --------
    >>> import napari_diffusion as nd
    >>> noisy = 50 * (np.indices((64, 64)).sum(0) > 60) + np.random.default_rng(0).normal(0, 5, (64, 64))
    >>> model, time = nd.suggest(noisy, nd.PeronaMalik())
    """
    jobs = [make_job(image, spacing, axes, channel_axis, mask, labels, "mask", False, None)]
    jobs += [make_job(other, spacing, axes, channel_axis, None, None, "mask", False, None) for other in others]
    return suggest_for(
        jobs,
        model,
        noise=noise,
        criterion=criterion,
        fwhm=fwhm,
        noise_reduction=noise_reduction,
        fixed=fixed,
        thorough=thorough,
        unit=unit,
    )


def suggest_for(
    jobs: Sequence[Job],
    model: Model | str,
    *,
    noise: str | None = None,
    criterion: str = "sure",
    fwhm: float | None = None,
    noise_reduction: float | None = None,
    fixed: Sequence[str] = (),
    thorough: bool = True,
    unit: str = "pixel",
) -> Suggestion:
    """Choose one set of parameters for all jobs together; arguments and result as `suggest`."""
    _check_model(model)
    if noise is not None and noise not in KINDS:
        raise ValueError(f"noise must be one of {', '.join(KINDS)}, or None for the one that the image shows; got {noise!r:.60}.")
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r:.60}.")
    time, left = _targets(fwhm, noise_reduction)
    pieces = sample(jobs)
    found = noises(pieces, noise, model)
    whole = together([noise for channels in found.values() for noise in channels])
    every = list(range(len(pieces)))
    # One path can look at all pieces, a search cannot.
    some = [int((k + 0.5) * len(pieces) / SEARCHED) for k in range(SEARCHED)] if len(pieces) > SEARCHED else every

    def paths(probes: Sequence[Probe], numbers: Sequence[int] = every) -> Paths:
        return Paths([pieces[k] for k in numbers], [probes[k] for k in numbers], jobs[0].weights)

    def over(probes: Sequence[Probe], risk: Risk, numbers: Sequence[int] = every, most: int = 1, known: Model | None = None) -> Search:
        return Search(paths(probes, numbers), whole, tuple(fixed), time, left, most, risk, known)

    def choose(probes: Sequence[Probe], risk: Risk, few: bool, known: Model | None = None) -> tuple[Choice, Search]:
        search = over(probes, risk, some, MOST, known) if few else over(probes, risk)
        heat = over(probes, risk, [some[len(some) // 2]], known=known)
        return search.best(model) if isinstance(model, Model) else _best_of(candidates, heat, search), search

    def refined(choice: Choice, probes: Sequence[Probe], risk: Risk) -> Choice:
        return over(probes, risk).along(choice.model, choice.time)

    probes = [probe(piece, found[piece.source], criterion, number) for number, piece in enumerate(pieces)]
    counted = sum(int((probe.deviation > 0).sum()) for probe in probes)
    variance = sum(float(np.square(probe.deviation, dtype=float).sum()) for probe in probes) / counted
    # What is left when the noise is taken off is known no better than the noise itself, of which there is no more than all.
    uncertain = variance * min(1.0, 2 * whole.error / whole.sigma + math.sqrt(2 / counted))

    def gain_of(error: float, level: float) -> float:
        return 10 * math.log10(level / max(error, uncertain * level / variance))

    candidates = [model] if isinstance(model, Model) else _candidates(whole, paths(probes))
    final, search = choose(probes, CRITERIA[criterion], thorough)
    share, spared = math.nan, False
    if criterion == "sure" and final.time > 0:
        telling = [dataclasses.replace(p, structure=mask) for p, mask in zip(probes, structures(pieces, probes), strict=True)]
        *_, (_, sums) = paths(telling).walk(final.model, final.time, final.time)
        share, there = noise_share(sums), sums.there or sums
        little = gain_of(sure(there), there.variance / there.number) < LITTLE
        if typical_share(there) < MOSTLY and little and time is None and left is None:
            choice, its_search = choose(telling, careful, True, final.model)
            choice = refined(choice, telling, careful)
            if choice.time > 0:
                final, search, share, spared = choice, its_search, choice.share, True
    if thorough and not spared:
        final = refined(final, probes, CRITERIA[criterion])
    gain = gain_of(final.error, variance)
    if left is None and final.left > 0:  # what is left of the noise is no more than all that is wrong
        final = dataclasses.replace(final, left=min(final.left, 10 ** (-gain / 20)))
    filled = {p.name: _short(getattr(final.model, p.name)) for p in parameters(final.model) if p.suggest in HOOKS and p.name not in fixed}
    final = dataclasses.replace(
        final, model=dataclasses.replace(final.model, **filled), time=_short(final.time) if fwhm is None else final.time
    )
    return Suggestion(
        model=final.model,
        time=final.time,
        noise=whole,
        gain=gain,
        noise_left=final.left,
        noise_share=share,
        reasons=reasons(final, whole, gain, share, spared, search, candidates, pieces, unit, (fwhm, noise_reduction)),
        warnings=warnings_about(final, whole, gain, share, spared, pieces, criterion),
    )


def _short(value: float) -> float:
    """Three digits, which is more than a choice is worth."""
    return float(f"{value:.3g}")


def _check_model(model: Any) -> None:
    if not (isinstance(model, Model) or (isinstance(model, str) and model == "auto")):
        got = f"{model!r:.60}" if isinstance(model, str) else type(model).__name__
        raise TypeError(f"model must be 'auto' or a diffusion model such as nd.PeronaMalik(), got {got}.")


def _candidates(noise: Noise, paths: Paths) -> list[Model]:
    """Models to choose from; linear diffusion is in all of them. Declared lengths are voxels until somebody says otherwise."""
    models = [PeronaMalik(), TotalVariation(), EdgeEnhancing(), *([SpeckleReducing()] if noise.kind == "speckle" else [])]
    return [
        dataclasses.replace(model, **{p.name: p.default * paths.voxel for p in parameters(model) if p.unit == "length"}) for model in models
    ]


def _best_of(models: Sequence[Model], heat: Search, search: Search) -> Choice:
    """Search the models that do best in a heat over one piece; those after the first have its risk to beat."""
    found: list[Choice] = []
    starts = sorted((heat.best(model) for model in models), key=lambda choice: choice.risk)
    for start in starts[:FINALISTS]:
        if start is starts[0] or start.risk <= BEHIND * starts[0].risk:
            found.append(search.best(start.model, start.time, min((choice.risk for choice in found), default=math.inf)))
    return min(found, key=lambda choice: choice.risk)


def _targets(fwhm: Any, noise_reduction: Any) -> tuple[float | None, float | None]:
    """Return the diffusion time and the share of noise that are asked for."""
    if fwhm is not None and noise_reduction is not None:
        raise ValueError("fwhm and noise_reduction both say how far to smooth; give one of them.")
    for name, value, least, unit in (("fwhm", fwhm, 0, " [length]"), ("noise_reduction", noise_reduction, 1, "")):
        number = math.nan if value is None else as_number(value)
        if value is not None and (number is None or not least < number < math.inf):
            raise ValueError(f"{name} must be a number > {least} and finite{unit}, got {value!r:.60}.")
    return None if fwhm is None else (fwhm / FWHM) ** 2 / 2, None if noise_reduction is None else 1 / noise_reduction
