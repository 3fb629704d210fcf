"""The expected duration of a run: in proportion to its work, and measured by earlier runs."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.problems import problem_of
from napari_diffusion.engine.execution import Execution
from napari_diffusion.workflows.outputs import OutputRequest, plan_run
from napari_diffusion.workflows.pace import MIN_MEASURED_S, Paces, Work, in_brief, work_of

CLASSIC = nd.PeronaMalik(kappa=5.0)
REGULARISED = nd.PeronaMalik(kappa=5.0, sigma=1.0)


def work(shape=(8, 9, 10), model=CLASSIC, *, time=2.0, snapshots=0, threads=1, **keywords):
    """Return the work of a run on zeros."""
    problem, _ = problem_of(np.zeros(shape, np.float32), model, time=time, **keywords)
    execution = Execution(threads=threads)
    return work_of(problem, plan_run(problem, OutputRequest(snapshots=snapshots), execution))


def test_work_is_voxels_times_stages():
    short, long = work(time=1.0), work(time=2.0, shape=(16, 9, 10))
    steps = [nd.plan(np.zeros((8, 9, 10)), CLASSIC, time=t).steps for t in (1.0, 2.0)]
    assert short.amount == 720 * steps[0]
    assert long.amount == 1440 * steps[1]
    assert short.kind == long.kind


def test_frames_and_channels_add_to_the_work():
    alone = work((8, 9, 10))
    assert work((5, 8, 9, 10), axes=(1, 2, 3)).amount == 5 * alone.amount
    assert work((8, 9, 10, 3), channel_axis=-1).amount == 3 * alone.amount


def test_six_snapshots_take_about_twice_the_time_of_the_last():
    assert 1.5 < work(snapshots=6).amount / work().amount < 2.5


def test_prediction_is_that_of_the_last_run_of_the_same_kind():
    paces, small, large = Paces(), work(), work((80, 9, 10))
    paces.record(small, 3.0)
    assert paces.seconds(large) == pytest.approx(30.0)
    paces.record(large, 60.0)
    assert paces.seconds(small) == pytest.approx(6.0)


@pytest.mark.parametrize(
    "other", [work(model=REGULARISED), work(threads=2), work(model=nd.Linear())]
)
def test_another_kind_of_run_is_not_predicted_by_it(other):
    paces, cautious = Paces(), Paces().seconds(other)
    assert cautious is not None
    paces.record(work(), 1e6)
    assert paces.seconds(other) == cautious


def test_very_short_runs_are_not_measured():
    paces, one = Paces(), work()
    before = paces.seconds(one)
    paces.record(one, 0.9 * MIN_MEASURED_S)
    assert paces.seconds(one) == before


def test_first_prediction_is_cautious():
    """Each table entry is above the pace on the page of benchmarks, as processor time."""
    shape = (256, 256, 256)
    published = {nd.Linear(): 2 * 17.5e-9, REGULARISED: 2 * 1.7e-9, CLASSIC: 2 * 0.5e-9}
    for model, pace in published.items():
        one = work(shape, model)
        assert 2 * pace <= one.cautious_pace <= 30 * pace


def test_nothing_is_predicted_without_compiled_kernels():
    problem, _ = problem_of(np.zeros((8, 9), np.float32), CLASSIC, time=2.0)
    planned = plan_run(problem, OutputRequest(), Execution(backend="reference"))
    paces, one = Paces(), work_of(problem, planned)
    paces.record(one, 5.0)
    assert paces.seconds(one) is None


def test_nothing_is_predicted_for_nothing():
    assert Paces().seconds(Work(None, 10.0, None)) is None


@pytest.mark.parametrize(
    ("seconds", "memory", "text"),
    [
        (0.02, 20_800_000, "about 1 s · 21 MB"),
        (8.7, 999, "about 9 s · 1 kB"),
        (37.0, 1_540_000_000, "about 40 s · 1.5 GB"),
        (100.0, 0, "about 2 min · 0 B"),
        (9000.0, 2.5e13, "about 2.5 h · 25 TB"),
        (None, 15_000_000, "15 MB"),
    ],
)
def test_words_have_at_most_two_digits(seconds, memory, text):
    assert in_brief(seconds, memory) == text
