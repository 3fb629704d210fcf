"""Kernels of the tensor models: eigenvalues, stored tensors, both stencils, vesselness."""

import itertools

import numpy as np
import pytest

from napari_diffusion import backends
from napari_diffusion.backends.reference.selling import (
    REACH,
    WEIGHT_SUMS,
    as_byte,
    decompose,
)
from napari_diffusion.backends.reference.tensor import (
    QUANTISATION_STEPS,
    entries,
    vesselness,
)
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.regions import open_faces
from napari_diffusion.operators.features import Features

COMPILED, REFERENCE = (backends.get_backend(name, 3) for name in ("compiled", "reference"))
BACKENDS = [COMPILED, REFERENCE]
each_backend = pytest.mark.parametrize("kernels", BACKENDS, ids=lambda kernels: kernels.name)
#: Largest rounding error of a stored entry, as a share of the largest eigenvalue.
ROUNDING = 0.5 / QUANTISATION_STEPS


def rotation(rng, n):
    """Random orthogonal matrix."""
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def rows(full):
    """Entries along the first axis, from full matrices of shape (..., n, n)."""
    return np.stack([full[..., i, j] for i, j in entries(full.shape[-1])])


def stored(kernels, full, shape, largest=1.0):
    """Stored tensors: the same one at all voxels, composed with its own eigenvalues."""
    entry = rows(full)[:, None, None, None]
    matrix = np.ascontiguousarray(np.broadcast_to(entry, (len(entry), *shape)))
    mu = kernels.eigenvalues(matrix)
    d = kernels.tensors(shape)
    kernels.compose(matrix, mu, list(mu), largest, range(3), d, 0)
    return d


def in_cells(kernels, d, shape):
    """The mean tensors of the cells between voxels, for stages without walls."""
    cells = kernels.cell_tensors(shape)
    kernels.average(None, d, cells, shape[0], 0)
    return cells


def random_matrices(rng, eigenvalues, n, count):
    """Symmetric matrices with drawn directions and, after each, drawn eigenvalues."""
    drawn = ((rotation(rng, n), eigenvalues()) for _ in range(count))
    return np.stack([q @ np.diag(lam) @ q.T for q, lam in drawn])


@each_backend
@pytest.mark.parametrize("n", [1, 2, 3])
def test_eigenvalues_agree_with_lapack(kernels, n):
    rng = np.random.default_rng(n)
    full = random_matrices(rng, lambda: 10.0 ** rng.uniform(-6, 2, n), n, 500)
    mu = kernels.eigenvalues(rows(full).reshape(-1, 5, 10, 10)).reshape(n, -1)
    # The closed form keeps 13 digits of the largest eigenvalue. Near double eigenvalues it keeps
    # half as many (next test).
    np.testing.assert_allclose(
        mu.T, np.linalg.eigvalsh(full)[:, ::-1], rtol=0, atol=1e-7 * np.abs(full).max()
    )
    assert (np.diff(mu, axis=0) <= 0).all()


@each_backend
@pytest.mark.parametrize(
    "lam", [(0, 0, 0), (3, 3, 3), (2, 2, 1), (2, 1, 1), (1, 0, 0), (1e-30, 0, 0), (1e12, 1e12, 1)]
)
def test_multiple_eigenvalues_are_accurate(kernels, lam):
    rng = np.random.default_rng(0)
    full = np.stack([q @ np.diag(lam) @ q.T for q in (rotation(rng, 3) for _ in range(60))])
    mu = kernels.eigenvalues(rows(full).reshape(-1, 3, 4, 5)).reshape(3, -1)
    # The computed gap of two equal eigenvalues is the root of a difference of rounding errors.
    expected = np.tile(np.array(lam, float)[:, None], 60)
    np.testing.assert_allclose(mu, expected, rtol=0, atol=1e-7 * max(lam))


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
def test_composed_tensor_has_the_given_eigenvalues_along_the_eigenvectors(lam):
    rng = np.random.default_rng(3)
    q = [rotation(rng, 3) for _ in range(24)]
    matrix = rows(np.stack([r @ np.diag(lam) @ r.T for r in q])).reshape(6, 2, 3, 4)
    new_lam = 1 / (1 + np.array(lam))
    expected = rows(np.stack([r @ np.diag(new_lam) @ r.T for r in q])).reshape(6, 2, 3, 4)
    for kernels in BACKENDS:
        d = kernels.tensors((2, 3, 4))
        mu = kernels.eigenvalues(matrix)
        kernels.compose(matrix, mu, list(1 / (1 + mu)), 1.0, range(3), d, 0)
        np.testing.assert_allclose(entries_of(kernels, d), expected, rtol=0, atol=2 * ROUNDING)


def entries_of(kernels, d):
    """Entries of stored tensors, unpacked."""
    if kernels.name == "reference":
        return d / QUANTISATION_STEPS
    fields = [(d[k // 3] >> np.uint64(21 * (k % 3))) & np.uint64((1 << 21) - 1) for k in range(6)]
    return (np.array(fields, float) - (1 << 18)) / QUANTISATION_STEPS


def test_gaps_of_eigenvalues_keep_their_digits_in_float32():
    """Errors of gaps are of the order of the rounding of the matrix, not of its root.

    Directions depend on gaps. The formula with the arc cosine has errors of the order of the root.
    """
    rng = np.random.default_rng(4)
    for gap in (1e-6, 1e-4, 1e-2):
        for lam in ((1.0, 1.0 - gap, 0.3), (1.0, 0.3 + gap, 0.3), (0.1 + gap, 0.1, -1.0)):
            full = np.stack(
                [q @ np.diag(lam) @ q.T for q in (rotation(rng, 3) for _ in range(200))]
            ).astype(np.float32)
            mu = COMPILED.eigenvalues(rows(full).reshape(6, 2, 10, 10))
            assert mu.dtype == np.float32
            gaps = np.diff(mu.reshape(3, -1), axis=0)
            true_gaps = np.diff(np.linalg.eigvalsh(full.astype(float)).T[::-1], axis=0)
            np.testing.assert_allclose(gaps, true_gaps, rtol=0, atol=8 * 6e-8)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_composed_tensor_is_independent_of_the_unit_of_the_matrix_in_float32(scale):
    rng = np.random.default_rng(5)
    q = rotation(rng, 3)
    full = (q @ np.diag([5.0, 2.0, 1.0]) @ q.T * scale).astype(np.float32)
    matrix = np.ascontiguousarray(np.broadcast_to(rows(full)[:, None, None, None], (6, 1, 2, 9)))
    d = COMPILED.tensors((1, 2, 9))
    mu = COMPILED.eigenvalues(matrix)
    new_lam = (0.1, 0.5, 1.0)
    COMPILED.compose(matrix, mu, [np.full_like(mu[0], lam) for lam in new_lam], 1.0, range(3), d, 0)
    expected = rows(q @ np.diag(new_lam) @ q.T)
    np.testing.assert_allclose(
        entries_of(COMPILED, d)[:, 0, 0, 0], expected, rtol=0, atol=4 * ROUNDING
    )


@pytest.mark.parametrize(
    "shape", [(9, 12, 13), (1, 20, 17), (1, 1, 9), (3, 2, 2), (20, 5, 7), (2, 3, 1)], ids=str
)
def test_structure_tensor_of_any_planes_agrees_with_the_reference(shape):
    rng = np.random.default_rng(6)
    for sigma, rho, channels in ((1.0, 1.0, 1), (0.0, 0.0, 2), (0.7, 2.0, 1), (1.0, 3.0, 2)):
        u, weights = rng.normal(size=(channels, *shape)), rng.uniform(1, 2, channels)
        for lo, hi in ((0, shape[0]), (shape[0] // 3, shape[0] // 3 + max(1, shape[0] // 2))):
            compiled, reference = (
                Features(u, lo, hi, Grid(shape, (2.0, 1.0, 0.7)), kernels, weights).structure(
                    sigma, rho
                )
                for kernels in BACKENDS
            )
            tolerance = 1e-14 * np.abs(reference).max()
            np.testing.assert_allclose(compiled, reference, rtol=0, atol=tolerance)


@each_backend
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.0, 0.7)])
def test_quadratics_are_exact_for_a_constant_tensor(kernels, spacing):
    """Both stencils give div(D grad u) = 2 tr(DQ) for u = x^T Q x, away from the border."""
    rng = np.random.default_rng(5)
    shape, lam = (17, 17, 17), np.diag([1.0, 0.3, 0.02])
    q = rotation(rng, 3)
    full = q @ lam @ q.T
    d = stored(kernels, full, shape)
    form = rng.normal(size=(3, 3))
    x = np.stack(
        np.meshgrid(
            *[(np.arange(n) - 8) * h for n, h in zip(shape, spacing, strict=True)], indexing="ij"
        )
    )
    u = np.einsum("izyx,ij,jzyx->zyx", x, form, x)[None]
    size, tolerance = np.abs(form).sum() * 2, 12 * ROUNDING
    out = u.copy()
    cells = in_cells(kernels, d, shape)
    kernels.tensor_step(u, out, cells, 0, 17, 1.0, spacing, 0.0, None)
    assert (out - u)[0, 8, 8, 8] == pytest.approx(2 * np.trace(full @ form), abs=tolerance * size)
    weight = np.zeros(shape, np.uint8)  # sums of weights of one: the step counts as short enough
    kernels.selling_step(u, out, d, weight, 0, 17, 1.0, spacing, None)
    # Six quantisation steps are added to the diagonal, so that rounding cannot make it negative.
    assert (out - u)[0, 8, 8, 8] == pytest.approx(
        2 * np.trace(full @ form), abs=tolerance * size + 24 * ROUNDING * size
    )


@each_backend
def test_identity_tensor_gives_the_standard_stencil(kernels):
    rng = np.random.default_rng(6)
    shape, spacing = (5, 6, 7), (2.0, 1.0, 0.5)
    u = rng.normal(size=(1, *shape))
    cell, star = u.copy(), u.copy()
    a = np.array([0.01 / h**2 for h in spacing])
    d = in_cells(kernels, stored(kernels, np.eye(3), shape), shape)
    kernels.tensor_step(u, cell, d, 0, 5, 0.01, spacing, 0.0, None)
    kernels.step(u, star, 0, 5, a, a, 0.0, 0, None, None, 0, None, np.ones(1))
    np.testing.assert_allclose(cell, star, rtol=0, atol=1e-14)


def symbol(kernels, full, wave):
    """Decay rate of a plane wave under the cell stencil, measured on a patch."""
    n = 9
    x = np.stack(np.meshgrid(*[np.arange(n) - 4.0] * 3, indexing="ij"))
    u = np.cos(np.tensordot(wave, x, 1))[None]
    out = u.copy()
    d = in_cells(kernels, stored(kernels, full, (n,) * 3), (n,) * 3)
    kernels.tensor_step(u, out, d, 0, n, 1.0, (1.0,) * 3, 0.0, None)
    return -(out - u)[0, 4, 4, 4]


@pytest.mark.parametrize("kind", ["tube", "sheet"])
def test_diffusion_across_a_structure_is_small_at_every_angle(kind):
    """At anisotropy 100 and wavenumber 1, the effective diffusivities are close to the true ones.

    Across it is at most 0.02 (true 0.01), along it is at least 0.8 (true 1).
    """
    rng = np.random.default_rng(7)
    across, along = [], []
    for _ in range(400):
        q = rotation(rng, 3)
        lam = np.diag([1.0, 0.01, 0.01] if kind == "tube" else [1.0, 1.0, 0.01])
        along.append(symbol(COMPILED, q @ lam @ q.T, q[:, 0]))
        across.append(symbol(COMPILED, q @ lam @ q.T, q[:, 2]))
    assert min(across) > 0.005
    assert max(across) <= 0.02
    assert 0.8 <= min(along) <= max(along) <= 1


@each_backend
def test_operator_is_symmetric_and_bounded_for_any_tensor(kernels):
    """No wave grows: the operator is negative semi-definite.

    It is bounded by four times the trace, on which the step limit rests. Dense matrix of the
    operator, random tensors, with and without walls.
    """
    rng = np.random.default_rng(8)
    shape, spacing = (3, 4, 4), (2.0, 1.0, 0.7)
    size = int(np.prod(shape))
    full = random_matrices(rng, lambda: 10.0 ** rng.uniform(-3, 0, 3), 3, size)
    matrix = rows(full).reshape(6, *shape)
    mu = kernels.eigenvalues(matrix)
    d = kernels.tensors(shape)
    kernels.compose(matrix, mu, list(mu), 1.0, range(3), d, 0)
    for faces in (None, open_faces(rng.integers(0, 3, shape))):
        unit = np.eye(size).reshape(size, *shape)
        out = np.empty_like(unit)
        tensors = in_cells(kernels, d, shape) if faces is None else d
        kernels.tensor_step(unit, out, tensors, 0, 3, 1.0, spacing, 0.0, faces)
        operator = (out - unit).reshape(size, size)
        np.testing.assert_allclose(operator, operator.T, rtol=0, atol=1e-13)
        np.testing.assert_allclose(operator.sum(0), 0, rtol=0, atol=1e-13)
        rates = np.linalg.eigvalsh(operator)
        assert rates.max() < 1e-5  # three quantisation steps, times 4 / h^2
        largest = max(sum(f[i, i] / h**2 for i, h in enumerate(spacing)) for f in full)
        assert rates.min() > -4 * largest


def test_sellings_decomposition_is_exact_with_non_negative_weights_and_short_offsets():
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
    added = np.einsum("nk,nki,nkj->nij", rho, e, e) - needle
    assert np.abs(e).max(where=(rho > 0)[..., None], initial=0) <= REACH
    # The needle needs longer offsets, so a small isotropic part is added.
    np.testing.assert_allclose(added[0], added[0, 0, 0] * np.eye(3), rtol=0, atol=1e-8)
    assert 0 < added[0, 0, 0] < 0.02


def test_sums_of_weights_are_rounded_up_by_less_than_five_per_cent():
    """Sums of at most one become one; rounding errors (1e-12) do not lead to the next byte."""
    sums = np.concatenate([np.linspace(0, 1, 9), np.linspace(1, 3000, 4001)])
    coded = WEIGHT_SUMS[as_byte(sums * (1 + 1e-12))]
    assert (coded[:9] == 1).all()
    assert (coded >= sums).all()
    assert (coded <= np.maximum(sums, 1) * 2 ** (1 / 16) * (1 + 1e-9)).all()


@each_backend
def test_selling_step_of_any_length_keeps_the_range(kernels):
    rng = np.random.default_rng(10)
    shape = (6, 9, 9)
    full = random_matrices(rng, lambda: [1.0, 0.1, 0.01], 3, int(np.prod(shape)))
    matrix = rows(full).reshape(6, *shape)
    d = kernels.tensors(shape)
    mu = kernels.eigenvalues(matrix)
    kernels.compose(matrix, mu, list(mu), 1.0, range(3), d, 0)
    u = np.zeros((1, *shape))
    u[0, 3, 4, 4] = 1
    for scale in (0.1, 10.0):
        weight, out = np.empty(shape, np.uint8), u.copy()
        kernels.incident(d, 0, 6, scale, (1.0,) * 3, None, weight)
        kernels.selling_step(u, out, d, weight, 0, 6, scale, (1.0,) * 3, None)
        assert out.min() > -1e-15
        assert out.max() < 1
        assert out.sum() == pytest.approx(1, abs=1e-13)


def test_wall_of_one_voxel_stops_all_flux():
    """Nothing crosses a gap of one voxel in a mask, not even along offsets of several voxels."""
    shape = (1, 12, 12)
    mask = np.ones(shape, int)
    mask[:, 6] = 0
    v = np.array([0, 0.94, 0.34])
    full = 0.99 * np.outer(v, v) + 0.01 * np.diag([0, 1, 1])
    u = np.zeros((1, *shape))
    u[0, :, :6] = 1
    for kernels in BACKENDS:
        d, weight, out = stored(kernels, full, shape), np.empty(shape, np.uint8), u.copy()
        faces = open_faces(mask)
        kernels.incident(d, 0, 1, 0.4, (1.0,) * 3, faces, weight)
        kernels.selling_step(u, out, d, weight, 0, 1, 0.4, (1.0,) * 3, faces)
        np.testing.assert_array_equal(out, u)
        kernels.tensor_step(u, out, d, 0, 1, 0.4, (1.0,) * 3, 0.0, faces)
        np.testing.assert_array_equal(out, u)


def field(shape, function, spacing):
    """Values of a function of the position."""
    x = np.meshgrid(*[np.arange(n) * h for n, h in zip(shape, spacing, strict=True)], indexing="ij")
    return np.asarray(function(*x))[None]


@each_backend
def test_derivatives_of_a_quadratic_are_exact_inside(kernels):
    spacing = (2.0, 1.0, 0.5)
    u = field(
        (7, 8, 9), lambda z, y, x: 3 * z * z + 2 * z * y - y * x + 0.5 * x * x + z - 4 * x, spacing
    )
    f = Features(u, 0, 7, Grid((7, 8, 9), spacing), kernels, np.ones(1))
    hessian = f.hessian(0.0)
    for number, expected in enumerate((6, 0, 1, 2, 0, -1)):
        np.testing.assert_allclose(hessian[number, 2:-2, 2:-2, 2:-2], expected, rtol=0, atol=1e-11)
    z, y, x = np.meshgrid(
        *[np.arange(n) * h for n, h in zip((7, 8, 9), spacing, strict=True)], indexing="ij"
    )
    gradient = (6 * z + 2 * y + 1, 2 * z - x, -y + x - 4)
    inside = (slice(1, -1),) * 3
    for entry, (i, j) in zip(f.structure(0.0, 0.0), entries(3), strict=True):
        np.testing.assert_allclose(
            entry[inside], (gradient[i] * gradient[j])[inside], rtol=0, atol=1e-9
        )


def vessels(kernels, full, gamma, bright, scale=1.0, best=0.0):
    """Weighted sum of Hessians, and vesselness, from matrices of shape (voxels, n, n)."""
    hessian = np.ascontiguousarray(rows(full)[:, None, None])
    total, vessel = np.zeros_like(hessian), np.full(hessian.shape[1:], best, hessian.dtype)
    kernels.vessels(hessian, scale, gamma, bright, total, vessel)
    return total[:, 0, 0], vessel[0, 0]


def turned(rng, lam, dtype=float):
    """Matrices with the eigenvalues in each row of ``lam``, in random directions."""
    return np.stack(
        [q @ np.diag(row) @ q.T for q, row in ((rotation(rng, len(row)), row) for row in lam)]
    ).astype(dtype)


@each_backend
@pytest.mark.parametrize("bright", [True, False])
def test_vesselness_is_high_in_tubes_and_zero_in_sheets_and_tubes_of_the_other_sign(
    kernels, bright
):
    sign = -1.0 if bright else 1.0
    tube, sheet, other_sign = [0.0, 9.0, 9.0], [0.0, 0.0, 9.0], [0.0, -9.0, -9.0]
    cases = tube, sheet, other_sign, [3.0, 5.0, 9.0], [0.0] * 3
    full = np.stack([np.diag(lam) * sign for lam in cases])
    total, vessel = vessels(kernels, full, 2.0, bright)
    # (1 - e^-2)(1 - e^-(162/8)): Ra = 1, Rb = 0, S^2 = 162; c^2 = 8e-6
    in_tube = (1 - np.exp(-2)) * (1 - np.exp(-162 / 8)) * np.exp(-16e-6 / 9**3)
    bent = (
        np.exp(-16e-6 / (5 * 81) - 2 * 9 / 45)
        * (1 - np.exp(-2 * 25 / 81))
        * (1 - np.exp(-115 / 8))
        * (1 - 9 / 25)
    )
    np.testing.assert_allclose(vessel, [in_tube, 0, 0, bent, 0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(total, rows(full) * vessel**4, rtol=1e-12, atol=0)
    line = np.stack([np.diag([0.0, 9.0]), np.diag([2.0, 9.0]), np.diag([0.0, -9.0])]) * sign
    _, vessel = vessels(kernels, line, 2.0, bright)
    slanted = np.exp(-8 / 81) * (1 - np.exp(-85 / 8)) * (1 - 4 / 81)
    np.testing.assert_allclose(vessel, [1 - np.exp(-81 / 8), slanted, 0], rtol=1e-12, atol=1e-15)


@each_backend
def test_vessels_accumulate_over_scales_and_keep_the_largest_vesselness(kernels):
    """The Hessian is multiplied by its scale; a larger vesselness from before is kept."""
    rng = np.random.default_rng(12)
    full = turned(rng, rng.normal(size=(40, 3)) * 10)
    total, vessel = vessels(kernels, full, 2.0, True, scale=4.0)
    scaled_total, scaled_vessel = vessels(kernels, 4 * full, 2.0, True)
    np.testing.assert_allclose(total, scaled_total, rtol=1e-12)
    np.testing.assert_array_equal(vessel, scaled_vessel)
    assert vessel.max() > 0.3 > vessel.min()
    _, largest = vessels(kernels, full, 2.0, True, scale=4.0, best=0.3)
    np.testing.assert_array_equal(largest, np.maximum(vessel, 0.3))
    accumulated, hessian = np.ones((6, 1, 1, 40)), np.ascontiguousarray(rows(full)[:, None, None])
    kernels.vessels(hessian, 4.0, 2.0, True, accumulated, np.zeros((1, 1, 40)))
    np.testing.assert_allclose(accumulated[:, 0, 0], 1 + total, rtol=1e-12)


#: Flat regions, lines, blobs, sheets and edges; with two or three equal curvatures; of any size.
CURVATURES = [
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
def test_vessels_of_any_curvatures_agree_with_the_reference(n, bright, dtype):
    """Both backends agree to 1e-6 of the range in float32, and to 1e-12 in float64.

    There are more voxels than in a block, so that block boundaries are covered.
    """
    rng = np.random.default_rng(n)
    random = rng.normal(size=(5000, n)) * 10.0 ** rng.uniform(-4, 4, (5000, 1))
    special = np.stack([np.diag(curvatures[-n:]) for curvatures in CURVATURES])
    full = np.concatenate([turned(rng, random), special]).astype(dtype)
    tolerance = 1e-6 if dtype == "f4" else 1e-12
    for size in (1e-25, 1.0, 1e15):
        for gamma in (1e-25, 2.0, 1e15):
            compiled, reference = (
                vessels(kernels, full * full.dtype.type(size), gamma, bright, scale=2.0)
                for kernels in BACKENDS
            )
            for result, expected in zip(compiled, reference, strict=True):
                assert np.isfinite(result).all()
                limit = tolerance * np.abs(expected).max()
                np.testing.assert_allclose(result, expected, rtol=0, atol=limit)
            if n > 1 and size >= 1 and gamma == 2.0:
                assert reference[1].max() > 0.5


def test_vesselness_of_a_nan_hessian_is_nan():
    """NaN stays at its voxel. Compiled kernels only, since LAPACK in the reference rejects NaN."""
    full = np.stack([np.diag([0.0, -9.0, -9.0])] * 3)
    full[1, 0, 0] = np.nan
    total, vessel = vessels(COMPILED, full, 2.0, True)
    assert np.isnan(vessel).tolist() == [False, True, False]
    assert np.isnan(total[0]).tolist() == [False, True, False]
    assert np.isnan(vesselness(np.full((3, 1), np.nan), 2.0, True)).all()


def test_entries_are_the_diagonal_then_the_upper_triangle():
    for n in range(1, 5):
        assert entries(n) == [(i, i) for i in range(n)] + list(itertools.combinations(range(n), 2))
