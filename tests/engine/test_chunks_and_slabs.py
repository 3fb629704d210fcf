"""Results do not depend on how a run is cut into chunks, slabs and blocks, bit for bit."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import noise
from napari_diffusion.backends.reference import face_sums
from napari_diffusion.engine import planner

MODELS = [
    nd.PeronaMalik(kappa=1.0, sigma=1.0),
    nd.PeronaMalik(kappa=1.0, sigma=2.3),  # reaches beyond a chunk
    nd.EdgeEnhancing(kappa=1.0),
    nd.CoherenceEnhancing(kappa=1.0),
    nd.VesselEnhancing(gamma=1.0),  # three Gaussians of different width
]


@pytest.mark.parametrize(
    "options", [{}, {"labels": True}, {"channel_axis": -1}], ids=["plain", "labels", "channels"]
)
@pytest.mark.parametrize(
    "model", MODELS, ids=lambda model: f"{model.name}-{model.__dict__.get('sigma', 0)}"
)
def test_result_is_independent_of_chunks_and_slabs(model, options, monkeypatch):
    """The first run has one chunk; the second has twelve, which reuse smoothed planes.

    Tensors are computed slab by slab, so their slabs are cut.
    """
    image = noise((34, 9, 8, 2) if "channel_axis" in options else (34, 9, 8)).astype("f4")
    if "labels" in options:
        options = {"labels": 1 + (np.indices(image.shape).sum(0) > 20)}
    time = 2 * nd.plan(image, model, time=1e-6, **options).max_step
    whole = nd.diffuse(image, model, time=time, **options)
    assert nd.plan(image, model, time=time, **options).chunk >= 34
    monkeypatch.setattr(planner, "CHUNK_PLANES", 3)
    monkeypatch.setattr(planner, "CHUNK_VOXELS", 1)
    planner.kept_plan.cache_clear()
    if nd.plan(image, model, time=time, **options).operator.has_tensor:
        monkeypatch.setattr(planner, "slab_height", lambda planes, *sizes: 3)
        planner.kept_plan.cache_clear()
    assert nd.plan(image, model, time=time, **options).chunk == 3
    np.testing.assert_array_equal(nd.diffuse(image, model, time=time, **options), whole)
    assert np.abs(whole - image).max() > 0.01


@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=1.0), MODELS[0], nd.MeanCurvature()],
    ids=lambda model: model.name,
)
def test_reference_result_is_independent_of_blocks(model, monkeypatch):
    image = noise((21, 9, 8)).astype("f4")
    whole = nd.diffuse(image, model, time=0.5, backend="reference")
    monkeypatch.setattr(face_sums, "BLOCK_VOXELS", 150)  # two planes
    np.testing.assert_array_equal(nd.diffuse(image, model, time=0.5, backend="reference"), whole)


@pytest.mark.parametrize("kappa", [1e-14, 1e-3, 1.0, 1e3, 1e14])
def test_reference_backend_takes_thresholds_of_any_size(kappa):
    """Where 1/b² would overflow float32, another formula is used; both scale with the image.

    Ten steps in float32 are exact to 1e-6 of the range.
    """
    image, model = noise((9, 8, 7)).astype("f4"), nd.PeronaMalik(kappa=kappa)
    scaled = nd.diffuse(image * np.float32(kappa), model, time=1.0, backend="reference")
    result = scaled / np.float32(kappa)
    expected = nd.diffuse(image.astype("f8"), nd.PeronaMalik(kappa=1.0), time=1.0)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6 * np.ptp(image))


def test_block_with_its_halo_is_exact_between_walls():
    """The Gaussian is a series between walls and reaches further, so the halo is larger."""
    image, model = noise((120, 15)).astype("f4"), MODELS[0]
    labels = 1 + (np.indices(image.shape).sum(0) // 40 % 2)
    time = 1.5 * nd.plan(image, model, time=1e-6).max_step
    options = {"time": time, "scheme": "explicit"}
    halo = nd.plan(image, model, labels=labels, **options).halo[0]
    assert halo > nd.plan(image, model, **options).halo[0]
    part = slice(50 - halo, 60 + halo)
    whole = nd.diffuse(image, model, labels=labels, **options)
    block = nd.diffuse(image[part], model, labels=labels[part], **options)
    np.testing.assert_array_equal(block[halo:-halo], whole[50:60])


def test_channels_of_a_cut_image_are_smoothed_independently():
    image = noise((2, 1400, 300)).astype("f4")
    assert nd.plan(image, nd.Linear(), time=1.0, channel_axis=0, threads=2).height < 1400
    both = nd.diffuse(image, nd.Linear(), time=1.0, channel_axis=0, threads=2)
    for channel, result in zip(image, both, strict=True):
        np.testing.assert_array_equal(nd.diffuse(channel, nd.Linear(), time=1.0), result)
