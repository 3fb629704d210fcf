"""Selection of parameters and diffusion time from the image.

The choice is made before a run, so that the run itself depends on plain numbers only.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import shown
from napari_diffusion.engine.problem import Problem
from napari_diffusion.estimation.aims import keeps_edges, structure_search
from napari_diffusion.estimation.contest import (
    FIRST_RATIO,
    FIRST_VOXELS,
    SECOND_RATIO,
    Contestants,
    Rounds,
    contestants,
)
from napari_diffusion.estimation.measurement.artefacts import is_compressed
from napari_diffusion.estimation.measurement.guide import noise_of_edges
from napari_diffusion.estimation.measurement.noise import (
    combined_noise,
    measure_noise,
    raised_by_compression,
)
from napari_diffusion.estimation.measurement.region import NoiseRegion
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.patches import Patch, sample_patches
from napari_diffusion.estimation.probes import make_probe, structure_masks, with_signal
from napari_diffusion.estimation.report.announcement import (
    Announcement,
    announce,
    level_error,
)
from napari_diffusion.estimation.report.strength import (
    Amount,
    StrengthScale,
    strength_scale,
    with_share,
)
from napari_diffusion.estimation.report.words import (
    Outcome,
    reasons,
    warnings_about,
)
from napari_diffusion.estimation.risk import (
    CRITERIA,
    MIN_NOISE_SHARE,
    Probe,
    Sums,
    careful_risk,
    mean_squared_error,
    noise_share,
    sure,
    total,
    typical_noise_share,
)
from napari_diffusion.estimation.risk_curve import RiskCurve
from napari_diffusion.estimation.search import ESTIMATORS, MAX_COMBINATIONS, Choice, Search
from napari_diffusion.estimation.suggestion import Suggestion
from napari_diffusion.estimation.thin_structure import mark_thin_structure, risk_of_thin_structure
from napari_diffusion.models import Model, parameters
from napari_diffusion.schemes.intervals import TIME_RATIO

Risk = Callable[[Sums], float]
#: Number of patches on which parameters are searched. The time is then chosen on all patches.
SEARCH_PATCHES = 3
#: Voxels (times channels) that the probes of a small image have together, and the largest number of
#: probes for one patch. The scatter of the estimated error from one random probe falls with the
#: root of its voxels, and the differences between the parameters of a small image are as small.
PROBED_VOXELS, MAX_PROBES = 35_000, 4
#: Gain [dB] on structure below which keeping its detail counts more than a smaller error.
SMALL_GAIN_DB = 1.5


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
    got = f"{shown(model)}" if isinstance(model, str) else type(model).__name__
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
        return sample_patches(self.problems, self.cancel, self.options.time_axes)

    @cached_property
    def noises(self) -> dict[int, list[Noise]]:
        """Noise of every channel, by the number of the frame."""
        if self.noise_region is not None:
            return self.noise_region.noises(sorted({patch.source for patch in self.patches}))
        noises = measure_noise(
            self.patches,
            self.options.noise,
            self.model,
            self.cancel,
            may_be_shared=not self.is_compressed,
        )
        return raised_by_compression(noises, self.patches) if self.is_compressed else noises

    @cached_property
    def noise_region(self) -> NoiseRegion | None:
        """The place at which the noise is measured; None for the whole image."""
        if self.options.noise_region is None:
            return None
        return NoiseRegion.of(self.problems[0], self.options, self.is_compressed, self.cancel)

    @cached_property
    def noise(self) -> Noise:
        return combined_noise([noise for channels in self.noises.values() for noise in channels])

    @cached_property
    def edge_noise(self) -> Noise | None:
        """The noise of the image from which edges come; None where this is the image itself."""
        share = self.problems[0].recipe.guide_weight
        return noise_of_edges(self.patches, self.noise, share, self.cancel)

    @cached_property
    def probes(self) -> list[Probe]:
        probes = self._probes_for(self.noises)  # raises for images without noise or patches
        is_for_lines = isinstance(self.model, Model) and self.model.for_thin_structure
        if is_for_lines and self.options.criterion == "sure":
            return mark_thin_structure(self.patches, probes) or probes
        return probes

    def _probes_for(self, noises: dict[int, list[Noise]], first_seed: int = 0) -> list[Probe]:
        """Probe of each patch with the noise of its frame."""
        criterion, removes_bias = self.options.criterion, self._removes_bias
        probes = [
            make_probe(patch, noises[patch.source], criterion, seed, removes_bias)
            for seed, patch in enumerate(self.patches, first_seed)
        ]
        return with_signal(probes) if removes_bias else probes

    @cached_property
    def search_probes(self) -> list[Probe]:
        """The probes; for a small image, sets of further random ones follow."""
        size = sum(patch.field.size for patch in self.patches)
        is_plain = all(probe.template is None for probe in self.probes)
        if not is_plain or self.options.criterion != "sure":
            return self.probes
        sets = [
            self._probes_for(self.noises, number * len(self.patches))
            for number in range(1, min(MAX_PROBES, PROBED_VOXELS // size))
        ]
        return [*self.probes, *itertools.chain(*sets)]

    @property
    def _removes_bias(self) -> bool:
        return isinstance(self.model, Model) and self.model.removes_bias

    @cached_property
    def other_probes(self) -> list[Probe] | None:
        """Probes for the level that the noise has if its undecided correlations are its own."""
        noises = {
            source: [noise.alternative or noise for noise in channels]
            for source, channels in self.noises.items()
        }
        if self.options.criterion != "sure" or noises == self.noises:
            return None
        return self._probes_for(noises)

    @cached_property
    def counted(self) -> int:
        """Number of voxels that count."""
        return sum(int((probe.deviation > 0).sum()) for probe in self.probes)

    @cached_property
    def variance(self) -> float:
        """Mean squared error of the image itself [intensity²]."""
        return sum(probe.unfiltered for probe in self.probes) / self.counted

    @property
    def search_patches(self) -> list[int]:
        """Numbers of the patches of a search."""
        count = len(self.patches)
        if count <= SEARCH_PATCHES:
            return list(range(count))
        return [int((k + 0.5) * count / SEARCH_PATCHES) for k in range(SEARCH_PATCHES)]

    @cached_property
    def contest(self) -> Contestants:
        """Models to choose from, with a map of thresholds where the level varies."""
        if isinstance(self.model, Model):
            return Contestants([self._with_map(self.model)], named=True)
        search = self.search(self.probes, sure)
        contest = contestants(search.curve.voxel, search.applies)
        is_guided = self.edge_noise is not None
        contest.models = [
            self._with_map(m) for m in contest.models if not (is_guided and m.isotropic)
        ]
        return contest

    def _with_map(self, model: Model) -> Model:
        """Return a model whose thresholds follow the noise level, if it can and none is given."""
        level_map, fixed = (self.edge_noise or self.noise).level_map, self.options.fixed
        if level_map is None:
            return model
        maps = {
            p.name: level_map.nested(self.problems[0].place.along)
            for p in parameters(model)
            if p.is_map and getattr(model, p.name) is None and not {p.name, "kappa"} & set(fixed)
        }
        return dataclasses.replace(model, **maps)

    def curve(
        self,
        probes: Sequence[Probe],
        numbers: Sequence[int] | None = None,
        ratio: float = TIME_RATIO,
    ) -> RiskCurve:
        """Risk curve with the probes of the patches of the given numbers, or of all patches."""
        count = len(self.patches)
        chosen = set(range(count) if numbers is None else numbers)
        numbers = [k for k in range(len(probes)) if k % count in chosen]
        patches = [self.patches[k % count] for k in numbers]
        first = self.problems[0]
        weights = first.weights[first.filtered_channels]
        own = [probes[k] for k in numbers]
        return RiskCurve(patches, own, weights, self.cancel, ratio, first.recipe)

    def search(
        self,
        probes: Sequence[Probe],
        risk: Risk,
        numbers: Sequence[int] | None = None,
        max_combinations: int = 1,
        known: Model | None = None,
        ratio: float = TIME_RATIO,
    ) -> Search:
        """Search over the patches of the given numbers, or over all patches."""
        options = self.options
        return Search(
            curve=self.curve(probes, numbers, ratio),
            noise=self.noise,
            edge_noise=self.edge_noise,
            fixed=tuple(options.fixed),
            time=options.time,
            noise_left=options.noise_left,
            max_combinations=max_combinations,
            risk=risk,
            known=known,
            repeats=max(1, len(probes) // len(self.patches)),
        )

    def choose(
        self, probes: Sequence[Probe], risk: Risk, thorough: bool, known: Model | None = None
    ) -> tuple[Choice, Search]:
        """Choose model and parameters by a search if ``thorough``, else by a rule of thumb.

        The time of a search is the best over all patches.
        """
        numbers = self.search_patches
        everywhere = self.search(probes, risk, ratio=SECOND_RATIO)
        search = everywhere
        if thorough:
            search = self.search(probes, risk, numbers, MAX_COMBINATIONS, known, SECOND_RATIO)
        last = everywhere if thorough else None
        share = min(1.0, FIRST_VOXELS / sum(self.patches[k].field.size for k in numbers))
        curve = self.curve(probes, numbers).of_middles(share, FIRST_RATIO)
        first = dataclasses.replace(search, curve=curve, max_combinations=1, tried={})
        rounds = Rounds(first, search, last, forks=thorough and known is None)
        return rounds.winner(self.contest), search

    def gain(self, error: float, unfiltered: float) -> float:
        """Gain in signal-to-noise ratio [dB] of an error over the unfiltered error [intensity²].

        The error cannot be known better than the noise itself. It is therefore limited from below
        by the uncertainty of the noise variance. If that exceeds the variance, the gain is 0.
        """
        relative = 2 * level_error(self.noise) + math.sqrt(2 / self.counted)
        if relative >= 1:
            return 0.0  # both errors are unknown
        return 10 * math.log10(unfiltered / max(error, relative * unfiltered))

    @cached_property
    def _structured(self) -> list[Probe]:
        """The probes, with the voxels that have structure."""
        marked = structure_masks(self.patches, self.probes)
        return [
            dataclasses.replace(probe, structure=mask)
            for probe, mask in zip(self.probes, marked, strict=True)
        ]

    def measured(self, choice: Choice, probes: Sequence[Probe]) -> list[Sums]:
        """Sums of all patches at the parameters of a choice."""
        return self.curve(probes).sums_of_patches(choice.model, choice.time)

    def announcement(self, choice: Choice, parts: Sequence[Sums]) -> Announcement | None:
        """Announce the gain of a choice with the ``parts`` that were measured for it.

        None with another criterion than ``"sure"``, and where nothing can be claimed.
        """
        if self.options.criterion != "sure" or self.is_compressed:
            return None
        if 2 * self.noise.error >= self.noise.sigma:
            return None
        read = sum(patch.valid.size for patch in self.patches)
        size = sum(math.prod(problem.shape) / problem.channels for problem in self.problems)
        coverage = min(1.0, read / size)
        options = self.options
        # The balance of noise and picture was measured on runs without a guide, and on one of 9600
        # voxels the interval missed the gain with it by 3 dB.
        is_own = options.aim == "error" and self.edge_noise is None
        is_least = is_own and options.time is None and options.noise_left is None
        noise = self.noise
        if self._removes_bias:
            noise = dataclasses.replace(noise, kind="rician")
        result = announce(parts, noise, coverage, is_least)
        if self.other_probes is not None:
            other = self.measured(choice, self.other_probes)
            result = result.joined(announce(other, noise, coverage, is_least))
        return result

    @cached_property
    def is_compressed(self) -> bool:
        """Whether the image was compressed with losses, block by block."""
        return is_compressed(self.patches)

    def suggestion(self) -> Suggestion:
        """Choose model, parameters and time, with reasons and warnings."""
        options, criterion = self.options, CRITERIA[self.options.criterion]
        if any(probe.template is not None for probe in self.probes):
            criterion = risk_of_thin_structure
        choice, search = self.choose(self.search_probes, criterion, options.thorough)
        choice = self._rounded(choice)
        parts: list[Sums] = []
        careful_choice = None
        if options.criterion == "sure":
            parts = self.measured(choice, self._structured)
            if options.aim != "segmentation" and choice.time > 0:
                careful_choice = self._spare_detail(choice, parts)
        if careful_choice is not None:
            choice, search = self._rounded(careful_choice[0]), careful_choice[1]
            parts = self.measured(choice, self._structured)
        elif options.aim == "segmentation" and choice.time > 0:
            choice, search = self._for_segmentation(choice, search)
            choice = self._rounded(choice)
            parts = self.measured(choice, self._structured)
        share = noise_share(total(parts)) if parts else math.nan
        announcement = self.announcement(choice, parts)
        gain, interval = self.gain(choice.error, self.variance), None
        if announcement is not None:
            gain, interval = announcement.gain, announcement.interval
        if options.noise_left is None and choice.noise_left > 0:
            left = min(choice.noise_left, 10 ** (-gain / 20))  # no larger than the whole error
            choice = dataclasses.replace(choice, noise_left=left)
        outcome = Outcome(
            choice=choice,
            noise=self.noise,
            gain=gain,
            gain_interval=interval,
            noise_share=share,
            is_compressed=self.is_compressed,
            impulse_share=self.impulse_share,
            spares_detail=careful_choice is not None,
            keeps_lines=criterion is risk_of_thin_structure,
            left_out=self.contest.left_out,
            search=search,
            candidates=self.contest.models,
            patches=self.patches,
            region=self.noise_region,
            options=options,
        )
        amount = Amount(choice.time, gain, choice.noise_left, share)
        scale = self._scale(choice.model, amount)
        suggestion = Suggestion(
            model=choice.model,
            time=choice.time,
            noise=self.noise,
            gain=gain,
            gain_interval=interval,
            noise_left=choice.noise_left,
            noise_share=share,
            reasons=reasons(outcome),
            warnings=warnings_about(outcome),
            effect=scale.effect(amount),
            options=self.problems[0].recipe.transform_options,
            scale=scale if scale.curve else None,
        )
        return suggestion.with_strength(options.strength)

    @property
    def impulse_share(self) -> float:
        """Share of hot and dead voxels among the voxels that carry noise."""
        count = sum(int(p.impulses.sum()) for p in self.patches if p.impulses is not None)
        return count / sum(int(p.valid.sum()) * len(p.field) for p in self.patches)

    def _for_segmentation(self, choice: Choice, search: Search) -> tuple[Choice, Search]:
        """Return the choice for a segmentation, or that of least error if regions are most even.

        The structure is that of the result of least error, which ``choice`` gives.
        """
        numbers = self.search_patches
        count = MAX_COMBINATIONS if self.options.thorough else 1
        wider = structure_search(self.search(self.probes, sure, numbers, count), choice)
        models = self.contest.models
        tried = [
            wider.best(wider.starts(model, False)[0])
            for model in models
            if keeps_edges(model) or len(models) == 1
        ]
        best = min(tried, key=lambda other: other.risk)
        refined = structure_search(self.search(with_share(self.probes), sure), choice)
        best = refined.along(best.model, best.time)
        return (best, wider) if best.risk < refined.relief else (choice, search)

    def _scale(self, model: Model, amount: Amount) -> StrengthScale:
        """Amounts of all strengths; without a curve where the amount was asked for."""
        options = self.options
        if options.time is not None or options.noise_left is not None:
            return StrengthScale(amount, amount.time, amount.time, (), options.unit)

        def gain(sums: Sums) -> float:
            return self.gain(mean_squared_error(sums), sums.unfiltered / sums.voxels)

        curve = self.curve(with_share(self.probes), self.search_patches)
        return strength_scale(amount, model, curve, gain, options.unit)

    def _spare_detail(self, choice: Choice, parts: Sequence[Sums]) -> tuple[Choice, Search] | None:
        """Return a careful choice in place of one with the ``parts`` that were measured for it.

        It is None unless a small gain would cost structure its detail.
        """
        sums = total(parts)
        on_structure = sums.on_structure or sums
        unfiltered = on_structure.unfiltered / max(on_structure.voxels, 1)
        is_small = self.gain(sure(on_structure), unfiltered) < SMALL_GAIN_DB
        free = self.options.time is None and self.options.noise_left is None
        if not (typical_noise_share(on_structure) < MIN_NOISE_SHARE and is_small and free):
            return None
        careful_choice, search = self.choose(self._structured, careful_risk, True, choice.model)
        return (careful_choice, search) if careful_choice.time > 0 else None

    def _rounded(self, choice: Choice) -> Choice:
        """Return a choice with the chosen numbers rounded to three digits."""
        fixed, model = self.options.fixed, choice.model
        chosen = {
            p.name: _three_digits(getattr(model, p.name))
            for p in parameters(model)
            if p.suggest in ESTIMATORS and p.name not in fixed
        }
        time = choice.time if self.options.time is not None else _three_digits(choice.time)
        return dataclasses.replace(choice, model=dataclasses.replace(model, **chosen), time=time)


def _three_digits(value: float) -> float:
    """Round to three digits, which is finer than the uncertainty of a choice."""
    return float(f"{value:.3g}")
