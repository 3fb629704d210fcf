"""Base class of the backends: the kernels that each one implements, and its own properties."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Bytes, Field, OpenFaces, Stored

#: A diffusivity g as a function of s/kappa, given by the user.
DiffusivityFunction = Callable[[Field], Field]
#: Voxels of every channel that are mixed at once: they stay in the cache.
MIXED_VOXELS = 1 << 18
#: Stored tensors, from `Backend.tensors`: axes of the backend's own format, then those of space.
Tensors = NDArray[Any]


class CompletionMark(Protocol):
    """Record in a cache that it holds all kernels for a kind of run."""

    def exists(self) -> bool:
        """Whether the record and the kernels exist."""
        ...

    def touch(self) -> None:
        """Make the record; raises OSError if the record or a kernel cannot be saved."""
        ...


class Backend:
    """Kernels on ranges of planes; `backends.reference` documents the equations.

    Fields are C-contiguous with shape ``(C, *space)``. Several methods share these arguments:

    u, out
        Input and output field.
    lo, hi
        Range of planes along the first axis of space. Only these planes are written.
    start
        Plane of the domain that is plane 0 of the arrays with values at the voxels.
    k
        Reciprocal factors of the threshold at the voxels, ``None`` where all are 1.
    a, b, b2
        Factors per axis: step / h², 1 / (h kappa) and 1 / h², with the voxel size h.
    w
        Channel weights with sum one.
    faces
        Open faces of the domain, ``None`` where all are open.
    taps
        Half of a symmetric convolution kernel per axis, centre first.
    d
        Stored tensors.
    scale
        Factor of the stored tensors: step times largest eigenvalue. In `vessels` and
        `sheets`, factor of the Hessian.
    spacing
        Voxel size per axis [length].

    Attributes
    ----------
    name
        Name for ``backend=``.
    max_axes
        Largest number of diffusing axes, at least 3: fewer axes are padded to three.
    calls_functions
        Whether stages can call a diffusivity function of the user at every face.
    max_chunk_voxels
        Largest chunk [voxels]: a cancel takes effect between chunks, and a chunk needs scratch.
    fuses_products
        Whether `structure` smooths products of derivatives without storing the derivatives.
    takes_whole_fields
        Whether a kernel is called once for all planes of a field, and not in chunks.
    libraries
        Names of the modules that the backend needs.
    """

    name: ClassVar[str]
    max_axes: ClassVar[float] = math.inf
    calls_functions: ClassVar[bool] = True
    max_chunk_voxels: ClassVar[int] = 1 << 20
    fuses_products: ClassVar[bool] = False
    takes_whole_fields: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def missing_libraries(cls) -> list[str]:
        """Return the names of those `libraries` that are not installed; imports none of them."""
        return [name for name in cls.libraries if find_spec(name) is None]

    @classmethod
    def obstacle(cls) -> str | None:
        """Return why no run of this backend is possible, as the start of a sentence, or ``None``.

        The libraries that it needs are not imported.
        """
        missing = cls.missing_libraries()
        if not missing:
            return None
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"

    def empty(self, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
        """Allocate an array for the kernels, with any contents."""
        return np.empty(tuple(shape), dtype)

    def load(self, array: Any) -> Any:
        """Return an array of NumPy where the kernels take it; a copy on another device."""
        return array

    def fetch(self, array: Any) -> NDArray[Any]:
        """Return an array of the kernels as one of NumPy."""
        return np.asarray(array)

    def finish(self) -> None:
        """Wait for kernels that may still run."""

    def contiguous(self, array: Any) -> Any:
        """Return a part of a field as a C-contiguous array, without a copy if it is one."""
        return np.ascontiguousarray(array)

    def add_difference(
        self,
        out: Field,
        field: Field,
        other: Field,
        share: float,
        lo: int,
        hi: int,
        scratch: Callable[..., Field],
    ) -> None:
        """Add ``share`` times the difference of two fields to planes ``lo:hi`` of ``out``.

        Every operation is rounded by itself. ``scratch`` returns a work array of a shape and a data
        type.
        """
        planes = max(1, MIXED_VOXELS // max(1, math.prod(out.shape[2:])))
        for start in range(lo, hi, planes):
            part = slice(None), slice(start, min(start + planes, hi))
            difference = scratch(out[part].shape, out.dtype)
            np.subtract(field[part], other[part], out=difference)
            difference *= out.dtype.type(share)
            target = out[part]  # "out[part] += ..." would copy the sum onto itself
            target += difference

    def tensor_bytes(self, axes: int) -> int:
        """Return the size of one stored tensor [bytes]."""
        raise NotImplementedError

    def scratch_planes(self, height: int, is_direct: bool) -> int:
        """Return the planes per channel that the kernels allocate for a chunk of this height.

        ``is_direct`` says whether the scheme solves the equation without stages of the operator.
        """
        return 0

    def kernel_key(self, calls: Hashable, dtype: np.dtype[Any]) -> Hashable | None:
        """Return a key of the compiled kernels of a run; equal keys need the same kernels.

        Parameters
        ----------
        calls
            Names of the kernels with the kinds of their arguments, as the engine records them.
        dtype
            Data type of the fields.

        Returns
        -------
        Hashable or None
            ``None`` if nothing is compiled.
        """
        return None

    def is_compiling(self) -> bool:
        """Whether any thread is compiling a kernel at this moment."""
        return False

    def completion_mark(self, key: str) -> CompletionMark | None:
        """Return the mark that exists once all kernels of a key are in the cache.

        The result is ``None`` where no machine code can be cached.
        """
        return None

    def diffusivity(self, code: int | DiffusivityFunction, q: Field) -> None:
        """Replace q = s²/kappa² by g(q); see `reference.stages.diffusivity`."""
        raise NotImplementedError

    def step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b: Field,
        momentum: float,
        code: int | DiffusivityFunction,
        g: Field | None,
        k: Field | None,
        start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        """Compute one stage with a scalar diffusivity; see `reference.stages.step`."""
        raise NotImplementedError

    def gradient_step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b2: Field,
        momentum: float,
        code: int | DiffusivityFunction,
        k2: float,
        cap: float,
        s2: Field,
        k: Field | None,
        start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        """Compute one stage with g of the full gradient; see `reference.stages.gradient_step`."""
        raise NotImplementedError

    def min_max(
        self,
        u: Field,
        out: Field,
        previous: Field | None,
        lo: int,
        hi: int,
        momentum: float,
        ball: NDArray[np.int64],
        radius: float,
        spacing: Sequence[float],
        faces: OpenFaces | None,
    ) -> None:
        """Keep changes of one sign; see `reference.min_max`."""
        raise NotImplementedError

    def fourth_order_step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        factors: Field,
        momentum: float,
        g: Field,
        start: int,
        faces: OpenFaces | None,
    ) -> None:
        """Compute one stage of fourth order; see `reference.fourth_order`."""
        raise NotImplementedError

    def curvature2(
        self,
        u: Field,
        start: int,
        lo: int,
        hi: int,
        b: Field,
        w: Field,
        faces: OpenFaces | None,
        out: Field,
    ) -> None:
        """Compute squared second derivatives; see `reference.fourth_order`."""
        raise NotImplementedError

    def face_diffusivities(
        self,
        u: Field,
        lo: int,
        hi: int,
        b2: Field,
        code: int | DiffusivityFunction,
        k2: float,
        s2: Field,
        k: Field | None,
        start: int,
        axes: Sequence[int],
        faces: OpenFaces | None,
        w: Field,
        out: Stored,
    ) -> None:
        """Store g of the full gradient at faces; see `reference.stages.face_diffusivities`."""
        raise NotImplementedError

    def face_step(
        self,
        u: Field,
        out: Field,
        stored: Stored,
        axes: Sequence[int],
        lo: int,
        hi: int,
        a: Field,
        momentum: float,
        faces: OpenFaces | None,
    ) -> None:
        """Compute one stage with stored diffusivities; see `reference.stages.face_step`."""
        raise NotImplementedError

    def grad2(
        self,
        u: Field,
        start: int,
        lo: int,
        hi: int,
        b2: Field,
        w: Field,
        faces: OpenFaces | None,
        out: Field,
    ) -> None:
        """Compute the squared gradient magnitude; see `reference.features.grad2`."""
        raise NotImplementedError

    def neighbours(
        self,
        u: Field,
        lo: int,
        hi: int,
        share: Field,
        faces: OpenFaces | None,
        mean: Field,
        deviation: Field,
    ) -> None:
        """Compute mean and deviation of the neighbours; see `reference.features.neighbours`."""
        raise NotImplementedError

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        """Convolve with a separable symmetric kernel; see `reference.features.smooth`."""
        raise NotImplementedError

    def smooth_differences(
        self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field
    ) -> None:
        """As `smooth`, from differences; see `reference.features.smooth_differences`."""
        raise NotImplementedError

    def reciprocals(
        self,
        middle: Field,
        difference: Field,
        lowest: Field,
        starts: NDArray[np.intp],
        offset: Field,
        out: Field,
    ) -> None:
        """Write reciprocals of piecewise linear rows; see `reference.features.reciprocals`."""
        raise NotImplementedError

    def count_invalid(self, u: Field, start: int, stop: int, limit: float) -> int:
        """Count NaN and values beyond a limit; see `reference.features.count_invalid`."""
        raise NotImplementedError

    def derivative(
        self,
        u: Field,
        start: int,
        lo: int,
        hi: int,
        axis: int,
        order: int,
        spacing: float,
        faces: OpenFaces | None,
        out: Field,
    ) -> None:
        """Compute a first or second derivative along an axis; see `reference.tensor.derivative`."""
        raise NotImplementedError

    def structure(
        self,
        u: Field,
        start: int,
        planes: int,
        lo: int,
        hi: int,
        axes: Sequence[int],
        spacing: Sequence[float],
        taps: Sequence[Field],
        w: Field,
        out: Field,
    ) -> None:
        """Compute the structure tensor with all faces open; see `reference.features.structure`."""
        raise NotImplementedError

    def eigenvalues(self, matrix: Field) -> Field:
        """Compute eigenvalues of symmetric matrices; see `reference.tensor.eigenvalues`."""
        raise NotImplementedError

    def spectrum(
        self, name: str, parameters: Sequence[float], mu: Field, extra: Sequence[Field]
    ) -> Field | None:
        """Compute diffusivities from eigenvalues, as the `spectrum` of the model of this name.

        The result is ``None`` where the backend has no such kernel.
        """
        return None

    def vessels(
        self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
    ) -> None:
        """Accumulate Hessians weighted by their vesselness; see `reference.tensor.vessels`."""
        raise NotImplementedError

    def sheets(
        self,
        hessian: Field,
        slopes: Field,
        first: int,
        scale: float,
        slope_scale: float,
        gamma: float,
        bright: bool,
        total: Field,
        best: Field,
    ) -> None:
        """Accumulate Hessians weighted by their sheetness; see `reference.sheets.sheets`."""
        raise NotImplementedError

    def tensors(self, space: Sequence[int]) -> Tensors:
        """Allocate the storage of one tensor per voxel; see `reference.tensor.tensors`."""
        raise NotImplementedError

    def cell_tensors(self, space: Sequence[int]) -> Tensors:
        """Allocate the storage of one tensor per cell; see `reference.tensor.cell_tensors`."""
        raise NotImplementedError

    def average(
        self, below: Tensors | None, d: Tensors, cells: Tensors, planes: int, start: int
    ) -> None:
        """Store the mean tensors of cells; see `reference.tensor.average`."""
        raise NotImplementedError

    def compose(
        self,
        matrix: Field,
        mu: Field,
        lam: Sequence[Field],
        largest: float,
        axes: Sequence[int],
        d: Tensors,
        start: int,
    ) -> None:
        """Store tensors with new eigenvalues; see `reference.tensor.compose`."""
        raise NotImplementedError

    def tensor_step(
        self,
        u: Field,
        out: Field,
        d: Tensors,
        lo: int,
        hi: int,
        scale: float,
        spacing: Sequence[float],
        momentum: float,
        faces: OpenFaces | None,
    ) -> None:
        """Compute one stage of a tensor model; see `reference.tensor.tensor_step`."""
        raise NotImplementedError

    def incident(
        self,
        d: Tensors,
        lo: int,
        hi: int,
        scale: float,
        spacing: Sequence[float],
        faces: OpenFaces | None,
        out: Bytes,
    ) -> None:
        """Sum the weights of Selling's stencil per voxel; see `reference.selling.incident`."""
        raise NotImplementedError

    def selling_step(
        self,
        u: Field,
        out: Field,
        d: Tensors,
        weight: Bytes,
        lo: int,
        hi: int,
        scale: float,
        spacing: Sequence[float],
        faces: OpenFaces | None,
    ) -> None:
        """Compute one explicit step of Selling's stencil; see `reference.selling.selling_step`."""
        raise NotImplementedError
