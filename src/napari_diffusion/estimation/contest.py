"""Choice of the model: all models that keep the mean compete by their estimated error.

In a first round, every model runs on one patch with its starting values. The parameters of the best
models are then searched. The effort is bounded by a count of stages and voxels, not by a clock, so
that the same image gives the same choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.core.errors import reason_of
from napari_diffusion.core.parameters import rescaled
from napari_diffusion.estimation.search import Choice, Search
from napari_diffusion.models import Model, all_models

#: Maximum number of models whose parameters are searched.
MAX_FINALISTS = 3
#: Models whose risk in the first round exceeds the best by this factor are dropped: 1 dB, which a
#: search does not make good.
SCREENING_FACTOR = 1.26
#: Effort after which no further model is searched [stages times voxels]; see `RiskCurve.effort`.
MAX_EFFORT = 5e8
#: Further effort for the search of the best model, if its share of the effort has ended it.
LEADER_EFFORT = 1e8

#: Number of voxels (times channels) of the first round.
FIRST_VOXELS = 30_000
#: A model counts as clearly worse if its risk is higher by this number of standard errors.
MARGIN = 0.3
#: Ratio of consecutive times in the first and the second round.
FIRST_RATIO, SECOND_RATIO = 1.6, 1.4

_Value = TypeVar("_Value")


@dataclass
class Contestants:
    """The models to choose from, and those that cannot filter the image.

    Attributes
    ----------
    models
        Models in the order of preference, which decides between equal risks.
    failures
        For every title of a model that failed, its error.
    named
        Whether the user named the one model; its errors are raised.
    """

    models: list[Model] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)
    named: bool = False

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences about the models that failed."""
        return tuple(
            f"{title} cannot filter this image and was left out: {reason_of(error)}."
            for title, error in self.failures.items()
        )

    def attempt(self, model: Model | type[Model], work: Callable[[], _Value]) -> _Value | None:
        """Return the result of some work with a model; None leaves the model out.

        A model of another package may raise anything.
        """
        try:
            return work()
        except Exception as error:
            if self.named or isinstance(error, Cancelled):
                raise
            self.failures[model.title] = error
            self.models = [other for other in self.models if other.title != model.title]
            return None


def contestants(voxel: float, applies: Callable[[Model], bool]) -> Contestants:
    """Return the registered models that keep mean and range and have values for this noise.

    Default lengths of the models count as numbers of voxels. Linear diffusion, which has no
    parameters, is the last.

    Parameters
    ----------
    voxel
        Shortest edge of a voxel [length].
    applies
        Whether a model has values for this noise, as `Search.applies`.
    """
    result = Contestants()
    for kind in sorted(all_models(), key=lambda kind: kind.isotropic):
        if not (kind.conservative and kind.keeps_extrema):
            continue
        model = result.attempt(kind, partial(_in_voxels, kind, voxel))
        if model is not None and applies(model):
            result.models.append(model)
    return result


def _in_voxels(kind: type[Model], voxel: float) -> Model:
    """Return a model with default values, whose lengths are numbers of voxels."""
    return rescaled(kind(), voxel)


@dataclass(frozen=True)
class Rounds:
    """The searches of the three rounds of a contest.

    Attributes
    ----------
    first
        Runs every model with its starting values, on one patch.
    second
        Searches the parameters of the best models.
    last
        Searches the time of the winner over all patches; None if the second round uses all of them.
    forks
        Whether the first round tries a second start, for strong noise.
    """

    first: Search
    second: Search
    last: Search | None
    forks: bool

    @property
    def effort(self) -> float:
        """Effort of the first two rounds so far [stages times voxels]."""
        return self.first.curve.effort + self.second.curve.effort

    def winner(self, contest: Contestants) -> Choice:
        """Return the choice of the model with the smallest risk; models that fail are left out.

        Raises
        ------
        Exception
            The error of the first model, if all of them fail.
        """
        choices = self._finalists(contest)
        confirmed: list[Choice] = []
        while choices:
            choice = preferred(choices, contest.models)
            choices.remove(choice)
            final = contest.attempt(choice.model, partial(self._finished, choice))
            confirmed += [] if final is None else [final]
            if final is not None and not final.is_inaccurate:
                break
        if not confirmed:
            raise next(iter(contest.failures.values()))
        return preferred(confirmed, contest.models)

    def _finished(self, choice: Choice) -> Choice:
        """Return a choice with its best time over all patches.

        Among parameters of nearly the same risk, a run over all patches decides.
        """
        if self.last is None:
            return choice
        return self.last.finished(self.last.best_run(self.second.close_to(choice)))

    def _finalists(self, contest: Contestants) -> list[Choice]:
        """Search the parameters of the models with the smallest risk in the first round.

        The search of a model ends early if it cannot reach the smallest risk so far. That of the
        best model goes on with the effort that is left, and with `LEADER_EFFORT`: its share may
        have ended before its minimum.
        """
        starts: list[Choice] = []
        for model in list(contest.models):
            starts += contest.attempt(model, partial(self.first.starts, model, self.forks)) or []
        starts = _finalists_of(starts)
        choices: dict[type[Model], Choice] = {}
        for number, start in enumerate(starts):
            end = self._effort_left(len(starts) - number)
            search = dataclasses.replace(self.second, max_effort=end)
            rival = min((choice.risk for choice in choices.values()), default=math.inf)
            choice = contest.attempt(start.model, partial(search.best, start, rival))
            if choice is not None:
                kind = type(choice.model)
                choices[kind] = min(choices.get(kind, choice), choice, key=_risk)
        if choices:
            leader = min(choices.values(), key=_risk)
            end = self._effort_left() + LEADER_EFFORT
            search = dataclasses.replace(self.second, max_effort=end)
            further = contest.attempt(leader.model, partial(search.best, leader))
            choices[type(leader.model)] = leader if further is None else further
        return list(choices.values())

    def _effort_left(self, count: int = 1) -> float:
        """Effort at which the second round ends if ``count`` searches share what is left."""
        return self.second.curve.effort + (MAX_EFFORT - self.effort) / count


def _finalists_of(starts: Sequence[Choice]) -> list[Choice]:
    """Return the starts of the best models from which a search may win, best first."""
    ordered = sorted(starts, key=_risk)
    kinds = list(dict.fromkeys(type(start.model) for start in ordered))[:MAX_FINALISTS]
    return [s for s in ordered if type(s.model) in kinds and _may_win(s, ordered[0])]


def preferred(choices: Sequence[Choice], order: Sequence[Model]) -> Choice:
    """Return the choice of minimum risk, or the first in the order that is not clearly worse."""
    best = min(choices, key=_risk)
    close = [
        choice
        for choice in choices
        if choice.risk <= best.risk + MARGIN * math.hypot(choice.uncertainty, best.uncertainty)
    ]
    kinds = [type(model) for model in order]
    return min(close, key=lambda choice: kinds.index(type(choice.model)))


def _may_win(start: Choice, best: Choice) -> bool:
    """Whether a search may make good what a model is behind in the first round."""
    limit = SCREENING_FACTOR * max(best.risk, 0.0)
    return start.risk <= limit + math.hypot(start.uncertainty, best.uncertainty)


def _risk(choice: Choice) -> float:
    return choice.risk
