"""Controls of the form: declarations, the chosen layer, units, suggestions, and tab order."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QWidget

import napari_diffusion as nd
from helpers.viewer import wait_until_settled
from napari_diffusion.engine.execution import Execution
from napari_diffusion.models import Model, all_models, param
from napari_diffusion.ui.form import form_controls
from napari_diffusion.ui.form.model_controls import ModelControls
from napari_diffusion.ui.form.smoothing_amount import TIME
from napari_diffusion.ui.qt import layout
from napari_diffusion.ui.qt.quantity_box import QuantityBox
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.sections.threshold import ThresholdSection
from napari_diffusion.ui.structures.table import CELLS
from napari_diffusion.ui.values.value_row import ValueRow
from napari_diffusion.ui.values.value_state import ValueState
from napari_diffusion.ui.widget import EXPERT, FINE_TUNE, OUTPUTS, AnisotropicDiffusion


@dataclass(frozen=True, kw_only=True)
class Everything(Model):
    """A model with one parameter of every kind."""

    name = "everything"
    title = "Everything"
    summary = "For tests."

    rate: float = param(0.5, "A share.", gt=0, le=1)
    length: float = param(2.0, "A length.", unit="length", ge=0)
    edge: float = param(
        10.0, "Edge threshold: a gradient.", unit="intensity/length", gt=0, suggest="threshold"
    )
    area: float = param(-3.0, "An area.", unit="length^2")
    count: int = param(3, "A number.", gt=0)
    which: str = param("b", "A choice.", choices=("a", "b"))


def test_every_declaration_becomes_a_control(qtbot):
    controls = ModelControls(Everything)
    assert controls.value() == Everything()
    assert [control.label for control in controls.first] == ["Edge threshold"]
    assert [control.label for control in controls.more] == [
        "Rate",
        "Length",
        "Area",
        "Count",
        "Which",
    ]
    assert "edge" in controls["edge"].tooltip
    assert (controls["rate"].max, controls["count"].min, controls["length"].min) == (1, 1, 0)
    assert 0 < controls["rate"].min < 1e-20
    assert controls["which"].choices == ("a", "b")


def test_controls_show_and_convert_the_unit_of_length(qtbot):
    controls = ModelControls(Everything)
    controls.set_unit("mm")
    assert [controls[name].unit for name in ("rate", "length", "edge", "area")] == [
        "",
        "mm",
        "intensity/mm",
        "mm²",
    ]
    controls.set_unit("µm", 1000)
    assert controls.value() == Everything(length=2000, edge=0.01, area=-3e6)
    assert controls.edited == frozenset()


def test_fill_keeps_values_set_by_the_user(qtbot):
    controls = ModelControls(Everything)
    controls["edge"].value = 7
    controls.fill(Everything(edge=1.0, rate=0.25))
    assert controls.value() == Everything(edge=7.0, rate=0.25)
    controls.forget_edits()
    controls.fill(Everything(edge=1.0))
    assert controls["edge"].value == 1


@pytest.mark.parametrize("isotropic", [True, False])
def test_every_model_is_in_exactly_one_widget(open_alone, isotropic):
    _, gui = open_alone("Isotropic diffusion" if isotropic else "Anisotropic diffusion")
    assert list(gui.form.model.choices) == [
        model for model in all_models() if model.isotropic is isotropic
    ]
    for model in gui.form.model.choices:
        gui.form.model.value = model
        assert gui.form.controls.value() == model()


def test_switching_the_model_switches_the_parameters(open_widget, monkeypatch):
    monkeypatch.setattr(form_controls, "all_models", lambda: (nd.PeronaMalik, Everything))
    _, gui = open_widget()
    gui.root_native_widget.window().show()

    def shown():
        rows = gui.form.value_rows
        rows = [row for row in rows if isinstance(row, ValueRow) and row.visible]
        return [row.label for row in rows if isinstance(row.control, QuantityBox)]

    assert shown() == []
    gui.drawers[FINE_TUNE].button.native.click()
    assert shown() == ["Edge threshold", "Pre-smoothing σ"]
    gui.drawers[EXPERT].button.native.click()
    assert gui.form.model.visible
    gui.form.model.value = Everything
    assert shown() == ["Edge threshold", "Rate", "Length", "Area"]
    gui.drawers[FINE_TUNE].button.native.click()
    assert shown() == []


def test_the_layer_follows_the_selection(open_widget, noisy):
    viewer, gui = open_widget()
    assert gui.form.layer.value is None
    one, two = viewer.add_image(noisy, name="one"), viewer.add_image(noisy, name="two")
    assert gui.form.layer.value == two
    viewer.layers.selection.active = one
    assert gui.form.layer.value == one
    viewer.add_labels(np.zeros((4, 4), int))
    assert gui.form.layer.value == one
    gui.form.layer.value = two
    assert viewer.layers.selection.active != two
    assert gui.form.layer.value == two
    two.name = "renamed"
    assert gui.form.layer.value == two
    assert gui.form.layer.current_choice == "renamed"


def test_corrections_of_the_layer_are_followed(open_alone, noisy):
    viewer, gui = open_alone()
    layer, other = viewer.add_image(noisy), viewer.add_image(noisy)
    viewer.layers.selection.active = layer
    layer.scale = (3, 1, 1)
    assert gui.form.table.spacing == (3, 1, 1)
    layer.units = ("um",) * 3
    assert gui.form.table.unit == "µm"
    layer.axis_labels = ("t", "y", "x")
    assert gui.form.table.axes == (1, 2)
    other.scale = (9, 9, 9)
    assert gui.form.table.spacing == (1, 1)


def test_voxel_size_can_be_changed_and_reset(open_alone, noisy, press_run):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    gui.root_native_widget.window().show()
    gui.form.table.change.native.click()
    assert not gui.form.table.reset.visible
    gui.form.table.rows[0].size.value = 4
    assert gui.form.table.reset.visible
    layer = press_run(viewer, gui)
    np.testing.assert_array_equal(
        layer.data, nd.diffuse(noisy, nd.Linear(), time=gui.form.amount.time, spacing=(4, 0.5, 0.5))
    )
    gui.form.table.reset.native.click()
    assert gui.form.table.spacing == (2, 0.5, 0.5)
    assert not gui.form.table.reset.visible


def test_another_unit_shows_the_same_lengths(open_alone, noisy, press_run, qtbot):
    viewer, gui = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    wait_until_settled(qtbot, gui)
    gui.form.amount.kind.value = TIME
    gui.form.controls["kappa"].value = 8.0
    gui.form.controls["sigma"].value = 0.0
    gui.form.amount.number.value = 3.0
    gui.form.unit.value = "nm"
    assert gui.form.table.spacing == (2000, 500, 500)
    assert gui.form.controls["kappa"].value == 0.008
    assert gui.form.amount.number.value == 3e6
    others = gui.form.amount.others.value.replace("\N{NO-BREAK SPACE}", " ")
    assert others == "At most like a Gaussian of FWHM 5.77e+03 nm"
    layer = press_run(viewer, gui)
    np.testing.assert_allclose(
        layer.data,
        nd.diffuse(noisy, nd.PeronaMalik(kappa=8.0), time=3.0, spacing=(2, 0.5, 0.5)),
        rtol=1e-5,
    )


def test_unit_of_length_chosen_for_pixels_keeps_the_numbers(open_alone, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    gui.form.amount.number.value = 2.0
    gui.form.unit.value = "µm"
    assert gui.form.table.spacing == (1, 1, 1)
    assert (gui.form.amount.number.value, gui.form.amount.number.unit) == (2.0, "µm")


def settings_of(image, axes=(0, 1, 2), channel_axis=None):
    """Return settings of Perona-Malik with voxels of size 1."""
    recipe = nd.Recipe(
        nd.PeronaMalik(), 1.0, spacing=(1, 1, 1), axes=axes, channel_axis=channel_axis
    )
    return Settings(image, recipe, None, Execution())


def test_suggest_replaces_the_values_of_the_user_and_explains_them(open_alone, noisy, qtbot):
    viewer, gui = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    gui.form.controls["kappa"].value, gui.form.amount.number.value = 33.0, 9.0
    assert not gui.form.reasons.open
    gui.form.suggest.native.click()
    wait_until_settled(qtbot, gui)
    model, time = starting_values.suggest_values(settings_of(noisy), thorough=True)
    assert (gui.form.controls.value(), gui.form.amount.time) == (model, time)
    assert "Noise: Gaussian" in gui.form.reasons.text
    assert gui.form.reasons.open


def test_without_a_suggestion_the_defaults_are_shown_with_the_reason(open_alone, qtbot, noisy):
    viewer, gui = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    assert gui.form.controls["kappa"].value != nd.PeronaMalik().kappa
    viewer.add_image(np.ones((8, 9), np.float32))
    wait_until_settled(qtbot, gui)
    assert gui.form.controls.value() == nd.PeronaMalik()
    assert {row.line.state for row in gui.form.controls.rows.values()} == {ValueState.DEFAULT}
    assert "could not be measured" in gui.form.strength.sentence.value
    assert "no measurable noise" in gui.form.strength.sentence.value
    viewer.layers.selection.active = viewer.layers[0]
    wait_until_settled(qtbot, gui)
    assert "could not be measured" not in gui.form.strength.sentence.value


class PatchOnlyArray:
    """An array that can be read by patches only and counts the voxels read."""

    def __init__(self, shape):
        self.shape, self.dtype, self.ndim, self.read = shape, np.dtype(np.float32), len(shape), 0

    def __getitem__(self, index):
        patch = np.random.default_rng(0).random([i.stop - i.start for i in index], np.float32)
        self.read += patch.size
        return patch


def test_quick_suggestion_reads_a_small_patch():
    image = PatchOnlyArray((50, 4000, 5000, 6000, 3))
    starting_values.suggest_values(settings_of(image, axes=(1, 2, 3), channel_axis=-1))
    assert image.read == 24**3 * 3


def test_tab_order_goes_down_the_form(open_widget, noisy):
    viewer, gui = open_widget()
    gui.root_native_widget.window().show()
    viewer.add_image(noisy)
    gui.form.table.change.native.click()
    for drawer in gui.drawers.values():
        drawer.button.native.click()
    form, preview = gui.form, gui.sections[PreviewSection]
    controls = [form.layer, form.table.change]
    controls += [part for row in form.table.rows for part in (row.smooth, row.size)]
    expected = [control.native for control in controls]
    expected += [form.structure.more, form.structure.buttons[CELLS]]
    controls = [preview.show, gui.drawers[FINE_TUNE].button]
    controls += [form.controls["kappa"], form.amount.number, form.amount.kind, form.suggest]
    controls += [gui.drawers[OUTPUTS].button, gui.sections[BatchSection].files]
    controls += [gui.drawers[EXPERT].button, form.model, form.unit, form.regions]
    controls += [form.run_options["threads"], gui.panel.button, gui.panel.cancel]
    expected += [control.native for control in controls]
    native, visited = gui.form.layer.native, []
    # The focus chain is a ring of all widgets of the window. The loop ends before the widgets of
    # napari, which PySide6 would keep alive.
    while len(visited) < len(expected) and not (visited and native is gui.form.layer.native):
        visited += [position for position, widget in enumerate(expected) if widget is native]
        native = native.nextInFocusChain()
    assert visited == list(range(len(expected)))


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ((512, 512, 512), 24),
        ((40, 160, 160), 24),
        ((4, 500, 500), 58),
        ((2000, 3000), 117),
        ((100000,), 13824),
        ((8, 9), 1728),
        ((0, 5), 13824),
    ],
)
def test_the_patch_of_a_quick_suggestion_has_one_size_in_every_dimension(sizes, side):
    assert starting_values.patch_side(sizes) == side


def test_every_control_has_a_tooltip(qtbot, noisy):
    viewer = ViewerModel()
    gui = AnisotropicDiffusion(viewer)
    qtbot.addWidget(gui.native)
    assert "Open an image" in gui.form.suggest.tooltip
    viewer.add_image(noisy)
    assert "Open an image" not in gui.form.suggest.tooltip
    for model in gui.form.model.choices:
        gui.form.model.value = model
    gui.form.table.change.native.click()
    for drawer in gui.drawers.values():
        drawer.open = True
    stops = layout.tab_stops(gui.native)
    assert len(stops) > 50
    # The number of a slider has the tooltip of the slider: Qt asks the parent.
    without = [stop for stop in stops if not (stop.toolTip() or stop.parent().toolTip())]
    assert [(stop, stop.accessibleName()) for stop in without] == []


def test_tab_order_goes_down_to_run_and_skips_the_plot(open_widget, noisy, qtbot):
    viewer, gui = open_widget("Anisotropic diffusion")
    viewer.add_image(noisy)
    for drawer in gui.drawers.values():
        drawer.open = True
    wait_until_settled(qtbot, gui)
    batch = gui.sections[BatchSection]
    expected = [
        batch.layers.native,
        batch.source.line_edit.native,
        batch.source.choose_btn.native,
        batch.files.native,
        gui.panel.button.native,
    ]
    native, visited = gui.form.layer.native, []
    # The loop ends before the widgets of napari, which PySide6 would keep alive.
    while native is not gui.panel.button.native:
        native = native.nextInFocusChain()
        visited += [number for number, widget in enumerate(expected) if widget is native]
    assert visited == [0, 1, 2, 3, 4]
    plot = gui.sections[ThresholdSection].plot
    assert plot is not None
    assert not plot.focusPolicy() & Qt.FocusPolicy.TabFocus


def test_labels_are_aligned_again_after_a_change_of_font(open_alone, qtbot, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    gui.form.make_options()
    wait_until_settled(qtbot, gui)
    labels = [layout._label_of(each) for each in gui.form.option_rows if layout._label_of(each)]
    widths, points = [], gui.scroll.font().pointSize()
    for size in (points, 2 * points, points):
        font = gui.scroll.font()
        font.setPointSize(size)
        gui.scroll.setFont(font)
        wait_until_settled(qtbot, gui)
        (width,) = {label.width() for label in labels}
        widths.append(width)
    assert widths[1] > widths[0] == widths[2]


@pytest.mark.parametrize("name", ["Anisotropic diffusion", "Isotropic diffusion"])
def test_at_most_seven_controls_are_shown_above_run_at_first(open_widget, noisy, qtbot, name):
    viewer, gui = open_widget(name)
    gui.root_native_widget.window().show()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    assert not any(drawer.open for drawer in gui.drawers.values())
    stops = {stop for stop in layout.tab_stops(gui.scroll.widget()) if stop.isVisible()}
    stops -= {drawer.button.native for drawer in gui.drawers.values()}
    # Pictures and menu, and a number with its slider and its quantity, are one control each.
    for control in (gui.form.structure, gui.form.amount):
        parts = {stop for stop in stops if control and control.native.isAncestorOf(stop)}
        if parts:
            assert len(parts) >= 2
            stops = stops - parts | {control.native}
    stops.remove(gui.header.help.native)  # help is no control of the run
    if gui.form.reduction is not None:  # the wanted reduction belongs to Suggest
        stops.remove(gui.form.reduction.native)
    assert 3 <= len(stops) <= 7


def test_nothing_is_wider_than_the_dock(open_widget, qtbot):
    viewer, gui = open_widget()
    gui.root_native_widget.window().show()
    viewer.add_image(
        np.zeros((2, 3, 4, 8, 9)),
        name="a very long layer name " * 4,
        scale=(1, 1, 0.123456, 1.5e-7, 2),
        units=("um",) * 5,
    )
    gui.form.table.change.native.click()
    for drawer in gui.drawers.values():
        drawer.button.native.click()
    wait_until_settled(qtbot, gui)
    viewer.theme = "light"  # after a change of style, Qt measures all widgets again
    gui.panel.say("a sentence that goes on and on " * 10)
    wait_until_settled(qtbot, gui)  # and the labels get the width of the widest again
    QApplication.processEvents()
    QApplication.processEvents()
    assert gui.scroll.minimumSizeHint().width() <= 360
    gui.scroll.resize(gui.scroll.minimumSizeHint().width(), 300)  # the dock may be wider
    QApplication.processEvents()
    labels = [layout._label_of(each) for each in gui.form.option_rows if each.visible]
    widths = {label.width() for label in labels if label is not None}
    assert len(widths) == 1  # the controls form a column
    view = gui.scroll.viewport()
    inside = [w for w in gui.scroll.widget().findChildren(QWidget) if w.isVisible()]
    assert len(inside) > 30
    assert [w for w in inside if w.mapTo(view, QPoint(w.width(), 0)).x() > view.width()] == []


def test_import_of_the_widgets_loads_no_kernels():
    code = "import sys, napari_diffusion.ui.widget; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "napari_diffusion.ui.widget" in modules
    assert "napari_diffusion.backends.numba.stages" not in modules
