"""Promises of the engine: cancel, progress, concurrent runs, states, lazy reading and memory."""

import re
import threading

import numpy as np
import psutil
import pytest

import napari_diffusion as nd
from helpers.lazy_arrays import RecordingArray
from helpers.processes import python
from napari_diffusion import models
from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.engine import planner, slab_pool
from napari_diffusion.schemes import Explicit

MODELS = {
    "linear": (nd.Linear(), {"time": 2.0, "scheme": "exact"}),
    "linear in steps": (nd.Linear(), {"time": 1.0, "scheme": "explicit"}),
    "classic": (nd.PeronaMalik(kappa=10.0), {"time": 1.0, "scheme": "explicit"}),
    "regularised": (nd.PeronaMalik(kappa=10.0, sigma=1.0), {"time": 0.5, "scheme": "explicit"}),
}
MASK = np.arange(40)[:, None, None] * np.ones((40, 64, 64)) > 0
WALLS = nd.Linear(), {"time": 2.0, "scheme": "exact", "mask": MASK}


def picture(shape=(40, 64, 64), seed=6):
    return np.random.default_rng(seed).normal(100, 20, shape).astype("f4")


def pool_threads():
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("napari-diffusion")]


@pytest.fixture(autouse=True)
def _small_images_are_cut_too(monkeypatch):
    monkeypatch.setattr(slab_pool, "MIN_SLAB_VOXELS", 1 << 13)
    monkeypatch.setattr(planner, "CHUNK_PLANES", 2)
    monkeypatch.setattr(planner, "CHUNK_VOXELS", 1 << 13)
    monkeypatch.setattr(NumbaBackend, "max_chunk_voxels", 1 << 13)


@pytest.fixture(autouse=True)
def _no_threads_are_left():
    yield
    assert not pool_threads()


# --- cancel and progress ----------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", [*MODELS, "walls"])
def test_cancel_stops_at_the_next_chunk(case, threads, monkeypatch):
    """After the event is set, no chunk is started; chunks in progress are finished."""
    model, options = WALLS if case == "walls" else MODELS[case]
    cancel, begun, late, cancelling = threading.Event(), [], [], False
    original = slab_pool.SlabPool.run

    def run(self, work, planes, height, chunk=None, quiet=False, stages=1):
        caller = threading.current_thread()

        def counted(lo, hi):
            begun.append(lo)
            late.extend([lo] * cancel.is_set())
            if cancelling and not quiet and threading.current_thread() is not caller:
                # Otherwise all chunks of this small image might be done before the first report,
                # which comes from the calling thread.
                cancel.wait(20)
            work(lo, hi)

        original(self, counted, planes, height, chunk, quiet, stages)

    monkeypatch.setattr(slab_pool.SlabPool, "run", run)
    image = picture()
    nd.diffuse(image, model, threads=threads, **options)
    total = len(begun)
    begun.clear()
    cancelling = True
    with pytest.raises(nd.Cancelled):
        nd.diffuse(
            image,
            model,
            threads=threads,
            progress=lambda share: share > 0 and cancel.set(),
            cancel=cancel,
            **options,
        )
    assert not pool_threads()
    # Each other thread may check the event just before it is set, and begin its chunk just after.
    assert len(late) <= threads - 1
    assert len(begun) < total


def test_cancel_before_the_start_raises():
    cancel = threading.Event()
    cancel.set()
    for model, options in MODELS.values():
        with pytest.raises(nd.Cancelled):
            nd.diffuse(picture(), model, cancel=cancel, **options)
    assert not isinstance(nd.Cancelled(), RuntimeError)  # generators raise RuntimeError themselves


def test_cancel_takes_effect_within_a_series(monkeypatch):
    """The event is seen in the third of four frames, which are filtered one by one."""
    monkeypatch.setattr(planner, "STACK_VOXELS", 1)
    cancel, seen = threading.Event(), []

    def progress(share):
        seen.append(share)
        if share > 0.6:
            cancel.set()

    options = {"time": 1.0, "axes": (1, 2), "progress": progress, "cancel": cancel}
    with pytest.raises(nd.Cancelled):
        nd.diffuse(picture((4, 12, 10)), nd.Linear(), **options)
    assert 0.6 < max(seen) <= 0.75


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", [*MODELS, "walls", "transform", "frames", "time 0", "empty"])
def test_progress_rises_to_one(case, threads):
    model, options = WALLS if case == "walls" else MODELS.get(case, (nd.Linear(), {"time": 1.0}))
    image, caller, shares = picture(), threading.get_ident(), []
    if case == "transform":
        options = {"time": 1e4}
    elif case == "frames":
        model, options = nd.PeronaMalik(), {"time": 1.0, "axes": (1, 2), "scheme": "explicit"}
    elif case == "time 0":
        options = {"time": 0}
    elif case == "empty":
        image = image[:0]

    def progress(share):
        assert threading.get_ident() == caller
        shares.append(share)

    nd.diffuse(image, model, threads=threads, progress=progress, **options)
    assert shares[-1] == 1.0
    assert min(shares) >= 0
    # Shares are sums of reciprocals, with a rounding below 1e-12.
    assert (np.diff(shares) >= -1e-12).all()
    if case in ("linear in steps", "classic", "regularised", "frames"):
        assert len(set(shares)) > 5


def test_no_more_threads_run_than_there_are_processors(monkeypatch):
    monkeypatch.setattr(slab_pool, "bound_processors", lambda: 2)
    running = []
    model, options = MODELS["classic"]
    nd.diffuse(
        picture(), model, **options, threads=7, progress=lambda _: running.append(pool_threads())
    )
    assert max(map(len, running)) == 1  # beside the calling thread


def test_error_in_progress_ends_the_pool():
    def progress(share):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        nd.diffuse(picture(), nd.PeronaMalik(), time=1.0, threads=3, progress=progress)


def test_error_in_a_model_ends_the_pool():
    class Broken(nd.Linear):
        name = "broken"

        def operator(self, f):
            if f.u.shape[1] > 3:  # the dry run of the plan has three planes
                raise ZeroDivisionError("model")
            return super().operator(f)

    with pytest.raises(ZeroDivisionError, match="model"):
        nd.diffuse(picture(), Broken(), time=1.0, threads=3, scheme="explicit")


# --- concurrent runs --------------------------------------------------------------------------

CONCURRENT_RUNS = """
    import json, threading, sys
    import numpy as np
    import napari_diffusion as nd

    image = np.random.default_rng(6).normal(100, 20, (40, 64, 64)).astype("f4")
    cases = [
        (nd.Linear(), 2.0, "exact"),
        (nd.PeronaMalik(kappa=10.0), 1.0, "explicit"),
        (nd.PeronaMalik(kappa=10.0, sigma=1.0), 0.5, "explicit"),
    ]
    cases = [cases[int(k)] for k in sys.argv[1]]
    run = lambda case: nd.diffuse(image, case[0], time=case[1], scheme=case[2], threads=2)

    def work(k, results):
        results[k] = run(cases[k])

    def concurrent_results():
        results = [None] * len(cases)
        threads = [threading.Thread(target=work, args=(k, results)) for k in range(len(cases))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return results

    first = concurrent_results()  # the first call of every kernel, which compiles it
    serial = [run(case) for case in cases]
    repeated = [concurrent_results() for _ in range(10)]
    equal = lambda results: all(np.array_equal(a, b) for a, b in zip(serial, results))
    print(json.dumps([equal(results) for results in [first, *repeated]]))
"""


@pytest.mark.parametrize("cases", ["01", "22", "0120"])
def test_concurrent_runs_give_the_serial_bits(cases):
    """In a separate process, because numba's parallel layer would abort it."""
    assert python(CONCURRENT_RUNS, cases) == [True] * 11


# --- states -----------------------------------------------------------------------------------


def test_states_have_time_and_share():
    step, count = 0.1, 7
    image, scheme = picture((9, 8, 7)), Explicit(step=step)
    states = list(nd.evolve(image, nd.PeronaMalik(), time=count * step, scheme=scheme))
    numbers = np.arange(1, count + 1)
    np.testing.assert_allclose([state.time for state in states], step * numbers, rtol=1e-12)
    np.testing.assert_allclose([state.fraction for state in states], numbers / count, rtol=1e-12)
    assert {state.frame for state in states} == {0}
    assert states[-1].fraction == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("case", [*MODELS, "frames", "channels", "integers", "masked", "hole"])
def test_images_of_states_are_independent_of_later_steps(case):
    """The image of a state is the result of a run to its time; that of the last is of `diffuse`."""
    model, options = MODELS.get(case, MODELS["classic"])
    image, more = picture((9, 8, 7)), {}
    if case == "frames":
        more = {"axes": (1, 2)}
    elif case == "channels":
        more = {"channel_axis": 2}
    elif case == "integers":
        image, more = image.astype("u2"), {"preserve_dtype": True}
    elif case == "masked":
        image = np.ma.array(image, mask=image > 120)
    elif case == "hole":
        image[4, 4, 4], more = np.nan, {"nan": "mask"}
    rest = {name: value for name, value in options.items() if name not in ("time", "scheme")} | more
    step = 0.1
    scheme = "exact" if options["scheme"] == "exact" else Explicit(step=step)
    time = 4 * step
    states = nd.evolve(image, model, time=time, scheme=scheme, **rest)
    kept = [(state.time, state.frame, state.image, np.array(state.image)) for state in states]
    for _, _, seen, copied in kept:
        np.testing.assert_array_equal(np.asarray(seen), copied)
    whole = nd.diffuse(image, model, time=time, scheme=scheme, **rest)
    np.testing.assert_array_equal(np.asarray(kept[-1][2]), np.asarray(whole))
    assert kept[-1][2].dtype == whole.dtype
    if case == "masked":
        np.testing.assert_array_equal(np.ma.getmaskarray(kept[-1][2]), np.ma.getmaskarray(image))
    for reached, frame, seen, _ in kept:
        alone = nd.diffuse(image, model, time=reached, scheme=scheme, **rest)
        assert seen.shape == image.shape
        if case == "frames":  # earlier frames are finished, later ones are those of the input
            np.testing.assert_array_equal(seen[:frame], whole[:frame])
            np.testing.assert_array_equal(seen[frame + 1 :], image[frame + 1 :])
            # 3 steps of 0.1 are 0.30000000000000004.
            np.testing.assert_allclose(seen[frame], alone[frame], rtol=1e-5)
        else:
            tolerance = 1 if case == "integers" else 0  # a value may be rounded to either side
            seen, alone = np.asarray(seen, "f8"), np.asarray(alone, "f8")
            np.testing.assert_allclose(seen, alone, rtol=1e-5, atol=tolerance)


def test_states_make_no_copy_unless_their_image_is_read(monkeypatch):
    """Neither within a frame nor at its end. A frame of a run to the end is converted once."""
    from napari_diffusion.engine import in_memory
    from napari_diffusion.engine.frame import Frame

    made = []
    for owner, name in ((in_memory, "_assemble"), (in_memory, "_snapshot"), (Frame, "finished")):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, f=original, **k: made.append(f) or f(*a, **k))
    image = picture((5, 9, 8))
    for _ in nd.evolve(image, nd.PeronaMalik(), time=1.0, axes=(1, 2), scheme="explicit"):
        pass
    assert [function.__name__ for function in made] == ["finished"] * 5  # of a frame that has ended
    made.clear()
    nd.diffuse(image[0], nd.PeronaMalik(), time=1.0, scheme="explicit")
    assert len(made) == 1


def test_results_never_share_memory_with_the_input_or_one_another():
    image = picture((9, 8, 7))
    for model, options in [
        *MODELS.values(),
        (nd.Linear(), {"time": 0}),
        (nd.PeronaMalik(), {"time": 0.1}),
    ]:
        for more in ({}, {"axes": (0, 2)}, {"channel_axis": 0}):
            first, second = (nd.diffuse(image, model, **options | more) for _ in range(2))
            assert not np.may_share_memory(first, image)
            assert not np.may_share_memory(first, second)
            first[...] = 0  # the caller may write to it


def test_closing_a_generator_frees_the_pool():
    states = nd.evolve(picture(), nd.PeronaMalik(), time=1.0, threads=3, scheme="explicit")
    assert not pool_threads()  # a run starts with its first step
    next(states)
    assert pool_threads()
    states.close()
    assert not pool_threads()


def test_arguments_are_checked_before_the_first_step():
    with pytest.raises(ValueError, match="time"):
        nd.evolve(picture((3, 3)), nd.Linear(), time=-1)  # no next()


# --- lazy images ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"axes": (2, 3)}, {"axes": (1, 3)}, {"axes": (2, 3), "channel_axis": 1}], ids=str
)
def test_lazy_arrays_are_read_one_frame_at_a_time(options):
    values = picture((3, 2, 9, 8))
    lazy = RecordingArray(values)
    expected = nd.diffuse(values, nd.Linear(), time=1.0, **options)
    result = nd.diffuse(lazy, nd.Linear(), time=1.0, **options)
    np.testing.assert_array_equal(result, expected)
    frames = 3 if "channel_axis" in options else 6 if options["axes"] == (2, 3) else 27
    assert lazy.reads == [values.size // frames] * frames  # each once
    # The image of a state within a run holds later frames of the input, read one by one.
    lazy.reads.clear()
    states = nd.evolve(lazy, nd.Linear(), time=1.0, scheme="explicit", **options)
    assert next(states).image.shape == values.shape
    assert set(lazy.reads) == {values.size // frames}
    np.testing.assert_array_equal(nd.diffuse(lazy, nd.Linear(), time=0, **options), values)


def test_plans_and_refusals_read_no_values():
    lazy = RecordingArray(picture((3, 9, 8)))
    nd.plan(lazy, nd.PeronaMalik(sigma=1.0), time=1.0, axes=(1, 2))
    with pytest.raises(ValueError, match="spacing"):
        nd.diffuse(lazy, nd.Linear(), time=1.0, spacing=-1)
    assert not lazy.reads


# --- memory -----------------------------------------------------------------------------------


def test_run_that_does_not_fit_into_memory_is_refused(monkeypatch):
    image = picture((160, 160, 160))  # smaller runs are not checked
    needed = nd.plan(image, nd.PeronaMalik(), time=1.0).memory - image.nbytes
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=needed - 1))
    with pytest.raises(MemoryError) as caught:
        nd.diffuse(image, nd.PeronaMalik(), time=1.0, progress=lambda share: pytest.fail("ran"))
    text = str(caught.value)
    assert re.fullmatch(r"The run needs [\d.]+ MiB more memory and [\d.]+ MiB are free; .*\.", text)
    assert "smaller" in text
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=needed))
    nd.diffuse(image, nd.PeronaMalik(), time=1.0)


# --- single voxels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "strict"),
    [(m, strict) for m in models.BUILTIN for strict in (False, True)[: 1 + m.keeps_extrema]],
    ids=lambda value: getattr(value, "name", "strict" if value else ""),
)
def test_single_voxel_is_a_flat_image(model, strict):
    """A single voxel has no direction to diffuse along; its result is that of a flat image."""
    flat = nd.diffuse(np.full((6, 5), 40, np.float32), model(), time=2.0, strict=strict)
    for shape in ((1,), (1, 1), (1, 1, 1)):
        image = np.full(shape, 40, np.float32)
        result = nd.diffuse(image, model(), time=2.0, strict=strict)
        np.testing.assert_allclose(result, flat[0, 0], rtol=1e-6)
