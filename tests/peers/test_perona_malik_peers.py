"""Comparison with other packages.

Results agree where they solve the same equation. Otherwise the tests show the difference.
"""

import numpy as np
import pytest
import scipy.ndimage

import napari_diffusion as nd
from helpers.peers import picture
from napari_diffusion.schemes import Explicit


def variances(blob, spacing):
    """Second central moment along every axis [length²]."""
    moments = []
    for axis, h in enumerate(spacing):
        x = h * np.arange(blob.shape[axis])
        others = tuple(i for i in range(blob.ndim) if i != axis)
        profile = blob.sum(others, dtype=float) / blob.sum(dtype=float)
        moments.append(profile @ x**2 - (profile @ x) ** 2)
    return moments


def point(shape):
    image = np.zeros(shape, "f4")
    image[tuple(n // 2 for n in shape)] = 1000
    return image


# --- MedPy ----------------------------------------------------------------------------------------


@pytest.fixture
def medpy():
    return pytest.importorskip("medpy.filter.smoothing").anisotropic_diffusion


def test_medpy_scales_differently_with_spacing(medpy):
    """MedPy divides the flux by the spacing once: the variance grows by 2 T h instead of 2 T."""
    spacing, time = (2.0, 1.0, 0.5), 1.2
    blob, count = point((21, 25, 41)), 40
    theirs = medpy(blob, niter=count, kappa=1e9, gamma=time / count, voxelspacing=spacing, option=2)
    # The float32 rounding of 40 steps is 1e-4 of the variance.
    expected = [2 * time * h for h in spacing]
    np.testing.assert_allclose(variances(theirs, spacing), expected, rtol=1e-3)
    result = nd.diffuse(blob, nd.Linear(), time=time, spacing=spacing)
    np.testing.assert_allclose(variances(result, spacing), 2 * time, rtol=1e-3)


def test_medpy_is_unstable_at_a_step_that_is_refused(medpy):
    """The manual of MedPy calls gamma = 0.25 stable; in 3-D the bound is 1/6."""
    image = picture((12, 12, 12))
    theirs = medpy(image, niter=40, kappa=1e9, gamma=0.25, option=2)
    assert np.abs(theirs).max() > 10 * np.abs(image).max()
    with pytest.raises(ValueError, match=r"unstable.*0\.166667"):
        nd.diffuse(image, nd.PeronaMalik(kappa=1e9), time=10, scheme=Explicit(step=0.25))


# --- DIPlib ---------------------------------------------------------------------------------------


def test_diplib_leaks_through_the_border(diplib):
    """DIPlib changes a constant image at its border; this package keeps it bit for bit."""
    image = np.full((12, 12), 5, "f4")
    theirs = np.array(diplib.PeronaMalikDiffusion(diplib.Image(image), 10, 10.0, 0.2, "Gauss"))
    assert theirs[0, 0] < 2
    np.testing.assert_array_equal(nd.diffuse(image, nd.PeronaMalik(), time=2.0), image)


# --- SciPy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 2])
def test_scipy_gaussian_agrees_on_a_smooth_image(order):
    """The kernels differ from the fourth moment on.

    For structures of three voxels this is less than 1e-3 of the range.
    """
    spacing = [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5), (1.0, 2.0, 2.0)][order]
    image = scipy.ndimage.gaussian_filter(picture((30, 40, 44)).astype("f8"), 3)
    length = 2 * max(spacing)
    expected = scipy.ndimage.gaussian_filter(
        image, [length / h for h in spacing], mode="reflect", truncate=8
    )
    result = nd.diffuse(image, nd.Linear(), time=nd.time_for_sigma(length), spacing=spacing)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.ptp(image))


def test_scipy_gaussian_spreads_a_nan_and_the_mask_keeps_it():
    image = picture((30, 31))
    image[15, 15] = np.nan
    assert np.isnan(scipy.ndimage.gaussian_filter(image, 2.0)).sum() > 200
    assert np.isnan(nd.diffuse(image, nd.Linear(), time=2.0, nan="mask")).sum() == 1


# --- ITK ------------------------------------------------------------------------------------------


def itk_diffusion(itk, image, spacing, step, count, conductance=1e6):
    """Gradient anisotropic diffusion; a huge conductance makes it the heat equation."""
    volume = itk.GetImageFromArray(image)
    volume.SetSpacing(spacing[::-1])
    result = itk.GradientAnisotropicDiffusion(volume, step, conductance, 1, count)
    return itk.GetArrayFromImage(result)


def test_itk_scales_differently_with_spacing(itk):
    """ITK divides by the spacing once: the variance grows by 2 T h instead of 2 T."""
    spacing, time, count = (2.0, 1.0, 1.0), 1.2, 40
    blob = point((23, 31, 31))
    theirs = itk_diffusion(itk, blob, spacing, time / count, count)
    # g is 1 to 1e-12, and sums are in float32.
    expected = [2 * time * h for h in spacing]
    np.testing.assert_allclose(variances(theirs, spacing), expected, rtol=0.01)
    result = nd.diffuse(blob, nd.Linear(), time=time, spacing=spacing)
    np.testing.assert_allclose(variances(result, spacing), 2 * time, rtol=1e-3)


def test_itk_spreads_a_nan_over_the_image_and_the_mask_keeps_it(itk):
    image = picture((24, 24))
    image[12, 12] = np.nan
    assert np.isnan(itk_diffusion(itk, image, (1.0, 1.0), 0.1, 3, conductance=1.0)).all()
    result = nd.diffuse(image, nd.PeronaMalik(), time=0.3, nan="mask")
    np.testing.assert_array_equal(np.isnan(result), np.isnan(image))


def test_itk_threshold_depends_on_the_whole_image(itk):
    """Its conductance is relative to the mean gradient: distant bright objects change a corner."""
    image = picture((40, 40))
    other = image.copy()
    other[30:34, 30:34] += 1e4
    corner = (slice(0, 12), slice(0, 12))
    images = image, other
    theirs = [itk_diffusion(itk, u, (1.0, 1.0), 0.1, 5, conductance=1.0)[corner] for u in images]
    assert np.abs(theirs[0] - theirs[1]).max() > 1
    results = [nd.diffuse(u, nd.PeronaMalik(), time=0.5, scheme="explicit")[corner] for u in images]
    np.testing.assert_array_equal(*results)
