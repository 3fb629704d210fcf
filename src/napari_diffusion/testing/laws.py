"""The laws that every diffusion model keeps, as public checks: ``check_model(MyModel())`` runs them all on your own model.

The picture of the checks has intensities of order 100 and lengths of order 1, so parameters should be of that order.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.api import diffuse, evolve, plan
from napari_diffusion.models import Model, parameters
from napari_diffusion.schemes import Explicit
from napari_diffusion.schemes.explicit import SAFETY

Array = NDArray[Any]
#: Rounding of a run of a few dozen steps, as a share of the range: a random walk of ulps, with room for a different summation order.
ROUNDING = {"float32": 3e-6, "float64": 1e-13}


@dataclass(frozen=True)
class Case:
    """A grid on which a law is checked."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    dtype: str = "float32"

    def picture(self) -> Array:
        """Ball, ramp, stripes and noise, range about 0 to 130, seeded: flat parts, weak and strong edges in every direction."""
        x = np.meshgrid(*(np.linspace(-1, 1, n) for n in self.shape), indexing="ij")
        ball = np.sum([c**2 for c in x], axis=0) < 0.5
        stripes = np.sin(9 * x[0] + 4 * x[-1])
        noise = np.random.default_rng(20260).normal(size=self.shape)
        return np.asarray(
            20 + 60 * ball + 15 * x[-1] + 10 * stripes * (x[0] > 0) + 4 * noise, self.dtype
        )

    def time(self, model: Model) -> float:
        """A diffusion time of about ten stable steps of linear diffusion along the finest axis, and at most 24 of the model's own."""
        return min(2.0 * min(self.spacing) ** 2, 24 * self.max_step(model))

    def max_step(self, model: Model) -> float:
        """Largest explicit step of the model on this grid."""
        return plan(
            np.empty(self.shape, self.dtype), model, time=1e-6, spacing=self.spacing
        ).max_step

    @property
    def rounding(self) -> float:
        """Absolute tolerance for two ways of computing the same numbers."""
        return ROUNDING[self.dtype] * 130

    def run(self, model: Model, image: Array, **options: Any) -> Array:
        """Filter with this case's spacing and time unless told otherwise."""
        given: dict[str, Any] = {"time": self.time(model), "spacing": self.spacing} | options
        return diffuse(image, model, **given)


CASES = tuple(
    Case(shape, spacing, dtype)
    for (shape, spacing), dtype in itertools.product(
        [
            ((24, 21), (1.0, 1.0)),
            ((24, 21), (4.0, 1.0)),
            ((13, 15, 14), (1.0, 1.0, 1.0)),
            ((9, 15, 14), (4.0, 1.0, 0.8)),
        ],
        ROUNDING,
    )
)


def constants_are_fixed(model: Model, case: Case) -> None:
    """A constant image comes back bit for bit, borders included (zero padding would leak)."""
    image = np.full(case.shape, 37.3, case.dtype)
    _same(case.run(model, image, scheme="explicit"), _decoded(model, _encoded(model, image)))


def mean_is_kept(model: Model, case: Case) -> None:
    """The mean is kept to 1e-6 of the range, by models in divergence form."""
    if not model.conservative:
        return
    image = case.picture()
    drift = case.run(model, image).mean(dtype=float) - image.mean(dtype=float)
    assert abs(drift) <= 1e-6 * np.ptp(image), f"the mean moved by {drift:g}"


def extrema_are_kept(model: Model, case: Case) -> None:
    """With ``strict`` no value leaves the range of the input, not by one ulp more than rounding."""
    image = case.picture()
    result = case.run(model, image, strict=True)
    image = _decoded(model, _encoded(model, image))
    slack = 4 * np.finfo(image.dtype).eps * 130
    assert result.min() >= image.min() - slack, f"minimum fell to {result.min()} from {image.min()}"
    assert result.max() <= image.max() + slack, f"maximum rose to {result.max()} from {image.max()}"


def energy_falls(model: Model, case: Case) -> None:
    """The sum of squares never grows from one step to the next, in models in divergence form."""
    if not model.conservative:
        return
    image = case.picture()
    energies = [np.square(image, dtype=float).sum()]
    energies += [
        np.square(s.image, dtype=float).sum()
        for s in evolve(
            image, model, time=case.time(model), spacing=case.spacing, scheme="explicit"
        )
    ]
    assert (np.diff(energies) <= 0).all(), f"energy rose: {energies}"


def axes_are_alike(model: Model, case: Case) -> None:
    """Swapping axes (and their spacing), and mirrors, commute with the filter, between walls too."""
    image = case.picture()
    for labels in (None, _checker(case)):
        whole = case.run(model, image, labels=labels)
        for order in itertools.permutations(range(image.ndim)):
            walls, spacing = (
                None if labels is None else labels.transpose(order),
                tuple(case.spacing[i] for i in order),
            )
            swapped = case.run(model, image.transpose(order), spacing=spacing, labels=walls)
            _close(model, swapped, whole.transpose(order), case.rounding)
        for axis in range(image.ndim):
            walls = None if labels is None else np.flip(labels, axis)
            _close(
                model,
                case.run(model, np.flip(image, axis), labels=walls),
                np.flip(whole, axis),
                case.rounding,
            )


def units_are_true(model: Model, case: Case) -> None:
    """Space times 2, intensity times 5, time times 4, every parameter by its declared unit: the same picture."""
    factor = {
        "length": 2.0,
        "length^2": 4.0,
        "intensity": 5.0,
        "intensity/length": 2.5,
        "1/length": 0.5,
        "1": 1.0,
    }
    scaled = {
        p.name: getattr(model, p.name) * factor[p.unit]
        for p in parameters(model)
        if p.type is float
    }
    image = case.picture()
    other = case.run(
        dataclasses.replace(model, **scaled),
        image * 5,
        time=4 * case.time(model),
        spacing=tuple(2 * h for h in case.spacing),
    )
    _close(model, other / 5, case.run(model, image), case.rounding)


def offset_is_carried(model: Model, case: Case) -> None:
    """Adding a constant to the image adds it to the result, unless the model declares that intensities have a zero."""
    if model.offset_invariant and case.dtype == "float64":
        image = case.picture()
        _close(
            model,
            case.run(model, image + 1000.0) - 1000.0,
            case.run(model, image),
            10 * case.rounding,
        )


def dummy_axis_changes_nothing(model: Model, case: Case) -> None:
    """An axis of one voxel, wherever it stands and whatever its spacing, changes no bit."""
    image, whole = case.picture(), case.run(model, case.picture())
    for axis in range(image.ndim + 1):
        spacing = (*case.spacing[:axis], 0.1, *case.spacing[axis:])
        _same(case.run(model, np.expand_dims(image, axis), spacing=spacing).squeeze(axis), whole)


def threads_agree(model: Model, case: Case) -> None:
    """One, two and seven threads give the same bits; the image is made large enough to be cut."""
    image = np.tile(case.picture(), (60, 14) if len(case.shape) == 2 else (40, 2, 2))
    run = partial(
        case.run, model, image, time=case.time(model) / 5
    )  # a few steps: where a slab ends shows in the first
    assert (
        plan(image, model, time=1e-6, spacing=case.spacing, threads=2).height <= len(image) // 2
    ), "the image is not cut"
    one = run(threads=1)
    for threads in (2, 7):
        _same(run(threads=threads), one)


def block_with_halo_is_exact(model: Model, case: Case) -> None:
    """A block that overlaps by the planned halo gives the bits of the whole run inside."""
    time = case.time(model) / 5
    halo = plan(
        np.empty(case.shape, case.dtype), model, time=time, spacing=case.spacing, scheme="explicit"
    ).halo
    image = np.tile(case.picture(), (3,) * len(case.shape))
    run = partial(case.run, model, time=time, scheme="explicit")
    whole = run(image)
    keep = tuple(slice(n, 2 * n) for n in case.shape)
    wide = tuple(slice(max(s.start - h, 0), s.stop + h) for s, h in zip(keep, halo, strict=True))
    inner = tuple(
        slice(s.start - w.start, s.stop - w.start) for s, w in zip(keep, wide, strict=True)
    )
    _same(run(image[wide])[inner], whole[keep])


def backends_agree(model: Model, case: Case) -> None:
    """The compiled kernels give what the NumPy specification gives."""
    image = case.picture()
    for options in ({}, {"labels": _checker(case)}):
        _close(
            model,
            case.run(model, image, **options),
            case.run(model, image, backend="reference", **options),
            case.rounding,
        )


def regions_are_apart(model: Model, case: Case) -> None:
    """Nothing flows between labels, outside nothing changes, and a box mask gives what the cropped box gives."""
    image, labels = case.picture(), _checker(case)
    whole = case.run(model, image, labels=labels)
    other = np.where(labels == 2, image, image * 3 - 50)
    _same(case.run(model, other, labels=labels)[labels == 2], whole[labels == 2])
    _same(whole[labels == 0], image[labels == 0])
    box = (slice(2, 9), slice(3, 12), slice(1, 10))[: image.ndim]
    mask = np.zeros(case.shape, bool)
    mask[box] = True
    # u_sigma between walls is a series, in the open a convolution, both cut at a thousandth of their weight.
    _close(model, case.run(model, image, mask=mask)[box], case.run(model, image[box]), 5e-3 * 130)


def nan_stays_in_its_hole(model: Model, case: Case) -> None:
    """With ``nan="mask"`` a NaN is kept, and the rest equals the run in which its voxel is masked out."""
    image = case.picture()
    hole = np.ones(case.shape, bool)
    hole[tuple(n // 2 for n in case.shape)] = False
    broken = np.where(hole, image, image.dtype.type(np.nan))
    result = case.run(model, broken, nan="mask")
    _same(np.isnan(result), ~hole)
    _same(result[hole], case.run(model, image, mask=hole)[hole])


def channels_share_one_gradient(model: Model, case: Case) -> None:
    """A channel repeated gives the single channel's result, and each channel of a conservative model keeps its mean."""
    image = case.picture()
    single = case.run(model, image)
    for axis in (0, -1):
        repeated = case.run(model, np.stack([image] * 3, axis), channel_axis=axis)
        for channel in range(3):
            _close(model, np.take(repeated, channel, axis), single, case.rounding)
    if not model.conservative:
        return
    colour = np.stack([image, 90 - image, image * 0.2], -1)
    drift = case.run(model, colour, channel_axis=-1).mean(
        (*range(image.ndim),), dtype=float
    ) - colour.mean((*range(image.ndim),), dtype=float)
    assert np.abs(drift).max() <= 1e-6 * 130


def frames_stay_apart(model: Model, case: Case) -> None:
    """An axis that does not diffuse is looped: each frame gives what it gives alone, bit for bit."""
    frames = np.stack([case.picture(), case.picture()[::-1] * 0.5])
    both = case.run(model, frames, axes=range(1, frames.ndim))
    for frame, result in zip(frames, both, strict=True):
        _same(case.run(model, frame), result)


def input_is_untouched(model: Model, case: Case) -> None:
    """The input, read-only or not, keeps every bit, and the result has its shape and dtype."""
    image = case.picture()
    kept = image.copy()
    image.flags.writeable = False
    result = case.run(model, image)
    _same(image, kept)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    _same(result, case.run(model, kept))
    _same(kept, image)


def picture_excites_the_model(model: Model, case: Case) -> None:
    """The model does something on the picture, so that the other laws mean something: more than 1 % of the range changes somewhere."""
    image = case.picture()
    assert np.abs(case.run(model, image) - image).max() > 0.01 * np.ptp(image)


def checkerboard_is_damped(model: Model, case: Case) -> None:
    """The finest pattern of the grid fades, and the largest allowed step stays stable on it for 200 steps."""
    image = np.asarray(50 + 0.5 * (-1.0) ** np.indices(case.shape).sum(0), case.dtype)
    start = _decoded(model, _encoded(model, image))
    middle, height = (start.max() + start.min()) / 2, np.ptp(start)
    bound = min(1e3, case.max_step(model))
    for step, count in ((SAFETY * bound, 50), (bound, 200)):
        result = case.run(model, image, time=step * count, scheme=Explicit(step=step))
        assert np.abs(result - middle).max() <= height / 2 * (
            1 + 1e-4
        )  # both sides rounded in float32
    faded = case.run(model, image, time=SAFETY * bound * 50, scheme=Explicit(step=SAFETY * bound))
    # Undamped it would keep its height; a model that leaves flat regions nearly alone takes its time.
    assert np.ptp(faded) < 0.9 * height


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
    backends_agree,
    regions_are_apart,
    nan_stays_in_its_hole,
    channels_share_one_gradient,
    frames_stay_apart,
    input_is_untouched,
    picture_excites_the_model,
    checkerboard_is_damped,
)


def check_model(model: Model) -> None:
    """Run every law on every case; AssertionError names the law and the case that fail."""
    for law, case in itertools.product(LAWS, CASES):
        try:
            law(model, case)
        except AssertionError as error:
            raise AssertionError(
                f"{type(model).__name__} breaks the law {law.__name__} on {case}: {error}"
            ) from error


def _checker(case: Case) -> Array:
    """Three labels in slanted bands, and some voxels outside."""
    index = np.indices(case.shape).sum(0) // 3 % 4
    return np.asarray(index)


def _same(left: Array, right: Array) -> None:
    np.testing.assert_array_equal(left, right)


def _close(model: Model, left: Array, right: Array, tolerance: float) -> None:
    """Compare what diffused, up to 2 x 130 times as far apart: roots near zero would blow up rounding."""
    tolerance *= model.rounding_gain
    if model.has_transform:
        left, right, tolerance = _encoded(model, left), _encoded(model, right), tolerance * 2 * 130
    np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)


def _encoded(model: Model, image: Array) -> Array:
    image = image.copy()
    model.encode(image)
    return image


def _decoded(model: Model, image: Array) -> Array:
    model.decode(image)
    return image
