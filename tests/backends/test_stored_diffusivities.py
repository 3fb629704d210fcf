"""Stored diffusivities at faces: their rounding, and zero flux where none may pass."""

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.backends import get_backend
from napari_diffusion.backends.reference import stages
from napari_diffusion.operators.diffusivity import CODES

KAPPA = 5.0


def stored(backend, u, faces=None):
    """Diffusivities at all faces of a field with one channel, in two ranges of planes."""
    kernels, axes = get_backend(backend, 3), (0, 1, 2)
    one = np.ones(3, u.dtype)
    s2, w = np.empty(u.shape[1:], u.dtype), np.ones(1, u.dtype)
    kernels.grad2(u, 0, 0, u.shape[1], one, w, faces, s2)
    out = np.full((3, *u.shape[1:]), 7, stages.STORED_TYPES[u.dtype])
    settings = one, CODES["charbonnier"], KAPPA**-2, s2, None, 0, axes, faces, w, out
    for lo, hi in ((0, 3), (3, u.shape[1])):
        kernels.face_diffusivities(u, lo, hi, *settings)
    return out


@pytest.fixture
def field():
    return np.random.default_rng(0).normal(0, 20, (1, 6, 5, 7))


def test_a_code_is_within_its_bound_of_the_number():
    """Rounded to 12 bits, from 3e-10 to 1; 1 is exact and no number becomes 0."""
    numbers = np.geomspace(3e-10, 1, 20011).astype(np.float32)
    codes = stages.encoded(numbers, np.dtype(np.uint16))
    back = stages.decoded(codes, np.float32)
    assert np.abs(back / numbers - 1).max() <= 2.0**-12
    assert back[-1] == 1
    assert (np.diff(codes.astype(int)) >= 0).all()
    assert stages.encoded(np.float32([0, 1e-30]), np.dtype(np.uint16)).tolist() == [1, 1]
    assert stages.decoded(np.uint16([0]), np.float32) == 0


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_face_has_the_diffusivity_of_its_gradient(backend, dtype, field):
    """g = 1/sqrt(1 + s²/kappa²), with s² from the definition in `gradient_step`."""
    u = field.astype(dtype)
    result = stages.decoded(stored(backend, u), np.float64)
    x, squares = field[0], 0
    for axis in range(3):
        d = np.diff(x, axis=axis)
        edge = [(int(i == axis),) * 2 for i in range(3)]
        padded = np.pad(d**2, edge)
        squares = squares + (np.take(padded, range(x.shape[axis]), axis)
                             + np.take(padded, range(1, x.shape[axis] + 1), axis)) / 2  # fmt: skip
    for axis in range(3):
        n = x.shape[axis]
        near, far = (np.take(squares, part, axis) for part in (range(n - 1), range(1, n)))
        d = np.diff(x, axis=axis)
        padded = np.pad(d**2, [(int(i == axis),) * 2 for i in range(3)])
        beyond = (np.take(padded, range(n - 1), axis) + np.take(padded, range(2, n + 1), axis)) / 4
        s2 = np.maximum(d**2 / 2 + (near + far) / 2 - beyond, d**2)
        expected = 1 / np.sqrt(1 + s2 / KAPPA**2)
        inner = np.take(result[axis], range(n - 1), axis)
        bound = 2.0**-11 if dtype == np.float32 else 1e-6
        np.testing.assert_allclose(inner, expected, rtol=bound)
        assert (np.take(result[axis], n - 1, axis) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_closed_faces_have_the_diffusivity_zero_in_both_backends(dtype, field):
    u, faces = field.astype(dtype), np.random.default_rng(1).integers(0, 8, field.shape[1:])
    faces = faces.astype(np.uint8)
    both = [stored(name, u, faces) for name in ("compiled", "reference")]
    for axis in range(3):
        inner = [slice(0, n - (i == axis)) for i, n in enumerate(u.shape[1:])]
        is_open = (faces[tuple(inner)] & (1 << axis)) > 0
        for values in both:
            np.testing.assert_array_equal(values[axis][tuple(inner)] != 0, is_open)
    left, right = (stages.decoded(values, np.float64) for values in both)
    np.testing.assert_allclose(left, right, rtol=2.0**-11 if dtype == np.float32 else 1e-6)


def test_a_stage_with_stored_diffusivities_keeps_the_sum():
    image = np.random.default_rng(0).normal(100, 20, (9, 10, 11))
    result = nd.diffuse(image, nd.TotalVariation(), time=5.0, scheme="extrapolated")
    assert result.sum() == pytest.approx(image.sum(), rel=1e-14)
    assert np.ptp(result) < 0.5 * np.ptp(image)
