"""Complete runs as a user does them, from opening an image to the new layer."""

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.workflows import outputs


def test_mri_sample_is_filtered(open_widget, press_run):
    viewer, widget = open_widget("Anisotropic diffusion")
    viewer.open_sample("napari-diffusion", "mri")
    source = viewer.layers[0]
    assert widget.form.layer.value == source
    source.data = source.data[:, 20:60, 20:60]
    layer = press_run(viewer, widget)
    model = widget.form.controls.value()
    expected = nd.diffuse(source.data, model, time=widget.form.amount.time, spacing=(2.2, 2.0, 2.0))
    np.testing.assert_array_equal(layer.data, expected, strict=True)
    assert layer.name == f"{source.name}, edge-preserving κ {model.kappa:.3g}"
    assert layer.units == source.units
    assert tuple(layer.scale) == tuple(source.scale)
    assert "Done" in widget.panel.status.value
    assert widget.panel.bar.visible is False


def test_recipe_of_a_result_repeats_it(open_alone, press_run, noisy):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, name="noisy", scale=(2, 0.5, 0.5), units=("um",) * 3)
    layer = press_run(viewer, widget)
    provenance = layer.metadata["napari-diffusion"]
    assert provenance["source"] == "noisy"
    recipe = nd.Recipe.from_dict(provenance["recipe"])
    assert recipe.unit == "micrometer"
    assert recipe.spacing == (2, 0.5, 0.5)
    np.testing.assert_array_equal(recipe.diffuse(noisy), layer.data, strict=True)


def test_isotropic_result_is_a_gaussian_of_the_shown_sigma(open_widget, press_run, noisy):
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy, scale=(0.002, 0.5, 0.5), units=("mm", "um", "um"))
    widget.form.amount.number.value = 1.5
    assert widget.form.amount.number.unit == "µm"
    others = widget.form.amount.others.value.replace("\N{NO-BREAK SPACE}", " ")
    assert others == "= FWHM 3.53 µm"
    layer = press_run(viewer, widget)
    expected = nd.diffuse(noisy, nd.Linear(), time=nd.time_for_sigma(1.5), spacing=(2.0, 0.5, 0.5))
    np.testing.assert_array_equal(layer.data, expected, strict=True)


def test_time_points_are_filtered_independently(open_widget, press_run, noisy):
    series = np.stack([noisy, noisy + 1000])
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(series, scale=(1, 0.002, 0.5, 0.5), units=("s", "mm", "um", "um"))
    assert widget.form.table.axes == (1, 2, 3)
    layer = press_run(viewer, widget)
    for frame, volume in zip(layer.data, series, strict=True):
        expected = nd.diffuse(
            volume, nd.Linear(), time=widget.form.amount.time, spacing=(2, 0.5, 0.5)
        )
        np.testing.assert_array_equal(frame, expected, strict=True)


def test_only_checked_axes_are_smoothed(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    widget.form.table.rows[0].smooth.native.click()
    assert widget.form.table.axes == (1, 2)
    layer = press_run(viewer, widget)
    np.testing.assert_array_equal(
        layer.data,
        nd.diffuse(noisy, nd.Linear(), time=widget.form.amount.time, axes=(1, 2)),
        strict=True,
    )


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.uint32, np.float16, np.float64])
def test_every_dtype_with_five_axes(open_alone, press_run, dtype):
    values = (np.random.default_rng(1).random((2, 2, 3, 8, 9)) * 200 > 90).astype(dtype)
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(values)
    assert widget.form.table.axes == (2, 3, 4)
    layer = press_run(viewer, widget)
    expected = nd.diffuse(values, nd.Linear(), time=widget.form.amount.time, axes=(2, 3, 4))
    np.testing.assert_array_equal(layer.data, expected, strict=True)


def test_integers_are_kept_on_request(open_alone, press_run):
    values = np.random.default_rng(1).integers(0, 255, (12, 13), np.uint8)
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(values)
    widget.form.run_options["preserve_dtype"].value = True
    layer = press_run(viewer, widget)
    expected = nd.diffuse(values, nd.Linear(), time=widget.form.amount.time, preserve_dtype=True)
    np.testing.assert_array_equal(layer.data, expected, strict=True)
    assert layer.dtype == np.uint8


def test_colours_are_coupled_and_keep_their_integer_type(open_widget, press_run):
    values = np.random.default_rng(1).integers(0, 255, (12, 13, 3), np.uint8)
    viewer, widget = open_widget("Anisotropic diffusion")
    viewer.add_image(values, rgb=True)
    layer = press_run(viewer, widget)
    model = widget.form.controls.value()
    keywords = {"time": widget.form.amount.time, "channel_axis": -1, "axes": (0, 1)}
    assert layer.rgb
    # Integers are the default for colours: napari can save them as a picture.
    expected = nd.diffuse(values, model, preserve_dtype=True, **keywords)
    np.testing.assert_array_equal(layer.data, expected, strict=True)
    widget.form.run_options["preserve_dtype"].value = False
    expected = nd.diffuse(values, model, **keywords)
    np.testing.assert_array_equal(press_run(viewer, widget).data, expected, strict=True)


def test_integers_are_kept_by_default_for_colours_only(open_alone):
    viewer, widget = open_alone("Isotropic diffusion")
    colours = viewer.add_image(np.zeros((8, 9, 3), np.uint8), rgb=True)
    assert widget.form.run_options["preserve_dtype"].value
    viewer.add_image(np.zeros((8, 9), np.uint8))
    assert not widget.form.run_options["preserve_dtype"].value
    widget.form.run_options["preserve_dtype"].value = True
    widget.form.layer.value = colours
    viewer.add_image(np.zeros((8, 9, 3), np.float32), rgb=True)
    assert not widget.form.run_options["preserve_dtype"].value


def test_lazy_array_is_passed_to_the_engine(open_widget, press_run, noisy, monkeypatch):
    series = np.stack([noisy, noisy + 1])
    types, engine = [], outputs.run_with_outputs

    def recorded(problem, *args, **keywords):
        types.append(type(problem.image))
        return engine(problem, *args, **keywords)

    monkeypatch.setattr(outputs, "run_with_outputs", recorded)
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(dask.array.from_array(series, chunks=(1, 6, 16, 20)))
    layer = press_run(viewer, widget)
    assert types == [dask.array.Array]
    np.testing.assert_array_equal(
        layer.data,
        nd.diffuse(series, nd.Linear(), time=widget.form.amount.time, axes=(1, 2, 3)),
        strict=True,
    )


def test_multiscale_layer_is_filtered_at_full_resolution(open_widget, press_run):
    full = np.random.default_rng(1).random((16, 18)).astype(np.float32)
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image([full, full[::2, ::2]], multiscale=True)
    layer = press_run(viewer, widget)
    np.testing.assert_array_equal(
        layer.data, nd.diffuse(full, nd.Linear(), time=widget.form.amount.time), strict=True
    )


def test_nothing_flows_across_labels(open_alone, press_run, noisy):
    labels = np.zeros(noisy.shape, np.uint8)
    labels[..., 2:9], labels[..., 9:18] = 1, 2
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    viewer.add_labels(labels)
    widget.form.regions.value = viewer.layers["labels"]
    layer = press_run(viewer, widget)
    np.testing.assert_array_equal(
        layer.data,
        nd.diffuse(noisy, nd.Linear(), time=widget.form.amount.time, labels=labels),
        strict=True,
    )
    np.testing.assert_array_equal(layer.data[..., :2], noisy[..., :2])


def test_nan_is_kept_on_request(open_alone, press_run, noisy):
    noisy[2, 3, 4] = np.nan
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, contrast_limits=(50, 250))
    widget.form.run_options["nan"].value = "mask"
    layer = press_run(viewer, widget)
    assert np.isnan(layer.data[2, 3, 4])
    assert np.isnan(layer.data).sum() == 1
    assert list(layer.contrast_limits) == [50, 250]


def test_each_run_adds_a_new_layer(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="a")
    first, second = press_run(viewer, widget), press_run(viewer, widget)
    name = f"a, Gaussian σ {nd.equivalent_sigma(widget.form.amount.time):.3g} pixel"
    assert [layer.name for layer in viewer.layers] == ["a", name, f"{name} (2)"]
    assert [layer.metadata["napari-diffusion"]["source"] for layer in (first, second)] == ["a", "a"]
    np.testing.assert_array_equal(first.data, second.data)


def test_two_viewers_are_independent(open_widget, press_run, noisy):
    one, widget_one = open_widget("Isotropic diffusion")
    two, widget_two = open_widget("Isotropic diffusion")
    one.add_image(noisy, name="one")
    two.add_image(noisy + 1, name="two")
    assert press_run(one, widget_one).name.startswith("one")
    assert press_run(two, widget_two).name.startswith("two")
    assert (len(one.layers), len(two.layers)) == (2, 2)
