"""Directions are those of the stripes, in space and not in voxels; coherence is that of the formulas."""

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
    """Plane waves of amplitude 50 across ``normal`` [length]."""
    places = np.indices(shape) * np.reshape(spacing, (-1, *[1] * len(shape)))
    return (
        50
        * np.cos(
            2
            * np.pi
            / wavelength
            * np.tensordot(np.divide(normal, np.linalg.norm(normal)), places, 1)
        )
    ).astype(np.float32)


def inside(found, shape, spacing, border=7.0):
    """Which positions are further than ``border`` [length] from the border, whose mirror image bends what it averages."""
    low, high = found.positions * spacing, (np.array(shape) - 1 - found.positions) * spacing
    return (np.minimum(low, high) >= border).all(1)


@pytest.mark.parametrize("model", TENSORS, ids=ids)
@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, 130])
def test_directions_lie_along_stripes(model, angle):
    """In voxels of 2 by 0.7. The central difference turns them, by up to (2π h/wavelength)²/12: 1.3 degrees for 12 voxels a wave."""
    shape, spacing = (30, 80), (2.0, 0.7)
    way = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    found = nd.directions(stripes((-way[1], way[0]), shape, spacing, 24.0), model, spacing=spacing)
    chosen = inside(found, shape, spacing)
    assert np.count_nonzero(chosen) > 20
    off = np.degrees(np.arccos(np.minimum(np.abs(found.vectors[chosen] @ way), 1)))
    assert off.max() < 2


def test_a_fibre_in_space():
    """A tube along (1, 2, 2)/3 in voxels of 2 by 1 by 0.5, wide enough for what the central difference turns: (2/5)²/12, one degree."""
    shape, spacing, way = (20, 40, 80), np.array([2.0, 1.0, 0.5]), np.array([1.0, 2.0, 2.0]) / 3
    places = np.moveaxis(np.indices(shape), 0, -1) * spacing - 20.0
    across2 = np.square(places).sum(-1) - np.square(places @ way)
    image = (100 * np.exp(-across2 / 50)).astype(np.float32)
    found = nd.directions(image, nd.CoherenceEnhancing(kappa=2.0), spacing=tuple(spacing))
    at = tuple(found.positions.T)
    chosen = inside(found, shape, spacing) & (across2[at] < 4)
    assert np.count_nonzero(chosen) > 10
    off = np.degrees(np.arccos(np.minimum(np.abs(found.vectors[chosen] @ way), 1)))
    assert off.max() < 2
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-12)
    assert set(found.positions[:, 0]) == set(range(20))  # no plane is bare
    assert (
        np.diff(np.unique(found.positions[:, 1])) % 2 == 0
    ).all()  # 4 of the finest voxels: 2 planes of 1, 4 of 0.5
    assert (np.diff(np.unique(found.positions[:, 2])) % 4 == 0).all()
    assert found.distance == 2.0
    starts, extents = found.arrows().swapaxes(0, 1)
    np.testing.assert_array_equal(starts, found.positions)
    well_inside = inside(found, shape, spacing, 2.0)
    assert np.count_nonzero(well_inside) > 50
    np.testing.assert_allclose(
        (extents * spacing)[well_inside],
        (found.vectors * (2.0 * found.coherence)[:, None])[well_inside],
        rtol=1e-12,
    )


def test_arrows_end_inside_the_image_along_the_same_line():
    """Those of noise point everywhere, up to four planes far; the middle one of five has room for that on neither side."""
    image = np.random.default_rng(3).normal(0, 20, (2, 5, 9, 10)).astype(np.float32)
    found = nd.directions(
        image, nd.EdgeEnhancing(kappa=1.0), spacing=(0.3, 1.0, 2.0), axes=(1, 2, 3)
    )
    assert found.shape == image.shape
    starts, extents = found.arrows().swapaxes(0, 1)
    assert (starts + extents >= -1e-12).all()
    assert (starts + extents <= np.array(image.shape) - 1 + 1e-12).all()
    in_space = extents * found.spacing
    length, whole = np.linalg.norm(in_space, axis=1), found.distance * found.coherence
    # Rounding of quotients and products, 1 to 4 times 2^-53.
    np.testing.assert_allclose(
        np.abs((in_space * found.vectors).sum(1)), length, rtol=1e-14, atol=1e-14
    )
    shares = np.linspace(0, 1, 1001)[:, None, None]
    full = found.vectors * whole[:, None] / found.spacing
    ends = np.stack([starts + sign * shares * full for sign in (1, -1)])
    fits = ((ends >= 0) & (ends <= np.array(image.shape) - 1)).all(-1)
    longest = (fits * shares[..., 0]).max(
        (0, 1)
    )  # in steps of a thousandth, whichever way there is more room
    assert 0 < np.count_nonzero(longest < 1) < len(longest)
    np.testing.assert_allclose(length / whole, longest, rtol=0, atol=1.1e-3)


def test_coherence_in_a_line_and_in_a_plain():
    model = nd.CoherenceEnhancing(kappa=1.0, alpha=0.05)
    image = stripes((0.0, 1.0), (40, 80), (1.0, 1.0))
    image[:, 40:] = 0
    found = nd.coherence(image, model)
    # Squared gradients in the middle of the stripes are above 400 on average: exp(-(1/400)²) is one to six digits.
    np.testing.assert_allclose(found[:, 8:32], 1 - 0.05, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found[:, 60:], 0)


@pytest.mark.parametrize("model", [*TENSORS, nd.VesselEnhancing()], ids=[*ids, "vessel-enhancing"])
def test_directions_have_the_coherence_of_the_map(model):
    image = np.random.default_rng(0).normal(0, 20, (2, 10, 12, 14)).astype(np.float32)
    labels = np.ones((10, 12, 14), int)
    labels[:, :5] = 0
    where = {"spacing": (2.0, 1.0, 0.5), "axes": (1, 2, 3), "labels": labels}
    whole, found = nd.coherence(image, model, **where), nd.directions(image, model, **where)
    assert whole.shape == image.shape
    assert 0 <= whole.min() < whole.max() <= 1
    assert not whole[:, :, :5].any()
    assert set(found.positions[:, 0]) == {0, 1}
    assert not found.vectors[:, 0].any()
    # The map is float32 and its eigenvalues another algorithm's; the hybrid model has them to the fourth power, times 225, in an exponent.
    np.testing.assert_allclose(found.coherence, whole[tuple(found.positions.T)], rtol=0, atol=1e-5)
    assert found.coherence.min() >= MIN_COHERENCE
    region = (1, slice(3, 9), slice(6, None), slice(None, None, 2))
    np.testing.assert_array_equal(nd.coherence(image, model, region=region, **where), whole[region])


def test_channels_share_a_direction():
    image = stripes((0.0, 1.0), (30, 40), (1.0, 1.0))
    both = np.stack([image, 0 * image], -1)
    model = nd.EdgeEnhancing(kappa=1.0)
    found = nd.directions(both, model, channel_axis=-1)
    assert found.positions.shape[1] == found.vectors.shape[1] == 2
    chosen = inside(found, image.shape, (1.0, 1.0))
    np.testing.assert_allclose(
        found.vectors[chosen], np.broadcast_to((1.0, 0.0), found.vectors[chosen].shape), atol=1e-6
    )
    assert nd.coherence(both, model, channel_axis=-1).shape == (30, 40)


@pytest.mark.parametrize(
    "shape", [(200, 1, 300), (60, 30, 100), (40, 200, 20, 21), (7,), (1, 1), (0, 9)]
)
def test_never_too_many(shape):
    image = np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)
    found = nd.directions(image, nd.EdgeEnhancing(kappa=1.0), axes=tuple(range(len(shape)))[-3:])
    assert len(found.positions) <= MAX_DIRECTIONS
    assert found.positions.shape == found.vectors.shape == (len(found.coherence), len(shape))
    assert len(found.positions) > 0 or image.size < 10


def test_every_plane_of_a_volume_has_some():
    image = np.random.default_rng(0).normal(0, 50, (7, 20, 20)).astype(np.float32)
    found = nd.directions(image, nd.EdgeEnhancing(kappa=1.0))
    assert set(found.positions[:, 0]) == set(range(7))
    assert set(found.positions[:, 1]) == set(found.positions[:, 2]) == set(range(2, 20, 4))


def test_only_tensor_models_have_them():
    for cls in models.BUILTIN:
        if has_tensor(cls()):
            assert nd.coherence(np.eye(9), cls()).shape == (9, 9)
            continue
        for call in (nd.coherence, nd.directions):
            with pytest.raises(ValueError, match=f"{cls.__name__} smooths alike in all directions"):
                call(np.eye(9), cls())


def test_cancel():
    cancel = threading.Event()
    cancel.set()
    for call in (nd.coherence, nd.directions):
        with pytest.raises(nd.Cancelled):
            call(np.eye(9), nd.EdgeEnhancing(), cancel=cancel)
