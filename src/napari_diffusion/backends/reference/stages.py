"""Diffusivities, and one stage of a scheme with a scalar diffusivity.

Fields are C-contiguous and have shape ``(C, *space)``. ``lo:hi`` is a range of planes along the
first axis of space; nothing outside it is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_diffusion.backends.base import DiffusivityFunction
from napari_diffusion.backends.reference import face_sums
from napari_diffusion.backends.reference.face_sums import (
    add_from_faces,
    face_ends,
    flat_channels,
    over_channels,
    part_along,
)
from napari_diffusion.core.arrays import Field, OpenFaces, Stored

#: Lower bound of a gradient magnitude in a denominator.
MIN_GRADIENT = np.finfo(np.float32).tiny
#: Constant of Weickert's diffusivity; it puts the largest flux at s = kappa.
WEICKERT_C = 3.31488
#: Stored diffusivities of runs in float32: last bits of a number that are dropped, the largest
#: integer, which represents 1, and the bits that would represent the integer 0 (see `encoded`).
DROPPED_BITS, LARGEST_CODE = 12, 65535
BITS_OF_ZERO = int(np.float32(1).view(np.int32)) - (LARGEST_CODE << DROPPED_BITS)
#: Type of the stored diffusivities at faces, for each type of the fields.
STORED_TYPES: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.uint16),
    np.dtype(np.float64): np.dtype(np.float32),
}


def diffusivity(code: int | DiffusivityFunction, q: Field) -> None:
    r"""Replace :math:`q = s^2/\kappa^2` by :math:`g(q)`, in place.

    `operators.diffusivity.Diffusivity` lists the formulas and their numbers ``code``. A function is
    called with :math:`s/\kappa`.

    Raises
    ------
    ValueError
        If a function returns another shape, no numbers, or values outside 0 and 1.
    """
    if callable(code):
        q[...] = _checked(code, q)
        return
    one = q.dtype.type(1)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        if code == 0:
            q[...] = one
        elif code == 1:
            q += one
            np.divide(one, q, out=q)
        elif code == 2:
            q *= q.dtype.type(-0.5)
            np.exp(q, out=q)
        elif code == 3:
            q *= q.dtype.type(-0.2)
            q += one
            np.maximum(q, 0, out=q)
            np.square(q, out=q)
        elif code == 4:
            np.square(q, out=q)
            np.square(q, out=q)
            np.divide(q.dtype.type(-WEICKERT_C), q, out=q)
            np.exp(q, out=q)
            np.subtract(one, q, out=q)
        else:
            q += one
            np.sqrt(q, out=q)
            np.divide(one, q, out=q)


def step(
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
    r"""Compute one stage of a scheme on planes ``lo:hi``.

    .. math::
       out = u + m\,(u - out) + \sum_i \bigl(F_i(x) - F_i(x - e_i)\bigr), \qquad
       F_i(x) = a_i\, g\, (u(x + e_i) - u(x))

    with :math:`a_i = \tau/h_i^2` and no flux through the border or a closed face. If the momentum
    :math:`m` is not zero, ``out`` holds the field of the stage before ``u``.

    ``g`` holds diffusivities at the voxels, from plane ``start`` on. The diffusivity of a face is
    then the mean of its two voxels. Without ``g`` it is the diffusivity ``code`` of
    :math:`q = \sum_c w_c (b_i\,\delta_i u_c)^2`, with :math:`b_i = 1/(h_i \kappa)`.

    ``k`` holds reciprocal factors of :math:`\kappa` at the voxels, from plane ``start`` on. At a
    face, :math:`b_i` is multiplied by the mean of its two voxels.
    """
    scale = [value / 2 if g is not None else value for value in a]
    # Along these axes neither b^2 nor 1 / b^2 can overflow.
    is_moderate = [1e-10 < value < 1e10 for value in b]
    conductance = np.empty(face_sums.BLOCK_VOXELS, u.dtype)
    # Beyond it, g is zero up to rounding, and the square would overflow.
    largest = u.dtype.type(math.sqrt(np.finfo(u.dtype).max) / 4)

    def sum_at_faces(at_voxels: Field, before: slice, after: slice, out: Field) -> Field:
        """Return the sum of the values at both voxels of the faces."""
        shift, flat = start * math.prod(u.shape[2:]), at_voxels.reshape(-1)
        near, far = flat[before.start - shift :], flat[after.start - shift :]
        return np.add(near[: out.size], far[: out.size], out=out)

    def flux(axis: int, before: slice, after: slice, values: Field) -> None:
        np.subtract(flat_channels(u)[:, after], flat_channels(u)[:, before], out=values)
        q = conductance[: values.shape[1]]
        if g is not None:
            sum_at_faces(g, before, after, q)
        elif code == 1 and is_moderate[axis] and k is None:
            # (a / b^2) d / (1 / b^2 + d^2) needs two passes less than a d / (1 + b^2 d^2).
            np.square(values[0], out=q)
            if len(values) > 1:
                np.dot(w, np.square(values), out=q)
            q += 1 / b[axis] ** 2
            values *= a[axis] / b[axis] ** 2
            values /= q
            return
        elif code != 0:
            ratio = values * b[axis]
            if k is not None:
                ratio *= sum_at_faces(k, before, after, q) / 2
            np.clip(ratio, -largest, largest, out=ratio)
            np.square(ratio[0], out=q)
            if len(values) > 1:  # the weights sum to one, so a single channel needs none
                np.dot(w, np.square(ratio), out=q)
            diffusivity(code, q)
        values *= scale[axis]
        if g is not None or code != 0:
            values *= q

    current, result = u[:, lo:hi], out[:, lo:hi]
    if momentum:
        np.subtract(current, result, out=result)
        result *= u.dtype.type(momentum)
        result += current
    else:
        result[...] = current
    add_from_faces(flux, out, 0, u.shape[1:], lo, hi, faces, -1)


def gradient_step(
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
    r"""Compute one stage as `step` does, with a diffusivity of the full gradient at a face.

    .. math::
       |\nabla u|^2_{face} = (D_i u)^2
       + \tfrac12 \sum_{j \ne i} \bigl(T_j(x) + T_j(x + e_i)\bigr), \qquad
       T_j = \tfrac12 \bigl((D_j^+ u)^2 + (D_j^- u)^2\bigr)

    ``s2`` holds :math:`\sum_j T_j` at the voxels, from plane ``start`` on (see
    `features.grad2`). Only the differences along axis i have to be subtracted from it. The flux is
    :math:`a_i\,g(q)\,\delta_i u`, with q the squared face gradient times ``k2``, and times the
    squared mean of ``k`` at the two voxels, if it is given.

    With ``cap`` above 0 the stage moves level sets. Each voxel then receives the flux times the
    ratio of its own gradient magnitude to that of the face,
    :math:`|\nabla u| / |\nabla u|_{face}`, at most ``cap``.
    """
    first, last = max(lo - 1, 0), min(hi + 1, u.shape[1])
    total = s2[first - start : last - start]
    change = np.zeros((u.shape[0], *total.shape), u.dtype)
    factors = None if k is None else k[first - start : last - start]
    for axis in range(u.ndim - 1):
        near, far = face_ends(axis, total.ndim)
        d, q = _at_faces(u, first, last, axis, b2, total, faces, w)
        flux = d * a[axis] * _face_diffusivity(q, code, k2, factors, axis)
        if cap:
            norm = np.maximum(np.sqrt(q), u.dtype.type(MIN_GRADIENT))
            with np.errstate(over="ignore"):
                change[(slice(None), *near)] += flux * np.minimum(np.sqrt(total[near]) / norm, cap)
                change[(slice(None), *far)] -= flux * np.minimum(np.sqrt(total[far]) / norm, cap)
        else:
            change[(slice(None), *near)] += flux
            change[(slice(None), *far)] -= flux
    inner = slice(lo - first, hi - first)
    if momentum:
        change[:, inner] += momentum * (u[:, lo:hi] - out[:, lo:hi])
    np.add(u[:, lo:hi], change[:, inner], out=out[:, lo:hi])


def _at_faces(
    u: Field,
    first: int,
    last: int,
    axis: int,
    b2: Field,
    s2: Field,
    faces: OpenFaces | None,
    w: Field,
) -> tuple[Field, Field]:
    """Return differences, and squared full gradients, at the faces inside planes ``first:last``.

    ``s2`` holds the squared gradients at the voxels of these planes. Differences across closed
    faces are 0.
    """
    # Across the planes, the differences at the next faces outside are needed as well.
    begin, end = (max(first - 1, 0), min(last + 1, u.shape[1])) if axis == 0 else (first, last)
    part = u[:, begin:end]
    near, far = face_ends(axis, part.ndim - 1)
    d = part[(slice(None), *far)] - part[(slice(None), *near)]
    if faces is not None:
        d = np.where(faces[begin:end][near] & (1 << axis), d, 0)
    square = over_channels(w, np.square(d)) * b2[axis]
    padded = np.pad(square, [(int(i == axis),) * 2 for i in range(square.ndim)])
    before, after = (
        padded[part_along(axis, square.ndim, cut)] for cut in (slice(None, -2), slice(2, None))
    )
    beyond = (before + after) / 4
    if axis == 0:
        inner = slice(first - begin, first - begin + last - first - 1)
        d, square, beyond = d[:, inner], square[inner], beyond[inner]
    return d, np.maximum(square / 2 + (s2[near] + s2[far]) / 2 - beyond, square)


def _face_diffusivity(
    q: Field, code: int | DiffusivityFunction, k2: float, k: Field | None, axis: int
) -> Field:
    """Return g at the faces along an axis, from squared gradients q and factors k at the voxels."""
    highest = float(np.finfo(q.dtype).max) / 4
    # Beyond it, g is zero up to rounding, and its argument would overflow.
    largest = q.dtype.type(min(highest, highest / k2) if k2 > 0 else highest)
    g: Field = np.minimum(q, largest) * q.dtype.type(k2)
    if k is not None:
        near, far = face_ends(axis, k.ndim)
        with np.errstate(over="ignore"):
            g *= np.square((k[near] + k[far]) / 2)
    diffusivity(code, g)
    return g


def face_diffusivities(
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
    """Store the diffusivities of `gradient_step` at the faces of planes ``lo:hi``.

    ``out[n, z, y, x]`` is that of the face between a voxel and the next one along axis ``axes[n]``.
    It is 0 at the border and at closed faces; no other value is 0. In runs in float64, ``out`` has
    float32 numbers. In runs in float32, it has 16-bit integers i, see `encoded`.
    """
    last = min(hi + 1, u.shape[1])
    total = s2[lo - start : last - start]
    factors = None if k is None else k[lo - start : last - start]
    for stored, axis in zip(out, axes, strict=True):
        g = _face_diffusivity(
            _at_faces(u, lo, last, axis, b2, total, faces, w)[1], code, k2, factors, axis
        )
        part = stored[lo:hi]
        part[...] = 0
        near, _ = face_ends(axis, total.ndim)
        inside = part[: hi - lo] if axis == 0 else part[near]
        values = encoded(g[: inside.shape[0]], out.dtype)
        if faces is not None:
            is_open = faces[lo:last][near][: inside.shape[0]] & (1 << axis)
            values = np.where(is_open, values, values.dtype.type(0))
        inside[: len(values)] = values


def encoded(g: Field, dtype: np.dtype[Any]) -> Stored:
    r"""Return diffusivities above 0 in the type in which they are stored, rounded.

    An integer i from 1 to 65535 represents the number whose bits are those of 1, minus
    :math:`2^{12}(65535-i)`, as a float32 number. From 3e-10 to 1, its relative error is
    at most :math:`2^{-12}`.
    """
    if dtype != np.uint16:
        return np.maximum(g, np.finfo(np.float32).tiny).astype(dtype)
    steps = g.astype(np.float32).view(np.int32) - np.int32(BITS_OF_ZERO) + (1 << (DROPPED_BITS - 1))
    codes: Stored = np.clip(steps >> DROPPED_BITS, 1, LARGEST_CODE).astype(dtype)
    return codes


def decoded(stored: Stored, dtype: np.dtype[Any]) -> Field:
    """Return the diffusivities of stored values; see `encoded`."""
    if stored.dtype != np.uint16:
        return stored.astype(dtype)
    bits = (stored.astype(np.int32) << DROPPED_BITS) + np.int32(BITS_OF_ZERO)
    return np.where(stored, bits.view(np.float32), np.float32(0)).astype(dtype, copy=False)


def face_step(
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
    r"""Compute one stage as `step` does, with the diffusivities of `face_diffusivities`.

    No flux passes along axes that are not in ``axes``; they have a single voxel.
    """
    slots = {axis: number for number, axis in enumerate(axes)}

    def flux(axis: int, before: slice, after: slice, values: Field) -> None:
        np.subtract(flat_channels(u)[:, after], flat_channels(u)[:, before], out=values)
        values *= decoded(stored[slots[axis]].reshape(-1)[before], u.dtype)
        values *= a[axis]

    current, result = u[:, lo:hi], out[:, lo:hi]
    if momentum:
        np.subtract(current, result, out=result)
        result *= u.dtype.type(momentum)
        result += current
    else:
        result[...] = current
    add_from_faces(flux, out, 0, u.shape[1:], lo, hi, faces, -1)


def _checked(function: DiffusivityFunction, q: Field) -> Field:
    """Values of a user's diffusivity, checked for shape, type and range."""
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        g = np.asarray(function(np.sqrt(q)))
    name = getattr(function, "__name__", type(function).__name__)
    if g.shape != q.shape or g.dtype.kind not in "fiub":
        raise ValueError(
            f"The diffusivity {name} must return one number for each s/kappa that it is given; "
            f"got {g.dtype} of shape {g.shape} for shape {q.shape}."
        )
    if g.size and not (g.min() >= 0 and g.max() <= 1 + 1e-6):  # tolerance for rounding errors
        raise ValueError(
            f"The diffusivity {name} must stay within 0 and 1 for every s/kappa >= 0, "
            f"got {g.min():g} to {g.max():g}."
        )
    return np.minimum(g, 1)
