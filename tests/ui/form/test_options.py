"""Options for experts: a control for every declared option of a run, made from its declaration.

Schemes with options of their own are listed when a recipe brings them.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from magicgui.widgets import CheckBox
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers import entry_points
from helpers.entry_points import Relaxed
from helpers.viewer import open_section, wait_until_settled
from napari_diffusion.core.parameters import param
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.recipe_fields import run_options, steady_time
from napari_diffusion.ui.form import options
from napari_diffusion.ui.sections.recipes import RecipeSection
from napari_diffusion.ui.widget import EXPERT

DECLARED = [option for option in (*run_options(), *run_options(Execution)) if not option.preference]


def label_of(control):
    return control.text if isinstance(control, CheckBox) else control.label


@dataclass(frozen=True)
class LargerRecipe(nd.Recipe):
    """A recipe with a further option of every kind."""

    careful: bool = param(True, "Look twice.", label="Careful")
    order: str = param(
        "last",
        "Which voxels come first.",
        choices=("first", "last"),
        label="Order",
        choice_labels=("from the start", "from the end"),
    )
    margin: float = param(2.0, "Width of the margin.", unit="length", ge=0, label="Margin")


@dataclass(frozen=True)
class LargerExecution(Execution):
    """An execution with further options."""

    quiet: bool = param(False, "Make no noise.", label="Quiet")
    size: int = param(3, "Size of a piece.", gt=0, label="Size")


@pytest.fixture
def larger(monkeypatch):
    """Add options to recipes and executions."""
    monkeypatch.setattr(nd, "Recipe", LargerRecipe)
    monkeypatch.setattr(options, "Execution", LargerExecution)


@pytest.mark.parametrize("option", DECLARED, ids=lambda option: option.name)
def test_every_option_has_a_control_with_its_label_help_and_default(open_alone, option):
    _, gui = open_alone()
    control = gui.form.run_options[option.name]
    assert label_of(control) == option.label != ""
    assert control.tooltip.startswith(option.doc)
    owner = gui.form.recipe() if option in run_options() else gui.form.execution()
    assert getattr(owner, option.name) == option.default
    for name, shown in zip(option.choices or (), option.choice_labels or (), strict=True):
        control.value = name
        assert control.current_choice == shown


def test_options_are_listed_in_the_order_of_their_declarations(open_alone):
    _, gui = open_alone("Isotropic diffusion")
    gui.drawers[EXPERT].open = True
    labels = [label_of(row) for row in gui.form.option_rows]
    assert labels == [
        "Length unit",
        "Restrict to labels",
        "Edges from",
        *itertools.chain.from_iterable(
            [option.label, "Run to the steady state"]
            if option.name == "fidelity_length"
            else [option.label]
            for option in DECLARED
        ),
    ]


def test_new_option_gets_a_control_that_reaches_the_recipe(
    larger, open_alone, press_run, noisy, qtbot
):
    viewer, gui = open_alone("Isotropic diffusion")
    layer = viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    controls = [gui.form.run_options[name] for name in ("careful", "order", "margin")]
    assert [label_of(control) for control in controls] == ["Careful", "Order", "Margin"]
    assert [control.value for control in controls] == [True, "last", 2.0]
    for control, value in zip(controls, (False, "first", 3.0), strict=True):
        control.value = value
    gui.form.unit.value = "nm"
    assert (controls[2].value, controls[2].unit) == (3000, "nm")
    chosen = {"careful": False, "order": "first", "margin": 3000.0}
    recipe = gui.form.settings().recipe
    assert {name: getattr(recipe, name) for name in chosen} == chosen
    assert chosen.items() <= press_run(viewer, gui).metadata["napari-diffusion"]["recipe"].items()
    # The recipe brings the options back, and its lengths in the unit on screen.
    open_section(gui, RecipeSection).json.native.click()
    viewer.layers.selection.active = layer
    gui.form.unit.value = "mm"
    for control, value in zip(controls, (True, "last", 0.0), strict=True):
        control.value = value
    gui.sections[RecipeSection].paste.native.click()
    assert [control.value for control in controls] == [False, "first", pytest.approx(0.003)]


def test_transform_of_photon_noise_takes_the_measured_numbers(open_alone, qtbot):
    """A second measurement is then that of the uniform noise."""
    viewer, gui = open_alone("Anisotropic diffusion")
    rate = np.broadcast_to(np.linspace(2, 80, 96), (96, 96))
    viewer.add_image(2.0 * np.random.default_rng(0).poisson(rate))
    wait_until_settled(qtbot, gui)
    gui.drawers[EXPERT].open = True
    assert gui.form.values.model_values.measured.suggestion.noise.kind == "poisson"
    gui.form.run_options["transform"].value = "anscombe"
    recipe = gui.form.settings().recipe
    assert recipe.transform == "anscombe"
    assert recipe.gain == pytest.approx(2, rel=0.1)
    wait_until_settled(qtbot, gui)
    suggestion = gui.form.values.model_values.measured.suggestion
    assert suggestion.options == recipe.transform_options
    assert suggestion.noise.sigma == pytest.approx(1, abs=0.1)


def test_option_without_a_control_yet_is_in_the_unit_on_screen(larger, open_alone, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    assert gui.form.recipe().margin == 2.0
    assert gui.form.execution() == LargerExecution()
    gui.form.unit.value = "nm"
    assert gui.form.recipe().margin == 2000.0
    _, gui = open_alone("Isotropic diffusion", noisy)
    gui.form.unit.value = "nm"  # numbers stay the same
    margin = gui.form.run_options["margin"]
    assert (margin.value, margin.unit) == (2.0, "nm")


def test_number_of_a_new_option_beyond_its_control_is_refused(larger, open_alone, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    before = gui.form.recipe()
    text = LargerRecipe(nd.Linear(), 9.0, margin=1e305).to_json()
    QApplication.clipboard().setText(text)
    open_section(gui, RecipeSection).paste.native.click()
    assert "too large to be shown" in gui.panel.status.value
    assert gui.form.recipe() == before


def test_new_option_of_the_execution_gets_a_control(larger, open_alone, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    controls = [gui.form.run_options[name] for name in ("quiet", "size")]
    assert [label_of(control) for control in controls] == ["Quiet", "Size"]
    assert gui.form.execution() == LargerExecution()
    for control, value in zip(controls, (True, 5), strict=True):
        control.value = value
    assert gui.form.settings().execution == LargerExecution(quiet=True, size=5)


def test_scheme_of_another_package_is_shown_kept_and_run(
    monkeypatch, open_alone, press_run, noisy, qtbot
):
    entry_points.register(monkeypatch, schemes=entry_points.SCHEME)
    viewer, gui = open_alone("Isotropic diffusion")
    layer = viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    control = gui.form.run_options["scheme"]
    assert Relaxed.name in control.choices
    scheme = Relaxed(share=0.4, longest=0.02)
    recipe = nd.Recipe(nd.Linear(), 0.19, "micrometer", scheme=scheme)
    QApplication.clipboard().setText(recipe.to_json())
    open_section(gui, RecipeSection).paste.native.click()
    assert control.current_choice == "Relaxed(share=0.4, longest=0.02)"
    viewer.add_labels(np.ones(noisy.shape, np.uint8))
    assert gui.form.settings().recipe.scheme == scheme
    result = press_run(viewer, gui)
    assert gui.panel.plan.tooltip.startswith("relaxed: 10 steps")
    expected = recipe.diffuse(noisy, spacing=(2, 0.5, 0.5))
    np.testing.assert_array_equal(result.data, expected, strict=True)
    repeated = nd.Recipe.from_dict(result.metadata["napari-diffusion"]["recipe"])
    assert repeated.scheme == scheme
    # In another unit, the scheme is the same one.
    viewer.layers.selection.active = layer
    gui.form.unit.value = "nm"
    wait_until_settled(qtbot, gui)
    longest = pytest.approx(0.02e6)
    assert (control.value.share, control.value.longest) == (0.4, longest)
    assert gui.panel.plan.tooltip.startswith("relaxed: 10 steps")
    np.testing.assert_allclose(press_run(viewer, gui).data, expected, rtol=1e-6)
    control.value = "auto"
    gui.form.unit.value = "µm"
    assert control.value == "auto"
    (own,) = [choice for choice in control.choices if not isinstance(choice, str)]
    assert (own.share, own.longest) == (0.4, pytest.approx(0.02))


def test_fidelity_length_is_none_at_first_and_is_converted_with_the_unit(open_alone, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    box = gui.form.run_options["fidelity_length"]
    assert (box.value, box.native.text()) == (None, "none")
    assert gui.form.recipe().fidelity_length is None
    gui.form.unit.value = "nm"
    assert (box.value, box.native.text()) == (None, "none")
    box.value = 2500.0
    assert (gui.form.recipe().fidelity_length, box.native.text()) == (2500.0, "2500 nm")
    gui.form.unit.value = "µm"
    assert gui.form.recipe().fidelity_length == pytest.approx(2.5)
    box.native.stepDown()
    assert box.value == pytest.approx(2.4)
    box.native.lineEdit().setText("none")
    box.native.interpretText()
    assert gui.form.recipe().fidelity_length is None


def test_run_to_the_steady_state_needs_a_fidelity_length_and_comes_back(open_alone, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    options, amount = gui.form.run_options, gui.form.amount.time
    options.make()
    options.steady.value = True
    assert gui.form.recipe().time == amount
    options["fidelity_length"].value = 2.0
    recipe = gui.form.recipe()
    assert recipe.time == steady_time(2.0, recipe.tolerance)
    options["fidelity_length"].value, options.steady.value = None, False
    gui.form.load(recipe)
    assert options.steady.value
    assert gui.form.recipe() == recipe
    gui.form.load(nd.Recipe(nd.Linear(), 5.0, fidelity_length=2.0))
    assert not options.steady.value
    assert gui.form.recipe().time == 5.0


def test_controls_without_an_effect_are_hidden(open_alone, noisy):
    viewer, gui = open_alone("Anisotropic diffusion")
    layer = viewer.add_image(noisy)
    viewer.add_image(noisy, name="guide")
    gui.form.layer.value = layer
    gui.drawers[EXPERT].open = True
    options = gui.form.run_options
    dependent = {
        "guide": [options["guide_weight"]],
        "transform": [options[name] for name in ("gain", "offset", "read_noise")],
        "fidelity_length": [options.steady],
    }

    def shown():
        return {
            name
            for name, controls in dependent.items()
            if not any(control.native.isHidden() for control in controls)
        }

    assert shown() == set()
    options["transform"].value = "anscombe"
    assert shown() == {"transform"}
    options["fidelity_length"].value = 2.0
    assert shown() == {"transform", "fidelity_length"}
    options.guide.value = viewer.layers["guide"]
    assert shown() == set(dependent)
    options["transform"].value = "none"
    options.guide.value = options["fidelity_length"].value = None
    assert shown() == set()
