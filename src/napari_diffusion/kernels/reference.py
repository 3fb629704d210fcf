r"""NumPy kernels for any number of axes: the specification that `compiled` must reproduce, and its stand-in where it cannot run.

Fields are C-contiguous and have shape ``(C, *space)``; ``lo:hi`` is a range along the first axis of space. Nothing outside it is written.

A voxel and its neighbour along an axis are a fixed number of elements apart, so differences are taken between shifted flat arrays. Blocks
of them, and work in place, keep it all in the cache: several times faster than slices of whole arrays (measured).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.kernels.reference_selling import incident, selling_step
from napari_diffusion.kernels.reference_tensor import compose, derivative, eigenvalues, entries, tensor_step, tensors, vessels

__all__ = [
    "compose",
    "count_unusable",
    "derivative",
    "diffusivity",
    "eigenvalues",
    "grad2",
    "incident",
    "selling_step",
    "smooth",
    "step",
    "structure",
    "tensor_step",
    "tensors",
    "vessels",
]

Field = NDArray[np.floating]
Faces = NDArray[np.uint8] | None
Function = Callable[[Field], Field]
#: A gradient below it is flat.
LEAST = np.finfo(np.float32).tiny
#: With it the flux of Weickert's diffusivity is largest at kappa.
WEICKERT = 3.31488
Make = Callable[[int, slice, slice, Field], None]
#: Voxels that are worked on at once.
BLOCK = 1 << 15


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
    scale = [value / 2 if g is not None else value for value in a]
    ordinary = [1e-10 < value < 1e10 for value in b]
    conductance = np.empty(BLOCK, u.dtype)

    def flux(axis: int, before: slice, after: slice, values: Field) -> None:
        np.subtract(_flat(u)[:, after], _flat(u)[:, before], out=values)
        q = conductance[: values.shape[1]]
        if g is not None:
            start = g_start * math.prod(u.shape[2:])
            np.add(g.reshape(-1)[before.start - start :][: q.size], g.reshape(-1)[after.start - start :][: q.size], out=q)
        elif code == 1 and ordinary[axis]:  # a d / (1 + b^2 d^2) in two passes less, where 1 / b^2 cannot overflow
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
    _add_from_faces(flux, out, 0, u.shape[1:], lo, hi, faces, -1)


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

    def squares(axis: int, before: slice, after: slice, values: Field) -> None:
        d = values if len(u) == 1 else np.empty((len(u), values.shape[1]), u.dtype)
        np.subtract(_flat(u)[:, after], _flat(u)[:, before], out=d)
        np.square(d, out=d)
        np.multiply(d if len(u) == 1 else np.dot(w, d), b2[axis] / 2, out=values)

    out[...] = 0
    walls = None if faces is None else faces[start : start + u.shape[1]]
    _add_from_faces(squares, out[None], lo - start, u.shape[1:], lo - start, hi - start, walls, 1)


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
    if not out.size:
        return
    planes = max(1, BLOCK // math.prod(u.shape[2:]))
    for start in range(lo, hi, planes):
        stop = min(start + planes, hi)
        part = u
        for axis, w in enumerate(taps):
            part = _convolved(part, axis + 1, w, *((start, stop) if axis == 0 else (0, u.shape[axis + 1])))
        out[:, start - lo : stop - lo] = part


def _convolved(part: Field, axis: int, w: Field, start: int, stop: int) -> Field:
    """Convolution along one axis at ``start:stop`` of it, in place on one array: three passes a pair of taps."""
    reach, size = len(w) - 1, part.shape[axis]
    first, last = start - reach, stop + reach
    wide = part[_part(axis, part.ndim, slice(max(first, 0), min(last, size)))]
    if first < 0 or last > size:
        below, above = (np.take(part, _mirror(np.arange(*ends), size), axis) for ends in ((first, 0), (size, last)))
        wide = np.concatenate([below, wide, above], axis)
    shifted = [wide[_part(axis, part.ndim, slice(k, k + stop - start))] for k in range(2 * reach + 1)]
    total = w[0] * shifted[reach]
    pair = np.empty_like(total)
    for k in range(1, reach + 1):
        np.add(shifted[reach - k], shifted[reach + k], out=pair)
        pair *= w[k]
        total += pair
    return total


def structure(
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
    r"""Structure tensor :math:`G * \sum_c w_c \nabla u_c \nabla u_c^T` on planes ``lo:hi``, with the Gaussian of ``taps``.

    Differences are central, along ``axes`` only. Plane 0 of ``u`` is plane ``start`` of the ``planes`` of the domain.
    """
    first, last = max(lo - len(taps[0]) + 1, 0), min(hi + len(taps[0]) - 1, planes)
    slopes = np.empty((len(axes), len(u), last - first, *u.shape[2:]), u.dtype)
    for slope, axis in zip(slopes, axes, strict=True):
        derivative(u, start, first, last, axis, 1, spacing[axis], None, slope)
    for entry, (i, j) in zip(out, entries(len(axes)), strict=True):
        smooth(np.tensordot(w, slopes[i] * slopes[j], 1)[None], lo - first, hi - first, taps, entry[None])


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


def _flat(field: Field) -> Field:
    return field.reshape(len(field), -1)


def _add_from_faces(make: Make, out: Field, out_lo: int, shape: tuple[int, ...], lo: int, hi: int, faces: Faces, sign: int) -> None:
    """Add the values at all inner open faces to the voxel before each, and ``sign`` times the value to the voxel after it.

    ``make(axis, before, after, values)`` fills in the values between these flat ranges of voxels. Plane ``out_lo`` is the first of ``out``.
    """
    plane, flat = math.prod(shape[1:]), _flat(out)
    first, last, shift = lo * plane, hi * plane, out_lo * plane
    values = np.empty((len(out), BLOCK), out.dtype)
    for axis, size in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        span, step = size * stride, BLOCK
        if size < 2:
            runs = []
        elif axis == 0:
            runs = [(max(lo - 1, 0) * plane, min(hi, size - 1) * plane)]
        elif span > BLOCK:
            runs = [(start, start + span - stride) for start in range(first, last, span)]
        else:
            runs, step = [(first, last)], BLOCK // span * span
        for start, stop in ((start, min(start + step, end)) for begin, end in runs for start in range(begin, end, step)):
            part = values[:, : stop - start]
            inner = min(stop, shape[0] * plane - stride) - start
            make(axis, slice(start, start + inner), slice(start + stride, start + stride + inner), part[:, :inner])
            if axis > 0 and span <= BLOCK:  # from the end of one line to the start of the next there is no face
                part.reshape(len(out), -1, size, stride)[:, :, -1] = 0
            if faces is not None:
                np.copyto(part, 0, where=faces.reshape(-1)[start:stop] & (1 << axis) == 0)
            # The voxel after a face first: it may have been another block's, and no bit may depend on where blocks end.
            for by, add in ((stride, np.add if sign > 0 else np.subtract), (0, np.add)):
                begin = max(start + by, first)
                end = max(begin, min(stop + by, last))
                target = flat[:, begin - shift : end - shift]
                add(target, part[:, begin - start - by : end - start - by], out=target)


def _mirror(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    index = index % (2 * size)
    return np.where(index >= size, 2 * size - 1 - index, index)


def _ends(axis: int, ndim: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the near and of the far voxel of every inner face along ``axis``."""
    return _part(axis, ndim, slice(None, -1)), _part(axis, ndim, slice(1, None))


def _part(axis: int, ndim: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if i == axis else slice(None) for i in range(ndim))
