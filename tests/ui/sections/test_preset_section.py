"""Values of other programs in the widget: they are those of the presets in Python."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import open_section, wait_until_settled
from napari_diffusion.presets import BUILTIN
from napari_diffusion.presets.itk import ITKGradient
from napari_diffusion.presets.neighbours import DIPlib, MedPy, OpenCV
from napari_diffusion.ui.sections.presets import PresetSection

LOOK = {"scale": (2, 0.5, 0.5), "units": ("um",) * 3}


def shown(widget, control):
    """Whether a control is on screen if the widget is; hidden ones have no place."""
    return control.native.isVisibleTo(widget.native)


def converted(qtbot, widget, kind, **values):
    """Convert values in the widget; return the section."""
    wait_until_settled(qtbot, widget)
    section = open_section(widget, PresetSection)
    section.program.value = kind
    for name, value in values.items():
        section.controls[kind][name].value = value
    section.use.native.click()
    wait_until_settled(qtbot, widget)
    return section


def test_run_after_a_conversion_is_that_of_the_preset(open_widget, qtbot, press_run, noisy):
    viewer, widget = open_widget("Anisotropic diffusion")
    viewer.add_image(noisy, **LOOK)
    section = converted(qtbot, widget, ITKGradient, conductance=2.0, iterations=3)
    recipe = nd.presets.itk_gradient(noisy, 2.0, 3, spacing=(2.0, 0.5, 0.5), unit="micrometer")
    assert widget.form.settings().model == recipe.model
    assert section.differences.value == " ".join(recipe.remarks)
    assert "falls with the gradients" in section.differences.value
    np.testing.assert_array_equal(press_run(viewer, widget).data, nd.diffuse(noisy, recipe))


def test_steps_of_the_other_program_are_taken(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy)
    converted(qtbot, widget, MedPy, niter=4, kappa=20.0, option=2)
    recipe = widget.form.settings().recipe
    assert recipe.model == nd.PeronaMalik(kappa=20.0)
    assert recipe.time == pytest.approx(0.4)
    assert recipe.scheme == nd.schemes.Explicit(step=0.1)


def test_filter_that_does_not_fit_the_image_is_refused_in_the_words_of_the_screen(
    open_alone, qtbot, noisy
):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy)
    wait_until_settled(qtbot, widget)
    before = widget.form.settings().model
    converted(qtbot, widget, OpenCV)
    assert "OpenCV filters planes" in widget.panel.status.value
    assert widget.form.settings().model == before


def test_every_filter_shows_its_own_parameters_alone(open_alone, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy)
    section = open_section(widget, PresetSection)
    for kind in BUILTIN:
        section.program.value = kind
        for other, controls in section.controls.items():
            visible = [shown(widget, control) for control in controls.values()]
            assert visible == [other is kind] * len(controls)


def test_units_are_those_of_the_layer_and_differences_go_with_it(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, **LOOK)
    section = converted(qtbot, widget, DIPlib)
    flow = next(kind for kind in BUILTIN if kind.name == "itk-curvature-flow")
    assert section.controls[flow]["time_step"].unit == "µm²"
    assert shown(widget, section.differences)
    viewer.add_image(noisy, name="other")
    wait_until_settled(qtbot, widget)
    assert not shown(widget, section.differences)


def test_gaussian_widget_has_no_such_filters(open_alone, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    section = open_section(widget, PresetSection)
    assert not shown(widget, section.box)
