"""A rectangle of a Shapes layer limits preview and run."""

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QApplication

from helpers.viewer import (
    WAIT,
    assert_shows_the_run,
    filter_folder,
    open_section,
    wait_for_preview,
    wait_until_ended,
    wait_until_settled,
)
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.recipes import RecipeSection

#: Corners of rectangles [voxel]: rows 3 to 10 and columns 4 to 12 of an image.
BOX = np.array([(2.6, 3.7), (2.6, 12.2), (10.4, 12.2), (10.4, 3.7)])


def in_plane(corners, plane):
    return np.column_stack([np.full(len(corners), plane), corners])


@pytest.mark.parametrize(
    "style",
    [
        {},
        {"scale": (2, 0.5, 0.5), "translate": (4, 5, 6), "units": ("um",) * 3},
        {"rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]], "scale": (1, 1, 2)},
        {"affine": [[1, 0, 0, 5], [0, 0, 1, 7], [0, -1, 0, 3], [0, 0, 0, 1]]},
    ],
    ids=["plain", "scaled", "rotated", "turned axes"],
)
def test_run_on_a_region_is_that_of_the_whole_image(open_alone, press_run, qtbot, noisy, style):
    viewer, gui = open_alone()
    source = viewer.add_image(noisy, name="noisy", **style)
    gui.form.controls["kappa"].value, gui.form.amount.number.value = 15.0, 1.0
    whole = press_run(viewer, gui)
    shapes = viewer.add_shapes([in_plane(BOX, 2)], name="box", **style)
    choice = gui.form.region
    assert choice.layer.choices == (None, shapes)
    choice.layer.value = shapes
    gui.form.layer.value = source
    part = press_run(viewer, gui)
    region = (slice(0, 6), slice(3, 11), slice(4, 13))
    np.testing.assert_array_equal(part.data, whole.data[region], strict=True)
    for corner in ((0, 0, 0), (5, 7, 8)):
        expected = source.data_to_world(np.add(corner, (0, 3, 4)))
        np.testing.assert_allclose(part.data_to_world(corner), expected, atol=1e-9)
    assert part.units == source.units
    notes = part.metadata["napari-diffusion"]
    assert notes["region"] == [[0, 6], [3, 11], [4, 13]]
    choice.layer.value = None
    assert press_run(viewer, gui).data.shape == noisy.shape


def test_preview_shows_the_region_and_follows_the_shape(open_preview, qtbot, noisy):
    viewer, gui, section = open_preview(noisy)
    source = viewer.layers["noisy"]
    row = gui.form.region.native
    assert not row.isVisibleTo(gui.native)
    shapes = viewer.add_shapes([in_plane(BOX, 2)], name="box")
    gui.form.layer.value = source
    gui.form.region.layer.value = viewer.layers["box"]
    wait_for_preview(qtbot, gui)
    assert row.isVisibleTo(gui.native)
    region = assert_shows_the_run(viewer, gui)
    assert region == (slice(2, 3), slice(3, 11), slice(4, 13))
    assert section.overlay.layer.bounding_box.visible
    assert "the region, 8 × 9 pixels" in section.status.value
    # In another plane, too: the rectangle limits the axes along which it extends.
    viewer.dims.set_current_step(0, 4)
    wait_for_preview(qtbot, gui)
    assert assert_shows_the_run(viewer, gui)[0] == slice(4, 5)
    shapes.data = [in_plane(np.add(BOX, (3, 2)), 2)]
    wait_for_preview(qtbot, gui)
    assert assert_shows_the_run(viewer, gui)[1:] == (slice(6, 14), slice(6, 15))
    # From the side, a plane that the region does not meet says so.
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 0)
    wait_until_settled(qtbot, gui)
    wait_for_preview(qtbot, gui)
    assert "outside the region" in section.status.value
    viewer.dims.order = (0, 1, 2)
    gui.form.region.layer.value = None
    wait_for_preview(qtbot, gui)
    assert assert_shows_the_run(viewer, gui)[1:] == (slice(0, 16), slice(0, 20))
    gui.form.region.layer.value = viewer.layers["box"]
    wait_for_preview(qtbot, gui)
    viewer.layers.remove("box")
    wait_for_preview(qtbot, gui)
    assert gui.form.region.layer.value is None
    assert assert_shows_the_run(viewer, gui)[2] == slice(0, 20)


def test_unusable_shape_is_named(open_preview, qtbot, noisy):
    viewer, gui, section = open_preview(noisy)
    source = viewer.layers["noisy"]
    shapes = viewer.add_shapes(name="box", ndim=3)
    gui.form.layer.value = source
    gui.form.region.layer.value = viewer.layers["box"]
    qtbot.waitUntil(lambda: "Draw a rectangle" in gui.panel.status.value, timeout=WAIT)
    shapes.data = [in_plane(BOX + 100, 2)]
    qtbot.waitUntil(lambda: "outside" in gui.panel.status.value, timeout=WAIT)
    assert section.overlay.layer is None
    assert section.status.value == ""  # it is said above Run
    shapes.data = [in_plane(BOX, 2)]
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)


def test_colours_and_time_points_of_a_region(open_alone, press_run, noisy):
    colours = np.clip(np.stack([noisy, 255 - noisy, noisy / 2], -1), 0, 255).astype(np.uint8)
    viewer, gui = open_alone()
    source = viewer.add_image(colours, rgb=True, scale=(1, 2, 2))
    gui.form.table.rows[0].smooth.value = False
    gui.form.controls["kappa"].value, gui.form.amount.number.value = 20.0, 1.5
    whole = press_run(viewer, gui)
    viewer.add_shapes([BOX], name="plane", scale=(2, 2))  # two axes less than the image
    gui.form.layer.value = source
    gui.form.region.layer.value = viewer.layers["plane"]
    part = press_run(viewer, gui)
    assert part.rgb
    np.testing.assert_array_equal(part.data, whole.data[:, 3:11, 4:13], strict=True)


def test_batch_of_layers_filters_the_region_of_each(open_alone, qtbot, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    fine = np.repeat(np.repeat(noisy, 2, 1), 2, 2)  # voxels of half the size
    viewer.add_image(fine, name="fine", scale=(1, 0.5, 0.5), translate=(0, -0.25, -0.25))
    viewer.add_image(noisy[:, :2], name="elsewhere")
    source = viewer.add_image(noisy, name="noisy")
    shapes = viewer.add_shapes([in_plane(BOX, 2)], name="box")
    section = open_section(gui, BatchSection)
    gui.form.layer.value, gui.form.region.layer.value = source, shapes
    viewer.layers.selection = set(viewer.layers[:3])
    wait_until_settled(qtbot, gui)
    assert section.names.value == "fine, elsewhere, noisy; of each, the region in box."
    assert section.layers.native.isEnabled()
    section.layers.native.click()
    wait_until_ended(qtbot, gui)
    assert "elsewhere: The last shape of box lies outside elsewhere" in gui.panel.status.value
    made = [each.metadata["napari-diffusion"] for each in viewer.layers if each.metadata]
    assert {each["source"]: each["region"] for each in made} == {
        "noisy": [[0, 6], [3, 11], [4, 13]],
        "fine": [[0, 6], [6, 22], [8, 25]],
    }
    gui.form.region.layer.value = None
    wait_until_settled(qtbot, gui)
    assert "region" not in section.names.value


def test_batch_of_files_refuses_a_region_before_any_run(open_alone, qtbot, noisy, folders):
    viewer, gui = open_alone("Isotropic diffusion")
    source = viewer.add_image(noisy, name="noisy")
    shapes = viewer.add_shapes([in_plane(BOX, 2)], name="box")
    gui.form.layer.value, gui.form.region.layer.value = source, shapes
    tifffile.imwrite(folders[0] / "a.tif", noisy)
    filter_folder(gui, folders)
    assert gui.panel.failed
    assert "choose “whole image” in Region" in gui.panel.status.value
    assert not gui.panel.busy
    gui.form.region.layer.value = None
    filter_folder(gui, folders)
    wait_until_ended(qtbot, gui)
    assert (folders[1] / "a.tif").exists()


def test_plan_is_that_of_the_region(open_alone, qtbot):
    image = np.random.default_rng(0).normal(100, 10, (8, 300, 300)).astype(np.float32)
    viewer, gui = open_alone("Isotropic diffusion")
    source = viewer.add_image(image)
    viewer.add_shapes([in_plane(BOX, 2)], name="box")
    gui.form.layer.value = source
    wait_until_settled(qtbot, gui)
    before = gui.context.settings().problem_and_run(gui._output_request(), read=False)[0]
    gui.form.region.layer.value = viewer.layers["box"]
    after = gui.context.settings().problem_and_run(gui._output_request(), read=False)[0]
    assert np.prod(after.shape) < np.prod(before.shape) / 50


def test_copied_code_gives_the_region(open_alone, press_run, qtbot, noisy):
    viewer, gui = open_alone()
    source = viewer.add_image(noisy, name="noisy")
    viewer.add_shapes([in_plane(BOX, 2)], name="box")
    gui.form.layer.value, gui.form.region.layer.value = source, viewer.layers["box"]
    part = press_run(viewer, gui)
    section = gui.sections[RecipeSection]
    section.python.native.click()
    names = {"image": noisy}
    exec(QApplication.clipboard().text(), names)
    np.testing.assert_array_equal(names["result"], part.data, strict=True)
    assert "region" not in gui.panel.status.value
    section.json.native.click()
    assert "does not name the region" in gui.panel.status.value
