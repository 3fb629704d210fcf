"""Kernel of membrane-enhancing diffusion: weighted sums of Hessians by their sheetness."""

import numpy as np
import pytest

from napari_diffusion import backends
from napari_diffusion.backends.reference.tensor import entries

COMPILED, REFERENCE = (backends.get_backend(name, 3) for name in ("compiled", "reference"))
#: Flat regions, sheets, tubes, balls and saddles, with two or three equal curvatures.
CURVATURES = [(0, 0, 0), (0, 0, -5), (0, -3, -3), (-3, -3, -3), (3, 3, 3), (2, 0, -2), (1, -1, -1)]
each_dimension = pytest.mark.parametrize("n", [1, 2, 3])


def hessians(n, dtype, count=5000):
    """Entries of random symmetric matrices of all sizes, and of the special ones."""
    rng = np.random.default_rng(n)
    lam = rng.normal(size=(count, n)) * 10.0 ** rng.uniform(-4, 4, (count, 1))
    lam = np.concatenate([lam, [curvatures[-n:] for curvatures in CURVATURES]])
    q = np.linalg.qr(rng.normal(size=(len(lam), n, n)))[0]
    full = np.einsum("vij,vj,vkj->vik", q, lam, q)
    return np.stack([full[:, i, j] for i, j in entries(n)])[:, None, None].astype(dtype)


def slopes_beside(hessian, n):
    """Slopes from much smaller to larger than the curvatures at the same voxels."""
    rng = np.random.default_rng(n + 10)
    shape = (n, *hessian.shape[1:])
    slopes = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 1, shape)
    return (slopes * np.abs(hessian).max(0)).astype(hessian.dtype)


def sheets(kernels, hessian, slopes, first=0, gamma=2.0, bright=True, best=0.0):
    """Weighted sum of Hessians, and sheetness."""
    total, sheet = np.zeros_like(hessian), np.full(hessian.shape[1:], best, hessian.dtype)
    kernels.sheets(hessian, slopes, first, 2.0, 0.5, gamma, bright, total, sheet)
    return total, sheet


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bright", [True, False])
@each_dimension
def test_sheets_of_any_curvatures_agree_with_the_reference(n, bright, dtype):
    """Both backends agree; there are more voxels than in a block.

    Where the sheetness is 1/2, its derivative with respect to the slope within the sheet is about
    6. Rounding errors of products of gaps add to those of the slope, so float32 has a limit of
    1e-5 for the sheetness.
    """
    hessian = hessians(n, dtype)
    slopes = slopes_beside(hessian, n)
    for size in (1e-25, 1.0, 1e15):
        for gamma in (1e-25, 2.0, 1e15):
            t = hessian.dtype.type
            given = hessian * t(size), slopes * t(size)
            compiled, reference = (
                sheets(kernels, *given, gamma=gamma, bright=bright)
                for kernels in (COMPILED, REFERENCE)
            )
            for result, expected in zip(compiled, reference, strict=True):
                assert np.isfinite(result).all()
                limit = (1e-5 if dtype == "f4" else 1e-12) * np.abs(expected).max()
                np.testing.assert_allclose(result, expected, rtol=0, atol=limit)
            if size >= 1 and gamma == 2.0:
                assert reference[1].max() > 0.5 > reference[1].min()


@each_dimension
def test_sheets_of_some_planes_are_those_of_all_planes(n):
    """The bits do not depend on how planes are divided; other planes and a larger sheetness stay.

    A row of 13 voxels is no multiple of the processor's vectors.
    """
    hessian = np.ascontiguousarray(hessians(n, "f4", 12 * 13 - 7).reshape(-1, 12, 1, 13))
    slopes = slopes_beside(hessian, n)
    total, sheet = sheets(COMPILED, hessian, slopes)
    _, largest = sheets(COMPILED, hessian, slopes, best=0.3)
    np.testing.assert_array_equal(largest, np.maximum(sheet, np.float32(0.3)))
    for first, stop in ((0, 1), (3, 8), (11, 12)):
        part = np.ascontiguousarray(slopes[:, first:stop])
        results = sheets(COMPILED, hessian, part, first)
        for result, expected in zip(results, (total, sheet), strict=True):
            inside = np.zeros(12, bool)
            inside[first:stop] = True
            np.testing.assert_array_equal(result[..., inside, :, :], expected[..., inside, :, :])
            assert not result[..., ~inside, :, :].any()


def test_nan_stays_at_its_voxel():
    hessian = hessians(3, "f4", 0)
    hessian[0, 0, 0, 1] = np.nan
    total, sheet = sheets(COMPILED, hessian, np.zeros((3, *hessian.shape[1:]), "f4"))
    expected = [number == 1 for number in range(len(CURVATURES))]
    assert np.isnan(sheet[0, 0]).tolist() == np.isnan(total[0, 0, 0]).tolist() == expected
