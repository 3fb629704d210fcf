"""The parts of the tensor models against mathematics: eigenvalues, tensors, both stencils."""

import itertools

import numpy as np
import pytest

from napari_diffusion import backends
from napari_diffusion.backends.reference.selling import REACH, SUMS, as_byte, decompose
from napari_diffusion.backends.reference.tensor import STEPS, entries, vesselness
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.regions import open_faces
from napari_diffusion.operators.features import Features

BACKENDS = [backends.get_backend(name, 3) for name in ("compiled", "reference")]
backend = pytest.mark.parametrize("kernel", BACKENDS, ids=lambda kernel: kernel.name)
#: Rounding of a stored entry, as a share of the largest eigenvalue.
UNIT = 0.5 / STEPS


def rotation(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def rows(full):
    """Entries along the first axis, from full matrices of shape (..., n, n), with two more axes for planes."""
    return np.stack([full[..., i, j] for i, j in entries(full.shape[-1])])


def stored(kernel, full, shape, largest=1.0):
    """Store of one and the same tensor at all voxels, by way of its own eigenvalues."""
    matrix = np.ascontiguousarray(
        np.broadcast_to(rows(full)[:, None, None, None], (len(entries(len(full))), *shape))
    )
    mu = kernel.eigenvalues(matrix)
    d = kernel.tensors(shape)
    kernel.compose(matrix, mu, list(mu), largest, range(3), d, 0)
    return d


@backend
@pytest.mark.parametrize("n", [1, 2, 3])
def test_eigenvalues_are_those_of_lapack(kernel, n):
    rng = np.random.default_rng(n)
    full = np.stack(
        [
            q @ np.diag(lam) @ q.T
            for q, lam in ((rotation(rng, n), 10.0 ** rng.uniform(-6, 2, n)) for _ in range(500))
        ]
    )
    found = kernel.eigenvalues(rows(full).reshape(-1, 5, 10, 10)).reshape(n, -1)
    # Away from double eigenvalues the closed form keeps 13 digits of the largest one; at them, the square root of that (next test).
    np.testing.assert_allclose(
        found.T, np.linalg.eigvalsh(full)[:, ::-1], rtol=0, atol=1e-7 * np.abs(full).max()
    )
    assert (np.diff(found, axis=0) <= 0).all()


@backend
@pytest.mark.parametrize(
    "lam", [(0, 0, 0), (3, 3, 3), (2, 2, 1), (2, 1, 1), (1, 0, 0), (1e-30, 0, 0), (1e12, 1e12, 1)]
)
def test_eigenvalues_at_exact_multiplicities(kernel, lam):
    rng = np.random.default_rng(0)
    full = np.stack([q @ np.diag(lam) @ q.T for q in (rotation(rng, 3) for _ in range(60))])
    found = kernel.eigenvalues(rows(full).reshape(-1, 3, 4, 5)).reshape(3, -1)
    # The distance of two equal eigenvalues is the root of a difference of rounding errors.
    np.testing.assert_allclose(
        found, np.tile(np.array(lam, float)[:, None], 60), rtol=0, atol=1e-7 * max(lam)
    )


@pytest.mark.parametrize(
    "lam",
    [
        (5.0, 2.0, 1.0),
        (5.0, 2.0, 2.0),
        (5.0, 5.0, 1.0),
        (5.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_composed_tensor_has_the_wanted_eigenvalues_along_the_eigenvectors(lam):
    rng = np.random.default_rng(3)
    q = [rotation(rng, 3) for _ in range(24)]
    matrix = rows(np.stack([r @ np.diag(lam) @ r.T for r in q])).reshape(6, 2, 3, 4)
    g = lambda mu: 1 / (1 + mu)  # noqa: E731 - the map of eigenvalues; equal ones stay equal
    wanted = rows(np.stack([r @ np.diag(g(np.array(lam))) @ r.T for r in q])).reshape(6, 2, 3, 4)
    for kernel in BACKENDS:
        d = kernel.tensors((2, 3, 4))
        mu = kernel.eigenvalues(matrix)
        kernel.compose(matrix, mu, list(g(mu)), 1.0, range(3), d, 0)
        np.testing.assert_allclose(entries_of(kernel, d), wanted, rtol=0, atol=2 * UNIT)


def entries_of(kernel, d):
    """Entries of stored tensors, unpacked."""
    if kernel.name == "reference":
        return d / STEPS
    fields = [(d[k // 3] >> np.uint64(21 * (k % 3))) & np.uint64((1 << 21) - 1) for k in range(6)]
    return (np.array(fields, float) - (1 << 18)) / STEPS


def test_gaps_of_eigenvalues_keep_their_digits_in_float32():
    """Directions are made of gaps: rounding may move them by the rounding of the matrix, not by its root (the arc cosine would)."""
    rng = np.random.default_rng(4)
    for gap in (1e-6, 1e-4, 1e-2):
        for lam in ((1.0, 1.0 - gap, 0.3), (1.0, 0.3 + gap, 0.3), (0.1 + gap, 0.1, -1.0)):
            full = np.stack(
                [q @ np.diag(lam) @ q.T for q in (rotation(rng, 3) for _ in range(200))]
            ).astype(np.float32)
            found = BACKENDS[0].eigenvalues(rows(full).reshape(6, 2, 10, 10))
            assert found.dtype == np.float32
            true = np.linalg.eigvalsh(full.astype(float)).T[::-1]
            np.testing.assert_allclose(
                np.diff(found.reshape(3, -1), axis=0), np.diff(true, axis=0), rtol=0, atol=8 * 6e-8
            )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_unit_of_the_matrix_does_not_matter_in_float32(scale):
    rng = np.random.default_rng(5)
    q = rotation(rng, 3)
    full = (q @ np.diag([5.0, 2.0, 1.0]) @ q.T * scale).astype(np.float32)
    matrix = np.ascontiguousarray(np.broadcast_to(rows(full)[:, None, None, None], (6, 1, 2, 9)))
    d = BACKENDS[0].tensors((1, 2, 9))
    mu = BACKENDS[0].eigenvalues(matrix)
    BACKENDS[0].compose(
        matrix, mu, [np.full_like(mu[0], lam) for lam in (0.1, 0.5, 1.0)], 1.0, range(3), d, 0
    )
    wanted = rows(q @ np.diag([0.1, 0.5, 1.0]) @ q.T)
    np.testing.assert_allclose(
        entries_of(BACKENDS[0], d)[:, 0, 0, 0], wanted, rtol=0, atol=4 * UNIT
    )


@pytest.mark.parametrize(
    "shape", [(9, 12, 13), (1, 20, 17), (1, 1, 9), (3, 2, 2), (20, 5, 7), (2, 3, 1)], ids=str
)
def test_structure_tensor_of_any_planes_is_that_of_the_reference(shape):
    rng = np.random.default_rng(6)
    for sigma, rho, channels in ((1.0, 1.0, 1), (0.0, 0.0, 2), (0.7, 2.0, 1), (1.0, 3.0, 2)):
        u, weights = rng.normal(size=(channels, *shape)), rng.uniform(1, 2, channels)
        for lo, hi in ((0, shape[0]), (shape[0] // 3, shape[0] // 3 + max(1, shape[0] // 2))):
            fast, slow = (
                Features(u, lo, hi, Grid(shape, (2.0, 1.0, 0.7)), kernel, weights).structure(
                    sigma, rho
                )
                for kernel in BACKENDS
            )
            np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-14 * np.abs(slow).max())


@backend
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.0, 0.7)])
def test_quadratics_are_exact_for_a_constant_tensor(kernel, spacing):
    """u = x^T Q x gives div(D grad u) = 2 tr(DQ), away from the border, for both stencils."""
    rng = np.random.default_rng(5)
    shape, lam = (17, 17, 17), np.diag([1.0, 0.3, 0.02])
    q = rotation(rng, 3)
    full = q @ lam @ q.T
    d = stored(kernel, full, shape)
    form = rng.normal(size=(3, 3))
    x = np.stack(
        np.meshgrid(
            *[(np.arange(n) - 8) * h for n, h in zip(shape, spacing, strict=True)], indexing="ij"
        )
    )
    u = np.einsum("izyx,ij,jzyx->zyx", x, form, x)[None]
    size, slack = np.abs(form).sum() * 2, 12 * UNIT  # of the stored entries
    out = u.copy()
    kernel.tensor_step(u, out, d, 0, 17, 1.0, spacing, 0.0, None)
    assert (out - u)[0, 8, 8, 8] == pytest.approx(2 * np.trace(full @ form), abs=slack * size)
    weight = np.zeros(shape, np.uint8)  # as if the step were short enough
    kernel.selling_step(u, out, d, weight, 0, 17, 1.0, spacing, None)
    # Its diagonal is six units larger, so that rounding cannot make it negative.
    assert (out - u)[0, 8, 8, 8] == pytest.approx(
        2 * np.trace(full @ form), abs=slack * size + 24 * UNIT * size
    )


@backend
def test_identity_gives_the_standard_stencil(kernel):
    rng = np.random.default_rng(6)
    shape, spacing = (5, 6, 7), (2.0, 1.0, 0.5)
    u = rng.normal(size=(1, *shape))
    cell, star = u.copy(), u.copy()
    a = np.array([0.01 / h**2 for h in spacing])
    kernel.tensor_step(u, cell, stored(kernel, np.eye(3), shape), 0, 5, 0.01, spacing, 0.0, None)
    kernel.step(u, star, 0, 5, a, a, 0.0, 0, None, 0, None, np.ones(1))
    np.testing.assert_allclose(cell, star, rtol=0, atol=1e-14)


def symbol(kernel, full, wave):
    """Decay rate of a plane wave under the cell stencil, measured on a patch."""
    n = 9
    x = np.stack(np.meshgrid(*[np.arange(n) - 4.0] * 3, indexing="ij"))
    u = np.cos(np.tensordot(wave, x, 1))[None]
    out = u.copy()
    kernel.tensor_step(u, out, stored(kernel, full, (n,) * 3), 0, n, 1.0, (1.0,) * 3, 0.0, None)
    return -(out - u)[0, 4, 4, 4]


@pytest.mark.parametrize("kind", ["tube", "sheet"])
def test_hardly_anything_leaks_across_at_the_worst_angle(kind):
    """Anisotropy 100, wavenumber 1: effective diffusivity across at most 0.02 (true 0.01), along at least 0.8 of the true 1."""
    rng = np.random.default_rng(7)
    across, along = [], []
    for _ in range(400):
        q = rotation(rng, 3)
        lam = np.diag([1.0, 0.01, 0.01] if kind == "tube" else [1.0, 1.0, 0.01])
        along.append(symbol(BACKENDS[0], q @ lam @ q.T, q[:, 0]))
        across.append(symbol(BACKENDS[0], q @ lam @ q.T, q[:, 2]))
    assert min(across) > 0.005
    assert max(across) <= 0.02
    assert 0.8 <= min(along) <= max(along) <= 1


@backend
def test_no_wave_grows_for_any_tensor(kernel):
    """The operator is negative semi-definite and bounded by four times the trace, as the step bound says: dense matrix, random tensors."""
    rng = np.random.default_rng(8)
    shape, spacing = (3, 4, 4), (2.0, 1.0, 0.7)
    size = int(np.prod(shape))
    full = np.stack(
        [
            q @ np.diag(lam) @ q.T
            for q, lam in ((rotation(rng, 3), 10.0 ** rng.uniform(-3, 0, 3)) for _ in range(size))
        ]
    )
    matrix = rows(full).reshape(6, *shape)
    mu = kernel.eigenvalues(matrix)
    d = kernel.tensors(shape)
    kernel.compose(matrix, mu, list(mu), 1.0, range(3), d, 0)
    for faces in (None, open_faces(rng.integers(0, 3, shape))):
        unit = np.eye(size).reshape(size, *shape)
        out = np.empty_like(unit)
        kernel.tensor_step(unit, out, d, 0, 3, 1.0, spacing, 0.0, faces)
        operator = (out - unit).reshape(size, size)
        np.testing.assert_allclose(operator, operator.T, rtol=0, atol=1e-13)
        np.testing.assert_allclose(operator.sum(0), 0, rtol=0, atol=1e-13)
        rates = np.linalg.eigvalsh(operator)
        assert rates.max() < 1e-5  # three units of the stored rounding, times 4 / h^2
        largest = max(sum(f[i, i] / h**2 for i, h in enumerate(spacing)) for f in full)
        assert rates.min() > -4 * largest


def test_sellings_decomposition_is_exact_positive_and_short():
    rng = np.random.default_rng(9)
    for condition in (1.0, 10.0, 100.0):
        q = [rotation(rng, 3) for _ in range(300)]
        m = np.stack(
            [r @ np.diag([1.0, rng.uniform(1 / condition, 1), 1 / condition]) @ r.T for r in q]
        )
        rho, e = decompose(m)
        assert (rho >= 0).all()
        assert np.abs(e).max(where=(rho > 0)[..., None], initial=0) <= REACH
        np.testing.assert_allclose(np.einsum("nk,nki,nkj->nij", rho, e, e), m, rtol=0, atol=1e-8)
    needle = np.einsum("i,j->ij", *[np.array([0.31, 0.47, 0.83])] * 2)[None] + 1e-5 * np.eye(3)
    rho, e = decompose(needle)
    rounder = np.einsum("nk,nki,nkj->nij", rho, e, e) - needle
    assert np.abs(e).max(where=(rho > 0)[..., None], initial=0) <= REACH
    # A needle that would want longer offsets is made rounder, the same along all axes, and by little.
    np.testing.assert_allclose(rounder[0], rounder[0, 0, 0] * np.eye(3), rtol=0, atol=1e-8)
    assert 0 < rounder[0, 0, 0] < 0.02


def test_sums_of_weights_are_rounded_up_by_less_than_five_per_cent():
    """At most one: one. Rounding errors, of 1e-12 here, must not make the next byte of it."""
    sums = np.concatenate([np.linspace(0, 1, 9), np.linspace(1, 3000, 4001)])
    coded = SUMS[as_byte(sums * (1 + 1e-12))]
    assert (coded[:9] == 1).all()
    assert (coded >= sums).all()
    assert (coded <= np.maximum(sums, 1) * 2 ** (1 / 16) * (1 + 1e-9)).all()


@backend
def test_selling_step_never_leaves_the_range_however_long(kernel):
    rng = np.random.default_rng(10)
    shape = (6, 9, 9)
    full = np.stack(
        [
            q @ np.diag([1.0, 0.1, 0.01]) @ q.T
            for q in (rotation(rng, 3) for _ in range(int(np.prod(shape))))
        ]
    )
    matrix = rows(full).reshape(6, *shape)
    d = kernel.tensors(shape)
    kernel.compose(
        matrix, kernel.eigenvalues(matrix), list(kernel.eigenvalues(matrix)), 1.0, range(3), d, 0
    )
    u = np.zeros((1, *shape))
    u[0, 3, 4, 4] = 1
    for scale in (0.1, 10.0):
        weight, out = np.empty(shape, np.uint8), u.copy()
        kernel.incident(d, 0, 6, scale, (1.0,) * 3, None, weight)
        kernel.selling_step(u, out, d, weight, 0, 6, scale, (1.0,) * 3, None)
        assert out.min() > -1e-15
        assert out.max() < 1
        assert out.sum() == pytest.approx(1, abs=1e-13)


def test_walls_part_what_selling_would_jump_over():
    """A wall one voxel thin between two halves of a mask: nothing crosses it, even along offsets of several voxels."""
    shape = (1, 12, 12)
    mask = np.ones(shape, int)
    mask[:, 6] = 0
    v = np.array([0, 0.94, 0.34])
    full = 0.99 * np.outer(v, v) + 0.01 * np.diag([0, 1, 1])
    u = np.zeros((1, *shape))
    u[0, :, :6] = 1
    for kernel in BACKENDS:
        d, weight, out = stored(kernel, full, shape), np.empty(shape, np.uint8), u.copy()
        faces = open_faces(mask)
        kernel.incident(d, 0, 1, 0.4, (1.0,) * 3, faces, weight)
        kernel.selling_step(u, out, d, weight, 0, 1, 0.4, (1.0,) * 3, faces)
        np.testing.assert_array_equal(out, u)
        kernel.tensor_step(u, out, d, 0, 1, 0.4, (1.0,) * 3, 0.0, faces)
        np.testing.assert_array_equal(out, u)


def field(shape, function, spacing):
    x = np.meshgrid(*[np.arange(n) * h for n, h in zip(shape, spacing, strict=True)], indexing="ij")
    return np.asarray(function(*x))[None]


@backend
def test_derivatives_of_a_quadratic_are_exact_inside(kernel):
    spacing = (2.0, 1.0, 0.5)
    u = field(
        (7, 8, 9), lambda z, y, x: 3 * z * z + 2 * z * y - y * x + 0.5 * x * x + z - 4 * x, spacing
    )
    f = Features(u, 0, 7, Grid((7, 8, 9), spacing), kernel, np.ones(1))
    hessian = f.hessian(0.0)
    for number, wanted in enumerate((6, 0, 1, 2, 0, -1)):
        np.testing.assert_allclose(hessian[number, 2:-2, 2:-2, 2:-2], wanted, rtol=0, atol=1e-11)
    z, y, x = np.meshgrid(
        *[np.arange(n) * h for n, h in zip((7, 8, 9), spacing, strict=True)], indexing="ij"
    )
    gradient = (6 * z + 2 * y + 1, 2 * z - x, -y + x - 4)
    inside = (slice(1, -1),) * 3
    for entry, (i, j) in zip(f.structure(0.0, 0.0), entries(3), strict=True):
        np.testing.assert_allclose(
            entry[inside], (gradient[i] * gradient[j])[inside], rtol=0, atol=1e-9
        )


def vessels(kernel, full, gamma, bright, scale=1.0, best=0.0):
    """Sum of Hessians by their vesselness, and vesselness, as one kernel makes them from matrices of shape (voxels, n, n)."""
    hessian = np.ascontiguousarray(rows(full)[:, None, None])
    total, found = np.zeros_like(hessian), np.full(hessian.shape[1:], best, hessian.dtype)
    kernel.vessels(hessian, scale, gamma, bright, total, found)
    return total[:, 0, 0], found[0, 0]


def turned(rng, lam, dtype=float):
    """Matrices with the eigenvalues in each row of ``lam``, in any directions."""
    return np.stack(
        [q @ np.diag(row) @ q.T for q, row in ((rotation(rng, len(row)), row) for row in lam)]
    ).astype(dtype)


@backend
@pytest.mark.parametrize("bright", [True, False])
def test_vesselness_is_high_in_a_tube_and_none_in_a_sheet_or_a_tube_of_the_other_sign(
    kernel, bright
):
    sign = -1.0 if bright else 1.0
    full = np.stack(
        [
            np.diag(lam) * sign
            for lam in (
                [0.0, 9.0, 9.0],
                [0.0, 0.0, 9.0],
                [0.0, -9.0, -9.0],
                [3.0, 5.0, 9.0],
                [0.0] * 3,
            )
        ]
    )
    total, found = vessels(kernel, full, 2.0, bright)
    # (1 - e^-2)(1 - e^-(162/8)): Ra = 1, Rb = 0, S^2 = 162; c^2 = 8e-6
    tube = (1 - np.exp(-2)) * (1 - np.exp(-162 / 8)) * np.exp(-16e-6 / 9**3)
    bent = (
        np.exp(-16e-6 / (5 * 81) - 2 * 9 / 45)
        * (1 - np.exp(-2 * 25 / 81))
        * (1 - np.exp(-115 / 8))
        * (1 - 9 / 25)
    )
    np.testing.assert_allclose(found, [tube, 0, 0, bent, 0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(total, rows(full) * found**4, rtol=1e-12, atol=0)
    line = np.stack([np.diag([0.0, 9.0]), np.diag([2.0, 9.0]), np.diag([0.0, -9.0])]) * sign
    _, found = vessels(kernel, line, 2.0, bright)
    slanted = np.exp(-8 / 81) * (1 - np.exp(-85 / 8)) * (1 - 4 / 81)
    np.testing.assert_allclose(found, [1 - np.exp(-81 / 8), slanted, 0], rtol=1e-12, atol=1e-15)


@backend
def test_vessels_add_up_over_scales_and_keep_the_best(kernel):
    """The Hessian counts times its scale; a vesselness that was larger before stays."""
    rng = np.random.default_rng(12)
    full = turned(rng, rng.normal(size=(40, 3)) * 10)
    total, found = vessels(kernel, full, 2.0, True, scale=4.0)
    again, same = vessels(kernel, 4 * full, 2.0, True)
    np.testing.assert_allclose(total, again, rtol=1e-12)
    np.testing.assert_array_equal(found, same)
    assert found.max() > 0.3 > found.min()
    np.testing.assert_array_equal(
        vessels(kernel, full, 2.0, True, scale=4.0, best=0.3)[1], np.maximum(found, 0.3)
    )
    twice, hessian = np.ones((6, 1, 1, 40)), np.ascontiguousarray(rows(full)[:, None, None])
    kernel.vessels(hessian, 4.0, 2.0, True, twice, np.zeros((1, 1, 40)))
    np.testing.assert_allclose(twice[:, 0, 0], 1 + total, rtol=1e-12)


#: Flat, lines, balls, sheets and edges, with two or three equal curvatures, and of any size.
CASES = [
    (0, 0, 0),
    (0, -3, -3),
    (-3, -3, -3),
    (3, 3, 3),
    (2, 0, -2),
    (-1, -1, -4),
    (0, -1e-9, -2),
    (0, 0, -5),
    (1, -1, -1),
    (-2, -2.0001, -9),
]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bright", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_vessels_of_any_curvatures_are_those_of_the_reference(n, bright, dtype):
    """The law for kernels: 1e-6 of the range in float32, 1e-12 in float64. More voxels than a block, so that none is lost between two."""
    rng = np.random.default_rng(n)
    many = rng.normal(size=(5000, n)) * 10.0 ** rng.uniform(-4, 4, (5000, 1))
    full = np.concatenate(
        [turned(rng, many), np.stack([np.diag(case[-n:]) for case in CASES])]
    ).astype(dtype)
    law = 1e-6 if dtype == "f4" else 1e-12
    for size in (1e-25, 1.0, 1e15):
        for gamma in (1e-25, 2.0, 1e15):
            fast, slow = (
                vessels(kernel, full * full.dtype.type(size), gamma, bright, scale=2.0)
                for kernel in BACKENDS
            )
            for ours, theirs in zip(fast, slow, strict=True):
                assert np.isfinite(ours).all()
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=law * np.abs(theirs).max())
            if n > 1 and size >= 1 and gamma == 2.0:
                assert slow[1].max() > 0.5


def test_a_hessian_that_is_no_number_is_no_vessel_either():
    """NaN stays NaN, and stays where it is; LAPACK, on which the reference rests, refuses it."""
    full = np.stack([np.diag([0.0, -9.0, -9.0])] * 3)
    full[1, 0, 0] = np.nan
    total, found = vessels(BACKENDS[0], full, 2.0, True)
    assert np.isnan(found).tolist() == [False, True, False]
    assert np.isnan(total[0]).tolist() == [False, True, False]
    assert np.isnan(vesselness(np.full((3, 1), np.nan), 2.0, True)).all()


def test_entries_are_the_diagonal_then_the_upper_triangle():
    for n in range(1, 5):
        assert entries(n) == [(i, i) for i in range(n)] + list(itertools.combinations(range(n), 2))
