"""The only loops over voxels, in two backends with the same functions: ``compiled`` (numba, up to three axes) and ``reference`` (NumPy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_diffusion.core.arrays import Bytes, Field, OpenFaces

#: A diffusivity g of s/kappa, given by the user.
DiffusivityFunction = Callable[[Field], Field]
#: What `Backend.tensors` makes; only its backend knows what is in it.
Tensors = NDArray[Any]


class Backend(Protocol):
    """What a backend can do; `reference` documents each function."""

    name: str

    def diffusivity(self, code: int | DiffusivityFunction, q: Field) -> None:
        """g(q) in place."""

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
        """One stage."""

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
        """One stage whose diffusivity sees the whole gradient."""

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
        """Squared gradient."""

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
        """Mean and variance of the neighbours."""

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        """Separable convolution."""

    def count_invalid(self, u: Field, start: int, stop: int, limit: float) -> int:
        """Number of values to refuse."""
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
        """First or second derivative along one axis."""

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
        """Structure tensor where every face is open."""

    def eigenvalues(self, matrix: Field) -> Field:
        """Eigenvalues of symmetric matrices."""
        ...

    def vessels(
        self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
    ) -> None:
        """Sum of Hessians by the power of their vesselness."""

    def tensors(self, space: Sequence[int]) -> Tensors:
        """Store for one tensor a voxel."""
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
        """Store tensors with given eigenvalues."""

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
        """One stage of a tensor model."""

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
        """Sum of the weights of a voxel in Selling's stencil, as a byte."""

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
        """One explicit step of a tensor model with non-negative weights."""
