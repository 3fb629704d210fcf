"""Directions follow stripes in space, for any voxel shape; coherence agrees with the formulas."""

import threading

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.diagnostics.orientation import MAX_DIRECTIONS, MIN_COHERENCE, has_tensor

TENSORS = [
    nd.CoherenceEnhancing(kappa=2.0),
    nd.EdgeEnhancing(kappa=5.0),
    nd.Hybrid(kappa=5.0, contrast=2.0),
]
ids = [type(model).name for model in TENSORS]


def stripes(normal, shape, spacing, wavelength=9.0):
    """Return a plane wave of amplitude 50 along ``normal``, in space [length]."""
    positions = np.indices(shape) * np.reshape(spacing, (-1, *[1] * len(shape)))
    distance = np.tensordot(np.divide(normal, np.linalg.norm(normal)), positions, 1)
    return (50 * np.cos(2 * np.pi / wavelength * distance)).astype(np.float32)


def inside(directions, shape, spacing, border=7.0):
    """Return whether positions are further than ``border`` [length] from the border of the image.

    The mirror image beyond the border changes averaged directions.
    """
    low = directions.positions * spacing
    high = (np.array(shape) - 1 - directions.positions) * spacing
    return (np.minimum(low, high) >= border).all(1)


@pytest.mark.parametrize("model", TENSORS, ids=ids)
@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, 130])
def test_directions_lie_along_stripes(model, angle):
    """In voxels of 2 by 0.7, to the error of the central difference.

    It turns them by up to (2π h/wavelength)²/12: 1.3 degrees for 12 voxels per wavelength.
    """
    shape, spacing = (30, 80), (2.0, 0.7)
    along = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    image = stripes((-along[1], along[0]), shape, spacing, 24.0)
    directions = nd.directions(image, model, spacing=spacing)
    chosen = inside(directions, shape, spacing)
    assert np.count_nonzero(chosen) > 20
    angles = np.degrees(np.arccos(np.minimum(np.abs(directions.vectors[chosen] @ along), 1)))
    assert angles.max() < 2


def test_directions_lie_along_a_fibre_in_space():
    """A tube along (1, 2, 2)/3 in voxels of 2 by 1 by 0.5, on a lattice with every plane.

    The central difference turns directions by up to (2/5)²/12, which is one degree.
    """
    shape, spacing, along = (20, 40, 80), np.array([2.0, 1.0, 0.5]), np.array([1.0, 2.0, 2.0]) / 3
    positions = np.moveaxis(np.indices(shape), 0, -1) * spacing - 20.0
    across2 = np.square(positions).sum(-1) - np.square(positions @ along)
    image = (100 * np.exp(-across2 / 50)).astype(np.float32)
    directions = nd.directions(image, nd.CoherenceEnhancing(kappa=2.0), spacing=tuple(spacing))
    at = tuple(directions.positions.T)
    chosen = inside(directions, shape, spacing) & (across2[at] < 4)
    assert np.count_nonzero(chosen) > 10
    angles = np.degrees(np.arccos(np.minimum(np.abs(directions.vectors[chosen] @ along), 1)))
    assert angles.max() < 2
    np.testing.assert_allclose(np.linalg.norm(directions.vectors, axis=1), 1, rtol=1e-12)
    assert set(directions.positions[:, 0]) == set(range(20))
    # The distance is 4 of the finest voxels: 2 voxels of 1, or 4 of 0.5.
    assert (np.diff(np.unique(directions.positions[:, 1])) % 2 == 0).all()
    assert (np.diff(np.unique(directions.positions[:, 2])) % 4 == 0).all()
    assert directions.distance == 2.0
    starts, extents = directions.arrows().swapaxes(0, 1)
    np.testing.assert_array_equal(starts, directions.positions)
    well_inside = inside(directions, shape, spacing, 2.0)
    assert np.count_nonzero(well_inside) > 50
    in_space = extents * spacing
    expected = directions.vectors * (2.0 * directions.coherence)[:, None]
    np.testing.assert_allclose(in_space[well_inside], expected[well_inside], rtol=1e-12)


def test_arrows_end_inside_the_image_along_the_same_line():
    """In noise they extend over up to four planes; the middle of five planes has two on a side."""
    image = np.random.default_rng(3).normal(0, 20, (2, 5, 9, 10)).astype(np.float32)
    options = {"spacing": (0.3, 1.0, 2.0), "axes": (1, 2, 3)}
    directions = nd.directions(image, nd.EdgeEnhancing(kappa=1.0), **options)
    assert directions.shape == image.shape
    starts, extents = directions.arrows().swapaxes(0, 1)
    assert (starts + extents >= -1e-12).all()
    assert (starts + extents <= np.array(image.shape) - 1 + 1e-12).all()
    in_space = extents * directions.spacing
    length, whole = np.linalg.norm(in_space, axis=1), directions.distance * directions.coherence
    # Quotients and products are rounded, by 1 to 4 times 2^-53.
    projection = np.abs((in_space * directions.vectors).sum(1))
    np.testing.assert_allclose(projection, length, rtol=1e-14, atol=1e-14)
    shares = np.linspace(0, 1, 1001)[:, None, None]
    full = directions.vectors * whole[:, None] / directions.spacing
    ends = np.stack([starts + sign * shares * full for sign in (1, -1)])
    fits = ((ends >= 0) & (ends <= np.array(image.shape) - 1)).all(-1)
    # In steps of a thousandth, along the sign with more room.
    longest = (fits * shares[..., 0]).max((0, 1))
    assert 0 < np.count_nonzero(longest < 1) < len(longest)
    np.testing.assert_allclose(length / whole, longest, rtol=0, atol=1.1e-3)


def test_coherence_of_stripes_and_of_a_flat_image():
    model = nd.CoherenceEnhancing(kappa=1.0, alpha=0.05)
    image = stripes((0.0, 1.0), (40, 80), (1.0, 1.0))
    image[:, 40:] = 0
    coherence = nd.coherence(image, model)
    # Squared gradients within the stripes are above 400 on average: exp(-(1/400)²) is 1 to six
    # digits.
    np.testing.assert_allclose(coherence[:, 8:32], 1 - 0.05, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(coherence[:, 60:], 0)


@pytest.mark.parametrize("model", [*TENSORS, nd.VesselEnhancing()], ids=[*ids, "vessel-enhancing"])
def test_directions_have_the_coherence_of_the_map(model):
    image = np.random.default_rng(0).normal(0, 20, (2, 10, 12, 14)).astype(np.float32)
    labels = np.ones((10, 12, 14), int)
    labels[:, :5] = 0
    where = {"spacing": (2.0, 1.0, 0.5), "axes": (1, 2, 3), "labels": labels}
    whole, directions = nd.coherence(image, model, **where), nd.directions(image, model, **where)
    assert whole.shape == image.shape
    assert 0 <= whole.min() < whole.max() <= 1
    assert not whole[:, :, :5].any()
    assert set(directions.positions[:, 0]) == {0, 1}
    assert not directions.vectors[:, 0].any()
    # The map is float32, with another algorithm for eigenvalues. In the hybrid model, their fourth
    # power times 225 is an exponent.
    expected = whole[tuple(directions.positions.T)]
    np.testing.assert_allclose(directions.coherence, expected, rtol=0, atol=1e-5)
    assert directions.coherence.min() >= MIN_COHERENCE
    region = (1, slice(3, 9), slice(6, None), slice(None, None, 2))
    np.testing.assert_array_equal(nd.coherence(image, model, region=region, **where), whole[region])


def test_channels_share_directions():
    image = stripes((0.0, 1.0), (30, 40), (1.0, 1.0))
    both = np.stack([image, 0 * image], -1)
    model = nd.EdgeEnhancing(kappa=1.0)
    directions = nd.directions(both, model, channel_axis=-1)
    assert directions.positions.shape[1] == directions.vectors.shape[1] == 2
    chosen = inside(directions, image.shape, (1.0, 1.0))
    expected = np.broadcast_to((1.0, 0.0), directions.vectors[chosen].shape)
    np.testing.assert_allclose(directions.vectors[chosen], expected, atol=1e-6)
    assert nd.coherence(both, model, channel_axis=-1).shape == (30, 40)


@pytest.mark.parametrize(
    "shape", [(200, 1, 300), (60, 30, 100), (40, 200, 20, 21), (7,), (1, 1), (0, 9)]
)
def test_number_of_directions_is_bounded(shape):
    image = np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)
    axes = tuple(range(len(shape)))[-3:]
    directions = nd.directions(image, nd.EdgeEnhancing(kappa=1.0), axes=axes)
    assert len(directions.positions) <= MAX_DIRECTIONS
    expected_shape = (len(directions.coherence), len(shape))
    assert directions.positions.shape == directions.vectors.shape == expected_shape
    assert len(directions.positions) > 0 or image.size < 10


def test_every_plane_of_a_volume_has_directions():
    image = np.random.default_rng(0).normal(0, 50, (7, 20, 20)).astype(np.float32)
    directions = nd.directions(image, nd.EdgeEnhancing(kappa=1.0))
    planes, rows, columns = (set(along) for along in directions.positions.T)
    assert planes == set(range(7))
    assert rows == columns == set(range(2, 20, 4))


def test_models_without_tensor_are_refused():
    for cls in models.BUILTIN:
        if has_tensor(cls()):
            assert nd.coherence(np.eye(9), cls()).shape == (9, 9)
            continue
        for call in (nd.coherence, nd.directions):
            with pytest.raises(ValueError, match=f"{cls.__name__} smooths alike in all directions"):
                call(np.eye(9), cls())


def test_coherence_and_directions_can_be_cancelled():
    cancel = threading.Event()
    cancel.set()
    for call in (nd.coherence, nd.directions):
        with pytest.raises(nd.Cancelled):
            call(np.eye(9), nd.EdgeEnhancing(), cancel=cancel)
