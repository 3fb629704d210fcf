"""Comparison with the curvature filters of ITK.

One solves the same equation. For the other, the tests show the cause of the difference.
"""

import numpy as np
import pytest

import napari_diffusion as nd


def hills(shape, spacing):
    axes = [h * (np.arange(n) - (n - 1) / 2) for n, h in zip(shape, spacing, strict=True)]
    x = np.meshgrid(*axes, indexing="ij")
    large = 100 * np.exp(-(x[0] ** 2 + 2 * x[-1] ** 2) / 200)
    small = 40 * np.exp(-sum((c - 8) ** 2 for c in x) / 60)
    return (large + small).astype("f4")


def run(filter, image, spacing, *options):
    import SimpleITK

    picture = SimpleITK.GetImageFromArray(image)
    picture.SetSpacing(spacing[::-1])
    return SimpleITK.GetArrayFromImage(filter(picture, *options))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((64, 64), (1.0, 1.0)), ((48, 64), (1.5, 1.0)), ((24, 32, 36), (1.5, 1.0, 1.0))],
)
def test_itk_curvature_flow_is_mean_curvature(itk, shape, spacing):
    """Both discretisations are of second order. They differ by a few per cent of the change."""
    image, step, count = hills(shape, spacing), 0.05, 100
    theirs = run(itk.CurvatureFlow, image, spacing, step, count)
    result = nd.diffuse(image, nd.presets.itk_curvature_flow(image, step, count, spacing=spacing))
    inside = tuple(slice(n // 8, n - n // 8) for n in shape)
    change = np.sqrt(np.mean((result - image)[inside] ** 2))
    assert change > 1
    assert np.sqrt(np.mean((result - theirs)[inside] ** 2)) < 0.05 * change


def test_itk_curvature_anisotropic_diffusion_depends_on_the_whole_image(itk):
    """Its conductance is relative to the mean gradient: distant bright objects change a corner."""
    noise = np.random.default_rng(5).normal(size=(40, 40)).astype("f4")
    image = hills((40, 40), (1.0, 1.0)) + noise
    other = image.copy()
    other[30:34, 30:34] += 1e4
    corner = (slice(0, 12), slice(0, 12))
    theirs = [
        run(itk.CurvatureAnisotropicDiffusion, u, (1.0, 1.0), 0.06, 1.0, 1, 5)[corner]
        for u in (image, other)
    ]
    assert np.abs(theirs[0] - theirs[1]).max() > 1
    ours = [
        nd.diffuse(u, nd.ModifiedCurvature(kappa=5.0), time=0.3, scheme="explicit")[corner]
        for u in (image, other)
    ]
    np.testing.assert_array_equal(*ours)


def test_itk_curvature_anisotropic_diffusion_scales_differently_with_spacing(itk):
    """ITK does not divide the differences of fluxes by the spacing.

    With voxels twice as large, outlines move at twice the speed [length].
    """
    change = {}
    for h in (1.0, 2.0):
        spacing, shape = (h, h), (round(96 / h),) * 2
        image, step, count = hills(shape, spacing), 0.05, 60
        inside = tuple(slice(n // 4, n - n // 4) for n in shape)
        theirs = run(itk.CurvatureAnisotropicDiffusion, image, spacing, step, 1e6, 1, count)
        ours = nd.diffuse(image, nd.MeanCurvature(), time=step * count, spacing=spacing)
        change[h] = [np.sum((image - u)[inside], dtype=float) * h**2 for u in (theirs, ours)]
    assert change[2.0][0] / change[1.0][0] == pytest.approx(2, rel=0.1)
    assert change[2.0][1] / change[1.0][1] == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_itk_min_max_curvature_is_slower_by_the_squared_radius(itk, radius):
    """Up to version 5.4, ITK divides the curvature by the squared radius (pull request 6604).

    Without this factor both agree in 2-D, where ITK takes the nearest pixels and we interpolate. In
    3-D, ITK 5.4 takes other points (pull request 6603).
    """
    image, step, count = hills((64, 64), (1.0, 1.0)), 0.05, 20
    theirs = run(itk.MinMaxCurvatureFlow, image, (1.0, 1.0), step, count, radius)
    inside = (slice(8, -8),) * 2
    model = nd.MinMaxCurvature(radius=float(radius))
    errors = []
    for factor in (1, radius**2):
        change = nd.diffuse(image, model, time=step * count / factor) - image
        error = np.sqrt(np.mean((change - (theirs - image))[inside] ** 2))
        errors.append(error / np.sqrt(np.mean(change[inside] ** 2)))
    # A few per cent for the curvature, as above, and more where only one of both moves.
    assert min(errors) < 0.2
    if radius > 1:
        assert errors[1] < errors[0] / 4
