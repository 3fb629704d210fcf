"""Mean tensors of the cells between voxels."""

import numpy as np
import pytest

from napari_diffusion import backends
from napari_diffusion.backends.reference.tensor import CELL_FRACTION, entries

COMPILED, REFERENCE = (backends.get_backend(name, 3) for name in ("compiled", "reference"))
#: Bias of the entries in the compiled form, and bits of the lower slot of a word.
BIAS, LOW_BITS = CELL_FRACTION << 18, 21


def stored(kernels, shape):
    """Tensors with drawn directions, and eigenvalues between 0 and 1."""
    rng = np.random.default_rng(21)
    q = np.linalg.qr(rng.normal(size=(*shape, 3, 3)))[0]
    full = np.einsum("...ij,...j,...kj->...ik", q, rng.uniform(0, 1, (*shape, 3)), q)
    matrix = np.stack([full[..., i, j] for i, j in entries(3)])
    mu = kernels.eigenvalues(matrix)
    d = kernels.tensors(shape)
    kernels.compose(matrix, mu, list(mu), 1.0, range(3), d, 0)
    return d


def unpacked(cells):
    """The entries of the compiled form, in fractions of a quantisation step."""
    low = (cells & np.uint32((1 << LOW_BITS) - 1)).astype(int)
    high = (cells >> np.uint32(LOW_BITS)).astype(int)
    return np.stack([*low, high[0] + (high[1] << 11), high[2] + (high[3] << 11)]) - BIAS


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (1, 4, 5), (3, 1, 4), (4, 5, 6)], ids=str)
def test_cells_have_the_mean_tensor_of_their_corners(shape):
    """Rounded to a quarter of a quantisation step; the border repeats the voxels inside.

    Both parts of the volume share a border, and the order of the parts makes no difference.
    """
    cells = []
    for kernels in (REFERENCE, COMPILED):
        d, whole = stored(kernels, shape), kernels.cell_tensors(shape)
        kernels.average(None, d, whole, shape[0], 0)
        parts = kernels.cell_tensors(shape)
        low, high = (np.ascontiguousarray(part) for part in (d[:, :2], d[:, 2:]))
        kernels.average(None, low, parts, shape[0], 0)
        if shape[0] > 2:
            kernels.average(low, high, parts, shape[0], 2)
        np.testing.assert_array_equal(parts, whole)
        cells.append(parts)
    mean = np.pad(stored(REFERENCE, shape), [(0, 0), *[(1, 1)] * 3], mode="edge").astype(float)
    for axis in (1, 2, 3):
        n = mean.shape[axis] - 1
        mean = (mean.take(range(n), axis) + mean.take(range(1, n + 1), axis)) / 2
    expected = mean[(slice(None), *[slice(0, n + (n > 1)) for n in shape])]
    np.testing.assert_array_equal(cells[0], np.rint(CELL_FRACTION * expected))
    np.testing.assert_array_equal(unpacked(cells[1]), cells[0])
