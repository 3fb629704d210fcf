"""Diffusivities, and one stage of a scheme with a scalar diffusivity.

Fields are C-contiguous and have shape ``(C, *space)``. ``lo:hi`` is a range of planes along the
first axis of space; nothing outside it is written.
"""

from __future__ import annotations

import math

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
from napari_diffusion.core.arrays import Field, OpenFaces

#: Lower bound of a gradient magnitude in a denominator.
MIN_GRADIENT = np.finfo(np.float32).tiny
#: Constant of Weickert's diffusivity; it puts the largest flux at s = kappa.
WEICKERT_C = 3.31488


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
    wide, end = max(lo - 2, 0), min(hi + 2, u.shape[1])
    total = s2[first - start : last - start]
    change = np.zeros((u.shape[0], *total.shape), u.dtype)
    # Beyond it, g is zero up to rounding, and its argument would overflow.
    highest = float(np.finfo(u.dtype).max) / 4
    largest = u.dtype.type(min(highest, highest / k2) if k2 > 0 else highest)
    for axis in range(u.ndim - 1):
        # Across the planes, the differences at the next faces outside are needed as well.
        begin = wide if axis == 0 else first
        part = u[:, begin:end] if axis == 0 else u[:, first:last]
        near, far = face_ends(axis, part.ndim - 1)
        d = part[(slice(None), *far)] - part[(slice(None), *near)]
        if faces is not None:
            d = np.where(faces[begin : begin + part.shape[1]][near] & (1 << axis), d, 0)
        square = over_channels(w, np.square(d)) * b2[axis]
        padded = np.pad(square, [(int(i == axis),) * 2 for i in range(square.ndim)])
        before, after = (
            padded[part_along(axis, square.ndim, cut)] for cut in (slice(None, -2), slice(2, None))
        )
        beyond = (before + after) / 4
        if axis == 0:
            inner = slice(first - wide, first - wide + last - first - 1)
            d, square, beyond = d[:, inner], square[inner], beyond[inner]
        near, far = face_ends(axis, total.ndim)
        q = np.maximum(square / 2 + (total[near] + total[far]) / 2 - beyond, square)
        g = np.minimum(q, largest) * u.dtype.type(k2)
        if k is not None:
            factors = k[first - start : last - start]
            with np.errstate(over="ignore"):
                g *= np.square((factors[near] + factors[far]) / 2)
        diffusivity(code, g)
        flux = d * a[axis] * g
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
