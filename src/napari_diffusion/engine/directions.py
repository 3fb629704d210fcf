"""Which way a tensor model smooths: how much more along one direction than across, and that direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.coefficients import Tensor
from napari_diffusion.engine.edges import in_slabs, looks, over_image
from napari_diffusion.engine.job import Job, make_job
from napari_diffusion.engine.plan import dry_run
from napari_diffusion.engine.slabs import Event
from napari_diffusion.engine.window import Index
from napari_diffusion.features import Features
from napari_diffusion.grid import Grid
from napari_diffusion.kernels.reference_tensor import symmetric
from napari_diffusion.models import Model

#: Most directions of an image: more are no picture, and slow to draw.
MOST = 100_000
#: Fewest voxels, of the finest axis, from one direction to the next, and coherence below which a voxel has none.
NEXT, LEAST = 4, 0.05


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
        share: NDArray[np.float64] = np.divide(room, long, out=np.ones(extents.shape), where=long > room).min(1)
        return share


def has_tensor(model: Model) -> bool:
    """Whether a model smooths more along one direction than along another."""
    return isinstance(dry_run(model, Grid((2, 2, 2), (1.0, 1.0, 1.0)))[0], Tensor)


def coherence(
    image: Any,
    model: Model,
    *,
    region: Sequence[Index] | None = None,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    cancel: Event | None = None,
) -> NDArray[np.floating]:
    r"""Coherence of the image as it is, :math:`1 - \lambda_{min}/\lambda_{max}` of the model's diffusivities at each voxel.

    0 where the model smooths alike in all directions, near 1 where it smooths along a line or a sheet and hardly across.

    Parameters
    ----------
    image, model, region, spacing, axes, channel_axis, mask, labels, nan, cancel
        As in `conductance`.

    Returns
    -------
    numpy.ndarray
        Shape of ``image[region]`` without the channel axis; 0 outside mask and labels and where the image is not finite.

    Raises
    ------
    TypeError, ValueError, Cancelled
        As `conductance`, and for a model without a diffusion tensor.
    """
    _check(model)

    def measure(model: Model, features: Features) -> NDArray[np.float64]:
        tensor = _tensor(model, features)
        return _coherence(np.stack(tensor.spectrum(features.eigenvalues(tensor.matrix), *tensor.extra)))

    return over_image(measure, image, model, region, spacing, axes, channel_axis, mask, labels, nan, cancel)


def directions(
    image: Any,
    model: Model,
    *,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    cancel: Event | None = None,
) -> Directions:
    """Directions in which the model smooths most, in the image as it is: eigenvectors of the largest diffusivity.

    Where two directions are smoothed alike, as within a sheet, it is the one in which the image changes less.

    Parameters
    ----------
    image, model, spacing, axes, channel_axis, mask, labels, nan, cancel
        As in `conductance`.

    Returns
    -------
    Directions
        At most 100 000, or one in every plane: at equal distances in space, but in every plane of a volume, so that none is bare. Voxels
        outside mask and labels and those of a coherence below 0.05 have none.

    Raises
    ------
    TypeError, ValueError, Cancelled
        As `conductance`, and for a model without a diffusion tensor.
    """
    _check(model)
    job = make_job(image, spacing, axes, channel_axis, mask, labels, nan, False, None)
    distance, chosen = _lattice(job)
    real = [i for i in job.axes if job.shape[i] > 1]
    places = [i for i in range(len(job.shape)) if i != job.channel_axis]
    lattice = np.argwhere(chosen)
    found = [(np.zeros((0, len(places)), np.intp), np.zeros((0, len(places))), np.zeros(0))]
    # Voxels outside the regions have walls all around: no gradient, so no coherence.
    for frame, features, _ in looks(job, model):
        slabs: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

        def work(part: Features, slabs: dict[int, Any] = slabs) -> None:
            slabs[part.lo] = _at(model, part, chosen[part.lo : part.hi])

        in_slabs(work, features, cancel)
        ways, strengths = (np.concatenate(parts) for parts in zip(*(slabs[lo] for lo in sorted(slabs)), strict=True))
        positions, vectors = np.zeros((len(lattice), len(places)), np.intp), np.zeros((len(lattice), len(places)))
        positions[:] = [0 if isinstance(index, slice) else index for index in frame]
        columns = [places.index(i) for i in real]
        positions[:, columns], vectors[:, columns] = lattice[:, features.axes], ways
        kept = strengths >= LEAST
        found.append((positions[kept], vectors[kept], strengths[kept]))
    positions, vectors, strengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
    sizes = {i: h for i, h in zip(job.axes, job.spacing, strict=True) if i in real}
    return Directions(
        positions, vectors, strengths, tuple(sizes.get(i, 1.0) for i in places), distance, tuple(job.shape[i] for i in places)
    )


def _at(model: Model, features: Features, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Direction and coherence of some voxels of the planes of ``features``."""
    tensor = _tensor(model, features)
    rising, vectors = np.linalg.eigh(symmetric(tensor.matrix[:, chosen]).astype(np.float64))
    # Of equal diffusivities the last counts: they are in the order of falling eigenvalues of the matrix.
    lam = np.stack(tensor.spectrum(rising.T[::-1], *(field[chosen] for field in tensor.extra)))[::-1]
    way = np.take_along_axis(vectors, lam.argmax(0)[:, None, None], 2)[..., 0]
    largest = np.take_along_axis(way, np.abs(way).argmax(1)[:, None], 1)
    return way * np.where(largest < 0, -1.0, 1.0), _coherence(lam)


def _coherence(lam: NDArray[np.floating]) -> NDArray[np.float64]:
    largest = lam.max(0)
    share: NDArray[np.float64] = np.divide(lam.min(0), largest, out=np.ones(largest.shape), where=largest > 0)
    return 1 - share


def _lattice(job: Job) -> tuple[float, NDArray[np.bool_]]:
    """Distance between directions [length], and at which voxels of a frame they are: few enough of them in all frames."""
    frames = math.prod(job.shape[i] for i in job.frame_axes)
    sizes = [(n, h) for n, h in zip(job.space, job.kernel_spacing, strict=True) if n > 1]
    distance = NEXT * min((h for _, h in sizes), default=1.0)
    while True:
        steps = [max(1, round(distance / h)) for _, h in sizes]
        if len(steps) > 2:
            steps[0] = 1
        if frames * math.prod(-(-n // step) for (n, _), step in zip(sizes, steps, strict=True)) <= MOST or all(
            step >= n for (n, _), step in list(zip(sizes, steps, strict=True))[-2:]
        ):
            break
        distance *= 1.1
    every = iter(slice(step // 2 if step < n else n // 2, None, step) for (n, _), step in zip(sizes, steps, strict=True))
    chosen = np.zeros(job.space, bool)
    chosen[tuple(next(every) if n > 1 else slice(None) for n in job.space)] = True
    return distance, chosen


def _tensor(model: Model, features: Features) -> Tensor:
    tensor = model.coefficient(features)
    assert isinstance(tensor, Tensor)
    return tensor


def _check(model: Model) -> None:
    if not has_tensor(model):
        raise ValueError(f"{type(model).__name__} smooths alike in all directions at a voxel; take a model with a tensor, such as Hybrid.")
