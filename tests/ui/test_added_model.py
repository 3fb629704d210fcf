"""The model of docs/develop/add_a_model.md is in the widget when its package is installed."""

import numpy as np

import napari_diffusion as nd
from helpers import example_package


def test_model_of_another_package_runs_in_the_widget(
    tmp_path, monkeypatch, open_widget, press_run, noisy
):
    monkeypatch.syspath_prepend(example_package.install(tmp_path))
    viewer, widget = open_widget("Anisotropic diffusion")
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    model = nd.models.get("geman-mcclure")
    widget.form.model.value = model
    widget.form.controls["kappa"].value = 12.0
    widget.form.controls["sigma"].value = 0.7
    widget.form.amount.number.value = 2.0
    layer = press_run(viewer, widget)
    assert layer.name == "noisy, Geman-McClure κ 12"
    np.testing.assert_array_equal(
        layer.data,
        nd.diffuse(noisy, model(kappa=12.0, sigma=0.7), time=2.0, spacing=(2.0, 0.5, 0.5)),
    )
