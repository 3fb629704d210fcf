"""While kernels are compiled, the NumPy kernels show a draft of what they can do in a moment; what comes later is as ever."""

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.previews import DRAFT, SPACING, agrees, name, picture, whole_run
from napari_diffusion import models
from napari_diffusion.engine.request import Request
from napari_diffusion.previewing import cold_start
from napari_diffusion.previewing.cold_start import affordable_preview, first_preview
from napari_diffusion.previewing.previewer import Previewer
from napari_diffusion.previewing.region import PreviewRequest

FILTERS = [cls() for cls in models.BUILTIN if not cls.isotropic]
PLANE, MIDDLE = (slice(22, 23), slice(0, 26), slice(0, 30)), (22, 13, 15)
NEVER = threading.Event()


def excerpt_of(model, **options):
    request = Request.of(picture((40, 26, 30)), model, time=2.5, spacing=SPACING, **options)
    return PreviewRequest(request, PLANE)


def large(model, time=2.5, threads=None):
    region = (slice(128, 129), slice(0, 256), slice(0, 256))
    request = Request.of(
        np.broadcast_to(np.float32(0), (256, 256, 256)), model, time=time, threads=threads
    )
    return PreviewRequest(request, region)


def refused(*_):
    raise AssertionError("nobody waits for kernels here")


@pytest.fixture
def hurry(monkeypatch):
    """Give a first picture a share of the time that a draft of everything would take."""

    def give(excerpt, share):
        draft = replace(excerpt, draft=True)
        pace = cold_start.TENSOR_PACE_S if draft.plan.tensor else cold_start.SCALAR_PACE_S
        monkeypatch.setattr(cold_start, "FIRST_PREVIEW_S", share * draft.work * pace)
        monkeypatch.setattr(cold_start, "MIN_SIDE", 4)

    return give


@pytest.mark.parametrize("model", FILTERS, ids=name)
def test_a_draft_of_a_part_is_the_draft_that_compiled_kernels_make_and_the_exact_one_follows(
    model, hurry
):
    hurry(excerpt_of(model), 0.85)
    image, whole, waited = picture((40, 26, 30)), whole_run(model), []
    look = first_preview(Previewer(), excerpt_of(model), MIDDLE, lambda: False, waited.append)
    assert not waited
    sides = [part.stop - part.start for part in look.region]
    assert sides < [1, 26, 30]
    agrees(
        look.picture,
        nd.preview(image, model, region=look.region, time=2.5, spacing=SPACING, draft=True),
        image,
    )
    assert np.sqrt(np.square(look.picture - whole[look.region]).mean()) <= DRAFT * np.ptp(image)
    drafted = look.refine(NEVER)
    assert waited == [NEVER]
    assert drafted.region is None
    exact = drafted.refine(NEVER) if drafted.refine else drafted
    agrees(exact.picture, whole[PLANE], image)


@pytest.mark.parametrize("model", FILTERS, ids=name)
def test_what_is_little_work_is_exact_at_once(model, hurry):
    """Kernels of both kinds agree to rounding, so that nothing better can follow."""
    hurry(excerpt_of(model), 100.0)
    look = first_preview(Previewer(), excerpt_of(model), MIDDLE, lambda: False, refused)
    assert look.refine is None
    assert look.region == PLANE
    agrees(look.picture, whole_run(model)[PLANE], picture((40, 26, 30)))


def test_after_a_draft_of_everything_comes_no_other(hurry):
    hurry(excerpt_of(nd.PeronaMalik()), 1.0)
    look = first_preview(
        Previewer(), excerpt_of(nd.PeronaMalik()), MIDDLE, lambda: False, lambda cancel: None
    )
    assert look.region == PLANE
    assert look.refine(None).refine is None


@pytest.mark.parametrize("middle", [(128, 128, 128), (128, 3, 250), (128, -40, 300)])
@pytest.mark.parametrize("model", FILTERS, ids=name)
def test_it_is_what_can_be_done_in_a_moment_around_what_is_looked_at(model, middle):
    one = affordable_preview(large(model), middle)
    assert one.draft
    assert one.request.execution.backend == "reference"
    assert one.work <= cold_start.FIRST_PREVIEW_S / (
        cold_start.TENSOR_PACE_S if one.plan.tensor else cold_start.SCALAR_PACE_S
    )
    for part, whole, looked in zip(one.region, large(model).region, middle, strict=True):
        assert whole.start <= part.start < part.stop <= whole.stop
        assert part.start <= min(max(looked, 0), 255) < part.stop


def test_where_the_surroundings_alone_are_too_much_it_is_waited():
    assert affordable_preview(large(nd.VesselEnhancing(), time=1000.0), (128, 128, 128)) is None
    look = first_preview(Previewer(), excerpt_of(nd.PeronaMalik()), MIDDLE, lambda: True, refused)
    assert look.region is None


def test_a_processor_is_left_to_the_compiler(monkeypatch):
    monkeypatch.setattr(cold_start, "cpu_count", lambda: 8)
    assert affordable_preview(large(nd.Linear()), (0, 0, 0)).request.execution.threads == 7
    assert (
        affordable_preview(large(nd.Linear(), threads=1), (0, 0, 0)).request.execution.threads == 1
    )


class Polled:
    """An event that is set the second time that somebody looks."""

    def __init__(self):
        self.polls = 0

    def is_set(self):
        self.polls += 1
        return self.polls > 1


def test_kernels_that_come_first_take_over():
    ready = Polled()
    look = first_preview(
        Previewer(), excerpt_of(nd.EdgeEnhancing()), MIDDLE, ready.is_set, lambda cancel: None
    )
    assert ready.polls > 1
    assert look.region is None
    exact = look if look.refine is None else look.refine(None)
    agrees(exact.picture, whole_run(nd.EdgeEnhancing())[PLANE], picture((40, 26, 30)))


@pytest.mark.parametrize("also_ready", [False, True])
def test_cancelled_while_it_is_made(also_ready):
    cancel = Polled()
    with pytest.raises(nd.Cancelled):
        first_preview(
            Previewer(),
            excerpt_of(nd.EdgeEnhancing()),
            MIDDLE,
            lambda: also_ready and cancel.polls > 1,
            refused,
            cancel,
        )


LIGHT = """
import sys, threading
import numpy as np
import napari_diffusion as nd
from napari_diffusion.engine.request import Request
from napari_diffusion.previewing.cold_start import first_preview
from napari_diffusion.previewing.previewer import Previewer
from napari_diffusion.previewing.region import PreviewRequest

image = np.random.default_rng(0).normal(100, 9, (32, 96, 96)).astype("f4")
region = slice(16, 17), slice(0, 96), slice(0, 96)
for model in (nd.PeronaMalik(sigma=1.0), nd.TotalVariation(), nd.EdgeEnhancing(), nd.VesselEnhancing()):
    preview = PreviewRequest(Request.of(image, model, time=2.5), region)
    first_preview(Previewer(), preview, (16, 48, 48), lambda: False, None)
print("numba" in sys.modules)
"""


def test_the_compiler_is_not_even_imported():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == ["False"]
