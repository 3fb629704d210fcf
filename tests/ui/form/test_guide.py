"""*Edges from*: the layer of the guide reaches the run, the recipe and the code, or is refused."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.viewer import open_section, wait_until_settled
from napari_diffusion.ui.sections.recipes import RecipeSection

PLANE = (24, 20)


@pytest.fixture
def guided(open_alone):
    """Open an image and a guide, and choose both."""
    rng = np.random.default_rng(1)
    mri = np.zeros(PLANE, np.float32)
    mri[6:16, 5:15] = 100
    pet = (mri / 10 + rng.normal(50, 8, PLANE)).astype(np.float32)
    viewer, gui = open_alone()
    guide = viewer.add_image(mri, name="MRI", scale=(2, 2), units=("mm", "mm"))
    image = viewer.add_image(pet, name="PET", scale=(2, 2), units=("mm", "mm"))
    gui.form.layer.value = image
    gui.form.guide.value = guide
    return viewer, gui, image, guide


def test_run_takes_its_edges_from_the_layer(guided, press_run):
    viewer, gui, image, guide = guided
    result = press_run(viewer, gui)
    recipe = nd.Recipe.from_dict(result.metadata["napari-diffusion"]["recipe"])
    assert recipe.guide == "MRI"
    expected = recipe.diffuse(image.data, guide=guide.data)
    np.testing.assert_array_equal(result.data, expected)
    gui.form.layer.value = image
    gui.form.guide.value = None
    alone = gui.form.settings()
    assert (alone.guide, alone.recipe.guide) == (None, None)
    assert np.abs(recipe.diffuse(image.data, guide=None) - expected).max() > 1


def test_flipped_layer_is_turned_and_moved_one_is_refused(guided):
    viewer, gui, image, guide = guided
    expected = gui.form.settings().problem()
    flipped = viewer.add_image(
        guide.data[:, ::-1].copy(),
        name="flipped",
        affine=[[1, 0, 0], [0, -1, 2.0 * (PLANE[1] - 1)], [0, 0, 1]],
        scale=(2, 2),
        units=("mm", "mm"),
    )
    gui.form.layer.value = image
    gui.form.guide.value = flipped
    np.testing.assert_array_equal(gui.form.settings().guide, expected.domain.guide)
    flipped.translate = (0, 3)
    with pytest.raises(ValueError, match="The voxels of “flipped” are not those of “PET”") as error:
        gui.form.settings()
    assert "nearest" not in str(error.value)


def test_recipe_brings_the_guide_back_or_says_that_it_is_missing(guided):
    viewer, gui, _, guide = guided
    section = open_section(gui, RecipeSection)
    section.json.native.click()
    gui.form.guide.value = None
    section.paste.native.click()
    assert gui.form.guide.value is guide
    recipe = gui.form.recipe()
    viewer.layers.remove(guide)
    (sentence,) = gui.form.load(recipe)
    assert sentence == "It takes its edges from the image MRI, and no layer here is called so."
    assert gui.form.guide.value is None


def test_copied_python_code_and_command_name_the_guide(guided):
    _, gui, image, guide = guided
    section = open_section(gui, RecipeSection)
    section.python.native.click()
    code = QApplication.clipboard().text()
    assert "guide: that of 'MRI'" in code
    namespace = {"image": image.data, "guide": guide.data}
    exec(code, namespace)
    expected = gui.form.recipe().diffuse(image.data, guide=guide.data)
    np.testing.assert_array_equal(namespace["result"], expected)
    section.command.native.click()
    assert "--guide GUIDE" in QApplication.clipboard().text()


def test_preview_and_edges_follow_the_guide(guided, qtbot):
    _, gui, _, guide = guided
    settings = gui.form.settings()
    assert settings.unread_problem().is_guided
    assert settings.of_edges.image is guide.data
    qtbot.waitUntil(lambda: not gui.form.pending)
    with qtbot.waitSignal(gui.form.settings_changed):
        guide.translate = (1, 0)


def test_suggestion_is_that_of_the_guided_run(guided, qtbot, thorough_suggestions):
    _, gui, image, guide = guided
    wait_until_settled(qtbot, gui)
    model = type(gui.form.model.value())
    options = {"spacing": (2, 2), "unit": "mm"}
    expected = nd.suggest(image.data, model(), guide=guide.data, **options)
    shown = gui.context.suggestion
    assert (shown.model, shown.time) == (expected.model, expected.time)
    gui.form.guide.value = None
    wait_until_settled(qtbot, gui)
    assert gui.context.suggestion.model != expected.model
    gui.form.run_options["fidelity_length"].value = 6.0
    gui.form.run_options.steady.value = True
    wait_until_settled(qtbot, gui)
    held = nd.suggest(image.data, model(), fidelity_length=6.0, **options)
    shown = gui.context.suggestion
    assert (shown.model, shown.time) == (held.model, pytest.approx(held.time))
