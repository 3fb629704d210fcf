"""Presets without the other programs: what is measured, what is said, what is saved."""

import inspect

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.core.geometry import Geometry
from napari_diffusion.core.parameters import parameters
from napari_diffusion.presets import BUILTIN, from_text
from napari_diffusion.schemes import AUTO

IMAGE = np.random.default_rng(0).normal(100, 10, (7, 12, 15)).astype("f4")
SPACING = (2.0, 0.5, 0.25)


def rms_gradient(image, spacing):
    """Root mean square of the gradient, with central differences and repeated borders."""
    total = 0.0
    for axis, h in enumerate(spacing):
        widths = [(1, 1) if i == axis else (0, 0) for i in range(image.ndim)]
        padded = np.moveaxis(np.pad(image.astype("f8"), widths, mode="edge"), axis, 0)
        total += np.mean(((padded[2:] - padded[:-2]) / (2 * h)) ** 2)
    return np.sqrt(total)


def kappa(image, conductance=1.0, **options):
    """Threshold of a single iteration."""
    return nd.presets.itk_gradient(image, conductance, 1, **options).model.kappa


def test_threshold_of_itk_is_relative_to_the_gradient_of_the_whole_image():
    assert kappa(IMAGE, 2.5, spacing=SPACING) == pytest.approx(2.5 * rms_gradient(IMAGE, SPACING))
    # A volume with more voxels than are differentiated at once.
    large = np.add.outer(np.arange(40.0), np.sin(np.arange(40_000.0)))
    assert kappa(large) == pytest.approx(rms_gradient(large, (1.0, 1.0)))


def test_threshold_of_several_iterations_is_between_the_first_and_the_last():
    """It is the mean over the iterations, weighted by the squared gradient that each removes."""
    conductance, step, count = 1.5, 0.1, 4
    u, r = IMAGE.astype("f8"), []
    for _ in range(count + 1):
        r.append(rms_gradient(u, (1.0,) * 3))
        one = nd.presets.itk_gradient(u, conductance, 1, step)
        assert one.model.kappa == pytest.approx(conductance * r[-1])
        u = nd.diffuse(u, one)
    removed = -np.diff(np.square(r))
    expected = conductance * np.sum(removed * r[:-1]) / np.sum(removed)
    recipe = nd.presets.itk_gradient(IMAGE.astype("f8"), conductance, count, step)
    assert recipe.model.kappa == pytest.approx(expected, rel=1e-6)
    assert r[-1] * conductance < recipe.model.kappa < r[0] * conductance


def test_threshold_of_frames_channels_and_other_orders_of_axes():
    frames = np.stack([IMAGE, 3 * IMAGE])
    expected = np.sqrt((1 + 9) / 2) * rms_gradient(IMAGE, SPACING)
    options = {"axes": (1, 2, 3), "spacing": SPACING}
    assert kappa(frames, **options) == pytest.approx(expected)
    channels = np.stack([IMAGE, 3 * IMAGE], -1)
    assert kappa(channels, channel_axis=-1, spacing=SPACING) == pytest.approx(expected)
    assert kappa(IMAGE.T, spacing=SPACING[::-1]) == pytest.approx(rms_gradient(IMAGE, SPACING))
    swapped = kappa(IMAGE, axes=(2, 1, 0), spacing=SPACING[::-1])
    assert swapped == pytest.approx(rms_gradient(IMAGE, SPACING))
    plane = IMAGE[:1]
    assert kappa(plane, spacing=SPACING) == pytest.approx(rms_gradient(plane[0], SPACING[1:]))


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f8", "?"])
def test_threshold_does_not_depend_on_the_data_type(dtype):
    """Differences of unsigned integers are not taken in their type, where they would wrap."""
    image = (np.rint(IMAGE) > 100 if dtype == "?" else np.rint(IMAGE)).astype(dtype)
    assert kappa(image) == pytest.approx(rms_gradient(image.astype("f8"), (1.0,) * 3), rel=1e-3)


def test_values_that_are_not_finite_are_left_out_of_the_measurement():
    image = np.tile(np.arange(40.0), (30, 1))
    image[10, 20] = np.nan
    image[5, 5] = np.inf
    # A ramp of slope 1: its border voxels have half of it, the others are equal.
    assert kappa(image) == pytest.approx(np.sqrt(38.5 / 40), rel=2e-3)


def test_constant_image_gets_a_threshold_and_stays_as_it_is():
    image = np.full((9, 9), 7.0)
    for make in (nd.presets.itk_gradient, nd.presets.itk_curvature):
        np.testing.assert_array_equal(nd.diffuse(image, make(image)), image)


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.name)
def test_function_has_the_parameters_of_the_declaration(kind):
    function = getattr(nd.presets, kind.name.replace("-", "_"))
    given = inspect.signature(function).parameters
    declared = {p.name: p.default for p in parameters(kind)}
    names = [
        name for name in given if name not in ("image", "spacing", "axes", "channel_axis", "unit")
    ]
    assert {name: given[name].default for name in names} == declared
    assert names == list(declared)
    axes = (1, 2) if kind.name == "opencv" else (0, 1, 2)
    size = SPACING[-len(axes) :]
    options = {"spacing": size, "axes": axes, "unit": "micrometer"}
    recipe = function(IMAGE, **options)
    assert recipe == kind().recipe(IMAGE, Geometry(size, axes), "micrometer")
    assert (recipe.spacing, recipe.axes, recipe.unit) == (size, axes, "micrometer")


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.name)
def test_recipe_keeps_what_it_says_and_its_unit(kind):
    axes = (1, 2) if kind.name == "opencv" else (0, 1, 2)
    recipe = kind().recipe(IMAGE, Geometry(SPACING[-len(axes) :], axes), "micrometer")
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.remarks
    assert all(sentence.endswith(".") for sentence in recipe.remarks)
    # A recipe in another unit does the same, and says the same.
    metres = recipe.in_unit("meter")
    assert metres.remarks == recipe.remarks
    expected = nd.diffuse(IMAGE, recipe)
    np.testing.assert_allclose(nd.diffuse(IMAGE, metres), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.name)
def test_halving_the_voxel_size_does_not_change_the_picture(kind):
    """The parameters there are in voxels, but the steps of ITK have one power of h, or two."""
    image, powers = IMAGE[3], {"itk-gradient": 1, "itk-curvature": 1, "itk-curvature-flow": 2}
    changed = {"time_step": kind.time_step / 2 ** powers[kind.name]} if kind.name in powers else {}
    one, half = kind().recipe(image), kind(**changed).recipe(image, Geometry(0.5))
    np.testing.assert_allclose(nd.diffuse(image, half), nd.diffuse(image, one), rtol=1e-5)


def test_voxel_sizes_that_differ_by_rounding_are_cubic():
    sizes = (0.1, np.float32(0.1), 0.1 * (1 + 1e-8))
    assert nd.presets.medpy(IMAGE, spacing=sizes).scheme != AUTO
    assert nd.presets.medpy(IMAGE, spacing=(0.1, 0.1, 0.101)).scheme == AUTO


def test_unequal_voxels_are_said_with_the_ratio():
    recipe = nd.presets.itk_gradient(IMAGE, spacing=SPACING)
    assert any("8 times" in sentence for sentence in recipe.remarks)
    assert len(nd.presets.itk_gradient(IMAGE, time_step=0.125).remarks) == 1
    assert not nd.presets.itk_gradient(IMAGE, iterations=1).remarks
    assert "unstable in ITK" in nd.presets.itk_gradient(IMAGE, time_step=0.17).remarks[-1]


def test_function_cannot_be_saved_but_run():
    recipe = nd.presets.diplib(IMAGE, g="exponential")
    assert np.isfinite(nd.diffuse(IMAGE, recipe)).all()
    with pytest.raises(ValueError, match="cannot hold a function"):
        recipe.to_json()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("itk-gradient", "itk-gradient"),
        ("ITK_Gradient:Conductance=2,time-step=0.1", "itk-gradient"),
        (" diplib : K = 4 , g = tukey ", "diplib"),
        ("medpy:voxelspacing=yes,option=3", "medpy"),
    ],
)
def test_text_is_read_with_spaces_and_in_any_case(text, expected):
    preset = from_text(text)
    assert preset.name == expected
    defaults = {p.name: p.default for p in parameters(preset)}
    changed = {n: getattr(preset, n) for n in defaults if getattr(preset, n) != defaults[n]}
    assert (
        changed
        == {
            "itk-gradient": {"conductance": 2.0, "time_step": 0.1} if ":" in text else {},
            "diplib": {"k": 4.0, "g": "Tukey"},
            "medpy": {"voxelspacing": True, "option": 3},
        }[expected]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no filter ''"),
        ("itk", "known are itk-gradient"),
        ("itk-gradient:kappa=3", "has the parameters conductance, iterations, time_step"),
        ("itk-gradient:conductance", "has the parameters"),
        ("itk-gradient:conductance=0", "conductance must be > 0"),
        ("itk-gradient:conductance=nan", "conductance must be > 0"),
        ("itk-gradient:conductance=1e400", "conductance must be > 0"),
        ("itk-gradient:iterations=2.5", "whole number"),
        ("medpy:niter=1,niter=2", "given twice"),
        ("medpy:option=4", "<= 3"),
        ("diplib:step=2", "<= 1"),
        ("diplib:g=huber", "one of Gauss"),
    ],
)
def test_text_that_cannot_be_read_is_refused_in_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as raised:
        from_text(text)
    assert str(raised.value).count("\n") == 0
