"""Orientation of a tensor model: its direction of largest diffusivity, and its coherence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.grid import Grid
from napari_diffusion.diagnostics.feature_maps import for_each_chunk, frame_features, map_over_image
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.halo_block import AxisIndex
from napari_diffusion.engine.problem import Problem
from napari_diffusion.models import Model
from napari_diffusion.operators.features import Features

#: Largest number of directions of an image: more are slow to draw and unreadable.
MAX_DIRECTIONS = 100_000
#: Smallest distance between two directions, in voxels of the finest axis.
MIN_DISTANCE_VOXELS = 4
#: Coherence below which a voxel has no direction.
MIN_COHERENCE = 0.05

#: Positions (n, d), unit vectors (n, d) and coherences (n,) of n directions.
_Sample = tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Directions:
    r"""Directions of the largest diffusivity of a model at some voxels.

    Attributes
    ----------
    positions
        Indices of the voxels, shape (n, d) for the d axes of the image without the channel axis.
    vectors
        Unit vectors in space, one component per axis as ``positions``, 0 along axes that do not
        diffuse. A direction has no sign: the component of largest magnitude is positive.
    coherence
        :math:`1 - \lambda_{min}/\lambda_{max}` at these voxels.
    spacing
        Voxel size per axis of ``positions`` [length], 1 along axes that do not diffuse.
    distance
        Distance between neighbouring positions [length].
    shape
        Shape of the image without the channel axis [voxel].
    """

    positions: NDArray[np.intp]
    vectors: NDArray[np.float64]
    coherence: NDArray[np.float64]
    spacing: tuple[float, ...]
    distance: float
    shape: tuple[int, ...]

    def arrows(self) -> NDArray[np.float64]:
        """Start and extent of an arrow for each direction [voxel], shape (n, 2, d).

        The length of an arrow in space is ``distance`` times the coherence. This is the format of
        the vectors of napari.

        Every arrow ends inside the image, since otherwise the sliders of napari would extend beyond
        it. An arrow that would end outside is reversed, for a direction has no sign, and shortened
        where the image is too small for either way.
        """
        extents = self.vectors * (self.distance * self.coherence)[:, None] / self.spacing
        forward, backward = self._share_inside(extents), self._share_inside(-extents)
        extents *= np.where(forward < backward, -backward, forward)[:, None]
        return np.stack([self.positions.astype(float), extents], 1)

    def _share_inside(self, extents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of each extent that lies inside the image, at most 1."""
        room = np.where(extents > 0, np.array(self.shape) - 1 - self.positions, self.positions)
        lengths = np.abs(extents)
        ones = np.ones(extents.shape)
        share: NDArray[np.float64] = np.divide(room, lengths, out=ones, where=lengths > room).min(1)
        return share


def has_tensor(model: Model) -> bool:
    """Whether the operator of a model is a diffusion tensor."""
    return dry_run(model, Grid((2, 2, 2), (1.0, 1.0, 1.0))).operator.has_tensor


def coherence_map(
    problem: Problem,
    region: Sequence[AxisIndex] | None = None,
    cancel: CancelEvent | None = None,
) -> FloatArray:
    """Return the coherence at the voxels of a region, as `napari_diffusion.coherence`.

    The problem is one of `unread_problem`.
    """
    _check_has_tensor(problem.recipe.model)

    def measure(model: Model, features: Features) -> NDArray[np.float64]:
        return _coherence(model.operator(features).eigenvalues(features))

    return map_over_image(measure, problem, region, cancel)


def sample_directions(problem: Problem, cancel: CancelEvent | None = None) -> Directions:
    """Return directions of the largest diffusivity, as `napari_diffusion.directions`."""
    model = problem.recipe.model
    _check_has_tensor(model)
    distance, is_sampled = _lattice(problem)
    lattice = np.argwhere(is_sampled)
    axes = [i for i in range(len(problem.shape)) if i != problem.channel_axis]
    diffusing = [i for i in problem.axes if problem.shape[i] > 1]
    columns = [axes.index(i) for i in diffusing]
    empty = np.zeros((0, len(axes)), np.intp), np.zeros((0, len(axes))), np.zeros(0)
    samples: list[_Sample] = [empty]
    # Voxels outside the regions have walls on all sides: no gradient, hence no coherence.
    for frame, features, _ in frame_features(problem, True, cancel):
        directions, coherence = _sample_frame(model, features, is_sampled, cancel)
        positions = np.zeros((len(lattice), len(axes)), np.intp)
        vectors = np.zeros((len(lattice), len(axes)))
        positions[:] = [0 if isinstance(index, slice) else index for index in frame]
        positions[:, columns], vectors[:, columns] = lattice[:, features.axes], directions
        kept = coherence >= MIN_COHERENCE
        samples.append((positions[kept], vectors[kept], coherence[kept]))
    positions, vectors, coherence = (np.concatenate(rows) for rows in zip(*samples, strict=True))
    sizes = {i: h for i, h in zip(problem.axes, problem.spacing, strict=True) if i in diffusing}
    return Directions(
        positions=positions,
        vectors=vectors,
        coherence=coherence,
        spacing=tuple(sizes.get(i, 1.0) for i in axes),
        distance=distance,
        shape=tuple(problem.shape[i] for i in axes),
    )


def _sample_frame(
    model: Model, features: Features, is_sampled: NDArray[np.bool_], cancel: CancelEvent | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return direction and coherence at the sampled voxels of a frame, in order of their index."""
    chunks: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def work(part: Features) -> None:
        chunks[part.lo] = _directions_and_coherence(model, part, is_sampled[part.lo : part.hi])

    for_each_chunk(work, features, cancel)
    ordered = [chunks[lo] for lo in sorted(chunks)]
    directions, coherence = (np.concatenate(rows) for rows in zip(*ordered, strict=True))
    return directions, coherence


def _directions_and_coherence(
    model: Model, features: Features, is_sampled: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return direction and coherence at the sampled voxels of the planes of ``features``."""
    direction, lam = model.operator(features).directions(is_sampled)
    largest = np.take_along_axis(direction, np.abs(direction).argmax(1)[:, None], 1)
    return direction * np.where(largest < 0, -1.0, 1.0), _coherence(lam)


def _coherence(lam: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Return :math:`1 - \lambda_{min}/\lambda_{max}` of diffusivities along the first axis."""
    largest = lam.max(0)
    ones = np.ones(largest.shape)
    share: NDArray[np.float64] = np.divide(lam.min(0), largest, out=ones, where=largest > 0)
    return 1 - share


def _lattice(problem: Problem) -> tuple[float, NDArray[np.bool_]]:
    """Return the distance of directions [length], and a mask of the sampled voxels of a frame.

    The distance grows until all frames together have at most `MAX_DIRECTIONS`, or each plane has
    one direction. Every plane of a volume is sampled.
    """
    frames = math.prod(problem.shape[i] for i in problem.frame_axes)
    sizes = [(n, h) for n, h in zip(problem.space, problem.kernel_spacing, strict=True) if n > 1]
    lengths = [n for n, _ in sizes]
    distance = MIN_DISTANCE_VOXELS * min((h for _, h in sizes), default=1.0)
    while True:
        steps = [max(1, round(distance / h)) for _, h in sizes]
        if len(steps) > 2:
            steps[0] = 1
        pairs = list(zip(lengths, steps, strict=True))
        count = frames * math.prod(-(-n // step) for n, step in pairs)
        if count <= MAX_DIRECTIONS or all(step >= n for n, step in pairs[-2:]):
            break
        distance *= 1.1
    slices = iter(slice(step // 2 if step < n else n // 2, None, step) for n, step in pairs)
    is_sampled = np.zeros(problem.space, bool)
    is_sampled[tuple(next(slices) if n > 1 else slice(None) for n in problem.space)] = True
    return distance, is_sampled


def _check_has_tensor(model: Model) -> None:
    if not has_tensor(model):
        raise ValueError(
            f"{type(model).__name__} smooths alike in all directions at a voxel; "
            "take a model with a tensor, such as Hybrid."
        )
