"""Presets against the programs themselves, run on the same image.

Bounds: 1e-6 of the range where both take the same steps, which is the rounding of float32.
Otherwise `mismatch`, the difference of two results as a share of the change, with its reason. The
other test files in this folder show the reasons.
"""

from dataclasses import replace

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.peers import mean_square_gradient, mismatch, picture, waves
from napari_diffusion.presets import from_text
from napari_diffusion.schemes import AUTO, Explicit

#: Presets with the steps of the other program, for some thresholds and steps.
MEDPY = {"niter": 12, "kappa": 20.0, "gamma": 0.15}
DIPLIB = {"iterations": 12, "k": 20.0, "step": 0.15}


@pytest.fixture
def medpy():
    return pytest.importorskip("medpy.filter.smoothing").anisotropic_diffusion


@pytest.fixture
def opencv():
    module = pytest.importorskip("cv2")
    if not hasattr(module, "ximgproc"):
        pytest.skip("this OpenCV has no contributed modules")
    return module.ximgproc.anisotropicDiffusion


def run_itk(itk, name, image, spacing, time_step, conductance, iterations):
    volume = itk.GetImageFromArray(np.asarray(image, "f4"))
    volume.SetSpacing(spacing[::-1])
    # The fourth argument is the interval of the measurement of the threshold.
    result = getattr(itk, name)(volume, time_step, conductance, 1, iterations)
    return itk.GetArrayFromImage(result)


def same(theirs, ours, image, inside=...):
    np.testing.assert_allclose(theirs[inside], ours[inside], rtol=0, atol=1e-6 * np.ptp(image))
    assert np.abs(ours - image)[inside].max() > 0.05 * np.ptp(image)


# --- MedPy and DIPlib: equal ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("voxelspacing", [False, True])
@pytest.mark.parametrize("option", [1, 2, 3])
@pytest.mark.parametrize("shape", [(30, 33), (13, 15, 14)])
def test_medpy_is_equal_for_every_cubic_voxel(medpy, shape, option, voxelspacing, size):
    """Thresholds are per voxel; with a voxel size, a step of MedPy is gamma/h voxel²."""
    image = picture(shape)
    gamma = 0.15 * size if voxelspacing else 0.15
    given = {"voxelspacing": (size,) * image.ndim} if voxelspacing else {}
    own = MEDPY | {"gamma": gamma, "option": option}
    theirs = medpy(image, **own, **given)
    recipe = nd.presets.medpy(image, **own, voxelspacing=voxelspacing, spacing=size)
    assert recipe.remarks == ()
    same(theirs, nd.diffuse(image.astype("f8"), recipe), image)


@pytest.mark.parametrize("size", [1.0, 0.25])
@pytest.mark.parametrize("g", ["Gauss", "quadratic", "exponential", "Tukey"])
@pytest.mark.parametrize("shape", [(50, 52), (28, 27, 29)])
def test_diplib_is_equal_away_from_the_border(diplib, shape, g, size):
    """Its zero border affects one voxel per step."""
    image = picture(shape)
    theirs = np.array(diplib.PeronaMalikDiffusion(diplib.Image(image), *DIPLIB.values(), g))
    recipe = nd.presets.diplib(image, **DIPLIB, g=g, spacing=size)
    (sentence,) = recipe.remarks
    assert "border" in sentence
    inside = (slice(DIPLIB["iterations"], -DIPLIB["iterations"]),) * image.ndim
    same(theirs, nd.diffuse(image.astype("f8"), recipe), image, inside)


def test_diplib_robust_is_its_tukey(diplib):
    image = picture((50, 52))
    theirs = np.array(diplib.RobustAnisotropicDiffusion(diplib.Image(image), 12, 40.0, 0.15))
    recipe = nd.presets.diplib(image, 12, 40.0, 0.15, "Tukey")
    same(theirs, nd.diffuse(image.astype("f8"), recipe), image, (slice(12, -12),) * 2)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_integer_images_are_those_of_medpy_and_diplib(medpy, diplib, dtype):
    """Both convert them to float32, as this package does."""
    image = np.clip(picture((40, 41)), 0, 255).astype(dtype)
    recipe = nd.presets.medpy(image, **MEDPY)
    same(medpy(image, **MEDPY), nd.diffuse(image, recipe), image.astype("f4"))
    theirs = np.array(diplib.PeronaMalikDiffusion(diplib.Image(image), *DIPLIB.values(), "Gauss"))
    result = nd.diffuse(image, nd.presets.diplib(image, **DIPLIB))
    same(theirs, result, image.astype("f4"), (slice(12, -12),) * 2)


def test_step_that_blows_up_there_is_stable_here_and_said(medpy):
    image = picture((12, 12, 12))
    theirs = medpy(image, niter=40, kappa=1e9, gamma=0.25, option=2)
    recipe = nd.presets.medpy(image, niter=40, kappa=1e9, gamma=0.25, option=2)
    assert np.abs(theirs).max() > 10 * np.abs(image).max()
    assert np.abs(nd.diffuse(image, recipe)).max() < 1.01 * np.abs(image).max()
    assert recipe.scheme == AUTO
    assert "unstable in MedPy" in recipe.remarks[0]


# --- ITK ------------------------------------------------------------------------------------------


def one_step_of_itk(image, step, kappa):
    """An explicit step with g of the whole gradient at the faces of a plane."""
    n, m = image.shape
    rows, columns = np.indices(image.shape)

    def at(i, j):
        return image[np.clip(rows + i, 0, n - 1), np.clip(columns + j, 0, m - 1)].astype("f8")

    result = image.astype("f8")
    for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        along = at(i, j) - at(0, 0)
        across = (at(i + j, j + i) - at(i - j, j - i) + at(j, i) - at(-j, -i)) / 4
        result += step * np.exp(-(along**2 + across**2) / (2 * kappa**2)) * along
    return result


def test_threshold_of_itk_is_that_of_its_mean_gradient_with_repeated_borders(itk):
    """Equal to float32. One-sided differences at the border would give a kappa half as large again.

    A kappa that differs by 1 % would change voxels by 1e-3.
    """
    image = np.random.default_rng(1).normal(size=(12, 12)).astype("f4")
    image[-1] += 20
    image[:, 0] = 3 * np.arange(12)
    kappa = nd.presets.itk_gradient(image, 1.0, 1).model.kappa
    assert np.sqrt(mean_square_gradient(image)) > 1.5 * kappa
    theirs = run_itk(itk, "GradientAnisotropicDiffusion", image, (1.0, 1.0), 0.05, 1.0, 1)
    np.testing.assert_allclose(theirs, one_step_of_itk(image, 0.05, kappa), atol=2e-6)


@pytest.mark.parametrize("size", [1.0, 0.5, 3.0])
@pytest.mark.parametrize(("dimensions", "n", "bound"), [(2, 64, 0.01), (3, 40, 0.02)])
def test_itk_gradient_agrees_for_cubic_voxels(itk, dimensions, n, bound, size):
    """Two discretisations of second order, and a threshold that falls by a few per cent."""
    image, spacing = waves(n, dimensions), (size,) * dimensions
    own = {"conductance": 2.0, "time_step": 0.0625 * size, "iterations": 5}
    theirs = run_itk(itk, "GradientAnisotropicDiffusion", image, spacing, *_order(own))
    result = nd.diffuse(image, nd.presets.itk_gradient(image, **own, spacing=size))
    assert mismatch(theirs, result, image) < bound


@pytest.mark.parametrize(("shape", "bound"), [((96, 96), 0.12), ((40, 40, 40), 0.15)])
def test_itk_gradient_is_near_on_noise(itk, shape, bound):
    """At the scale of a voxel the two discretisations differ. The mean threshold is nearer."""
    noise = 10 * np.random.default_rng(0).normal(size=shape)
    image = (100 + 60 * (np.indices(shape)[-1] > shape[-1] // 2) + noise).astype("f4")
    theirs = run_itk(itk, "GradientAnisotropicDiffusion", image, (1.0,) * len(shape), 0.0625, 2, 10)
    recipe = nd.presets.itk_gradient(image, 2.0, 10, 0.0625)
    own = mismatch(theirs, nd.diffuse(image, recipe), image)
    assert own < bound
    first = nd.presets.itk_gradient(image, 2.0, 1, 0.0625).model
    constant = nd.diffuse(image, replace(recipe, model=first))
    assert mismatch(theirs, constant, image) > 1.5 * own


@pytest.mark.parametrize("size", [1.0, 0.5, 3.0])
@pytest.mark.parametrize(("dimensions", "n"), [(2, 64), (3, 40)])
def test_itk_curvature_agrees_for_cubic_voxels(itk, dimensions, n, size):
    """The one-sided differences of ITK are of first order: about a tenth at this resolution."""
    image, spacing = waves(n, dimensions), (size,) * dimensions
    own = {"conductance": 2.0, "time_step": 0.0625 * size, "iterations": 20}
    theirs = run_itk(itk, "CurvatureAnisotropicDiffusion", image, spacing, *_order(own))
    result = nd.diffuse(image, nd.presets.itk_curvature(image, **own, spacing=size))
    assert mismatch(theirs, result, image) < 0.12


def _order(own):
    return own["time_step"], own["conductance"], own["iterations"]


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 1.0, 0.5)])
@pytest.mark.parametrize("program", ["itk", "medpy"])
def test_unequal_voxels_leave_the_same_noise(itk, medpy, program, spacing):
    """The share of white noise after long linear diffusion depends on the product of the sizes.

    Some hundred independent values are left, in other places for other lengths per axis: their
    levels scatter by some per cent. A time that lacks the factor h would change the level by a
    third and more.
    """
    noise = np.random.default_rng(0).normal(size=(20, 40, 40)).astype("f4")
    if program == "itk":
        own = (0.05, 1e3, 80)
        theirs = run_itk(itk, "GradientAnisotropicDiffusion", noise, spacing, *own)
        recipe = nd.presets.itk_gradient(noise, 1e3, 80, 0.05, spacing=spacing)
    else:
        theirs = medpy(noise, 80, 1e6, 0.05, spacing, 2)
        recipe = nd.presets.medpy(noise, 80, 1e6, 0.05, True, 2, spacing=spacing)
    result = nd.diffuse(noise, recipe)
    assert result.std() == pytest.approx(theirs.std(), rel=0.1)
    assert any("voxel" in sentence for sentence in recipe.remarks)


def test_itk_curvature_flow_keeps_flat_images_of_small_range_and_says_so(itk):
    image = picture((40, 41)) * np.float32(1e-7)
    theirs = itk.GetArrayFromImage(itk.CurvatureFlow(itk.GetImageFromArray(image), 0.05, 20))
    np.testing.assert_array_equal(theirs, image)
    recipe = nd.presets.itk_curvature_flow(image, 0.05, 20)
    assert np.abs(nd.diffuse(image, recipe) - image).max() > 0.01 * np.ptp(image)
    assert "1e-9" in recipe.remarks[0]


# --- OpenCV ---------------------------------------------------------------------------------------


def unrounded(image, alpha, k, niters):
    """The equation of OpenCV for three equal channels, without rounding."""
    u = image.astype("f8")
    n, m = u.shape
    for _ in range(niters):
        padded, change = np.pad(u, 1, mode="edge"), np.zeros_like(u)
        for i in range(3):
            for j in range(3):
                difference = padded[i : i + n, j : j + m] - u
                change += np.exp(-((difference / (255 * k)) ** 2)) * difference
        u += alpha * change
    return u


@pytest.mark.parametrize("k", [0.1, 0.2])
@pytest.mark.parametrize("colour", [False, True])
def test_opencv_is_near(opencv, k, colour):
    """On a noisy edge, results differ by 5 % of the change, of which rounding is the most.

    Without rounding, the diagonal neighbours leave 3 %. Half or twice the time is farther away.
    """
    edge = 60 * (np.indices((96, 96))[1] > 40)
    noisy = 120 + edge + 10 * np.random.default_rng(0).normal(size=edge.shape)
    image = np.clip(np.rint(noisy), 0, 255).astype("u1")
    colours = np.repeat(image[..., None], 3, 2)
    own = {"alpha": 0.1, "k": k, "niters": 5}
    theirs = opencv(colours, 0.1, k, 5)[..., 0].astype("f8")
    if colour:
        recipe = nd.presets.opencv(colours, **own, channel_axis=-1)
        result = nd.diffuse(colours, recipe)[..., 0]
    else:
        recipe = nd.presets.opencv(image, **own)
        result = nd.diffuse(image, recipe)
    assert mismatch(theirs, result, image) < 0.08
    equation = unrounded(image, **own)
    assert mismatch(equation, result, image) < 0.04
    for factor in (0.5, 2.0):
        other = replace(recipe, time=factor * recipe.time)
        changed = nd.diffuse(colours if colour else image, other)
        plane = changed[..., 0] if colour else changed
        assert mismatch(equation, plane, image) > 2 * mismatch(equation, result, image)


# --- all ------------------------------------------------------------------------------------------


def test_text_of_the_command_line_is_the_function():
    image = picture((20, 21))
    recipe = from_text("medpy:niter=12,kappa=20,gamma=0.15").recipe(image)
    assert recipe == nd.presets.medpy(image, **MEDPY)
    assert recipe.scheme == Explicit(step=0.15)
