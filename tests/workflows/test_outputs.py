"""Outputs of a run: snapshots equal runs, residuals are exact, a stop keeps the current result."""

import threading

import numpy as np
import psutil
import pytest

import napari_diffusion as nd
from helpers.problems import problem_of
from napari_diffusion.workflows.outputs import OutputRequest, plan_run, run_with_outputs

MODELS = {
    "linear": nd.Linear(),
    "classic": nd.PeronaMalik(kappa=20.0),
    "regularised": nd.PeronaMalik(kappa=20.0, sigma=0.8),
}


def picture(shape=(5, 12, 14), dtype=np.float32):
    noise = np.random.default_rng(3).normal(size=shape)
    return (90 * (np.indices(shape).sum(0) > 11) + 5 * noise + 40).astype(dtype)


def run(image, model, request, *, progress=None, cancel=None, stop=None, **options):
    """Run a model with the requested outputs; ``options`` are those of `nd.diffuse`."""
    problem, execution = problem_of(image, model, **options)
    return run_with_outputs(
        problem, request, execution, progress=progress, cancel=cancel, stop=stop
    )


class AfterStep:
    """A stop event that is set after the given number of steps."""

    def __init__(self, steps):
        self.left = steps

    def is_set(self):
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("scheme", ["explicit", "fsi", "rkl2"])
@pytest.mark.parametrize("count", [0, 2])
def test_run_to_any_time_is_complete(count, scheme):
    """The last state is not missed where sums of steps round to another number than the time."""
    image, request = picture((3, 4)), OutputRequest(snapshots=count)
    for time in [41.7, 0.1, 0.7, 7.3, *np.random.default_rng(4).uniform(0.01, 50, 40)]:
        outputs = run(image, MODELS["regularised"], request, time=float(time), scheme=scheme)
        assert outputs.frame is None
        assert outputs.times == request.times(time)
        last = nd.diffuse(image, MODELS["regularised"], time=float(time), scheme=scheme)
        np.testing.assert_array_equal(outputs.image[-1] if count else outputs.image, last)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [2, 5])
def test_snapshot_equals_a_run_to_its_time(name, count):
    image, model = picture(), MODELS[name]
    request, spacing = OutputRequest(snapshots=count), (2.0, 1.0, 1.0)
    outputs = run(image, model, request, time=6.0, spacing=spacing)
    assert outputs.image.shape == (count, *image.shape)
    assert outputs.times[-1] == 6.0
    assert outputs.times[0] == pytest.approx(6.0 / 64)
    ratios = np.divide(outputs.times[1:], outputs.times[:-1])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    for time, snapshot in zip(outputs.times, outputs.image, strict=True):
        expected = nd.diffuse(image, model, time=time, spacing=spacing)
        np.testing.assert_array_equal(snapshot, expected, strict=True)


@pytest.mark.parametrize(
    ("dtype", "preserve"),
    [(np.uint8, False), (np.uint8, True), (np.float32, False), (np.float64, False)],
)
def test_residual_is_image_minus_result(dtype, preserve):
    image, keywords = picture(dtype=dtype), {"time": 2.0, "preserve_dtype": preserve}
    outputs = run(image, nd.Linear(), OutputRequest(residual=True), **keywords)
    residual = outputs.residual
    assert residual.dtype == (np.float64 if dtype is np.float64 else np.float32)
    np.testing.assert_array_equal(residual, image.astype(residual.dtype) - outputs.image)
    expected = nd.diffuse(image, nd.Linear(), **keywords)
    np.testing.assert_array_equal(outputs.image, expected, strict=True)


def test_residual_belongs_to_the_last_snapshot():
    image, request = picture(), OutputRequest(snapshots=3, residual=True)
    outputs = run(image, nd.Linear(), request, time=2.0)
    np.testing.assert_array_equal(outputs.residual, image - outputs.image[-1])


def test_stop_completes_the_current_step():
    image, model = picture(), MODELS["classic"]
    states = [(state.time, state.image) for state in nd.evolve(image, model, time=6.0)]
    assert len(states) > 4
    request = OutputRequest(residual=True)
    outputs = run(image, model, request, time=6.0, stop=AfterStep(3))
    assert outputs.times == (states[2][0],)
    assert outputs.frame == 0
    np.testing.assert_array_equal(outputs.image, states[2][1], strict=True)
    np.testing.assert_array_equal(outputs.residual, image - states[2][1])


def test_stop_in_a_series_leaves_later_frames_unfiltered():
    series = np.stack([picture((12, 14)) + offset for offset in (0, 7, 9)])
    model = MODELS["classic"]
    stop = AfterStep(nd.plan(series[0], model, time=4.0).steps + 2)
    outputs = run(series, model, OutputRequest(), time=4.0, axes=(1, 2), stop=stop)
    assert outputs.frame == 1
    np.testing.assert_array_equal(outputs.image[0], nd.diffuse(series[0], model, time=4.0))
    np.testing.assert_array_equal(outputs.image[2], series[2])
    assert np.abs(outputs.image[1] - series[1]).max() > 0


@pytest.mark.parametrize("steps", [1, 3])
def test_stop_keeps_complete_snapshots(steps):
    """The linear model takes one step per snapshot, and a stop completes the current step."""
    image, request = picture(), OutputRequest(snapshots=4)
    outputs = run(image, nd.Linear(), request, time=4.0, stop=AfterStep(steps))
    assert outputs.image.shape == (steps, *image.shape)
    assert len(outputs.times) == steps
    expected = nd.diffuse(image, nd.Linear(), time=outputs.times[-1])
    np.testing.assert_array_equal(outputs.image[-1], expected)


def test_stop_before_the_first_snapshot_returns_the_current_image():
    image, model = picture(), nd.PeronaMalik(kappa=20.0)
    request = OutputRequest(snapshots=2)
    outputs = run(image, model, request, time=640.0, stop=AfterStep(2))
    assert outputs.image.shape == image.shape
    assert 0 < outputs.times[0] < 10


def test_cancelled_run_has_no_result():
    cancel, request = threading.Event(), OutputRequest(snapshots=3)
    cancel.set()
    with pytest.raises(nd.Cancelled):
        run(picture(), nd.Linear(), request, time=4.0, cancel=cancel)


def test_progress_increases_to_one():
    shares = []
    keywords = {"time": 4.0, "progress": shares.append, "threads": 1}
    run(picture(), MODELS["classic"], OutputRequest(snapshots=4), **keywords)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_predicted_memory_includes_all_outputs():
    image, model = np.zeros((20, 30, 40), np.uint8), nd.Linear()
    problem, _ = problem_of(image, model, time=2.0)
    alone = plan_run(problem, OutputRequest()).memory
    assert alone == nd.plan(image, model, time=2.0).memory
    snapshots = OutputRequest(snapshots=7)
    assert plan_run(problem, snapshots).memory == alone + 7 * 4 * image.size
    residual = OutputRequest(residual=True)
    assert plan_run(problem, residual).memory == alone + 4 * image.size
    assert plan_run(problem, snapshots).describe().startswith("7 snapshots")
    with pytest.raises(MemoryError, match="MiB of memory, and at most 1 MiB are allowed"):
        plan_run(problem, OutputRequest(), limit=1 << 20)
    large = np.broadcast_to(np.uint8(0), (100, 100, 100))
    request = OutputRequest(snapshots=psutil.virtual_memory().total // 10**6)
    with pytest.raises(MemoryError, match=r"GiB of memory, and only .* are free"):
        plan_run(problem_of(large, model, time=2.0)[0], request)


@pytest.mark.parametrize(("count", "time"), [(1, 2.0), (3, 0.0)])
def test_single_snapshot_and_snapshots_of_no_time_are_refused(count, time):
    with pytest.raises(ValueError, match="Snapshots need a diffusion time > 0 and at least 2"):
        run(picture(), nd.Linear(), OutputRequest(snapshots=count), time=time)


def test_lazy_image_gives_the_same_outputs():
    import dask.array

    series = np.stack([picture((12, 14)), picture((12, 14)) + 7])
    lazy = dask.array.from_array(series, chunks=(1, 12, 14))
    request, keywords = OutputRequest(snapshots=2, residual=True), {"time": 2.0, "axes": (1, 2)}
    outputs = run(lazy, nd.Linear(), request, **keywords)
    expected = run(series, nd.Linear(), request, **keywords)
    np.testing.assert_array_equal(outputs.image, expected.image, strict=True)
    np.testing.assert_array_equal(outputs.residual, expected.residual, strict=True)


@pytest.mark.parametrize("name", MODELS)
def test_conductance_belongs_to_the_result(name):
    model, spacing = MODELS[name], (2.0, 1.0, 1.0)
    request = OutputRequest(snapshots=2, conductance=True)
    outputs = run(picture(), model, request, time=2.0, spacing=spacing)
    expected = nd.conductance(outputs.image[-1], model, spacing=spacing)
    np.testing.assert_array_equal(outputs.conductance, expected, strict=True)


def test_coherence_and_directions_belong_to_the_result():
    model, spacing = nd.EdgeEnhancing(kappa=5.0), (2.0, 1.0, 1.0)
    request = OutputRequest(snapshots=2, coherence=True, directions=True)
    outputs = run(picture(), model, request, time=2.0, spacing=spacing)
    result = outputs.image[-1]
    coherence = nd.coherence(result, model, spacing=spacing)
    np.testing.assert_array_equal(outputs.coherence, coherence, strict=True)
    arrows = nd.directions(result, model, spacing=spacing).arrows()
    np.testing.assert_array_equal(outputs.directions.arrows(), arrows, strict=True)
    assert len(outputs.directions.positions) > 0


def test_conductance_of_colours_is_a_single_map():
    image = np.stack([picture((12, 14)), picture((12, 14)) * 2, picture((12, 14))], -1)
    request = OutputRequest(conductance=True)
    outputs = run(image, MODELS["classic"], request, time=2.0, channel_axis=-1)
    assert outputs.conductance.shape == (12, 14)
    assert 0 <= outputs.conductance.min() < 0.5 < outputs.conductance.max() <= 1
