"""Choice of parameters and diffusion time from the image.

The choice is made before a run, so that the run itself depends on plain numbers only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.engine.problem import Problem
from napari_diffusion.estimation.noise_kinds import Noise
from napari_diffusion.estimation.noise_probes import (
    combined_noise,
    make_probe,
    measure_noise,
    structure_masks,
)
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.patches import Patch, sample_patches
from napari_diffusion.estimation.report import Outcome, reasons, warnings_about
from napari_diffusion.estimation.risk import (
    CRITERIA,
    MIN_NOISE_SHARE,
    Probe,
    Sums,
    careful_risk,
    noise_share,
    sure,
    typical_noise_share,
)
from napari_diffusion.estimation.risk_curve import RiskCurve
from napari_diffusion.estimation.search import ESTIMATORS, MAX_COMBINATIONS, Choice, Search
from napari_diffusion.estimation.thin_structure import mark_thin_structure, risk_of_thin_structure
from napari_diffusion.models import (
    EdgeEnhancing,
    Model,
    PeronaMalik,
    SpeckleReducing,
    TotalVariation,
    parameters,
)

Risk = Callable[[Sums], float]
#: Number of patches on which parameters are searched. The time is then chosen on all patches.
SEARCH_PATCHES = 3
#: Maximum number of models whose parameters are searched when the model is chosen too.
MAX_FINALISTS = 2
#: Models whose risk in the screening round exceeds the best by this factor are dropped: 1 dB, which
#: a search does not make good.
SCREENING_FACTOR = 1.26
#: Gain [dB] on structure below which keeping its detail counts more than a smaller error.
SMALL_GAIN_DB = 1.5


@dataclass(frozen=True)
class Suggestion:
    """Parameters chosen for an image; unpacks to ``model, time``.

    Attributes
    ----------
    model, time
        The filled-in model, and the diffusion time [length²].
    noise
        Noise of the image: kind, standard deviation [intensity] with its standard error,
        correlations of neighbouring voxels.
    gain
        Expected gain in signal-to-noise ratio [dB]: at least this reduction of the mean squared
        error.
    noise_left
        Share of the noise's standard deviation that is expected in the result.
    noise_share
        Share of noise in the removed part, by squares; the rest is picture. NaN with another
        criterion than ``"sure"``.
    reasons, warnings
        Sentences that explain the choice, and that warn about it.
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


def suggest_for(
    problems: Sequence[Problem],
    model: Model | str,
    options: SuggestionOptions | None = None,
    cancel: CancelEvent | None = None,
) -> Suggestion:
    """Choose one set of parameters for all problems; errors and result as those of `suggest`.

    The choice ends with `Cancelled` when the ``cancel`` event is set.
    """
    options = options or SuggestionOptions()
    _check_model(model)
    options.check()
    return _Selection(problems, model, options, cancel).suggestion()


def _check_model(model: Any) -> None:
    if isinstance(model, Model) or (isinstance(model, str) and model == "auto"):
        return
    got = f"{model!r:.60}" if isinstance(model, str) else type(model).__name__
    raise TypeError(
        f"model must be 'auto' or a diffusion model such as nd.PeronaMalik(), got {got}."
    )


@dataclass(frozen=True)
class _Selection:
    """The choice of one set of parameters for some problems."""

    problems: Sequence[Problem]
    model: Model | str
    options: SuggestionOptions
    cancel: CancelEvent | None = None

    @cached_property
    def patches(self) -> list[Patch]:
        return sample_patches(self.problems, self.cancel)

    @cached_property
    def noises(self) -> dict[int, list[Noise]]:
        """Noise of every channel, by the number of the frame."""
        return measure_noise(self.patches, self.options.noise, self.model, self.cancel)

    @cached_property
    def noise(self) -> Noise:
        return combined_noise([noise for channels in self.noises.values() for noise in channels])

    @cached_property
    def probes(self) -> list[Probe]:
        noises = self.noises  # raises for images without noise, and without patches
        probes = [
            make_probe(patch, noises[patch.source], self.options.criterion, seed)
            for seed, patch in enumerate(self.patches)
        ]
        is_for_lines = isinstance(self.model, Model) and self.model.for_thin_structure
        if is_for_lines and self.options.criterion == "sure":
            return mark_thin_structure(self.patches, probes) or probes
        return probes

    @cached_property
    def counted(self) -> int:
        """Number of voxels that count."""
        return sum(int((probe.deviation > 0).sum()) for probe in self.probes)

    @cached_property
    def variance(self) -> float:
        """Mean variance of the noise [intensity²]."""
        squares = (float(np.square(p.deviation, dtype=float).sum()) for p in self.probes)
        return sum(squares) / self.counted

    @property
    def search_patches(self) -> list[int]:
        """Numbers of the patches of a search."""
        count = len(self.patches)
        if count <= SEARCH_PATCHES:
            return list(range(count))
        return [int((k + 0.5) * count / SEARCH_PATCHES) for k in range(SEARCH_PATCHES)]

    @cached_property
    def candidates(self) -> list[Model]:
        """Models to choose from; linear diffusion is a limit of each.

        Default lengths of the models count as numbers of voxels.
        """
        if isinstance(self.model, Model):
            return [self.model]
        models: list[Model] = [PeronaMalik(), TotalVariation(), EdgeEnhancing()]
        models += [SpeckleReducing()] if self.noise.kind == "speckle" else []
        voxel = self.curve(self.probes).voxel
        return [
            dataclasses.replace(
                model,
                **{p.name: p.default * voxel for p in parameters(model) if p.unit == "length"},
            )
            for model in models
        ]

    def curve(self, probes: Sequence[Probe], numbers: Sequence[int] | None = None) -> RiskCurve:
        """Risk curve over the patches of the given numbers, or over all patches."""
        numbers = range(len(self.patches)) if numbers is None else numbers
        patches = [self.patches[k] for k in numbers]
        first = self.problems[0]
        weights = first.weights[first.filtered_channels]
        return RiskCurve(patches, [probes[k] for k in numbers], weights, self.cancel)

    def search(
        self,
        probes: Sequence[Probe],
        risk: Risk,
        numbers: Sequence[int] | None = None,
        max_combinations: int = 1,
        known: Model | None = None,
    ) -> Search:
        """Search over the patches of the given numbers, or over all patches."""
        options = self.options
        return Search(
            curve=self.curve(probes, numbers),
            noise=self.noise,
            fixed=tuple(options.fixed),
            time=options.time,
            noise_left=options.noise_left,
            max_combinations=max_combinations,
            risk=risk,
            known=known,
        )

    def choose(
        self, probes: Sequence[Probe], risk: Risk, thorough: bool, known: Model | None = None
    ) -> tuple[Choice, Search]:
        """Choose model and parameters by a search if ``thorough``, else by a rule of thumb."""
        numbers = self.search_patches
        if thorough:
            search = self.search(probes, risk, numbers, MAX_COMBINATIONS, known)
        else:
            search = self.search(probes, risk)
        if isinstance(self.model, Model):
            return search.best(self.model), search
        screening = self.search(probes, risk, [numbers[len(numbers) // 2]], known=known)
        return _best_of(self.candidates, screening, search), search

    def refine(self, choice: Choice, probes: Sequence[Probe], risk: Risk) -> Choice:
        """Return a choice whose time is the best over all patches."""
        return self.search(probes, risk).along(choice.model, choice.time)

    def gain(self, error: float, variance: float) -> float:
        """Gain in signal-to-noise ratio [dB] of an error [intensity²] over a noise variance.

        The error cannot be known better than the noise itself. It is therefore limited from below
        by the uncertainty of the noise variance, which is at most the variance.
        """
        relative = 2 * self.noise.error / self.noise.sigma + math.sqrt(2 / self.counted)
        uncertainty = self.variance * min(1.0, relative)
        return 10 * math.log10(variance / max(error, uncertainty * variance / self.variance))

    def suggestion(self) -> Suggestion:
        """Choose model, parameters and time, with reasons and warnings."""
        options, criterion = self.options, CRITERIA[self.options.criterion]
        if any(probe.template is not None for probe in self.probes):
            criterion = risk_of_thin_structure
        choice, search = self.choose(self.probes, criterion, options.thorough)
        share, careful_choice = math.nan, None
        if options.criterion == "sure" and choice.time > 0:
            share, careful_choice = self._spare_detail(choice)
        if careful_choice is not None:
            choice, search = careful_choice
            share = choice.noise_share
        elif options.thorough:
            choice = self.refine(choice, self.probes, criterion)
        gain = self.gain(choice.error, self.variance)
        if options.noise_left is None and choice.noise_left > 0:
            # The noise that is left is no larger than the whole error.
            left = min(choice.noise_left, 10 ** (-gain / 20))
            choice = dataclasses.replace(choice, noise_left=left)
        choice = self._rounded(choice)
        outcome = Outcome(
            choice=choice,
            noise=self.noise,
            gain=gain,
            noise_share=share,
            spares_detail=careful_choice is not None,
            search=search,
            candidates=self.candidates,
            patches=self.patches,
            options=options,
        )
        return Suggestion(
            model=choice.model,
            time=choice.time,
            noise=self.noise,
            gain=gain,
            noise_left=choice.noise_left,
            noise_share=share,
            reasons=reasons(outcome),
            warnings=warnings_about(outcome),
        )

    def _spare_detail(self, choice: Choice) -> tuple[float, tuple[Choice, Search] | None]:
        """Return the share of noise in the part that a choice removes, and a careful choice.

        The careful choice is None unless a small gain would cost structure its detail.
        """
        marked = structure_masks(self.patches, self.probes)
        probes = [
            dataclasses.replace(p, structure=mask)
            for p, mask in zip(self.probes, marked, strict=True)
        ]
        *_, (_, sums) = self.curve(probes).points(choice.model, choice.time, choice.time)
        share, on_structure = noise_share(sums), sums.on_structure or sums
        noise_variance = on_structure.variance / on_structure.voxels
        is_small = self.gain(sure(on_structure), noise_variance) < SMALL_GAIN_DB
        free = self.options.time is None and self.options.noise_left is None
        if not (typical_noise_share(on_structure) < MIN_NOISE_SHARE and is_small and free):
            return share, None
        careful_choice, search = self.choose(probes, careful_risk, True, choice.model)
        careful_choice = self.refine(careful_choice, probes, careful_risk)
        return share, (careful_choice, search) if careful_choice.time > 0 else None

    def _rounded(self, choice: Choice) -> Choice:
        """Return a choice with the chosen numbers rounded to three digits."""
        fixed, model = self.options.fixed, choice.model
        chosen = {
            p.name: _three_digits(getattr(model, p.name))
            for p in parameters(model)
            if p.suggest in ESTIMATORS and p.name not in fixed
        }
        time = choice.time if self.options.fwhm is not None else _three_digits(choice.time)
        return dataclasses.replace(choice, model=dataclasses.replace(model, **chosen), time=time)


def _three_digits(value: float) -> float:
    """Round to three digits, which is finer than the uncertainty of a choice."""
    return float(f"{value:.3g}")


def _best_of(models: Sequence[Model], screening: Search, search: Search) -> Choice:
    """Search the parameters of the models with the smallest risk in a screening round.

    The screening round uses one patch. The search of a model ends early if it cannot reach the
    smallest risk so far.
    """
    choices: list[Choice] = []
    starts = sorted((screening.best(model) for model in models), key=lambda choice: choice.risk)
    for start in starts[:MAX_FINALISTS]:
        if start is starts[0] or start.risk <= SCREENING_FACTOR * starts[0].risk:
            rival = min((choice.risk for choice in choices), default=math.inf)
            choices.append(search.best(start.model, start.time, rival))
    return min(choices, key=lambda choice: choice.risk)
