"""While kernels are compiled, the NumPy kernels make a quick first preview."""

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.previews import DRAFT, SPACING, assert_agrees, name, picture, preview_of, whole_run
from napari_diffusion import models
from napari_diffusion.previewing import cold_start
from napari_diffusion.previewing.cold_start import affordable_preview, first_preview
from napari_diffusion.previewing.previewer import Previewer

FILTERS = [cls() for cls in models.BUILTIN if not cls.isotropic]
PLANE, MIDDLE = (slice(22, 23), slice(0, 26), slice(0, 30)), (22, 13, 15)
NEVER = threading.Event()


def plane_preview(model, **options):
    return preview_of(picture((40, 26, 30)), model, PLANE, time=2.5, spacing=SPACING, **options)


def large_preview(model, time=2.5, threads=None):
    region = (slice(128, 129), slice(0, 256), slice(0, 256))
    image = np.broadcast_to(np.float32(0), (256, 256, 256))
    return preview_of(image, model, region, time=time, threads=threads)


def no_wait(*_):
    raise AssertionError("the preview waited for kernels")


@pytest.fixture
def set_time_limit(monkeypatch):
    """Limit the first preview to a share of the time of a draft of the whole region."""

    def set_limit(preview, share):
        draft = replace(preview, draft=True)
        pace = (
            cold_start.TENSOR_PACE_S if draft.plan.operator.has_tensor else cold_start.SCALAR_PACE_S
        )
        monkeypatch.setattr(cold_start, "FIRST_PREVIEW_S", share * draft.work * pace)
        monkeypatch.setattr(cold_start, "MIN_SIDE", 4)

    return set_limit


@pytest.mark.parametrize("model", FILTERS, ids=name)
def test_draft_of_a_part_equals_that_of_compiled_kernels_and_is_refined(model, set_time_limit):
    set_time_limit(plane_preview(model), 0.85)
    image, whole, waited = picture((40, 26, 30)), whole_run(model), []
    request = plane_preview(model)
    shown = first_preview(Previewer(), request, MIDDLE, lambda: False, waited.append)
    assert not waited
    sides = np.array([part.stop - part.start for part in shown.region])
    assert (sides >= 1).all()
    assert (sides <= [1, 26, 30]).all()
    assert sides.prod() < 1 * 26 * 30
    options = {"region": shown.region, "time": 2.5, "spacing": SPACING}
    assert_agrees(shown.picture, nd.preview(image, model, draft=True, **options), image)
    assert np.sqrt(np.square(shown.picture - whole[shown.region]).mean()) <= DRAFT * np.ptp(image)
    drafted = shown.refine(NEVER)
    assert waited == [NEVER]
    assert drafted.region is None
    exact = drafted.refine(NEVER) if drafted.refine else drafted
    assert_agrees(exact.picture, whole[PLANE], image)


@pytest.mark.parametrize("model", FILTERS, ids=name)
def test_first_preview_of_little_work_is_exact(model, set_time_limit):
    """Both backends agree to rounding, so no better preview follows."""
    set_time_limit(plane_preview(model), 100.0)
    shown = first_preview(Previewer(), plane_preview(model), MIDDLE, lambda: False, no_wait)
    assert shown.refine is None
    assert shown.region == PLANE
    assert_agrees(shown.picture, whole_run(model)[PLANE], picture((40, 26, 30)))


def test_no_second_draft_follows_a_draft_of_the_whole_region(set_time_limit):
    request = plane_preview(nd.PeronaMalik())
    set_time_limit(request, 1.0)
    shown = first_preview(Previewer(), request, MIDDLE, lambda: False, lambda cancel: None)
    assert shown.region == PLANE
    assert shown.refine(None).refine is None


@pytest.mark.parametrize("middle", [(128, 128, 128), (128, 3, 250), (128, -40, 300)])
@pytest.mark.parametrize("model", FILTERS, ids=name)
def test_affordable_preview_lies_around_the_middle_and_within_the_time_limit(model, middle):
    request = large_preview(model)
    draft = affordable_preview(request, middle)
    assert draft.draft
    assert draft.execution.backend == "reference"
    pace = cold_start.TENSOR_PACE_S if draft.plan.operator.has_tensor else cold_start.SCALAR_PACE_S
    assert draft.work <= cold_start.FIRST_PREVIEW_S / pace
    for part, whole, centre in zip(draft.region, request.region, middle, strict=True):
        assert whole.start <= part.start < part.stop <= whole.stop
        assert part.start <= min(max(centre, 0), 255) < part.stop


def test_no_preview_is_affordable_if_the_surroundings_are_too_large():
    slow = large_preview(nd.VesselEnhancing(), time=1000.0)
    assert affordable_preview(slow, (128, 128, 128)) is None
    request = plane_preview(nd.PeronaMalik())
    shown = first_preview(Previewer(), request, MIDDLE, lambda: True, no_wait)
    assert shown.region is None


def test_first_preview_leaves_one_processor_to_the_compiler(monkeypatch):
    monkeypatch.setattr(cold_start, "cpu_count", lambda: 8)
    for threads, expected in ((None, 7), (1, 1)):
        request = large_preview(nd.Linear(), threads=threads)
        assert affordable_preview(request, (0, 0, 0)).execution.threads == expected


class SetOnSecondPoll:
    """An event that is set from the second poll on."""

    def __init__(self):
        self.polls = 0

    def is_set(self):
        self.polls += 1
        return self.polls > 1


def test_compiled_kernels_replace_the_first_preview():
    ready = SetOnSecondPoll()
    request = plane_preview(nd.EdgeEnhancing())
    shown = first_preview(Previewer(), request, MIDDLE, ready.is_set, lambda cancel: None)
    assert ready.polls > 1
    assert shown.region is None
    exact = shown if shown.refine is None else shown.refine(None)
    assert_agrees(exact.picture, whole_run(nd.EdgeEnhancing())[PLANE], picture((40, 26, 30)))


@pytest.mark.parametrize("also_ready", [False, True])
def test_first_preview_can_be_cancelled(also_ready):
    cancel = SetOnSecondPoll()
    with pytest.raises(nd.Cancelled):
        first_preview(
            Previewer(),
            plane_preview(nd.EdgeEnhancing()),
            MIDDLE,
            lambda: also_ready and cancel.polls > 1,
            no_wait,
            cancel,
        )


WITHOUT_COMPILER = """
import sys, threading
import numpy as np
import napari_diffusion as nd
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.previewing.cold_start import first_preview
from napari_diffusion.previewing.previewer import Previewer
from napari_diffusion.previewing.request import PreviewRequest

image = np.random.default_rng(0).normal(100, 9, (32, 96, 96)).astype("f4")
region = slice(16, 17), slice(0, 96), slice(0, 96)
scalar = [nd.PeronaMalik(sigma=1.0), nd.TotalVariation()]
for model in (*scalar, nd.EdgeEnhancing(), nd.VesselEnhancing()):
    problem = unread_problem(image, nd.Recipe(model, 2.5), Geometry(), Domain())
    preview = PreviewRequest(problem, region, Execution())
    first_preview(Previewer(), preview, (16, 48, 48), lambda: False, None)
print("numba" in sys.modules)
"""


def test_first_preview_does_not_import_the_compiler():
    command = [sys.executable, "-c", WITHOUT_COMPILER]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["False"]
