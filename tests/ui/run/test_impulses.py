"""Hot and dead voxels in the widget: the option, the result, and the number in the status line."""

import numpy as np

import napari_diffusion as nd
from helpers.viewer import WAIT
from napari_diffusion.ui.sections.threshold import ThresholdSection


def dotted(noisy):
    image = noisy.copy()
    image[2, 5, 6], image[3, 12, 9] = 900, -800
    return image


def test_option_replaces_them_and_the_status_counts_them(open_alone, press_run, noisy):
    image = dotted(noisy)
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(image, name="dots")
    control = widget.form.run_options["impulses"]
    assert control.label == "Hot, dead voxels"
    texts = [control.native.itemText(k) for k in range(control.native.count())]
    assert texts == ["keep", "replace"]
    layer = press_run(viewer, widget)
    assert "dead" not in widget.panel.status.value
    control.value = "mask"
    layer = press_run(viewer, widget)
    model, time = widget.form.controls.value(), widget.form.amount.time
    expected = nd.diffuse(image, model, time=time, impulses="mask")
    np.testing.assert_array_equal(layer.data, expected, strict=True)
    share = f"{200 / image.size:.2g}"
    text = f"2 hot or dead voxels ({share} %) were replaced"
    assert text in widget.panel.status.value
    assert layer.metadata["napari-diffusion"]["recipe"]["impulses"] == "mask"


def test_gradients_are_measured_again_without_them(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    image = dotted(noisy)
    viewer.add_image(image, name="dots")
    section = widget.sections[ThresholdSection]
    section.drawer.open = True

    def largest():
        magnitudes = section._gradients.magnitudes
        return magnitudes[-1] if magnitudes.size else None

    qtbot.waitUntil(lambda: largest() is not None, timeout=WAIT)
    assert largest() > 300
    widget.form.run_options["impulses"].value = "mask"
    qtbot.waitUntil(lambda: largest() is not None and largest() < 300, timeout=WAIT)
