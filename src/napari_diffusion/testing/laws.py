"""Laws that every diffusion model satisfies, as public checks.

``check_model(MyModel())`` checks all laws for a new model. The test image has intensities of about
100 and voxel sizes of about 1; parameters should be of the same order.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np

from napari_diffusion import schemes
from napari_diffusion.api.filters import diffuse, evolve, plan
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.engine.slab_pool import MIN_SLAB_VOXELS
from napari_diffusion.estimation.search import ESTIMATORS
from napari_diffusion.models import Linear, Model, parameters
from napari_diffusion.models.base import check_declaration
from napari_diffusion.schemes import Explicit
from napari_diffusion.schemes.explicit import SAFETY_FACTOR
from napari_diffusion.testing.cases import (
    CASES,
    CONSTANTS,
    RANGE,
    Case,
    close,
    decoded,
    encoded,
    named,
    same,
)
from napari_diffusion.testing.map_laws import (
    equal_factors_scale_the_thresholds,
    map_follows_the_noise,
    with_maps,
)
from napari_diffusion.testing.option_laws import (
    fidelity_keeps_the_laws,
    guide_keeps_the_laws,
    options_go_together,
)


def constants_are_fixed(model: Model, case: Case) -> None:
    """A constant image is unchanged bit for bit, including its border.

    This holds for every scheme, with labels, and for each of several channels.
    """
    labels, time = _banded_labels(case), case.time(model) / 4
    images = [np.full(case.shape, value, case.dtype) for value in CONSTANTS]
    expected = [decoded(model, encoded(model, image)) for image in images]
    pairs = itertools.cycle(zip(images, expected, strict=True))
    for scheme in _schemes_for(model, case):
        image, kept = next(pairs)
        same(case.run(model, image, time=time, scheme=scheme), kept)
    image, kept = next(pairs)
    inside = case.run(model, image, time=time, labels=labels)
    same(inside, np.where(labels == 0, image, kept))
    result = case.run(model, np.stack(images, -1), time=time, channel_axis=-1)
    same(result, np.stack(expected, -1))


def mean_is_kept(model: Model, case: Case) -> None:
    """A conservative model keeps the mean to 1e-6 of the range."""
    if not model.conservative:
        return
    image = case.picture()
    drift = case.run(model, image).mean(dtype=float) - image.mean(dtype=float)
    assert abs(drift) <= 1e-6 * np.ptp(image), f"the mean moved by {drift:g}"


def extrema_are_kept(model: Model, case: Case) -> None:
    """With ``strict`` all values stay within the range of the input, up to rounding."""
    image = case.picture()
    if not model.keeps_extrema:
        _check_refusal(model)
        return
    result = case.run(model, image, strict=True)
    image = decoded(model, encoded(model, image))
    slack = 4 * np.finfo(image.dtype).eps * RANGE
    assert result.min() >= image.min() - slack, f"minimum fell to {result.min()} from {image.min()}"
    assert result.max() <= image.max() + slack, f"maximum rose to {result.max()} from {image.max()}"


def _check_refusal(model: Model) -> None:
    try:
        RecipeFields(model, 1.0, strict=True)
    except ValueError:
        return
    raise AssertionError("strict is accepted for a model without an extremum principle")


def energy_falls(model: Model, case: Case) -> None:
    """In a conservative model the sum of squares does not increase in any explicit step."""
    if not model.conservative:
        return
    image = case.picture()
    states = evolve(image, model, time=case.time(model), spacing=case.spacing, scheme="explicit")
    energies = [np.square(image, dtype=float).sum()]
    energies += [np.square(state.image, dtype=float).sum() for state in states]
    assert (np.diff(energies) <= 0).all(), f"energy rose: {energies}"


def axes_are_alike(model: Model, case: Case) -> None:
    """The filter commutes with permuting and mirroring the axes, with and without labels."""
    image = case.picture()
    for labels in (None, _banded_labels(case)):
        result = case.run(model, image, labels=labels)
        _, *orders = itertools.permutations(range(image.ndim))  # the first one changes nothing
        for order in orders:
            turned = None if labels is None else labels.transpose(order)
            spacing = tuple(case.spacing[i] for i in order)
            alike = with_maps(model, partial(np.transpose, axes=order))
            permuted = case.run(alike, image.transpose(order), spacing=spacing, labels=turned)
            close(model, permuted, result.transpose(order), case.rounding)
        for axis in range(image.ndim):
            turned = None if labels is None else np.flip(labels, axis)
            alike = with_maps(model, partial(np.flip, axis=axis))
            mirrored = case.run(alike, np.flip(image, axis), labels=turned)
            close(model, mirrored, np.flip(result, axis), case.rounding)


def units_are_true(model: Model, case: Case) -> None:
    """A change of the units of length and intensity rescales the result accordingly."""
    scaled = {
        p.name: getattr(model, p.name) * p.dimension.factor(length=2.0, intensity=5.0)
        for p in parameters(model)
        if p.type is float
    }
    image = case.picture()
    result = case.run(
        dataclasses.replace(model, **scaled),
        image * 5,
        time=4 * case.time(model),
        spacing=tuple(2 * h for h in case.spacing),
    )
    close(model, result / 5, case.run(model, image), case.rounding)


def offset_is_carried(model: Model, case: Case) -> None:
    """In an offset-invariant model, a constant added to the image is added to the result."""
    if model.offset_invariant and case.dtype == "float64":
        image = case.picture()
        shifted = case.run(model, image + 1000.0) - 1000.0
        close(model, shifted, case.run(model, image), 10 * case.rounding)


def dummy_axis_changes_nothing(model: Model, case: Case) -> None:
    """An additional axis of one voxel does not change the result, at any position."""
    image, expected = case.picture(), case.run(model, case.picture())
    for axis in range(image.ndim + 1):
        spacing = (*case.spacing[:axis], 0.1, *case.spacing[axis:])
        alike = with_maps(model, partial(np.expand_dims, axis=axis))
        options = {"spacing": spacing, "time": case.time(model)}
        result = case.run(alike, np.expand_dims(image, axis), **options)
        same(result.squeeze(axis), expected)


def threads_agree(model: Model, case: Case) -> None:
    """Runs with one, two and seven threads agree bit for bit."""
    # The image is just large enough for several slabs, at whose ends errors show in the first step.
    across = (14,) if len(case.shape) == 2 else (2, 2)
    count = 2 * MIN_SLAB_VOXELS // (math.prod(case.shape) * math.prod(across)) + 2
    image = np.tile(case.picture(), (count, *across))
    filtered = partial(case.run, model, image, time=case.time(model) / 5)
    height = plan(image, model, time=1e-6, spacing=case.spacing, threads=2).height
    assert height <= len(image) // 2, "the image is not cut"
    one = filtered(threads=1)
    for threads in (2, 7):
        same(filtered(threads=threads), one)


def block_with_halo_is_exact(model: Model, case: Case) -> None:
    """A part filtered with the planned halo equals this part of the filtered image bit for bit."""
    time = case.time(model) / 5
    part = np.empty(case.shape, case.dtype)
    halo = plan(part, model, time=time, spacing=case.spacing, scheme="explicit").halo
    image = np.tile(case.picture(), (3,) * len(case.shape))
    core = tuple(slice(n, 2 * n) for n in case.shape)
    block = tuple(slice(max(s.start - h, 0), s.stop + h) for s, h in zip(core, halo, strict=True))
    inner = tuple(
        slice(s.start - b.start, s.stop - b.start) for s, b in zip(core, block, strict=True)
    )
    whole = case.run(model, image, time=time, scheme="explicit")
    same(case.run_part(model, image, block, time=time, scheme="explicit")[inner], whole[core])


def passes_and_blocks_are_exact(model: Model, case: Case) -> None:
    """A run in passes of one or a few stages and in blocks has every bit of the whole run.

    It is checked with and without labels.
    """
    image, time = case.picture(), case.time(model) / 4
    block = (-(-case.shape[0] // 2), *case.shape[1:-1], -(-case.shape[-1] // 2))
    for labels in (None, _banded_labels(case)):
        recipe = RecipeFields(model, time)
        problem = make_problem(image, recipe, Geometry(case.spacing), Domain(labels=labels))
        count, whole = make_plan(problem).steps, run(problem)
        for cuts in (range(1, count), (count // 3, count // 2)):
            same(run_in_blocks(problem, cuts, block), whole)


def impulses_are_replaced_first(model: Model, case: Case) -> None:
    """A run that replaces hot and dead voxels is the run on the repaired image.

    Every bit is the same, in blocks too.
    """
    image, time = case.picture(), case.time(model) / 8
    image[tuple(n // 2 for n in case.shape)] = 3 * RANGE
    image[tuple(n // 4 for n in case.shape)] = 0
    repaired = diffuse(image, Linear(), time=0.0, spacing=case.spacing, impulses="mask")
    whole = case.run(model, image, time=time, impulses="mask")
    same(whole, case.run(model, repaired, time=time))
    recipe = RecipeFields(model, time, impulses="mask")
    problem = make_problem(image, recipe, Geometry(case.spacing))
    same(run_in_blocks(problem, (1,), [-(-n // 2) for n in case.shape]), whole)


def backends_agree(model: Model, case: Case) -> None:
    """The compiled backend agrees with the reference backend up to rounding."""
    image = case.picture()
    for options in ({}, {"labels": _banded_labels(case)}):
        compiled = case.run(model, image, **options)
        reference = case.run(model, image, backend="reference", **options)
        close(model, compiled, reference, case.rounding)


def regions_are_apart(model: Model, case: Case) -> None:
    """No flux passes between labels, label 0 is unchanged, and a box mask acts like a crop."""
    image, labels = case.picture(), _banded_labels(case)
    result = case.run(model, image, labels=labels)
    changed = np.where(labels == 2, image, image * 3 + 50)
    same(case.run(model, changed, labels=labels)[labels == 2], result[labels == 2])
    same(result[labels == 0], image[labels == 0])
    box = (slice(2, 9), slice(3, 12), slice(1, 10))[: image.ndim]
    mask = np.zeros(case.shape, bool)
    mask[box] = True
    masked, cropped = case.run(model, image, mask=mask)[box], case.run_part(model, image, box)
    # u_sigma is a series between walls and otherwise a convolution; both are truncated at 1e-3.
    close(model, masked, cropped, 5e-3 * RANGE)


def nan_stays_in_its_hole(model: Model, case: Case) -> None:
    """With ``nan="mask"`` a NaN is kept, and other voxels are filtered as if it were masked out."""
    image = case.picture()
    valid = np.ones(case.shape, bool)
    valid[tuple(n // 2 for n in case.shape)] = False
    broken = np.where(valid, image, image.dtype.type(np.nan))
    result = case.run(model, broken, nan="mask")
    same(np.isnan(result), ~valid)
    same(result[valid], case.run(model, image, mask=valid)[valid])


def channels_share_one_gradient(model: Model, case: Case) -> None:
    """Identical channels are filtered like one; conservative models keep each channel's mean."""
    image = case.picture()
    single = case.run(model, image)
    for axis in (0, -1):
        repeated = case.run(model, np.stack([image] * 3, axis), channel_axis=axis)
        for channel in range(3):
            close(model, np.take(repeated, channel, axis), single, case.rounding)
    if not model.conservative:
        return
    colour = np.stack([image, 90 - image, image * 0.2], -1)
    space = tuple(range(image.ndim))
    result = case.run(model, colour, channel_axis=-1)
    drift = result.mean(space, dtype=float) - colour.mean(space, dtype=float)
    assert np.abs(drift).max() <= 1e-6 * RANGE


def frames_stay_apart(model: Model, case: Case) -> None:
    """Along an axis that does not diffuse, each frame equals its separate result bit for bit."""
    frames = np.stack([case.picture(), case.picture()[::-1] * 0.5])
    both = case.run(model, frames, axes=range(1, frames.ndim))
    for frame, result in zip(frames, both, strict=True):
        same(case.run(model, frame), result)


def input_is_untouched(model: Model, case: Case) -> None:
    """The input is not modified, and the result has its shape and dtype."""
    image = case.picture()
    writeable = image.copy()
    image.flags.writeable = False
    result = case.run(model, image)
    same(image, writeable)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    same(result, case.run(model, writeable))
    same(writeable, image)


def picture_excites_the_model(model: Model, case: Case) -> None:
    """The model changes at least one voxel of the test image by more than 1 % of the range."""
    # Otherwise the other laws would hold trivially.
    image = case.picture()
    assert np.abs(case.run(model, image) - image).max() > 0.01 * np.ptp(image)


def checkerboard_is_damped(model: Model, case: Case) -> None:
    """A checkerboard decays, and does not grow in 200 steps of the largest stable length."""
    image = np.asarray(50 + 0.5 * (-1.0) ** np.indices(case.shape).sum(0), case.dtype)
    start = decoded(model, encoded(model, image))
    middle, height = (start.max() + start.min()) / 2, np.ptp(start)
    limit = height / 2 * (1 + 1e-4)  # both sides are rounded in float32
    bound = min(1e3, case.max_step(model))
    decayed, stable = (
        case.run(model, image, time=step * count, scheme=Explicit(step=step))
        for step, count in ((SAFETY_FACTOR * bound, 50), (bound, 200))
    )
    for result in (decayed, stable):
        assert np.abs(result - middle).max() <= limit
    # Without damping the pattern would keep its height. Models with a small diffusivity in flat
    # regions damp it slowly.
    assert np.ptp(decayed) < 0.9 * height


LAWS: tuple[Callable[[Model, Case], None], ...] = (
    constants_are_fixed,
    mean_is_kept,
    extrema_are_kept,
    energy_falls,
    axes_are_alike,
    units_are_true,
    offset_is_carried,
    dummy_axis_changes_nothing,
    threads_agree,
    block_with_halo_is_exact,
    passes_and_blocks_are_exact,
    fidelity_keeps_the_laws,
    guide_keeps_the_laws,
    options_go_together,
    impulses_are_replaced_first,
    backends_agree,
    regions_are_apart,
    nan_stays_in_its_hole,
    channels_share_one_gradient,
    frames_stay_apart,
    input_is_untouched,
    picture_excites_the_model,
    checkerboard_is_damped,
    equal_factors_scale_the_thresholds,
    map_follows_the_noise,
)


def check_model(model: Model) -> None:
    """Check every law in `LAWS` on every grid and dtype in `CASES`.

    Parameters
    ----------
    model
        The model, with parameters for intensities of about 100 and voxel sizes of about 1. With a
        map of thresholds, the cases have as many axes as the map.

    Raises
    ------
    AssertionError
        If the model violates a law. The message names the law, what it states, and the case.
    """
    _check_declaration(model)
    for law, case in itertools.product(LAWS, filter(lambda case: case.fits(model), CASES)):
        with named(type(model).__name__, law, f" on {case}"):
            law(model, case)


def _check_declaration(model: Model) -> None:
    """Check texts, fields, estimators of parameters and the kind of operator of a model."""
    try:
        check_declaration(type(model))
        next(case for case in CASES if case.fits(model)).max_step(model)
    except TypeError as error:
        raise AssertionError(str(error)) from error
    for p in parameters(model):
        assert p.suggest is None or p.suggest in ESTIMATORS, (
            f"{type(model).__name__}: suggest={p.suggest!r} of {p.name} names no estimator; "
            f"the estimators are {', '.join(ESTIMATORS)}."
        )


def _schemes_for(model: Model, case: Case) -> list[str]:
    """Return the names of the schemes that can run the model without walls."""
    planned = plan(np.empty(case.shape, case.dtype), model, time=1e-6, spacing=case.spacing)
    kinds = [kind() for kind in schemes.REGISTRY.all()]
    return [
        kind.name for kind in kinds if kind.refusal(planned.operator, planned.grid, False) is None
    ]


def _banded_labels(case: Case) -> Array:
    """Return the labels 0 to 3 in diagonal bands."""
    return np.asarray(np.indices(case.shape).sum(0) // 3 % 4)
