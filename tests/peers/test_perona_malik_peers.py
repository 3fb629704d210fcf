"""Where other packages solve the same equation, the same numbers; where they do not, what they do instead."""

import numpy as np
import pytest
import scipy.ndimage

import napari_diffusion as nd
from napari_diffusion.schemes import Explicit

STEP, COUNT = 0.15, 12  # below the bound 1/6 of three axes; the peers do not check theirs


def picture(shape, seed=8):
    """Step edge across the corner, ramp and noise: gradients on both sides of every threshold used here."""
    index = np.indices(shape).sum(0)
    return (
        100.0 * (index > sum(shape) / 2)
        + index
        + 5 * np.random.default_rng(seed).normal(size=shape)
    ).astype("f4")


def ours(image, model, step=STEP, **options):
    return nd.diffuse(
        image.astype("f8"), model, time=COUNT * step, scheme=Explicit(step=step), **options
    )


def variances(blob, spacing):
    """Second central moment along every axis [length²]."""
    found = []
    for axis, h in enumerate(spacing):
        x = h * np.arange(blob.shape[axis])
        profile = blob.sum(tuple(i for i in range(blob.ndim) if i != axis), dtype=float) / blob.sum(
            dtype=float
        )
        found.append(profile @ x**2 - (profile @ x) ** 2)
    return found


def point(shape):
    image = np.zeros(shape, "f4")
    image[tuple(n // 2 for n in shape)] = 1000
    return image


# --- MedPy ------------------------------------------------------------------------------------------------------------

SHAPES = [(30, 33), (13, 15, 14)]


@pytest.fixture
def medpy():
    return pytest.importorskip("medpy.filter.smoothing").anisotropic_diffusion


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("option", "diffusivity", "per_kappa", "per_gamma"),
    [
        (1, "exponential", 2**-0.5, 1),  # exp(-(d/K)^2) has its largest flux at K/sqrt(2)
        (2, "rational", 1, 1),
        (
            3,
            "tukey",
            0.4**0.5,
            0.5,
        ),  # (1 - d^2/2K^2)^2 / 2: largest flux at sqrt(2/5) K, and Black's factor one half
    ],
)
def test_medpy_solves_the_same_equation(medpy, shape, option, diffusivity, per_kappa, per_gamma):
    """The same explicit scheme for unit spacing, so only MedPy's float32 is between: 12 steps, well below 1e-6 of the range."""
    image, kappa = picture(shape), 20.0
    theirs = medpy(image, niter=COUNT, kappa=kappa, gamma=STEP, option=option)
    result = ours(
        image, nd.PeronaMalik(kappa=kappa * per_kappa, diffusivity=diffusivity), STEP * per_gamma
    )
    np.testing.assert_allclose(theirs, result, rtol=0, atol=1e-6 * np.ptp(image))
    assert np.abs(result - image).max() > 0.05 * np.ptp(image)


def test_medpy_takes_another_spacing(medpy):
    """It divides the flux by the spacing once: variance grows by 2 T h where it should grow by 2 T."""
    spacing, time = (2.0, 1.0, 0.5), 1.2
    blob, count = point((21, 25, 41)), 40
    theirs = medpy(blob, niter=count, kappa=1e9, gamma=time / count, voxelspacing=spacing, option=2)
    # A float32 walk of 40 steps: 1e-4 of the variance.
    np.testing.assert_allclose(
        variances(theirs, spacing), [2 * time * h for h in spacing], rtol=1e-3
    )
    np.testing.assert_allclose(
        variances(nd.diffuse(blob, nd.Linear(), time=time, spacing=spacing), spacing),
        2 * time,
        rtol=1e-3,
    )


def test_medpy_blows_up_where_ours_refuses(medpy):
    """Its manual calls gamma = 0.25 stable; in 3-D the bound is 1/6."""
    image = picture((12, 12, 12))
    assert (
        np.abs(medpy(image, niter=40, kappa=1e9, gamma=0.25, option=2)).max()
        > 10 * np.abs(image).max()
    )
    with pytest.raises(ValueError, match=r"unstable.*0\.166667"):
        nd.diffuse(image, nd.PeronaMalik(kappa=1e9), time=10, scheme=Explicit(step=0.25))


# --- DIPlib -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def diplib():
    return pytest.importorskip("diplib")


@pytest.mark.parametrize("shape", [(50, 52), (28, 27, 29)])
@pytest.mark.parametrize(
    ("theirs", "diffusivity", "per_kappa"),
    [("Gauss", "exponential", 2**-0.5), ("quadratic", "rational", 1), ("Tukey", "tukey", 0.2**0.5)],
)
def test_diplib_agrees_away_from_the_border(diplib, shape, theirs, diffusivity, per_kappa):
    """Its zero border reaches inwards one voxel a step; further inside only its float32 is between."""
    image, kappa = picture(shape), 20.0
    found = np.array(diplib.PeronaMalikDiffusion(diplib.Image(image), COUNT, kappa, STEP, theirs))
    inside = (slice(COUNT, -COUNT),) * image.ndim
    result = ours(image, nd.PeronaMalik(kappa=kappa * per_kappa, diffusivity=diffusivity))
    np.testing.assert_allclose(found[inside], result[inside], rtol=0, atol=1e-6 * np.ptp(image))
    assert np.abs(result - image)[inside].max() > 0.05 * np.ptp(image)


def test_diplib_leaks_through_the_border(diplib):
    """A constant 5 falls there at its edges; here it stays, bit for bit."""
    image = np.full((12, 12), 5, "f4")
    theirs = np.array(diplib.PeronaMalikDiffusion(diplib.Image(image), 10, 10.0, 0.2, "Gauss"))
    assert theirs[0, 0] < 2
    np.testing.assert_array_equal(nd.diffuse(image, nd.PeronaMalik(), time=2.0), image)


# --- SciPy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 2])
def test_scipy_gaussian_of_a_smooth_picture(order):
    """Two heat kernels agree to the fourth moment on what the grid resolves: 1e-3 of the range for structures of three voxels."""
    spacing = [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5), (1.0, 2.0, 2.0)][order]
    image = scipy.ndimage.gaussian_filter(picture((30, 40, 44)).astype("f8"), 3)
    length = 2 * max(spacing)
    expected = scipy.ndimage.gaussian_filter(
        image, [length / h for h in spacing], mode="reflect", truncate=8
    )
    result = nd.diffuse(image, nd.Linear(), time=nd.time_for_sigma(length), spacing=spacing)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-3 * np.ptp(image))


def test_scipy_loses_everything_around_a_nan():
    image = picture((30, 31))
    image[15, 15] = np.nan
    assert np.isnan(scipy.ndimage.gaussian_filter(image, 2.0)).sum() > 200
    assert np.isnan(nd.diffuse(image, nd.Linear(), time=2.0, nan="mask")).sum() == 1


# --- ITK --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def itk():
    return pytest.importorskip("SimpleITK")


def itk_diffusion(itk, image, spacing, step, count, conductance=1e6):
    """Gradient anisotropic diffusion; a huge conductance makes it the heat equation."""
    picture = itk.GetImageFromArray(image)
    picture.SetSpacing(spacing[::-1])
    return itk.GetArrayFromImage(
        itk.GradientAnisotropicDiffusion(picture, step, conductance, 1, count)
    )


def test_itk_takes_another_spacing(itk):
    """Its operator divides by the spacing once: variance grows by 2 T h along every axis, ours by 2 T."""
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    spacing, time, count = (2.0, 1.0, 1.0), 1.2, 40
    blob = point((23, 31, 31))
    theirs = itk_diffusion(itk, blob, spacing, time / count, count)
    np.testing.assert_allclose(
        variances(theirs, spacing), [2 * time * h for h in spacing], rtol=0.01
    )  # g is 1 to 1e-12, sums in float32
    np.testing.assert_allclose(
        variances(nd.diffuse(blob, nd.Linear(), time=time, spacing=spacing), spacing),
        2 * time,
        rtol=1e-3,
    )


def test_one_nan_destroys_itks_image_and_stays_in_ours(itk):
    image = picture((24, 24))
    image[12, 12] = np.nan
    assert np.isnan(itk_diffusion(itk, image, (1.0, 1.0), 0.1, 3, conductance=1.0)).all()
    result = nd.diffuse(image, nd.PeronaMalik(), time=0.3, nan="mask")
    np.testing.assert_array_equal(np.isnan(result), np.isnan(image))


def test_itks_threshold_depends_on_the_rest_of_the_image(itk):
    """A bright cube far away changes what ITK does to a corner, because its conductance is relative to the mean gradient."""
    image = picture((40, 40))
    other = image.copy()
    other[30:34, 30:34] += 1e4
    corner = (slice(0, 12), slice(0, 12))
    theirs = [
        itk_diffusion(itk, u, (1.0, 1.0), 0.1, 5, conductance=1.0)[corner] for u in (image, other)
    ]
    assert np.abs(theirs[0] - theirs[1]).max() > 1
    mine = [
        nd.diffuse(u, nd.PeronaMalik(), time=0.5, scheme="explicit")[corner] for u in (image, other)
    ]
    np.testing.assert_array_equal(*mine)
