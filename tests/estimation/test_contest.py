"""Choice of the model: who competes, who wins, who is left out, and what it costs."""

import dataclasses
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.lazy_arrays import GeneratedNoise
from helpers.noisy import blocks, white
from napari_diffusion.core import registry
from napari_diffusion.engine.solver import Solver
from napari_diffusion.estimation import contest
from napari_diffusion.estimation.contest import contestants
from napari_diffusion.estimation.search import Choice
from napari_diffusion.models import Model, param
from napari_diffusion.operators import ConstantDiffusivity, DiffusionTensor, VoxelDiffusivity


def tubes(shape=(24, 36, 36), number=8, height=100.0):
    """Straight bright tubes of 1.5 voxels in radius, in random directions."""
    rng, points = np.random.default_rng(3), np.stack(np.indices(shape), -1).astype(float)
    image = np.full(shape, 50.0)
    for _ in range(number):
        start, axis = rng.uniform(0, 1, 3) * shape, rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        along = (points - start) @ axis
        square = np.sum((points - start) ** 2, -1) - along**2
        image = np.maximum(image, 50 + height * np.exp(-square / (2 * 1.5**2)))
    return image


def register(monkeypatch, *names):
    """Register models of this file, as another package does."""

    def entry_points(group):
        is_model = group == "napari_diffusion.models"
        return [EntryPoint(name, f"{__name__}:{name}", group) for name in names if is_model]

    monkeypatch.setattr(registry, "entry_points", entry_points)


def decibels(noisy, clean, suggestion):
    """Gain of a suggestion against the noise-free image [dB]."""
    result = nd.diffuse(noisy, suggestion.model, time=suggestion.time)
    return 10 * np.log10(np.mean((noisy - clean) ** 2) / np.mean((result - clean) ** 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlongLastAxis(Model):
    """Diffuses along the last axis alone, in every place; it has nothing to choose."""

    name = "along-last-axis"
    title = "Along the last axis"
    summary = "Smooths rows."

    def operator(self, f):
        rows = f.structure(0.0, 0.0)
        fixed = np.zeros_like(rows[0])
        count = len(f.axes)
        diagonal = [fixed + float(i == count - 1) for i in range(count)]
        mixed = [fixed] * (len(rows) - count)
        return DiffusionTensor(np.stack([*diagonal, *mixed]), self.spectrum)

    def spectrum(self, mu):
        return [np.ones_like(mu[0]), *[np.full_like(m, 1e-4) for m in mu[1:]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raises(Model):
    """Fails when it is applied."""

    name = "raises"
    title = "Raises"
    summary = "Fails."

    def operator(self, f):
        squares = f.grad2(0.0)
        if squares.max() > 0:
            raise KeyError("no such table")
        return VoxelDiffusivity(np.ones_like(squares))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeedsAValue(Model):
    """Cannot be made without a value."""

    name = "needs-a-value"
    title = "Needs a value"
    summary = "Has no default."
    table: float = param(dataclasses.MISSING, "A number.", gt=0)

    def operator(self, f):
        return ConstantDiffusivity()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overflows(Model):
    """Returns what is not a number."""

    name = "overflows"
    title = "Overflows"
    summary = "Overflows."

    def operator(self, f):
        return VoxelDiffusivity(np.full_like(f.grad2(0.0), np.nan))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drifts(Model):
    """Says itself that it does not keep the mean."""

    name = "drifts"
    title = "Drifts"
    summary = "Drifts."
    conservative = False

    def operator(self, f):
        return ConstantDiffusivity()


def test_hybrid_is_chosen_where_it_is_better_by_half_a_decibel():
    """Tubes: the gain is half a decibel above that of each model that was once the only choice."""
    clean = tubes()
    noisy = (clean + 25 * white(clean.shape, 11)).astype("f4")
    free = nd.suggest(noisy)
    assert isinstance(free.model, nd.Hybrid)
    for other in (nd.PeronaMalik(), nd.TotalVariation(), nd.EdgeEnhancing()):
        named = nd.suggest(noisy, other)
        assert decibels(noisy, clean, free) > decibels(noisy, clean, named) + 0.5


def test_model_of_another_package_is_chosen_where_it_is_the_true_smoother(monkeypatch):
    """Random rows, constant along the last axis: a smoother along it removes nothing but noise."""
    clean = np.repeat(60 * white((48, 1), 4), 160, axis=1)
    noisy = (clean + 20 * white(clean.shape, 5)).astype("f4")
    before = nd.suggest(noisy)
    register(monkeypatch, "AlongLastAxis")
    result = nd.suggest(noisy)
    assert isinstance(result.model, AlongLastAxis)
    assert decibels(noisy, clean, result) > decibels(noisy, clean, before) + 0.5


def test_models_that_fail_are_left_out(monkeypatch):
    """The choice is the same as without them."""
    clean = blocks((64, 64))
    noisy = (clean + 12 * white(clean.shape)).astype("f4")
    before = nd.suggest(noisy)
    register(monkeypatch, "Raises", "NeedsAValue", "Overflows", "Drifts")
    after = nd.suggest(noisy)
    assert (after.model, after.time, after.gain) == (before.model, before.time, before.gain)
    with pytest.raises(KeyError, match="no such table"):
        nd.suggest(noisy, Raises())


def test_left_out_models_are_named_with_their_reasons(monkeypatch):
    register(monkeypatch, "NeedsAValue", "Drifts")
    result = contestants(0.5, lambda model: True)
    (sentence,) = result.left_out
    assert sentence.startswith("Needs a value cannot filter this image and was left out: ")
    assert "table" in sentence
    titles = [model.title for model in result.models]
    kept = [m.title for m in nd.models.BUILTIN if m.conservative and m.keeps_extrema]
    assert sorted(titles) == sorted(kept)


def test_models_without_values_for_the_noise_do_not_compete():
    """Speckle reduction needs a level of speckle, which other noise does not have."""
    applies = lambda model: not isinstance(model, nd.SpeckleReducing)  # noqa: E731
    result = contestants(1.0, applies)
    assert nd.SpeckleReducing not in map(type, result.models)
    assert not result.left_out
    noisy = blocks((48, 48)) + 12 * white((48, 48))
    assert "Speckle" not in nd.suggest(noisy.astype("f4")).report


def test_default_lengths_are_numbers_of_voxels():
    lengths = {type(m): m for m in contestants(0.25, lambda model: True).models}
    assert lengths[nd.VesselEnhancing].thickest == 0.75
    assert lengths[nd.CoherenceEnhancing].rho == 0.5


class GeneratedBall(GeneratedNoise):
    """A bright ball with noise, generated where it is read."""

    def __getitem__(self, index):
        slices = [range(*i.indices(n)) for i, n in zip(index, self.shape, strict=True)]
        axes = np.meshgrid(*slices, indexing="ij", sparse=True)
        square = sum((2 * x / n - 1) ** 2 for x, n in zip(axes, self.shape, strict=True))
        return (60.0 * (square < 0.5) + 10 * super().__getitem__(index)).astype("f4")


def stage_voxels(monkeypatch, work):
    """Count the voxels of all stages that some work computes."""
    counted, advance = [0], Solver.advance

    def counting(self, *arguments):
        for state in advance(self, *arguments):
            counted[0] += state.u.size
            yield state

    with monkeypatch.context() as patch:
        patch.setattr(Solver, "advance", counting)
        work()
    return counted[0]


def test_choice_for_a_large_volume_is_bounded(monkeypatch):
    """A choice for 512³ voxels computes as many voxels as eleven stages of the volume, at most.

    That takes less than 10 s. This count does not depend on the machine.
    """
    image = GeneratedBall((512, 512, 512))
    assert stage_voxels(monkeypatch, lambda: nd.suggest(image)) < 11 * 512**3


def test_search_of_the_best_model_goes_on_after_its_share_of_the_effort(monkeypatch):
    """Without any effort for the shares, the further search reaches the same parameters."""
    clean = blocks((48, 48), height=120.0)
    noisy = (clean + 20 * white(clean.shape)).astype("f4")
    whole = nd.suggest(noisy, nd.PeronaMalik())
    monkeypatch.setattr(contest, "MAX_EFFORT", 0.0)
    further = nd.suggest(noisy, nd.PeronaMalik())
    assert further.model == whole.model
    monkeypatch.setattr(contest, "LEADER_EFFORT", 0.0)
    assert nd.suggest(noisy, nd.PeronaMalik()).model != whole.model


def test_smaller_risk_within_the_uncertainty_does_not_decide():
    """The first model in the order is preferred, unless another one is clearly better."""
    order = [nd.PeronaMalik(), nd.EdgeEnhancing()]
    first, second = (
        Choice(model, 1.0, risk, risk, 0.3, uncertainty=0.1)
        for model, risk in zip(order, (1.0, 0.99), strict=True)
    )
    assert contest.preferred([second, first], order) is first
    better = dataclasses.replace(second, risk=0.5)
    assert contest.preferred([better, first], order) is better
