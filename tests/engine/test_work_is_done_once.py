"""A stage smooths every plane once, however many threads share the image."""

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.backends.numba.backend import NumbaBackend

SHAPES = [(128, 128, 128), (64, 512, 512), (6, 2048, 2048), (512, 64, 64)]


@pytest.fixture
def smoothed(monkeypatch):
    """Record the planes that are smoothed; no kernel computes anything."""
    planes = []

    def smooth(self, u, lo, hi, taps, out):
        planes.append((lo, hi))
        out.fill(0)

    monkeypatch.setattr(NumbaBackend, "smooth", smooth)
    monkeypatch.setattr(NumbaBackend, "grad2", lambda self, *arguments: arguments[-1].fill(0))
    for name in ("step", "diffusivity", "structure", "compose", "average", "tensor_step"):
        monkeypatch.setattr(NumbaBackend, name, lambda self, *arguments: None)
    monkeypatch.setattr(NumbaBackend, "count_invalid", lambda self, *arguments: 0)
    return planes


@pytest.mark.parametrize("threads", [1, 2, 8, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "model",
    [nd.PeronaMalik(kappa=10.0, sigma=1.0), nd.PeronaMalik(kappa=10.0, sigma=2.0)],
    ids=["sigma 1", "sigma 2"],
)
def test_every_plane_is_smoothed_once(smoothed, model, shape, threads):
    """A thread that helps another one may smooth a few planes again."""
    image = np.zeros(shape, np.float32)
    nd.diffuse(image, model, time=0.1, scheme="explicit", threads=threads)
    count = np.zeros(shape[0], int)
    for lo, hi in smoothed:
        count[lo:hi] += 1
    assert count.min() == 1
    assert count.sum() <= 1.15 * shape[0]


@pytest.mark.parametrize("threads", [8, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_many_threads_share_an_image_only_in_thick_slabs(shape, threads):
    """What two slabs share at their edge is a small share of 2^19 voxels."""
    voxels = np.prod(shape)
    for model in (nd.PeronaMalik(), nd.PeronaMalik(sigma=1.0), nd.TotalVariation()):
        height = nd.plan(np.zeros(shape, np.float32), model, time=0.1, threads=threads).height
        assert height * voxels / shape[0] >= min(1 << 19, voxels / 4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_thread_smooths_every_plane_once_for_its_tensors(smoothed, monkeypatch, shape):
    """Planes beside the edge of a slab are smoothed by both threads."""
    monkeypatch.setattr(NumbaBackend, "eigenvalues", lambda self, matrix: matrix[:3])
    image, options = np.zeros(shape, np.float32), {"time": 0.1, "scheme": "midpoint", "threads": 1}
    model = nd.EdgeEnhancing()
    nd.diffuse(image, model, **options)
    count = np.zeros(shape[0], int)
    for lo, hi in smoothed:
        count[lo:hi] += 1
    assert (count == nd.plan(image, model, **options).operators_made).all()
