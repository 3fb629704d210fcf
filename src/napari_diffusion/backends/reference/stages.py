r"""Diffusivities, and one stage of a scalar scheme.

Fields are C-contiguous and have shape ``(C, *space)``. ``lo:hi`` is a range of planes along the
first axis of space; nothing outside it is written.
"""

from __future__ import annotations

import math

import numpy as np

from napari_diffusion.backends.protocol import DiffusivityFunction
from napari_diffusion.backends.reference import face_sums
from napari_diffusion.backends.reference.face_sums import (
    add_from_faces,
    face_ends,
    flat_channels,
    over_channels,
    part_along,
)
from napari_diffusion.core.arrays import Field, OpenFaces

#: A gradient below it is flat.
LEAST = np.finfo(np.float32).tiny
#: With it the flux of Weickert's diffusivity is largest at kappa.
WEICKERT = 3.31488


def diffusivity(code: int | DiffusivityFunction, q: Field) -> None:
    """Replace q = s^2/kappa^2 by g(q), in place; the formulas and names are in coefficients.Diffusivity, a function gets s/kappa."""
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
            np.divide(q.dtype.type(-WEICKERT), q, out=q)
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
    g_start: int,
    faces: OpenFaces | None,
    w: Field,
) -> None:
    r"""One stage of a scheme on planes ``lo:hi``.

    .. math:: out = u + m\,(u - out) + \sum_i \bigl(F_i(x) - F_i(x - e_i)\bigr), \qquad F_i(x) = a_i\, g\, (u(x + e_i) - u(x))

    with :math:`a_i = \tau/h_i^2`, no flux through the border or a closed face, and ``out`` holding the field before ``u`` where the
    momentum :math:`m` is not zero. Where ``g`` is given (at the voxels, planes from ``g_start`` on) a face takes the mean of its two
    voxels; otherwise it takes the diffusivity ``code`` of :math:`q = \sum_c w_c (b_i\,\delta_i u_c)^2`, :math:`b_i = 1/(h_i \kappa)`.
    """
    scale = [value / 2 if g is not None else value for value in a]
    ordinary = [1e-10 < value < 1e10 for value in b]
    conductance = np.empty(face_sums.BLOCK_VOXELS, u.dtype)

    def flux(axis: int, before: slice, after: slice, values: Field) -> None:
        np.subtract(flat_channels(u)[:, after], flat_channels(u)[:, before], out=values)
        q = conductance[: values.shape[1]]
        if g is not None:
            start = g_start * math.prod(u.shape[2:])
            np.add(
                g.reshape(-1)[before.start - start :][: q.size],
                g.reshape(-1)[after.start - start :][: q.size],
                out=q,
            )
        elif (
            code == 1 and ordinary[axis]
        ):  # a d / (1 + b^2 d^2) in two passes less, where 1 / b^2 cannot overflow
            np.square(values[0], out=q)
            if len(values) > 1:
                np.dot(w, np.square(values), out=q)
            q += 1 / b[axis] ** 2
            values *= a[axis] / b[axis] ** 2
            values /= q
            return
        elif code != 0:
            np.multiply(values[0], b[axis], out=q)
            np.square(q, out=q)
            if len(values) > 1:  # the weights sum to one, so that a single channel needs none
                np.dot(w, np.square(values * b[axis]), out=q)
            diffusivity(code, q)
        values *= scale[axis]
        if g is not None or code != 0:
            values *= q

    here, there = u[:, lo:hi], out[:, lo:hi]
    if momentum:
        np.subtract(here, there, out=there)
        there *= u.dtype.type(momentum)
        there += here
    else:
        there[...] = here
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
    s2_start: int,
    faces: OpenFaces | None,
    w: Field,
) -> None:
    r"""One stage as `step`, with a diffusivity that sees the whole gradient at a face.

    .. math:: |\nabla u|^2_{face} = (D_i u)^2 + \tfrac12 \sum_{j \ne i} \bigl(T_j(x) + T_j(x + e_i)\bigr),
       \qquad T_j = \tfrac12 \bigl((D_j^+ u)^2 + (D_j^- u)^2\bigr)

    ``s2`` holds :math:`\sum_j T_j` at the voxels (see `grad2`), planes from ``s2_start`` on, so that only the differences along axis i have
    to be taken out again. The flux is :math:`a_i\,g(q)\,\delta_i u` with q the squared face gradient times ``k2``. With ``cap`` above 0 the
    stage moves level sets instead: what a voxel gets is its flux times its own :math:`|\nabla u| / |\nabla u|_{face}`, at most ``cap``.
    """
    first, last = max(lo - 1, 0), min(hi + 1, u.shape[1])
    wide, end = max(lo - 2, 0), min(hi + 2, u.shape[1])
    total = s2[first - s2_start : last - s2_start]
    change = np.zeros((u.shape[0], *total.shape), u.dtype)
    for axis in range(u.ndim - 1):
        start = wide if axis == 0 else first  # along the slabs, the face beyond is wanted too
        part = u[:, start:end] if axis == 0 else u[:, first:last]
        near, far = face_ends(axis, part.ndim - 1)
        d = part[(slice(None), *far)] - part[(slice(None), *near)]
        if faces is not None:
            d = np.where(faces[start : start + part.shape[1]][near] & (1 << axis), d, 0)
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
        g = q * u.dtype.type(k2)
        diffusivity(code, g)
        flux = d * a[axis] * g
        if cap:
            norm = np.maximum(np.sqrt(q), u.dtype.type(LEAST))
            with np.errstate(over="ignore"):
                change[(slice(None), *near)] += flux * np.minimum(np.sqrt(total[near]) / norm, cap)
                change[(slice(None), *far)] -= flux * np.minimum(np.sqrt(total[far]) / norm, cap)
        else:
            change[(slice(None), *near)] += flux
            change[(slice(None), *far)] -= flux
    here = slice(lo - first, hi - first)
    if momentum:
        change[:, here] += momentum * (u[:, lo:hi] - out[:, lo:hi])
    np.add(u[:, lo:hi], change[:, here], out=out[:, lo:hi])


def _checked(function: DiffusivityFunction, q: Field) -> Field:
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        g = np.asarray(function(np.sqrt(q)))
    name = getattr(function, "__name__", type(function).__name__)
    if g.shape != q.shape or g.dtype.kind not in "fiub":
        told = f"{g.dtype} of shape {g.shape} for shape {q.shape}"
        raise ValueError(
            f"The diffusivity {name} must return one number for each s/kappa that it is given; got {told}."
        )
    if g.size and not (g.min() >= 0 and g.max() <= 1 + 1e-6):  # room for rounding
        raise ValueError(
            f"The diffusivity {name} must stay within 0 and 1 for every s/kappa >= 0, got {g.min():g} to {g.max():g}."
        )
    return np.minimum(g, 1)
