"""A diffusion problem: a recipe bound to an image, with every argument checked.

A field has shape ``(C, *space)``. `Problem.read` makes a field from a frame of the user's array,
and `Problem.whole` converts a field back.
"""

from __future__ import annotations

import itertools
import marshal
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import (
    Array,
    Field,
    as_lazy_array,
    shape_and_dtype,
)
from napari_diffusion.core.dtypes import result_dtype, store, working_dtype
from napari_diffusion.core.errors import shown
from napari_diffusion.core.geometry import Domain, Geometry, axis_number, checked_guide
from napari_diffusion.core.grid import Grid, Place
from napari_diffusion.core.regions import checked_regions, open_faces
from napari_diffusion.engine.dry_run import MARSHAL_VERSION, content_of
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.models import Linear, Model
from napari_diffusion.operators.impulses.fill import impulse_reach
from napari_diffusion.operators.threshold_map import nodes_per_axis

#: Index of a frame: an integer on each frame axis, a whole slice on the other axes.
FrameIndex = tuple[Any, ...]


@dataclass(frozen=True)
class Problem:
    """A recipe bound to an image.

    Attributes
    ----------
    recipe
        What is done.
    image, shape
        The image, which may be lazy, and its shape.
    axes, spacing
        Diffusing axes in ascending order, and the voxel size along each of them [length].
    channel_axis
        Axis of the channels, which share one diffusivity. All other axes are frame axes.
    domain
        Mask, labels and guide as the caller passes them; they may be lazy. Its place is never
        ``None``, and the guide is checked.
    regions
        Integer region of each voxel, 0 outside, with or without frame axes; ``None`` for a single
        region without outside.
    weights
        Weight of each channel's gradient; their sum is 1.
    copied_channels
        Channels that are copied and have the weight 0, such as the opacity of RGBA.
    input_dtype, dtype, working
        Data types of the image, of the result, and of the computation.
    """

    recipe: RecipeFields
    image: Any
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    spacing: tuple[float, ...]
    channel_axis: int | None
    domain: Domain
    regions: NDArray[Any] | None
    weights: NDArray[np.float64]
    copied_channels: tuple[int, ...]
    input_dtype: np.dtype[Any]
    dtype: np.dtype[Any]
    working: np.dtype[Any]

    @cached_property
    def space(self) -> tuple[int, ...]:
        """Shape of a field without channels: at least three axes, with slabs along the first.

        Diffusing axes of one voxel are left out. Where fewer than three are left, axes of one voxel
        are inserted: after the first of two axes, or before a single one.
        """
        return self._open_grid.shape

    @property
    def kernel_spacing(self) -> tuple[float, ...]:
        """Spacing of the axes of `space`; 1 for padding."""
        return self._open_grid.spacing

    @property
    def places_in_space(self) -> tuple[int | None, ...]:
        """Place of each diffusing axis in `space`; ``None`` for an axis of one voxel."""
        return _places_in_space(tuple([self.shape[i] for i in self.axes]))

    def per_diffusing_axis(self, reach: Sequence[int]) -> list[int]:
        """Convert a reach along the axes of `space` to one along each diffusing axis."""
        return [0 if place is None else reach[place] for place in self.places_in_space]

    @property
    def geometry(self) -> Geometry:
        """The checked geometry, for another problem on a part of the same image."""
        weights = [None if i in self.copied_channels else w for i, w in enumerate(self.weights)]
        return Geometry(self.spacing, self.axes, self.channel_axis, weights)

    @property
    def place(self) -> Place:
        """Where the image lies in the one that it is cut out of, along the diffusing axes."""
        assert self.domain.place is not None
        return self.domain.place

    @property
    def is_guided(self) -> bool:
        """Whether edges come from a guide, at least in part."""
        return self.domain.guide is not None

    @property
    def is_frozen(self) -> bool:
        """Whether edges come from a guide alone, so that the operator is made once."""
        return self.is_guided and self.recipe.guide_weight == 1

    @property
    def may_have_walls(self) -> bool:
        """Whether regions or values that are not finite may close some faces."""
        return self.regions is not None or self.recipe.nan == "mask"

    @property
    def read_reach(self) -> list[int]:
        """Reach of what is done to a frame before its first stage, per axis of `space` [voxel]."""
        grid = self.grid()
        return impulse_reach(grid) if self.replaces_impulses else [0] * len(grid.shape)

    @property
    def replaces_impulses(self) -> bool:
        """Whether hot and dead voxels are replaced."""
        return self.recipe.impulses == "mask"

    @property
    def channels(self) -> int:
        """Number of coupled channels."""
        return 1 if self.channel_axis is None else self.shape[self.channel_axis]

    @property
    def filtered_channels(self) -> list[int]:
        """Numbers of the channels that are not copied."""
        return [i for i in range(self.channels) if i not in self.copied_channels]

    @cached_property
    def frame_axes(self) -> tuple[int, ...]:
        """Axes that neither diffuse nor couple."""
        return tuple(
            [i for i in range(len(self.shape)) if i not in self.axes and i != self.channel_axis]
        )

    def on(self, image: Array, domain: Domain) -> Problem:
        """Return the problem of another image, whose shape and data type are those of this one.

        Of the arguments, only the ``domain`` is checked; it replaces that of this problem, without
        its place. Errors are those of `make_problem`.
        """
        problem = object.__new__(Problem)
        vars(problem).update(vars(self), image=image)
        if not (domain.mask is None and domain.labels is None and domain.guide is None):
            parts = self.shape, list(self.axes), self.channel_axis
            regions = checked_regions(domain.mask, domain.labels, *parts)
            guide = checked_guide(domain.guide, *parts)
            whole = Domain(domain.mask, domain.labels, self.place, guide)
            vars(problem).update(regions=regions, domain=whole)
        return problem

    @cached_property
    def key(self) -> Hashable | None:
        """Recipe and geometry as a key, see `content_of`; ``None`` if they have none.

        Image, mask, labels and guide are not part of it.
        """
        recipe, place, scheme = self.recipe, self.place, self.recipe.scheme
        own = content_of(recipe.model), scheme if isinstance(scheme, str) else content_of(scheme)
        values = (
            vars(recipe) | {"model": None, "scheme": None},
            self.shape,
            self.axes,
            self.spacing,
            self.channel_axis,
            (place.first, place.shape, place.axes),
            (self.input_dtype.str, self.dtype.str, self.working.str),
        )
        try:
            return None if None in own else (own, marshal.dumps(values, MARSHAL_VERSION))
        except ValueError:  # a number of another library
            return None

    def frames(self) -> Iterator[FrameIndex]:
        """Index of every frame: integers on frame axes, whole slices elsewhere."""
        if not self.frame_axes:
            return iter([(slice(None),) * len(self.shape)])
        ranges = [
            range(self.shape[i]) if i in self.frame_axes else [slice(None)]
            for i in range(len(self.shape))
        ]
        return itertools.product(*ranges)

    def grid(self, faces: NDArray[np.uint8] | None = None) -> Grid:
        """Return the grid of one frame."""
        return self._open_grid if faces is None else replace(self._open_grid, open_faces=faces)

    @cached_property
    def _open_grid(self) -> Grid:
        """The grid of a frame without walls."""
        return _open_grid(tuple([self.shape[i] for i in self.axes]), self.spacing, self.place)

    def read(self, frame: FrameIndex) -> tuple[Field, bool]:
        """Return one frame as a field in the working dtype, and whether it is a copy.

        Without a copy, the field is the user's own memory and must not be written to.
        """
        part = self.image[frame]
        if isinstance(self.image, np.ma.MaskedArray):
            part = np.ma.getdata(part)
        else:
            part = np.asarray(part)
        if self.channel_axis is not None:
            part = np.moveaxis(part, self._channel_axis_of_frame, 0)
        if part.dtype == self.working and part.flags.carray:
            return part.reshape(self.channels, *self.space), False
        # numba would compile again for read-only, unaligned and foreign-endian arrays: copy them.
        field = np.require(part, self.working, ["C", "A", "W"])
        return field.reshape(self.channels, *self.space), not np.may_share_memory(field, part)

    def whole(self, field: Field, frame: FrameIndex) -> NDArray[Any]:
        """Convert a field to a frame of the result: its order of axes and its dtype."""
        part = store(field, self.dtype).reshape(self.channels, *[self.shape[i] for i in self.axes])
        if self.channel_axis is None:
            return np.asarray(part[0])
        moved: NDArray[Any] = np.moveaxis(part, 0, self._channel_axis_of_frame)
        return moved

    @property
    def _channel_axis_of_frame(self) -> int:
        """Channel axis of a frame, whose array has no frame axes."""
        assert self.channel_axis is not None
        return self.channel_axis - sum([i < self.channel_axis for i in self.frame_axes])

    def open_faces_of(
        self, frame: FrameIndex, invalid: NDArray[np.bool_] | None
    ) -> NDArray[np.uint8] | None:
        """Return the open faces of one frame; ``None`` without walls.

        Walls are the borders of the regions and of the ``invalid`` voxels.
        """
        regions = self.regions_of(frame)
        if invalid is not None:
            regions = np.where(invalid, np.uint8(0), np.uint8(1) if regions is None else regions)
        return None if regions is None else open_faces(regions)

    def regions_of(self, frame: FrameIndex) -> NDArray[Any] | None:
        """Return the regions of one frame, shape `space`; ``None`` for a single region."""
        if self.regions is None:
            return None
        index = tuple(part for i, part in enumerate(frame) if i != self.channel_axis)
        has_frame_axes = self.regions.ndim == len(index)
        regions = self.regions[index] if has_frame_axes else self.regions
        return regions.reshape(self.space)


def without_stages(problem: Problem) -> Problem:
    """Return a problem whose plan has no stage as one that transforms no intensities."""
    return replace(problem, recipe=replace(problem.recipe, model=Linear(), transform="none"))


def make_problem(
    image: Any,
    recipe: RecipeFields,
    geometry: Geometry | None = None,
    domain: Domain | None = None,
) -> Problem:
    """Bind a recipe to an image.

    Parameters
    ----------
    image
        As in `napari_diffusion.diffuse`.
    recipe
        What is done.
    geometry
        Axes and voxel size of the image; by default those that the recipe records.
    domain
        Mask and labels; by default the whole image.

    Raises
    ------
    TypeError, ValueError
        In one sentence that says what would work.
    """
    domain = domain or Domain()
    return _make_problem(image, recipe, geometry or recipe.geometry, domain, domain)


def unread_problem(image: Any, recipe: RecipeFields, geometry: Geometry, domain: Domain) -> Problem:
    """Check the arguments as `make_problem`, but do not read mask and labels.

    Only their shape and dtype are used, because they may be lazy and large.
    """
    named = (("mask", domain.mask), ("labels", domain.labels))
    lazy = {name: None if part is None else as_lazy_array(part, name) for name, part in named}
    shapes = Domain(**{name: _shape_only(part, name) for name, part in lazy.items()})
    domain = Domain(**lazy, place=domain.place, guide=domain.guide)
    return _make_problem(image, recipe, geometry, domain, shapes)


def _make_problem(
    image: Any, recipe: RecipeFields, geometry: Geometry, domain: Domain, regions_of: Domain
) -> Problem:
    """Check all arguments; the regions are made from ``regions_of``."""
    image, shape, input_dtype = _checked_image(image)
    ndim = len(shape)
    channel = geometry.channel_axis
    channel = None if channel is None else axis_number(channel, ndim, "channel_axis")
    axes = _diffusing_axes(geometry, ndim, channel)
    sizes = _spacing(geometry.spacing, len(axes))
    ascending = sorted(zip(axes, sizes, strict=True))
    place = domain.place or _whole(tuple(axes), shape)
    check_maps(recipe.model, place)
    regions = checked_regions(
        _mask_of(image, regions_of, channel), regions_of.labels, shape, axes, channel
    )
    channels = 1 if channel is None else shape[channel]
    guide = checked_guide(domain.guide, shape, axes, channel)
    weights, copied_channels = _weights(geometry.channel_weights, channels)
    return Problem(
        recipe=recipe,
        image=image,
        shape=shape,
        axes=tuple([axis for axis, _ in ascending]),
        spacing=tuple([size for _, size in ascending]),
        channel_axis=channel,
        domain=Domain(domain.mask, domain.labels, place, guide),
        regions=regions,
        weights=weights,
        copied_channels=copied_channels,
        input_dtype=input_dtype,
        dtype=result_dtype(input_dtype, recipe.preserve_dtype),
        working=working_dtype(input_dtype),
    )


@lru_cache(maxsize=64)
def _whole(axes: tuple[int, ...], shape: tuple[int, ...]) -> Place:
    """Return the place of a whole image, whose maps have the order of the ``axes`` as given."""
    ascending = sorted(axes)
    numbers = tuple(ascending.index(axis) for axis in axes)
    return Place((0,) * len(axes), tuple(shape[axis] for axis in axes), numbers)


@lru_cache(maxsize=64)
def _open_grid(sizes: tuple[int, ...], spacing: tuple[float, ...], place: Place) -> Grid:
    """Return the grid of a frame without walls, from the voxels along each diffusing axis."""
    real = [(n, h) for n, h in zip(sizes, spacing, strict=True) if n != 1]
    padding = [(1, 1.0)] * max(0, 3 - len(real))
    axes = [*real[:1], *padding, *real[1:]] if len(real) > 1 else [*padding, *real]
    space, kernel_spacing = zip(*axes, strict=True)
    return Grid(space, kernel_spacing, None, place.renumbered(_places_in_space(sizes)))


@lru_cache(maxsize=64)
def _places_in_space(sizes: tuple[int, ...]) -> tuple[int | None, ...]:
    """Return the place in `Problem.space` of each diffusing axis with this number of voxels."""
    real = sum(n != 1 for n in sizes)
    padding = max(0, 3 - real)
    places = iter([0, *range(1 + padding, real + padding)] if real > 1 else [padding])
    return tuple([next(places) if n != 1 else None for n in sizes])


def check_maps(model: Model, place: Place) -> None:
    """Raise ValueError unless every map of a model has one level for each diffusing axis."""
    for name, threshold_map in model.maps.items():
        levels, axes = len(nodes_per_axis(threshold_map)), len(place.shape)
        if levels != axes:
            raise ValueError(
                f"{name} has {levels} level{'s' if levels > 1 else ''} of factors and the image is "
                f"smoothed along {axes} {'axes' if axes > 1 else 'axis'}; a map has one level per "
                "axis."
            )


def _shape_only(regions: Any, name: str) -> Any:
    """Return a placeholder of the same shape and dtype, which takes no memory."""
    if regions is None:
        return None
    shape, dtype = shape_and_dtype(regions, name)
    return np.broadcast_to(np.zeros((), dtype), shape)


def _checked_image(image: Any) -> tuple[Any, tuple[int, ...], np.dtype[Any]]:
    """Return the image as an array that can be indexed, its shape and its dtype."""
    image = as_lazy_array(image, "image")
    shape, dtype = shape_and_dtype(image, "image")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        hint = "; filter the real and imaginary part one by one" if dtype.kind == "c" else ""
        raise TypeError(
            f"Images of dtype {dtype!s:.60} cannot be diffused, "
            f"only bool, integers and float16, 32 or 64{hint}."
        )
    if not shape:
        raise ValueError("The image is a single number; it needs at least one axis.")
    return image, shape, dtype


def _diffusing_axes(geometry: Geometry, ndim: int, channel: int | None) -> list[int]:
    """Return the diffusing axes in the order of the caller."""
    if geometry.axes is None:
        axes = [i for i in range(ndim) if i != channel]
    else:
        axes = [axis_number(i, ndim, "axes") for i in _as_tuple(geometry.axes)]
    if not axes or len(set(axes)) != len(axes) or channel in axes:
        raise ValueError(
            "axes must name at least one axis, each once and none of them the channel axis; "
            f"got axes={geometry.axes}, channel_axis={geometry.channel_axis}."
        )
    return axes


def _mask_of(image: Any, domain: Domain, channel: int | None) -> Any:
    """Return the mask of the domain or of a masked array."""
    if not isinstance(image, np.ma.MaskedArray) or np.ma.getmask(image) is np.ma.nomask:
        return domain.mask
    if domain.mask is not None or domain.labels is not None:
        raise ValueError("The image is a masked array, so mask and labels must be None.")
    hidden = np.ma.getmaskarray(image)
    return ~(hidden if channel is None else hidden.any(axis=channel))


def _as_tuple(axes: Any) -> tuple[Any, ...]:
    try:
        return tuple(axes)
    except TypeError:
        raise TypeError(
            f"axes must be several integers such as (0, 1), got {shown(axes)}."
        ) from None


def _spacing(spacing: float | Sequence[float], count: int) -> list[float]:
    try:
        if isinstance(spacing, float):  # the most frequent case takes a tenth of the time
            values = [float(spacing)] * count
        else:
            given = np.asarray(spacing, object).flat
            if any(isinstance(h, str | bytes | bool | np.bool_) for h in given):
                raise TypeError  # NumPy would make numbers of them
            values = np.broadcast_to(np.asarray(spacing, float), (count,)).tolist()
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"spacing must be one number or {count}, one per diffusing axis; got {shown(spacing)}."
        ) from None
    # Squares of gradients must not overflow in float32.
    if not all(1e-12 <= h <= 1e12 for h in values):
        raise ValueError(
            f"spacing must be > 0 and finite, from 1e-12 to 1e12; got {shown(spacing)}."
        )
    return values


def _weights(
    weights: Sequence[float | None] | None, channels: int
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Return the channel weights, scaled to sum 1, and the channels that are copied."""
    if weights is None:
        return np.array([1 / max(channels, 1)] * channels), ()
    copied: tuple[int, ...] = ()
    try:
        entries = list(weights)
        copied = tuple(i for i, weight in enumerate(entries) if weight is None)
        values = np.asarray([0.0 if weight is None else weight for weight in entries], float)
    except (TypeError, ValueError):
        values = np.full(channels, np.nan)
    valid = values.shape == (channels,) and np.isfinite(values).all() and (values >= 0).all()
    if not valid or not (values.sum() > 0 or channels == 0):
        raise ValueError(
            f"channel_weights must be {channels} numbers >= 0, one per channel and not all 0, or "
            f"None for a channel that is copied; got {shown(weights)}."
        )
    return values / values.sum() if channels else values, copied
