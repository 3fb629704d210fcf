"""An image with an axis of length 0: empty in, empty out, by every model and measurement."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.problems import problem_of
from napari_diffusion import models, schemes
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.workflows.outputs import OutputRequest, run_with_outputs

SHAPES = [(0,), (11, 6, 0), (0, 6, 5), (4, 0, 5), (3, 0), (0, 0, 0), (1, 0, 1), (2, 3, 0, 4)]
DTYPES = ["u1", "i2", "f4", "f8"]
#: Every pair of a model and a shape. Each shape, and each model, meets every dtype.
CASES = [
    pytest.param(kind, shape, DTYPES[(row + column) % 4], id=f"{kind.name}-{shape}")
    for row, kind in enumerate(models.BUILTIN)
    for column, shape in enumerate(SHAPES)
]
every_model = pytest.mark.parametrize("kind", models.BUILTIN, ids=lambda kind: kind.name)
SLAB = (slice(0, 5), slice(None), slice(None))


def domains(shape):
    """Keywords of `diffuse` that choose axes, channels, regions and types."""
    yield {}
    yield {"labels": np.zeros(shape, int)}
    yield {"mask": np.ones(shape, bool)}
    yield {"nan": "mask"}
    yield {"preserve_dtype": True}
    yield {"axes": (len(shape) - 1,)}
    if len(shape) > 2:
        yield {"axes": (0, len(shape) - 1)}  # small frames, which are stacked
    if len(shape) > 1:
        yield {"channel_axis": 0}
        yield {"channel_axis": -1, "labels": np.zeros(shape[:-1], int)}


def runs(kind, image, shape):
    """Every scheme that accepts the model, and strict runs."""
    for domain in domains(shape):
        if kind.keeps_extrema:
            yield domain | {"strict": True}
        planned = nd.plan(image, kind(), time=1.0, **domain)
        for scheme in schemes.names():
            options = domain | {"scheme": scheme}
            refuses = scheme != "auto" and schemes.REGISTRY.get(scheme)().refusal(
                planned.operator, planned.grid, False
            )
            if not refuses:
                yield options


@pytest.mark.parametrize(("kind", "shape", "dtype"), CASES)
def test_run_of_no_voxels_returns_no_voxels(kind, shape, dtype):
    image = np.zeros(shape, dtype)
    for options in runs(kind, image, shape):
        for backend in (None, "reference"):
            (state,) = nd.evolve(image, kind(), time=1.0, backend=backend, **options)
            assert (state.fraction, state.time, state.image.shape) == (1.0, 1.0, shape)
            result = nd.diffuse(image, kind(), time=1.0, backend=backend, **options)
            assert result.shape == shape
            assert nd.plan(image, kind(), time=1.0, backend=backend, **options).describe()


@every_model
def test_measurements_and_previews_of_no_voxels_are_empty(kind):
    image, model = np.zeros((11, 6, 0), np.float32), kind()
    assert nd.conductance(image, model).shape == image.shape
    assert nd.gradients(image).above(1.0) == 0
    assert nd.integration_error(image, model, time=1.0) == 0
    for draft in (False, True):
        part = nd.preview(image, model, time=1.0, region=SLAB, draft=draft)
        assert part.shape == (5, 6, 0)
        nothing = nd.preview(
            np.zeros((5, 6, 7), np.float32), model, time=1.0, region=(slice(2, 2), *SLAB[1:])
        )
        assert nothing.shape == (0, 6, 7)
    if nd.plan(image, model, time=1.0).operator.has_tensor:
        assert nd.coherence(image, model).shape == image.shape
        assert not len(nd.directions(image, model).positions)


@every_model
@pytest.mark.parametrize("snapshots", [0, 3])
def test_outputs_and_blocks_of_no_voxels_are_empty(kind, snapshots):
    image = np.zeros((11, 6, 0), np.float32)
    problem, execution = problem_of(image, kind(), time=1.0)
    request = OutputRequest(snapshots=snapshots, residual=True, conductance=True)
    outputs = run_with_outputs(problem, request, execution)
    assert outputs.frame is None
    assert outputs.image.shape == ((snapshots,) if snapshots else ()) + image.shape
    assert outputs.residual.shape == outputs.conductance.shape == image.shape
    assert run_in_blocks(problem, [1], (4, 4, 4)).shape == image.shape
