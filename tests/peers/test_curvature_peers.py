"""ITK's curvature filters beside ours: where they solve the same equation, and why the others cannot agree."""

import numpy as np
import pytest

import napari_diffusion as nd


@pytest.fixture
def itk():
    found = pytest.importorskip("SimpleITK")
    found.ProcessObject.SetGlobalWarningDisplay(False)
    return found


def hills(shape, spacing):
    x = np.meshgrid(
        *(h * (np.arange(n) - (n - 1) / 2) for n, h in zip(shape, spacing, strict=True)),
        indexing="ij",
    )
    return (
        100 * np.exp(-(x[0] ** 2 + 2 * x[-1] ** 2) / 200)
        + 40 * np.exp(-sum((c - 8) ** 2 for c in x) / 60)
    ).astype("f4")


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
    """Another discretisation of the same equation, here of second order too: what differs is a few per cent of what moved."""
    image, step, count = hills(shape, spacing), 0.05, 100
    theirs = run(itk.CurvatureFlow, image, spacing, step, count)
    result = nd.diffuse(image, nd.MeanCurvature(), time=step * count, spacing=spacing)
    inside = tuple(slice(n // 8, n - n // 8) for n in shape)
    moved = np.sqrt(np.mean((result - image)[inside] ** 2))
    assert moved > 1
    assert np.sqrt(np.mean((result - theirs)[inside] ** 2)) < 0.05 * moved


def test_itk_curvature_anisotropic_diffusion_looks_at_the_whole_image(itk):
    """Its conductance is relative to the mean gradient, so that something bright far away changes a corner; ours does not."""
    image = hills((40, 40), (1.0, 1.0)) + np.random.default_rng(5).normal(size=(40, 40)).astype(
        "f4"
    )
    other = image.copy()
    other[30:34, 30:34] += 1e4
    corner = (slice(0, 12), slice(0, 12))
    theirs = [
        run(itk.CurvatureAnisotropicDiffusion, u, (1.0, 1.0), 0.06, 1.0, 1, 5)[corner]
        for u in (image, other)
    ]
    assert np.abs(theirs[0] - theirs[1]).max() > 1
    mine = [
        nd.diffuse(u, nd.ModifiedCurvature(kappa=5.0), time=0.3, scheme="explicit")[corner]
        for u in (image, other)
    ]
    np.testing.assert_array_equal(*mine)


def test_itk_curvature_anisotropic_diffusion_takes_another_spacing(itk):
    """Its differences of fluxes are not divided by the spacing: with voxels twice as large outlines move at twice the speed, in length."""
    moved = {}
    for h in (1.0, 2.0):
        spacing, shape = (h, h), (round(96 / h),) * 2
        image, step, count = hills(shape, spacing), 0.05, 60
        inside = tuple(slice(n // 4, n - n // 4) for n in shape)
        theirs = run(itk.CurvatureAnisotropicDiffusion, image, spacing, step, 1e6, 1, count)
        mine = nd.diffuse(image, nd.MeanCurvature(), time=step * count, spacing=spacing)
        moved[h] = [np.sum((image - u)[inside], dtype=float) * h**2 for u in (theirs, mine)]
    assert moved[2.0][0] / moved[1.0][0] == pytest.approx(2, rel=0.1)
    assert moved[2.0][1] / moved[1.0][1] == pytest.approx(1, rel=0.1)
