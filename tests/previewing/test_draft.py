"""Drafts come near the run for little work; they come where they are needed; and what is compiled on first use can be compiled before."""

import subprocess
import sys
import threading
from types import ModuleType

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from helpers.previews import DRAFT, MODELS, PLANES, SPACING, Watched, name, picture, whole_run
from napari_diffusion import backends, models
from napari_diffusion.engine.request import Request
from napari_diffusion.previewing import previewer as previewer_module
from napari_diffusion.previewing.previewer import Previewer
from napari_diffusion.previewing.region import PreviewRequest
from napari_diffusion.workflows.warmup import compile_by_running


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_drafts_come_near_the_whole_run(model):
    image, whole = picture((40, 26, 30)), whole_run(model)
    for region in PLANES:
        draft = nd.preview(image, model, region=region, time=2.5, spacing=SPACING, draft=True)
        assert np.sqrt(np.square(draft - whole[region]).mean()) <= DRAFT * np.ptp(image)
        # Nearer than the image itself, that is, most of what Run will do is seen.
        assert (
            np.square(draft - whole[region]).mean()
            < 0.25 * np.square(image[region] - whole[region]).mean()
        )


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
def test_drafts_of_other_runs_come_near_them(options):
    image, model = picture((40, 26, 30)), nd.EdgeEnhancing(kappa=10.0)
    whole = nd.diffuse(image, model, time=2.5, **options)[22]
    draft = nd.preview(image, model, region=PLANES[0], time=2.5, draft=True, **options)
    assert np.sqrt(np.square(draft - whole).mean()) <= DRAFT * np.ptp(image)


@pytest.mark.parametrize("model", [cls() for cls in models.BUILTIN if not cls.isotropic], ids=name)
def test_drafts_are_half_the_work_or_less_and_say_how_much(model):
    image = np.broadcast_to(np.float32(0), (256, 256, 256))
    region = (128, slice(None), slice(None))
    exact, draft = (
        PreviewRequest(image, model, region=region, time=2.5, draft=draft)
        for draft in (False, True)
    )
    assert draft.work < exact.work / 2
    assert draft.plan.steps < exact.plan.steps
    # Twice the plane is twice the work.
    half = PreviewRequest(image[:, :128], model, region=region, time=2.5)
    assert half.work == exact.work / 2


def test_tensors_count_as_work():
    """As many stages with a tensor each are more work than with one tensor for all."""
    image, model = np.broadcast_to(np.float32(0), (32, 32, 32)), nd.EdgeEnhancing()
    few = PreviewRequest(
        image, model, region=(slice(None),) * 3, time=2.5, scheme=nd.schemes.FSI(cycles=1)
    )
    many = PreviewRequest(
        image,
        model,
        region=(slice(None),) * 3,
        time=0.1 * few.plan.steps,
        scheme=nd.schemes.Explicit(step=0.1),
    )
    assert many.plan.steps == few.plan.steps
    assert many.work > few.work


def test_a_draft_goes_as_far_as_the_run():
    """Far below its threshold Perona-Malik diffusion is linear: the variance rises by 2T along every axis, and by no other amount."""
    image = np.zeros((31, 31, 31))
    image[15, 15, 15] = 1
    draft = nd.preview(
        image, nd.PeronaMalik(kappa=1e6), region=(slice(None),) * 3, time=2.5, draft=True
    )
    profile = draft.sum((1, 2))
    assert profile @ (np.arange(31) - 15.0) ** 2 == pytest.approx(
        5.0, rel=1e-4
    )  # 6.7 standard deviations to the border


def test_a_draft_bounds_what_is_flat_and_takes_fewer_stages():
    """Diffusivities above 25 differ in what looks alike; those below stay as they are, or little would be left of a vessel."""
    stages = {
        epsilon: [
            plane(nd.TotalVariation(epsilon=epsilon), draft=draft).plan.steps
            for draft in (False, True)
        ]
        for epsilon in (0.01, 0.04, 0.1)
    }
    assert stages[0.01][1] == stages[0.04][1] < stages[0.01][0]
    assert stages[0.1][1] < stages[0.04][1]
    assert nd.TotalVariation(epsilon=0.1).with_max_diffusivity(25.0) == nd.TotalVariation(
        epsilon=0.1
    )
    assert nd.VesselEnhancing().with_max_diffusivity(25.0) == nd.VesselEnhancing()
    assert nd.VesselEnhancing(omega=100.0, gamma=3.0).with_max_diffusivity(
        25.0
    ) == nd.VesselEnhancing(omega=25.0, gamma=3.0)


class Clock:
    """Time passes only by previews, in proportion to their work."""

    def __init__(self, monkeypatch, pace):
        self.now, self.pace, self.made = 0.0, pace, []
        monkeypatch.setattr(previewer_module, "clock", self)
        monkeypatch.setattr(
            PreviewRequest,
            "run",
            lambda excerpt, progress=None, cancel=None: self.run(excerpt, cancel),
        )

    def perf_counter(self):
        return self.now

    def run(self, excerpt, cancel):
        if cancel is not None and cancel.is_set():
            raise nd.Cancelled("The filter was cancelled.")
        self.now += excerpt.work * self.pace
        self.made.append(excerpt.draft)
        return np.zeros(1)


def plane(model, time=2.5, draft=False):
    return PreviewRequest(
        np.broadcast_to(np.float32(0), (64, 64, 64)),
        model,
        region=(32, slice(None), slice(None)),
        time=time,
        draft=draft,
    )


def test_a_draft_comes_first_where_the_exact_one_takes_more_than_a_moment(monkeypatch):
    model = nd.EdgeEnhancing()
    clock, previewer = Clock(monkeypatch, 1.0 / plane(model).work), Previewer()
    assert previewer.expected_seconds(plane(model)) is None
    look = previewer.preview(plane(model))
    assert clock.made == [True]
    assert look.seconds is None
    assert look.refine(None).refine is None
    assert clock.made == [True, False]
    look = previewer.preview(plane(model))
    assert look.seconds == pytest.approx(1.0)
    assert clock.made == [True, False, True]
    # Nothing is known of another model, and a longer run takes longer.
    assert previewer.expected_seconds(plane(nd.Rician())) is None
    assert previewer.expected_seconds(plane(model, time=10.0)) > 2.0


def test_no_draft_of_what_is_exact_within_a_moment(monkeypatch):
    model = nd.EdgeEnhancing()
    clock, previewer = (
        Clock(monkeypatch, previewer_module.DRAFT_FREE_S * 0.99 / plane(model).work),
        Previewer(),
    )
    previewer.preview(plane(model)).refine(None)  # the first of all may wait for the compiler
    clock.made.clear()
    assert previewer.preview(plane(model)).refine is None
    assert clock.made == [False]
    previewer.preview(plane(model, time=10.0))
    assert clock.made == [False, True]


def test_no_draft_of_what_is_little_work_whatever_it_takes(monkeypatch):
    """All of a plane without surroundings and with as many stages: a draft would take as long."""
    clock = Clock(monkeypatch, 1.0)
    assert (
        Previewer()
        .preview(
            PreviewRequest(
                Request.of(np.zeros((64, 64)), nd.Linear(), time=2.5), (slice(None),) * 2
            )
        )
        .refine
        is None
    )
    assert clock.made == [False]


def test_one_that_waited_for_the_compiler_or_was_cancelled_tells_nothing_about_later_ones(
    monkeypatch,
):
    model, cancel = nd.EdgeEnhancing(), threading.Event()
    clock, previewer = Clock(monkeypatch, 1e-3), Previewer()
    look = previewer.preview(plane(model))
    clock.pace = 1e-9
    cancel.set()
    with pytest.raises(nd.Cancelled):
        look.refine(cancel)
    assert previewer.expected_seconds(plane(model)) is None
    look.refine(None)
    assert previewer.expected_seconds(plane(model)) == pytest.approx(1e-9 * plane(model).work)


REHEARSAL = """
import numpy as np
import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.backends.numba import jit, stages
from napari_diffusion.engine.request import Request
from napari_diffusion.workflows.warmup import compile_by_running

count = lambda: sum(len(kernel.signatures) for kernel in jit._compiled)
image = np.random.default_rng(0).normal(100, 9, (12, 14, 16)).astype("f4")
region = (5, slice(None), slice(None))
fresh = 0
some = [nd.Linear, nd.PeronaMalik, nd.EdgeEnhancing]
for options, classes in (({}, models.BUILTIN), ({"labels": np.indices(image.shape)[2] // 5}, some)):
    for cls in classes:
        before = count()
        compile_by_running(Request.of(image, cls(), time=1.0, **options))
        after = count()
        fresh += after - before
        for draft in (True, False):
            nd.preview(image, cls(), region=region, time=1.0, draft=draft, **options)
        print(cls.name, list(options), count() - after)
print("fresh", fresh)
"""


def test_after_a_rehearsal_nothing_is_left_to_compile():
    """In a process of its own, where nothing has been compiled or loaded yet."""
    done = subprocess.run(
        [sys.executable, "-c", REHEARSAL], capture_output=True, text=True, check=True, timeout=300
    )
    *lines, last = done.stdout.splitlines()
    assert int(last.split()[1]) > 10
    assert [line for line in lines if not line.endswith(" 0")] == []


def test_a_rehearsal_takes_any_kind_of_image():
    """Frames, channels, axes of one voxel, lazy labels: what a run takes, without reading the image."""
    series = Watched(np.zeros((3, 1, 30, 40, 2), np.uint16))
    labels = dask.array.ones((1, 30, 40), dtype=int)
    options = {
        "axes": (1, 2, 3),
        "channel_axis": -1,
        "labels": labels,
        "time": 2.0,
        "spacing": (1e-3, 0.1, 0.1),
    }
    compile_by_running(Request.of(series, nd.PeronaMalik(sigma=0.1), **options))
    assert not series.reads


def test_while_the_compiler_is_being_imported_nothing_is_compiled(monkeypatch):
    """The import takes a second, in a thread, while the GUI thread looks whether something is being compiled."""
    monkeypatch.setitem(sys.modules, "napari_diffusion.backends.numba.jit", ModuleType("jit"))
    assert backends.is_compiling() is False
