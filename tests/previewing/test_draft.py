"""Drafts are close to the run, take little work and precede slow previews; warm-up of kernels."""

import subprocess
import sys
import threading
from types import ModuleType

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from helpers.lazy_arrays import RecordingArray
from helpers.previews import DRAFT, MODELS, PLANES, SPACING, name, picture, preview_of, whole_run
from helpers.problems import problem_of
from napari_diffusion import backends, models
from napari_diffusion.previewing import previewer as previewer_module
from napari_diffusion.previewing.previewer import Previewer
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.workflows.warmup import compile_by_running


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_draft_is_close_to_the_whole_run(model):
    image, whole = picture((40, 26, 30)), whole_run(model)
    for region in PLANES:
        draft = nd.preview(image, model, region=region, time=2.5, spacing=SPACING, draft=True)
        assert np.sqrt(np.square(draft - whole[region]).mean()) <= DRAFT * np.ptp(image)
        # The error of a draft is at most half the change by the run.
        error, change = draft - whole[region], image[region] - whole[region]
        assert np.square(error).mean() < 0.25 * np.square(change).mean()


@pytest.mark.parametrize(
    "options",
    [
        {"strict": True},
        {"scheme": "rkl2"},
        {"tolerance": 1e-4},
        {"labels": np.indices((40, 26, 30)).sum(0) // 14 % 4},
    ],
    ids=list,
)
def test_draft_is_close_to_the_run_with_any_option(options):
    image, model = picture((40, 26, 30)), nd.EdgeEnhancing(kappa=10.0)
    whole = nd.diffuse(image, model, time=2.5, **options)[22]
    draft = nd.preview(image, model, region=PLANES[0], time=2.5, draft=True, **options)
    assert np.sqrt(np.square(draft - whole).mean()) <= DRAFT * np.ptp(image)


@pytest.mark.parametrize("model", [cls() for cls in models.BUILTIN if not cls.isotropic], ids=name)
def test_draft_is_at_most_half_the_work(model):
    image = np.broadcast_to(np.float32(0), (256, 256, 256))
    region = (128, slice(None), slice(None))
    exact, draft = (
        preview_of(image, model, region, time=2.5, draft=draft) for draft in (False, True)
    )
    assert draft.work < exact.work / 2
    assert draft.plan.steps < exact.plan.steps
    # The work is proportional to the size of the plane.
    half = preview_of(image[:, :128], model, region, time=2.5)
    assert half.work == exact.work / 2


def test_tensors_count_as_work():
    """Stages with a tensor each are more work than as many stages with one tensor for all."""
    image, model = np.broadcast_to(np.float32(0), (32, 32, 32)), nd.EdgeEnhancing()
    region = (slice(None),) * 3
    fsi = nd.schemes.FSI(cycles=1)
    one_tensor = preview_of(image, model, region, time=2.5, scheme=fsi)
    time, explicit = 0.1 * one_tensor.plan.steps, nd.schemes.Explicit(step=0.1)
    each_stage = preview_of(image, model, region, time=time, scheme=explicit)
    assert each_stage.plan.steps == one_tensor.plan.steps
    assert each_stage.work > one_tensor.work


def test_draft_reaches_the_diffusion_time_of_the_run():
    """Far below its threshold, Perona-Malik diffusion is linear: the variance is 2T per axis."""
    image = np.zeros((31, 31, 31))
    image[15, 15, 15] = 1
    model, region = nd.PeronaMalik(kappa=1e6), (slice(None),) * 3
    draft = nd.preview(image, model, region=region, time=2.5, draft=True)
    profile = draft.sum((1, 2))
    # The border is 6.7 standard deviations away.
    assert profile @ (np.arange(31) - 15.0) ** 2 == pytest.approx(5.0, rel=1e-4)


def test_draft_bounds_the_diffusivity_and_takes_fewer_stages():
    """Diffusivities above 25 differ only where the image is flat; smaller ones are kept."""
    stages = {
        epsilon: [
            plane(nd.TotalVariation(epsilon=epsilon), draft=draft).plan.steps
            for draft in (False, True)
        ]
        for epsilon in (0.01, 0.04, 0.1)
    }
    assert stages[0.01][1] == stages[0.04][1] < stages[0.01][0]
    assert stages[0.1][1] < stages[0.04][1]
    variation, vessels = nd.TotalVariation(epsilon=0.1), nd.VesselEnhancing()
    assert variation.with_max_diffusivity(25.0) == variation
    assert vessels.with_max_diffusivity(25.0) == vessels
    strong = nd.VesselEnhancing(omega=100.0, gamma=3.0)
    bounded = nd.VesselEnhancing(omega=25.0, gamma=3.0)
    assert strong.with_max_diffusivity(25.0) == bounded


class Clock:
    """A clock that only previews advance, in proportion to their work."""

    def __init__(self, monkeypatch, pace):
        self.now, self.pace, self.made = 0.0, pace, []
        monkeypatch.setattr(previewer_module, "clock", self)
        monkeypatch.setattr(
            PreviewRequest,
            "run",
            lambda request, progress=None, cancel=None: self.run(request, cancel),
        )

    def perf_counter(self):
        return self.now

    def run(self, request, cancel):
        if cancel is not None and cancel.is_set():
            raise nd.Cancelled("The filter was cancelled.")
        self.now += request.work * self.pace
        self.made.append(request.draft)
        return np.zeros(1)


def plane(model, time=2.5, draft=False):
    image = np.broadcast_to(np.float32(0), (64, 64, 64))
    region = (32, slice(None), slice(None))
    return preview_of(image, model, region, time=time, draft=draft)


def test_draft_precedes_a_slow_exact_preview(monkeypatch):
    model = nd.EdgeEnhancing()
    clock, previewer = Clock(monkeypatch, 1.0 / plane(model).work), Previewer()
    assert previewer.expected_seconds(plane(model)) is None
    shown = previewer.preview(plane(model))
    assert clock.made == [True]
    assert shown.seconds is None
    assert shown.refine(None).refine is None
    assert clock.made == [True, False]
    shown = previewer.preview(plane(model))
    assert shown.seconds == pytest.approx(1.0)
    assert clock.made == [True, False, True]
    # Speeds are measured per model, and a longer run takes longer.
    assert previewer.expected_seconds(plane(nd.Rician())) is None
    assert previewer.expected_seconds(plane(model, time=10.0)) > 2.0


def test_no_draft_precedes_a_quick_exact_preview(monkeypatch):
    model = nd.EdgeEnhancing()
    pace = previewer_module.DRAFT_FREE_S * 0.99 / plane(model).work
    clock, previewer = Clock(monkeypatch, pace), Previewer()
    previewer.preview(plane(model)).refine(None)  # the first one may wait for the compiler
    clock.made.clear()
    assert previewer.preview(plane(model)).refine is None
    assert clock.made == [False]
    previewer.preview(plane(model, time=10.0))
    assert clock.made == [False, True]


def test_no_draft_is_made_that_would_not_save_work(monkeypatch):
    """A whole plane has no surroundings, and its draft would have as many stages."""
    clock = Clock(monkeypatch, 1.0)
    request = preview_of(np.zeros((64, 64)), nd.Linear(), (slice(None),) * 2, time=2.5)
    shown = Previewer().preview(request)
    assert shown.refine is None
    assert clock.made == [False]


def test_expected_duration_ignores_compilation_and_cancelled_previews(monkeypatch):
    model, cancel = nd.EdgeEnhancing(), threading.Event()
    clock, previewer = Clock(monkeypatch, 1e-3), Previewer()
    shown = previewer.preview(plane(model))
    clock.pace = 1e-9
    cancel.set()
    with pytest.raises(nd.Cancelled):
        shown.refine(cancel)
    assert previewer.expected_seconds(plane(model)) is None
    shown.refine(None)
    assert previewer.expected_seconds(plane(model)) == pytest.approx(1e-9 * plane(model).work)


WARM_UP = """
import numpy as np
import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.backends.numba import jit, stages
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.workflows.warmup import compile_by_running

count = lambda: sum(len(kernel.signatures) for kernel in jit._compiled)
image = np.random.default_rng(0).normal(100, 9, (12, 14, 16)).astype("f4")
region = (5, slice(None), slice(None))
fresh = 0
some = [nd.Linear, nd.PeronaMalik, nd.EdgeEnhancing]
for options, classes in (({}, models.BUILTIN), ({"labels": np.indices(image.shape)[2] // 5}, some)):
    for cls in classes:
        before = count()
        recipe = nd.Recipe(cls(), 1.0)
        compile_by_running(unread_problem(image, recipe, Geometry(), Domain(**options)))
        after = count()
        fresh += after - before
        for draft in (True, False):
            nd.preview(image, cls(), region=region, time=1.0, draft=draft, **options)
        print(cls.name, list(options), count() - after)
print("fresh", fresh)
"""


def test_previews_compile_nothing_after_a_warm_up():
    """In a new process, where no kernel has been compiled or loaded."""
    done = subprocess.run(
        [sys.executable, "-c", WARM_UP], capture_output=True, text=True, check=True, timeout=300
    )
    *lines, last = done.stdout.splitlines()
    assert int(last.split()[1]) > 10
    assert [line for line in lines if not line.endswith(" 0")] == []


def test_warm_up_takes_any_kind_of_image():
    """Frames, channels, axes of one voxel and lazy labels; the image is not read."""
    series = RecordingArray(np.zeros((3, 1, 30, 40, 2), np.uint16))
    labels = dask.array.ones((1, 30, 40), dtype=int)
    options = {
        "axes": (1, 2, 3),
        "channel_axis": -1,
        "labels": labels,
        "time": 2.0,
        "spacing": (1e-3, 0.1, 0.1),
    }
    problem, _ = problem_of(series, nd.PeronaMalik(sigma=0.1), read=False, **options)
    compile_by_running(problem)
    assert not series.reads


def test_is_compiling_is_false_during_the_import_of_the_compiler(monkeypatch):
    """The import takes a second in a thread, while the GUI thread polls `is_compiling`."""
    monkeypatch.setitem(sys.modules, "napari_diffusion.backends.numba.jit", ModuleType("jit"))
    assert backends.is_compiling() is False
