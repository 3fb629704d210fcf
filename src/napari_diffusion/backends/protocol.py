"""Interface of the kernels, implemented by the backends ``compiled`` and ``reference``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_diffusion.core.arrays import Bytes, Field, OpenFaces

#: A diffusivity g as a function of s/kappa, given by the user.
DiffusivityFunction = Callable[[Field], Field]
#: Stored tensors, from `Backend.tensors`; the format depends on the backend.
Tensors = NDArray[Any]


class Backend(Protocol):
    """Kernels on ranges of planes; `backends.reference` documents the equations.

    Fields are C-contiguous with shape ``(C, *space)``. Several methods share these arguments:

    u, out
        Input and output field.
    lo, hi
        Range of planes along the first axis of space. Only these planes are written.
    start, g_start, s2_start
        Plane of the domain that is plane 0 of the array.
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
        Factor of the stored tensors: step times largest eigenvalue. In `vessels`, factor of the
        Hessian.
    spacing
        Voxel size per axis [length].
    """

    name: str

    def diffusivity(self, code: int | DiffusivityFunction, q: Field) -> None:
        """Replace q = s²/kappa² by g(q); see `reference.stages.diffusivity`."""

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
        g_start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        """Compute one stage with a scalar diffusivity; see `reference.stages.step`."""

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
        s2_start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        """Compute one stage with g of the full gradient; see `reference.stages.gradient_step`."""

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

    def neighbours(
        self,
        u: Field,
        lo: int,
        hi: int,
        share: Field,
        faces: OpenFaces | None,
        mean: Field,
        variance: Field,
    ) -> None:
        """Compute mean and variance of the neighbours; see `reference.features.neighbours`."""

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        """Convolve with a separable symmetric kernel; see `reference.features.smooth`."""

    def count_invalid(self, u: Field, start: int, stop: int, limit: float) -> int:
        """Count NaN and values beyond a limit; see `reference.features.count_invalid`."""
        ...

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

    def eigenvalues(self, matrix: Field) -> Field:
        """Compute eigenvalues of symmetric matrices; see `reference.tensor.eigenvalues`."""
        ...

    def vessels(
        self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
    ) -> None:
        """Accumulate Hessians weighted by their vesselness; see `reference.tensor.vessels`."""

    def tensors(self, space: Sequence[int]) -> Tensors:
        """Allocate the storage of one tensor per voxel; see `reference.tensor.tensors`."""
        ...

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
