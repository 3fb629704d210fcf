r"""NumPy kernels for any number of axes: the specification that `compiled` must reproduce, and its stand-in where it cannot run.

Fields have shape ``(C, *space)``; ``lo:hi`` is a range along the first axis of space. Nothing outside the range is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
Faces = NDArray[np.uint8] | None
Function = Callable[[Field], Field]
#: A gradient below it is flat.
LEAST = np.finfo(np.float32).tiny


def diffusivity(code: int | Function, q: Field) -> None:
    """Replace q = s^2/kappa^2 by g(q), in place; the formulas and names are in coefficients.Diffusivity, a function gets s/kappa."""
    if callable(code):
        q[...] = _checked(code, q)
        return
    one = q.dtype.type(1)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        if code == 0:
            q[...] = one
        elif code == 1:
            np.divide(one, q + one, out=q)
        elif code == 2:
            np.exp(q * q.dtype.type(-0.5), out=q)
        elif code == 3:
            np.square(np.maximum(one - q * q.dtype.type(0.2), 0), out=q)
        elif code == 4:
            np.negative(np.expm1(q.dtype.type(-3.31488) / np.square(np.square(q))), out=q)
        else:
            np.divide(one, np.sqrt(q + one), out=q)


def step(
    u: Field,
    out: Field,
    lo: int,
    hi: int,
    a: Field,
    b: Field,
    momentum: float,
    code: int | Function,
    g: Field | None,
    g_start: int,
    faces: Faces,
    w: Field,
) -> None:
    r"""One stage of a scheme on planes ``lo:hi``.

    .. math:: out = u + m\,(u - out) + \sum_i \bigl(F_i(x) - F_i(x - e_i)\bigr), \qquad F_i(x) = a_i\, g\, (u(x + e_i) - u(x))

    with :math:`a_i = \tau/h_i^2`, no flux through the border or a closed face, and ``out`` holding the field before ``u`` where the
    momentum :math:`m` is not zero. Where ``g`` is given (at the voxels, planes from ``g_start`` on) a face takes the mean of its two
    voxels; otherwise it takes the diffusivity ``code`` of :math:`q = \sum_c w_c (b_i\,\delta_i u_c)^2`, :math:`b_i = 1/(h_i \kappa)`.
    """
    first = max(lo - 1, 0)
    part = u[:, first : min(hi + 1, u.shape[1])]
    change = np.zeros_like(part)
    for axis in range(part.ndim - 1):
        if part.shape[axis + 1] < 2:
            continue
        near, far = _ends(axis, part.ndim - 1)
        d = part[(slice(None), *far)] - part[(slice(None), *near)]
        if g is not None:
            local = g[first - g_start : first - g_start + part.shape[1]]
            flux = d * (a[axis] / 2) * (local[near] + local[far])
        else:
            q = _over_channels(w, np.square(d * b[axis]))
            diffusivity(code, q)
            flux = d * a[axis] * q
        if faces is not None:
            opened = faces[first : first + part.shape[1]][near] & (1 << axis)
            flux = np.where(opened, flux, 0)
        change[(slice(None), *near)] += flux
        change[(slice(None), *far)] -= flux
    here = slice(lo - first, hi - first)
    if momentum:
        change[:, here] += momentum * (u[:, lo:hi] - out[:, lo:hi])
    np.add(u[:, lo:hi], change[:, here], out=out[:, lo:hi])


def gradient_step(
    u: Field,
    out: Field,
    lo: int,
    hi: int,
    a: Field,
    b2: Field,
    momentum: float,
    code: int | Function,
    k2: float,
    cap: float,
    s2: Field,
    s2_start: int,
    faces: Faces,
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
        near, far = _ends(axis, part.ndim - 1)
        d = part[(slice(None), *far)] - part[(slice(None), *near)]
        if faces is not None:
            d = np.where(faces[start : start + part.shape[1]][near] & (1 << axis), d, 0)
        square = _over_channels(w, np.square(d)) * b2[axis]
        padded = np.pad(square, [(int(i == axis),) * 2 for i in range(square.ndim)])
        before, after = (padded[_part(axis, square.ndim, cut)] for cut in (slice(None, -2), slice(2, None)))
        beyond = (before + after) / 4
        if axis == 0:
            inner = slice(first - wide, first - wide + last - first - 1)
            d, square, beyond = d[:, inner], square[inner], beyond[inner]
        near, far = _ends(axis, total.ndim)
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


def grad2(u: Field, start: int, lo: int, hi: int, b2: Field, w: Field, faces: Faces, out: Field) -> None:
    r"""Squared gradient on planes ``lo:hi`` into ``out``; plane 0 of ``u`` is plane ``start`` of the domain.

    .. math:: |\nabla u|^2 = \sum_c w_c \sum_i b^2_i \tfrac12 \bigl((D_i^+ u_c)^2 + (D_i^- u_c)^2\bigr)

    The mean of both one-sided squares is second order and, unlike a central difference, sees the checkerboard.
    """
    first, last = max(lo - 1, start), min(hi + 1, start + u.shape[1])
    part = u[:, first - start : last - start]
    total = np.zeros(part.shape[1:], u.dtype)
    for axis in range(part.ndim - 1):
        near, far = _ends(axis, part.ndim - 1)
        d2 = np.square(part[(slice(None), *far)] - part[(slice(None), *near)])
        s2 = _over_channels(w, d2) * (b2[axis] / 2)
        if faces is not None:
            s2 = np.where(faces[first:last][near] & (1 << axis), s2, 0)
        total[near] += s2
        total[far] += s2
    out[...] = total[lo - first : hi - first]


def neighbours(u: Field, lo: int, hi: int, share: Field, faces: Faces, mean: Field, variance: Field) -> None:
    r"""Mean and variance of the neighbours across the faces of every voxel of planes ``lo:hi``, channel by channel.

    .. math:: m = \sum_i p_i\,(u(x + e_i) + u(x - e_i)), \qquad v = \sum_i p_i\,(u(x + e_i)^2 + u(x - e_i)^2) - m^2

    ``share`` holds the weights :math:`p_i`, whose sum is one half. A neighbour behind a closed face or the border is the voxel itself.
    """
    first, last = max(lo - 1, 0), min(hi + 1, u.shape[1])
    part = u[:, first:last]
    m1, m2 = np.zeros_like(part), np.zeros_like(part)
    for axis in range(part.ndim - 1):
        near, far = _ends(axis, part.ndim - 1)
        d = part[(slice(None), *far)] - part[(slice(None), *near)]
        if faces is not None:
            d = np.where(faces[first:last][near] & (1 << axis), d, 0)
        for side, sign in ((near, 1), (far, -1)):
            m1[(slice(None), *side)] += sign * share[axis] * d
            m2[(slice(None), *side)] += share[axis] * np.square(d)
    here = slice(lo - first, hi - first)
    np.maximum(m2[:, here] - np.square(m1[:, here]), 0, out=variance)
    np.add(u[:, lo:hi], m1[:, here], out=mean)


def smooth(u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
    """Symmetric separable convolution of planes ``lo:hi``, mirrored at the border; ``taps[i][k]`` weighs offsets +k and -k along axis i."""
    part = u
    for axis, w in enumerate(taps):
        size = u.shape[axis + 1]
        rows = np.arange(lo, hi) if axis == 0 else np.arange(size)
        total = w[0] * np.take(part, rows, axis + 1)
        for k in range(1, len(w)):
            total += w[k] * (np.take(part, _mirror(rows - k, size), axis + 1) + np.take(part, _mirror(rows + k, size), axis + 1))
        part = total
    out[...] = part


def count_unusable(u: Field, start: int, stop: int, limit: float) -> int:
    """Number of values in ``u.ravel()[start:stop]`` that are NaN or beyond ``+-limit``."""
    values = u.reshape(-1)[start:stop]
    return int(values.size - np.count_nonzero(np.abs(values) <= limit))


def _checked(function: Function, q: Field) -> Field:
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        g = np.asarray(function(np.sqrt(q)))
    name = getattr(function, "__name__", type(function).__name__)
    if g.shape != q.shape or g.dtype.kind not in "fiub":
        told = f"{g.dtype} of shape {g.shape} for shape {q.shape}"
        raise ValueError(f"The diffusivity {name} must return one number for each s/kappa that it is given; got {told}.")
    if g.size and not (g.min() >= 0 and g.max() <= 1 + 1e-6):  # room for rounding
        raise ValueError(f"The diffusivity {name} must stay within 0 and 1 for every s/kappa >= 0, got {g.min():g} to {g.max():g}.")
    return np.minimum(g, 1)


def _over_channels(w: Field, squares: Field) -> Field:
    """Weighted sum over channels; the weights sum to one, so that a single channel needs none."""
    return squares[0] if len(squares) == 1 else np.tensordot(w, squares, 1)


def _mirror(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    index = index % (2 * size)
    return np.where(index >= size, 2 * size - 1 - index, index)


def _ends(axis: int, ndim: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the near and of the far voxel of every inner face along ``axis``."""
    return _part(axis, ndim, slice(None, -1)), _part(axis, ndim, slice(1, None))


def _part(axis: int, ndim: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if i == axis else slice(None) for i in range(ndim))
