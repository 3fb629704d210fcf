"""What a run gives beside its result: snapshots that are runs, the exact difference, and what there is when it is stopped."""

import threading

import numpy as np
import psutil
import pytest

import napari_diffusion as nd
from napari_diffusion.workflows.outputs import OutputRequest, describe_run, run_with_outputs

MODELS = {
    "linear": nd.Linear(),
    "classic": nd.PeronaMalik(kappa=20.0),
    "regularised": nd.PeronaMalik(kappa=20.0, sigma=0.8),
}


def picture(shape=(5, 12, 14), dtype=np.float32):
    values = (
        90 * (np.indices(shape).sum(0) > 11) + 5 * np.random.default_rng(3).normal(size=shape) + 40
    )
    return values.astype(dtype)


class AfterStep:
    """A stop event that is set once the given number of steps is done."""

    def __init__(self, steps):
        self.left = steps

    def is_set(self):
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [2, 5])
def test_a_snapshot_is_the_run_to_its_time(name, count):
    image, model = picture(), MODELS[name]
    found = run_with_outputs(
        image, model, OutputRequest(snapshots=count), time=6.0, spacing=(2.0, 1.0, 1.0)
    )
    assert found.image.shape == (count, *image.shape)
    assert found.times[-1] == 6.0
    assert found.times[0] == pytest.approx(6.0 / 64)
    ratios = np.divide(found.times[1:], found.times[:-1])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    for time, state in zip(found.times, found.image, strict=True):
        np.testing.assert_array_equal(
            state, nd.diffuse(image, model, time=time, spacing=(2.0, 1.0, 1.0)), strict=True
        )


@pytest.mark.parametrize(
    ("dtype", "preserve"),
    [(np.uint8, False), (np.uint8, True), (np.float32, False), (np.float64, False)],
)
def test_image_is_result_and_what_was_removed(dtype, preserve):
    image = picture(dtype=dtype)
    found = run_with_outputs(
        image, nd.Linear(), OutputRequest(residual=True), time=2.0, preserve_dtype=preserve
    )
    assert found.residual.dtype == (np.float64 if dtype is np.float64 else np.float32)
    np.testing.assert_array_equal(found.residual, image.astype(found.residual.dtype) - found.image)
    np.testing.assert_array_equal(
        found.image, nd.diffuse(image, nd.Linear(), time=2.0, preserve_dtype=preserve), strict=True
    )


def test_what_was_removed_is_that_of_the_last_snapshot():
    image = picture()
    found = run_with_outputs(
        image, nd.Linear(), OutputRequest(snapshots=3, residual=True), time=2.0
    )
    np.testing.assert_array_equal(found.residual, image - found.image[-1])


def test_a_stop_keeps_the_step_under_way():
    image, model = picture(), MODELS["classic"]
    states = [(state.time, state.image) for state in nd.evolve(image, model, time=6.0)]
    assert len(states) > 4
    found = run_with_outputs(
        image, model, OutputRequest(residual=True), time=6.0, stop=AfterStep(3)
    )
    assert found.times == (states[2][0],)
    assert found.frame == 0
    np.testing.assert_array_equal(found.image, states[2][1], strict=True)
    np.testing.assert_array_equal(found.residual, image - states[2][1])


def test_a_stop_in_a_series_leaves_the_rest_as_it_was():
    series = np.stack([picture((12, 14)), picture((12, 14)) + 7, picture((12, 14)) + 9])
    steps = nd.plan(series[0], MODELS["classic"], time=4.0).steps
    found = run_with_outputs(
        series, MODELS["classic"], OutputRequest(), time=4.0, axes=(1, 2), stop=AfterStep(steps + 2)
    )
    assert found.frame == 1
    np.testing.assert_array_equal(
        found.image[0], nd.diffuse(series[0], MODELS["classic"], time=4.0)
    )
    np.testing.assert_array_equal(found.image[2], series[2])
    assert np.abs(found.image[1] - series[1]).max() > 0


@pytest.mark.parametrize("steps", [1, 3])
def test_a_stop_keeps_the_snapshots_so_far(steps):
    """The linear model takes one step for each of them, and a stop lets that step end."""
    image = picture()
    found = run_with_outputs(
        image, nd.Linear(), OutputRequest(snapshots=4), time=4.0, stop=AfterStep(steps)
    )
    assert found.image.shape == (steps, *image.shape)
    assert len(found.times) == steps
    np.testing.assert_array_equal(
        found.image[-1], nd.diffuse(image, nd.Linear(), time=found.times[-1])
    )


def test_a_stop_before_the_first_snapshot_keeps_what_there_is():
    image, model = picture(), nd.PeronaMalik(kappa=20.0)
    found = run_with_outputs(
        image, model, OutputRequest(snapshots=2), time=640.0, stop=AfterStep(2)
    )
    assert found.image.shape == image.shape
    assert 0 < found.times[0] < 10


def test_cancel_ends_it_without_a_result():
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(nd.Cancelled):
        run_with_outputs(
            picture(), nd.Linear(), OutputRequest(snapshots=3), time=4.0, cancel=cancel
        )


def test_progress_rises_to_one():
    shares = []
    run_with_outputs(
        picture(),
        MODELS["classic"],
        OutputRequest(snapshots=4),
        time=4.0,
        progress=shares.append,
        threads=1,
    )
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_memory_counts_every_output():
    image = np.zeros((20, 30, 40), np.uint8)
    alone = OutputRequest().memory(image, nd.Linear(), time=2.0)
    assert alone == nd.plan(image, nd.Linear(), time=2.0).memory
    assert (
        OutputRequest(snapshots=7).memory(image, nd.Linear(), time=2.0)
        == alone + 7 * 4 * image.size
    )
    assert (
        OutputRequest(residual=True).memory(image, nd.Linear(), time=2.0) == alone + 4 * image.size
    )
    told = describe_run(image, nd.Linear(), OutputRequest(snapshots=7), time=2.0)
    assert told.startswith("7 snapshots")
    with pytest.raises(MemoryError, match="MiB of memory, and the preferences allow 1 MiB"):
        describe_run(image, nd.Linear(), OutputRequest(), time=2.0, limit=1 << 20)
    with pytest.raises(MemoryError, match=r"GiB of memory, and only .* are free"):
        describe_run(
            np.broadcast_to(np.uint8(0), (100, 100, 100)),
            nd.Linear(),
            OutputRequest(snapshots=psutil.virtual_memory().total // 10**6),
            time=2.0,
        )


@pytest.mark.parametrize(("count", "time"), [(1, 2.0), (3, 0.0)])
def test_snapshots_of_nothing_are_refused(count, time):
    with pytest.raises(ValueError, match="Snapshots need a diffusion time > 0 and at least 2"):
        run_with_outputs(picture(), nd.Linear(), OutputRequest(snapshots=count), time=time)


def test_a_lazy_image_is_read_in_pieces():
    import dask.array

    series = np.stack([picture((12, 14)), picture((12, 14)) + 7])
    lazy = dask.array.from_array(series, chunks=(1, 12, 14))
    found = run_with_outputs(
        lazy, nd.Linear(), OutputRequest(snapshots=2, residual=True), time=2.0, axes=(1, 2)
    )
    expected = run_with_outputs(
        series, nd.Linear(), OutputRequest(snapshots=2, residual=True), time=2.0, axes=(1, 2)
    )
    np.testing.assert_array_equal(found.image, expected.image, strict=True)
    np.testing.assert_array_equal(found.residual, expected.residual, strict=True)


@pytest.mark.parametrize("name", MODELS)
def test_conductance_is_that_of_the_result(name):
    image, model = picture(), MODELS[name]
    found = run_with_outputs(
        image,
        model,
        OutputRequest(snapshots=2, conductance=True),
        time=2.0,
        spacing=(2.0, 1.0, 1.0),
    )
    np.testing.assert_array_equal(
        found.conductance,
        nd.conductance(found.image[-1], model, spacing=(2.0, 1.0, 1.0)),
        strict=True,
    )


def test_coherence_and_directions_are_those_of_the_result():
    image, model, where = picture(), nd.EdgeEnhancing(kappa=5.0), {"spacing": (2.0, 1.0, 1.0)}
    found = run_with_outputs(
        image, model, OutputRequest(snapshots=2, coherence=True, directions=True), time=2.0, **where
    )
    np.testing.assert_array_equal(
        found.coherence, nd.coherence(found.image[-1], model, **where), strict=True
    )
    np.testing.assert_array_equal(
        found.directions.arrows(),
        nd.directions(found.image[-1], model, **where).arrows(),
        strict=True,
    )
    assert len(found.directions.positions) > 0


def test_conductance_of_colours_is_one_map():
    image = np.stack([picture((12, 14)), picture((12, 14)) * 2, picture((12, 14))], -1)
    found = run_with_outputs(
        image, MODELS["classic"], OutputRequest(conductance=True), time=2.0, channel_axis=-1
    )
    assert found.conductance.shape == (12, 14)
    assert 0 <= found.conductance.min() < 0.5 < found.conductance.max() <= 1
