"""A run on a region equals the region of the run on the whole image, in every output."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.problems import problem_of as make
from napari_diffusion.workflows.outputs import OutputRequest, run_with_outputs
from napari_diffusion.workflows.region_run import RegionRun

#: Runs whose halo is narrower than the images of these tests.
MODELS = [
    nd.Linear(),
    nd.PeronaMalik(kappa=20.0),
    nd.PeronaMalik(kappa=20.0, sigma=1.0),
    nd.MeanCurvature(),
    nd.CoherenceEnhancing(sigma=0.5, rho=1.0),
    nd.Rician(),
]
REGION = (slice(4, 9), slice(20, 33), slice(0, 12))


def noisy(shape=(12, 60, 64), seed=0):
    values = np.random.default_rng(seed).normal(100.0, 10.0, shape).astype(np.float32)
    values[..., 25:] += 60.0
    return values


def problem_of(image, model, time=0.5, **options):
    return make(image, model, time=time, **options)[0]


def both(problem, region, request=None):
    request = request or OutputRequest()
    run = RegionRun.of(problem, region, request)
    return run, run.run(request), run_with_outputs(problem, request)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_region_has_the_bits_of_the_whole_run(model):
    problem = problem_of(noisy(), model)
    run, part, whole = both(problem, REGION)
    assert run.problem.shape[2] < problem.shape[2]  # some of the image is left out
    np.testing.assert_array_equal(part.image, whole.image[REGION], strict=True)
    assert part.times == whole.times


@pytest.mark.parametrize("model", MODELS[1:3], ids=["classic", "regularised"])
def test_labels_are_walls_in_the_region_too(model):
    labels = np.ones((12, 60, 64), np.uint8)
    labels[:, 26:] = 2
    labels[:3] = 0
    problem = problem_of(noisy(), model, labels=labels)
    _, part, whole = both(problem, REGION)
    np.testing.assert_array_equal(part.image, whole.image[REGION], strict=True)


def test_walls_far_from_the_region_change_no_bit():
    labels = np.ones((12, 60, 64), np.uint8)
    labels[:, :, 60:] = 2
    problem = problem_of(noisy(), nd.PeronaMalik(kappa=20.0, sigma=1.0), labels=labels)
    _, part, whole = both(problem, REGION)
    np.testing.assert_array_equal(part.image, whole.image[REGION], strict=True)


def test_nan_inside_the_region_stays():
    image = noisy()
    image[6, 25, 3] = np.nan
    problem = problem_of(image, nd.PeronaMalik(kappa=20.0), nan="mask")
    _, part, whole = both(problem, REGION)
    assert np.isnan(part.image).sum() == 1
    np.testing.assert_array_equal(part.image, whole.image[REGION], strict=True)


def test_position_of_a_nan_is_that_in_the_image():
    image = noisy()
    image[6, 25, 3] = np.inf
    problem = problem_of(image, nd.PeronaMalik(kappa=20.0))
    with pytest.raises(ValueError, match=r"\[6, 25, 3\]"):
        RegionRun.of(problem, REGION, OutputRequest()).run(OutputRequest())


def test_outputs_are_those_of_the_region():
    request = OutputRequest(residual=True, conductance=True, coherence=True)
    problem = problem_of(noisy(), nd.EdgeEnhancing(), spacing=(2.0, 0.5, 0.5), time=0.2)
    _, part, whole = both(problem, REGION, request)
    for name in ("image", "residual", "conductance", "coherence"):
        own, expected = getattr(part, name), getattr(whole, name)[REGION]
        np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-6, err_msg=name)
        assert own.base is None  # the surroundings are not kept


def test_directions_lie_in_the_region():
    request = OutputRequest(directions=True)
    region = (slice(4, 9), slice(20, 33), slice(20, 32))  # an edge crosses it
    run = RegionRun.of(problem_of(noisy(), nd.CoherenceEnhancing()), region, request)
    directions = run.run(request).directions
    assert directions.shape == (5, 13, 12)
    assert len(directions.positions)
    assert (directions.positions >= 0).all()
    assert (directions.positions < directions.shape).all()
    arrows = directions.arrows()
    assert (arrows.sum(1) <= np.array(directions.shape) - 1 + 1e-9).all()


def test_snapshots_of_a_region():
    request = OutputRequest(snapshots=3)
    problem = problem_of(noisy(), nd.PeronaMalik(kappa=20.0))
    _, part, whole = both(problem, REGION, request)
    np.testing.assert_array_equal(part.image, whole.image[(slice(None), *REGION)], strict=True)


def test_frames_and_colours_outside_the_region_are_not_read():
    image = noisy((3, 30, 34, 3))
    image[0] = np.nan  # would be an error
    problem = problem_of(image, nd.PeronaMalik(kappa=20.0), axes=(1, 2), channel_axis=-1)
    region = (slice(1, 3), slice(10, 20), slice(4, 30), slice(0, 3))
    run = RegionRun.of(problem, region, OutputRequest())
    whole = nd.diffuse(
        image[1:], nd.PeronaMalik(kappa=20.0), time=0.5, axes=(1, 2), channel_axis=-1
    )
    result = run.run(OutputRequest()).image
    np.testing.assert_array_equal(result, whole[:, 10:20, 4:30], strict=True)
