"""Labels within which an image is smoothed lie on its voxels, or are refused."""

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.viewer import (
    assert_shows_the_run,
    open_section,
    wait_for_preview,
    wait_until_ended,
    wait_until_settled,
)
from napari_diffusion.ui.layers.labels import code_of_reorientation, labels_on_grid
from napari_diffusion.ui.run.status import StatusKind
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.recipes import RecipeSection

#: napari warns that it draws a volume with its axes in another order only roughly.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")

SHAPE = (4, 5, 6)
GRID = {"scale": (2, 0.5, 0.5), "translate": (10, 20, 30), "units": ("um",) * 3}
LABELS = np.random.default_rng(0).integers(0, 9, SHAPE, np.uint8)


def image(shape=SHAPE, **options):
    return Image(np.zeros(shape, np.float32), name="nuclei", **GRID | options)


def labels(array=LABELS, **options):
    return Labels(array, name="cells", **GRID | options)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (LABELS, {}),
        (LABELS, {"scale": (2000, 500, 500), "translate": (1e4, 2e4, 3e4), "units": ("nm",) * 3}),
        (LABELS, {"units": ("pixel",) * 3}),  # napari draws bare numbers then
        (
            LABELS,
            {"scale": (1, 0.5, 0.5), "affine": np.diag((2, 1, 1, 1)), "translate": (5, 20, 30)},
        ),
        (LABELS, {"translate": (10, 20, 30 + 1e-5)}),
        # The last voxel of a flipped axis is the first one: 30 + 0.5 (6 - 1) = 32.5.
        (LABELS[:, :, ::-1], {"scale": (2, 0.5, -0.5), "translate": (10, 20, 32.5)}),
        (LABELS[::-1, ::-1], {"scale": (-2, -0.5, 0.5), "translate": (16, 22, 30)}),
        (
            LABELS.transpose(2, 1, 0),
            {
                "scale": (1, 1, 1),
                "translate": (0, 0, 0),
                "affine": [[0, 0, 2, 10], [0, 0.5, 0, 20], [0.5, 0, 0, 30], [0, 0, 0, 1]],
            },
        ),
    ],
)
def test_labels_on_the_same_voxels_are_used_and_reoriented(array, options):
    own = labels(array.copy(), **options)
    used = labels_on_grid(image(), own, (0, 1, 2))
    np.testing.assert_array_equal(used, LABELS)
    assert np.shares_memory(used, own.data)
    assert labels_on_grid(image(), own, (0, 1, 2)) is used
    code = f"labels{code_of_reorientation(own, used)}"
    np.testing.assert_array_equal(eval(code, {"labels": own.data}), LABELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (1, 1, 1)}, "voxel size is 1, 1, 1 µm, and that of the image 2, 0.5, 0.5 µm"),
        ({"units": ("mm",) * 3}, "voxel size is 2000, 500, 500 µm, and that of the image 2, 0.5"),
        (
            {"translate": (10, 20, 31)},
            "voxel is at 10, 20, 31 µm, and that of the image at 10, 20, 30",
        ),
        ({"translate": (10, 20, 30.01)}, "voxel is at 10, 20, 30.01 µm"),
        ({"rotate": 90}, r"axes run along \(2, 0, 0\), \(0, 0, 0.5\), \(0, -0.5, 0\)"),
        ({"shear": (0, 0, 0.2)}, "voxel size is 2, 0.5, 0.509902"),
        ({"scale": (2, 0.5, -0.5)}, r"axes run along .*, \(0, 0, -0.5\), and those of the image"),
        ({"affine": np.diag((1, 1, 2, 1))}, "voxel size is 2, 0.5, 1 µm"),
    ],
)
def test_labels_on_other_voxels_are_refused_with_both_values(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        labels_on_grid(image(), labels(**options), (0, 1, 2))
    assert str(caught.value).startswith("The labels “cells” are not on the voxels of “nuclei”")


def test_labels_of_fewer_axes_are_compared_along_the_smoothed_axes():
    series = image(
        (3, *SHAPE),
        scale=(60, 2, 0.5, 0.5),
        translate=(7, 10, 20, 30),
        units=("s", "um", "um", "um"),
    )
    assert labels_on_grid(series, labels(), (1, 2, 3)) is not None
    with pytest.raises(ValueError, match=r"voxel size is 1, 0.5, 0.5 µm"):
        labels_on_grid(series, labels(scale=(1, 0.5, 0.5)), (1, 2, 3))
    channels = image(
        (4, 2, 5, 6),
        scale=(2, 1, 0.5, 0.5),
        translate=(10, 0, 20, 30),
        units=("um", "pixel", "um", "um"),
    )
    assert labels_on_grid(channels, labels(), (0, 2, 3)) is not None
    with pytest.raises(ValueError, match="first voxel is at 0, 20, 30 µm"):
        labels_on_grid(channels, labels(translate=(0, 20, 30)), (0, 2, 3))


@pytest.fixture
def regions(noisy):
    """Labels of the two sides of an edge, and another one that differs if it is flipped."""
    values = np.ones(noisy.shape, np.uint8)
    values[..., 10:] = 2
    values[:2] = 3
    return values


def test_run_preview_and_code_use_flipped_labels_where_they_are(
    open_preview, qtbot, press_run, noisy, regions
):
    viewer, gui, _ = open_preview(noisy, scale=(2, 0.5, 0.5))
    end = 2 * (len(noisy) - 1)
    flipped = viewer.add_labels(regions[::-1].copy(), scale=(-2, 0.5, 0.5), translate=(end, 0, 0))
    gui.form.regions.value = flipped
    gui.form.controls["kappa"].value = 9.0
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)
    model, time = gui.form.controls.value(), gui.form.amount.time
    open_section(gui, RecipeSection).python.native.click()
    code = QApplication.clipboard().text()
    expected = nd.diffuse(noisy, model, time=time, spacing=(2, 0.5, 0.5), labels=regions)
    np.testing.assert_array_equal(press_run(viewer, gui).data, expected)
    names = {"image": noisy, "labels": flipped.data}
    exec(code, names)
    np.testing.assert_array_equal(names["result"], expected)


def test_run_preview_and_batch_refuse_labels_that_were_moved(
    open_preview, qtbot, press_run, noisy, regions
):
    viewer, gui, section = open_preview(noisy)
    cells = viewer.add_labels(regions, name="cells")
    gui.form.regions.value = cells
    wait_for_preview(qtbot, gui)
    assert section.overlay.layer is not None
    cells.translate = (0, 0, 3)
    wait_for_preview(qtbot, gui)
    sentence = (
        "The labels “cells” are not on the voxels of “noisy”: their first voxel is at 0, 0, 3"
    )
    assert section.overlay.layer is None
    assert section.status.value == ""  # the line above Run says it
    assert gui.panel.state.kind is StatusKind.REFUSED
    assert gui.panel.status.value.startswith(sentence)
    assert press_run(viewer, gui) is None
    assert gui.panel.status.value.startswith(sentence)
    assert "give both layers the same scale" in gui.panel.status.value
    cells.translate = (0, 0, 0)
    # Another layer of the batch lies elsewhere.
    other = viewer.add_image(noisy + 1, name="moved", translate=(0, 0, 3))
    gui.form.layer.value = viewer.layers["noisy"]
    wait_until_settled(qtbot, gui)
    viewer.layers.selection = {viewer.layers["noisy"], other}
    before = len(viewer.layers)
    open_section(gui, BatchSection).layers.native.click()
    wait_until_ended(qtbot, gui)
    wait_for_preview(qtbot, gui)
    assert len(viewer.layers) == before + 1
    assert "moved: The labels “cells” are not on the voxels of “moved”" in gui.panel.status.value
