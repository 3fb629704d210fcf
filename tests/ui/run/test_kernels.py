"""Which runs need the same kernels, and runs that need none."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import wait_for_preview, wait_until_settled
from napari_diffusion import backends
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.models import BUILTIN
from napari_diffusion.ui.run.kernels import kernel_key
from napari_diffusion.ui.run.panel import RunPanel
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.sections.preview import PreviewSection

SPACING, AXES = (2.0, 0.5, 0.5), (0, 1, 2)


def settings_of(model, time, **options):
    recipe = nd.Recipe(model, time, "micrometer", spacing=SPACING, axes=AXES, **options)
    return Settings(np.zeros((6, 7, 8), np.float32), recipe, None, Execution())


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (model, options)
        for model in BUILTIN
        for options in ({}, {"strict": True}, {"nan": "mask"})
        if model.keeps_extrema or "strict" not in options
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_kernels_are_those_of_the_run_for_any_time(model, options):
    key = kernel_key(settings_of(model(), 0.3, **options))
    run = settings_of(model(), 0.3, **options)
    assert key == make_plan(run.unread_problem(), run.execution).kernel_key() is not None
    assert key == kernel_key(settings_of(model(), 1e9, **options))


def test_kernels_of_a_run_that_is_refused_are_not_compiled():
    scheme = {"scheme": "rkl2", "strict": True}  # it does not guarantee the extremum principle
    assert kernel_key(settings_of(nd.PeronaMalik(), 0.3, **scheme)) is None


def without_numba(monkeypatch):
    monkeypatch.setattr(backends, "_can_run", lambda kind: kind.name != "compiled")


@pytest.mark.parametrize("why", ["without numba", "four axes"])
@pytest.mark.usefixtures("values_of_noisy")
def test_nothing_waits_for_kernels_where_none_are_compiled(
    why, open_widget, press_run, qtbot, noisy, fake_compile_client, monkeypatch
):
    if why == "without numba":
        without_numba(monkeypatch)
    viewer, gui = open_widget()
    said, show = [], RunPanel.show_status
    monkeypatch.setattr(
        RunPanel,
        "show_status",
        lambda panel, status: said.append(status.text) or show(panel, status),
    )
    layer = viewer.add_image(np.stack([noisy, noisy + 1]), name="noisy")
    if why == "four axes":
        gui.form.table.rows[0].smooth.value = True
        assert len(gui.form.table.axes) == 4
    wait_until_settled(qtbot, gui)
    gui.form.controls["kappa"].value = 12.0
    section = gui.sections[PreviewSection]
    section.show.value = True
    wait_for_preview(qtbot, gui)
    assert section.status.value.startswith("Exact preview")
    recipe = gui.form.recipe()
    result = press_run(viewer, gui)
    np.testing.assert_array_equal(result.data, recipe.diffuse(layer.data), strict=True)
    assert fake_compile_client.waits == 0
    assert any("Filtering" in text for text in said)
    assert not any("First use" in text for text in said)
