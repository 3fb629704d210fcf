"""Which way a tensor model smooths: how much more along one direction than across, and that direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.reference.tensor import symmetric
from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.grid import Grid
from napari_diffusion.diagnostics.feature_maps import for_each_chunk, frame_features, map_over_image
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.halo_block import AxisIndex
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.models import Model
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.tensor import DiffusionTensor

#: Most directions of an image: more are no picture, and slow to draw.
MAX_DIRECTIONS = 100_000
#: Fewest voxels, of the finest axis, from one direction to the next, and coherence below which a voxel has none.
MIN_DISTANCE_VOXELS, MIN_COHERENCE = 4, 0.05


@dataclass(frozen=True)
class Directions:
    r"""Directions in which a model smooths most, at some voxels.

    Attributes
    ----------
    positions
        Their indices, shape (n, d) for the d axes of the image without the channel axis.
    vectors
        Unit vectors in space, one entry per axis as ``positions``, 0 along axes that do not diffuse. A direction has no sign: the largest
        entry is positive.
    coherence
        :math:`1 - \lambda_{min}/\lambda_{max}` at these voxels.
    spacing
        Voxel size per axis of ``positions`` [length], 1 along axes that do not diffuse.
    distance
        Between neighbouring positions [length].
    shape
        Of the image, without the channel axis [voxel].
    """

    positions: NDArray[np.intp]
    vectors: NDArray[np.float64]
    coherence: NDArray[np.float64]
    spacing: tuple[float, ...]
    distance: float
    shape: tuple[int, ...]

    def arrows(self) -> NDArray[np.float64]:
        """Position and extent [voxel], shape (n, 2, d), as napari draws vectors: in space as long as ``distance`` times the coherence.

        None leaves the image, whose sliders in napari would grow with it: one that would points the other way, for a direction has no
        sign, and is shortened where there is less room than it is long.
        """
        extents = self.vectors * (self.distance * self.coherence)[:, None] / self.spacing
        forth, back = self._room(extents), self._room(-extents)
        extents *= np.where(forth < back, -back, forth)[:, None]
        return np.stack([self.positions.astype(float), extents], 1)

    def _room(self, extents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which share of each extent, at most all of it, ends inside the image."""
        room = np.where(extents > 0, np.array(self.shape) - 1 - self.positions, self.positions)
        long = np.abs(extents)
        share: NDArray[np.float64] = np.divide(
            room, long, out=np.ones(extents.shape), where=long > room
        ).min(1)
        return share


def has_tensor(model: Model) -> bool:
    """Whether a model smooths more along one direction than along another."""
    return isinstance(dry_run(model, Grid((2, 2, 2), (1.0, 1.0, 1.0)))[0], DiffusionTensor)


def coherence_map(
    image: Any,
    model: Model,
    geometry: Geometry,
    domain: Domain,
    region: Sequence[AxisIndex] | None = None,
    cancel: CancelEvent | None = None,
) -> FloatArray:
    """Map of the coherence of an image, as `napari_diffusion.coherence`."""
    _check_has_tensor(model)

    def measure(model: Model, features: Features) -> NDArray[np.float64]:
        tensor = _tensor(model, features)
        eigenvalues = features.eigenvalues(tensor.matrix)
        return _coherence(np.stack(tensor.spectrum(eigenvalues, *tensor.extra)))

    return map_over_image(measure, image, model, geometry, domain, region, cancel)


def sample_directions(
    image: Any,
    model: Model,
    geometry: Geometry,
    domain: Domain,
    cancel: CancelEvent | None = None,
) -> Directions:
    """Directions in which the model smooths most, as `napari_diffusion.directions`."""
    _check_has_tensor(model)
    problem = make_problem(image, geometry, domain)
    distance, chosen = _lattice(problem)
    lattice = np.argwhere(chosen)
    axes = [i for i in range(len(problem.shape)) if i != problem.channel_axis]
    moving = [i for i in problem.axes if problem.shape[i] > 1]
    columns = [axes.index(i) for i in moving]
    nothing = np.zeros((0, len(axes)), np.intp), np.zeros((0, len(axes))), np.zeros(0)
    parts: list[tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]] = [nothing]
    # Voxels outside the regions have walls all around: no gradient, so no coherence.
    for frame, features, _ in frame_features(problem, model):
        slabs: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

        def work(part: Features, slabs: dict[int, Any] = slabs) -> None:
            slabs[part.lo] = _at_chosen(model, part, chosen[part.lo : part.hi])

        for_each_chunk(work, features, cancel)
        ordered = (slabs[lo] for lo in sorted(slabs))
        directions, coherences = (np.concatenate(rows) for rows in zip(*ordered, strict=True))
        positions = np.zeros((len(lattice), len(axes)), np.intp)
        vectors = np.zeros((len(lattice), len(axes)))
        positions[:] = [0 if isinstance(index, slice) else index for index in frame]
        positions[:, columns], vectors[:, columns] = lattice[:, features.axes], directions
        kept = coherences >= MIN_COHERENCE
        parts.append((positions[kept], vectors[kept], coherences[kept]))
    positions, vectors, coherences = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    sizes = {i: h for i, h in zip(problem.axes, problem.spacing, strict=True) if i in moving}
    return Directions(
        positions=positions,
        vectors=vectors,
        coherence=coherences,
        spacing=tuple(sizes.get(i, 1.0) for i in axes),
        distance=distance,
        shape=tuple(problem.shape[i] for i in axes),
    )


def _at_chosen(
    model: Model, features: Features, chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Direction and coherence of some voxels of the planes of ``features``."""
    tensor = _tensor(model, features)
    rising, vectors = np.linalg.eigh(symmetric(tensor.matrix[:, chosen]).astype(np.float64))
    # Of equal diffusivities the last counts: they are in the order of falling eigenvalues of the matrix.
    lam = np.stack(tensor.spectrum(rising.T[::-1], *(field[chosen] for field in tensor.extra)))[
        ::-1
    ]
    way = np.take_along_axis(vectors, lam.argmax(0)[:, None, None], 2)[..., 0]
    largest = np.take_along_axis(way, np.abs(way).argmax(1)[:, None], 1)
    return way * np.where(largest < 0, -1.0, 1.0), _coherence(lam)


def _coherence(lam: NDArray[np.floating]) -> NDArray[np.float64]:
    largest = lam.max(0)
    share: NDArray[np.float64] = np.divide(
        lam.min(0), largest, out=np.ones(largest.shape), where=largest > 0
    )
    return 1 - share


def _lattice(problem: Problem) -> tuple[float, NDArray[np.bool_]]:
    """Distance between directions [length], and at which voxels of a frame they are: few enough of them in all frames."""
    frames = math.prod(problem.shape[i] for i in problem.frame_axes)
    sizes = [(n, h) for n, h in zip(problem.space, problem.kernel_spacing, strict=True) if n > 1]
    distance = MIN_DISTANCE_VOXELS * min((h for _, h in sizes), default=1.0)
    while True:
        steps = [max(1, round(distance / h)) for _, h in sizes]
        if len(steps) > 2:
            steps[0] = 1
        if frames * math.prod(
            -(-n // step) for (n, _), step in zip(sizes, steps, strict=True)
        ) <= MAX_DIRECTIONS or all(
            step >= n for (n, _), step in list(zip(sizes, steps, strict=True))[-2:]
        ):
            break
        distance *= 1.1
    every = iter(
        slice(step // 2 if step < n else n // 2, None, step)
        for (n, _), step in zip(sizes, steps, strict=True)
    )
    chosen = np.zeros(problem.space, bool)
    chosen[tuple(next(every) if n > 1 else slice(None) for n in problem.space)] = True
    return distance, chosen


def _tensor(model: Model, features: Features) -> DiffusionTensor:
    tensor = model.operator(features)
    assert isinstance(tensor, DiffusionTensor)
    return tensor


def _check_has_tensor(model: Model) -> None:
    if not has_tensor(model):
        raise ValueError(
            f"{type(model).__name__} smooths alike in all directions at a voxel; take a model with a tensor, such as Hybrid."
        )
