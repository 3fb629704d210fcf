"""The rows of docs/conversion.md that other test files of peers do not have: what a peer's parameters are in ours."""

import re

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.paths import ROOT
from napari_diffusion.schemes import Explicit


@pytest.fixture
def itk():
    found = pytest.importorskip("SimpleITK")
    found.ProcessObject.SetGlobalWarningDisplay(False)
    return found


@pytest.fixture
def diplib():
    return pytest.importorskip("diplib")


def picture(shape, seed=8):
    """Step edge across the corner, ramp and noise: gradients on both sides of the threshold."""
    index = np.indices(shape).sum(0)
    return (
        100.0 * (index > sum(shape) / 2)
        + index
        + 5 * np.random.default_rng(seed).normal(size=shape)
    ).astype("f4")


def waves(n, dimensions):
    """Smooth and periodic over the box, the same picture on any grid, with gradients from 0 to 2.3 times their root mean square."""
    x = [c / n for c in np.meshgrid(*[np.arange(n) + 0.5] * dimensions, indexing="ij")]
    return (
        n * (np.cos(2 * np.pi * x[0]) * np.cos(np.pi * x[-1]) + 0.5 * np.cos(3 * np.pi * x[-1]))
    ).astype("f4")


def mismatch(theirs, mine, start):
    """Share of what moved, root mean square."""
    return np.linalg.norm(theirs - mine) / np.linalg.norm(theirs - start)


@pytest.mark.parametrize(("dimensions", "sizes"), [(2, (32, 64)), (3, (20, 40))])
def test_itk_conductance_is_a_kappa_of_one_step(itk, dimensions, sizes):
    """kappa = c rms(gradient), of the whole gradient; two discretisations of second order, on half the grid four times nearer."""
    found = []
    for n in sizes:
        image, step, conductance = waves(n, dimensions), 0.05, 0.8
        theirs = itk.GetArrayFromImage(
            itk.GradientAnisotropicDiffusion(itk.GetImageFromArray(image), step, conductance, 1, 1)
        )
        kappa = conductance * np.sqrt(np.mean(sum(g.astype("f8") ** 2 for g in np.gradient(image))))

        def ours(factor, image=image, kappa=kappa, step=step):
            model = nd.PeronaMalik(kappa=factor * kappa, diffusivity="exponential", sigma=1e-6)
            return nd.diffuse(image.astype("f8"), model, time=step, scheme=Explicit(step=step))

        found.append(mismatch(theirs, ours(1.0), image))
    assert found[0] / found[1] > 3
    # The documented exp(-(s/K)^2) would be a kappa smaller by sqrt(2).
    assert min(mismatch(theirs, ours(2**k), image) for k in (-0.5, 0.5)) > 3 * found[1]


def test_itk_curvature_conductance_is_a_kappa(itk):
    """The same kappa. Its upwind scheme is of first order: a tenth of what moved; a factor of sqrt(2) is more than twice as far."""
    image, step, count = waves(48, 2), 0.05, 20
    theirs = itk.GetArrayFromImage(
        itk.CurvatureAnisotropicDiffusion(itk.GetImageFromArray(image), step, 1.0, 1, count)
    )
    kappa = np.sqrt(np.mean(sum(g.astype("f8") ** 2 for g in np.gradient(image))))
    low, right, high = (
        mismatch(
            theirs,
            nd.diffuse(image, nd.ModifiedCurvature(kappa=kappa * 2**k), time=step * count),
            image,
        )
        for k in (-0.5, 0, 0.5)
    )
    assert right < 0.15
    assert min(low, high) > 2 * right


def test_the_example_of_the_page_is_near_itk(itk):
    """Five steps, in which the threshold of ITK falls by a few per cent."""
    page = ROOT / "docs" / "conversion.md"
    (example,) = re.findall(
        r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    names = {"volume": waves(40, 3), "spacing": (1.0, 1.0, 1.0)}
    exec(example, names)
    theirs = itk.GetArrayFromImage(
        itk.GradientAnisotropicDiffusion(itk.GetImageFromArray(names["volume"]), 0.0625, 2.0, 1, 5)
    )
    assert mismatch(theirs, names["like_itk"], names["volume"]) < 0.02


def test_itk_discrete_gaussian_is_linear_diffusion(itk):
    """Lindeberg's kernel is the exact solution on the grid; variance = 2 T in physical units. It is cut at 1e-4 of its weight an axis."""
    spacing, variance = (1.5, 1.0, 0.5), 2.0
    image = picture((20, 24, 30))
    volume = itk.GetImageFromArray(image)
    volume.SetSpacing(spacing[::-1])
    error = 1e-4
    theirs = itk.GetArrayFromImage(itk.DiscreteGaussian(volume, variance, 100, error))
    result = nd.diffuse(image, nd.Linear(), time=variance / 2, spacing=spacing)
    inside = (
        slice(5, -5),
        slice(8, -8),
        slice(14, -14),
    )  # 7 sigma from the border, where the value of the last voxel goes on for ever
    np.testing.assert_allclose(
        theirs[inside], result[inside], rtol=0, atol=3 * error * np.ptp(image)
    )
    assert np.abs(result - image)[inside].max() > 0.05 * np.ptp(image)


@pytest.mark.parametrize("shape", [(50, 52), (28, 27, 29)])
def test_diplib_exponential_is_a_function_of_ours(diplib, shape):
    """exp(-|d|/K) has its largest flux at K; away from its zero border only float32 is between."""
    image, kappa, step, count = picture(shape), 20.0, 0.15, 12
    theirs = np.array(
        diplib.PeronaMalikDiffusion(diplib.Image(image), count, kappa, step, "exponential")
    )
    model = nd.PeronaMalik(kappa=kappa, diffusivity=lambda x: np.exp(-x))
    result = nd.diffuse(image.astype("f8"), model, time=count * step, scheme=Explicit(step=step))
    inside = (slice(count, -count),) * image.ndim
    np.testing.assert_allclose(theirs[inside], result[inside], rtol=0, atol=1e-6 * np.ptp(image))


def test_diplib_robust_is_tukey(diplib):
    """Its sigma is where the flux ends, sqrt(5) kappa."""
    image, sigma, step, count = picture((50, 52)), 40.0, 0.15, 12
    theirs = np.array(diplib.RobustAnisotropicDiffusion(diplib.Image(image), count, sigma, step))
    model = nd.PeronaMalik(kappa=sigma / 5**0.5, diffusivity="tukey")
    result = nd.diffuse(image.astype("f8"), model, time=count * step, scheme=Explicit(step=step))
    inside = (slice(count, -count),) * 2
    np.testing.assert_allclose(theirs[inside], result[inside], rtol=0, atol=1e-6 * np.ptp(image))


def test_skimage_weight_is_a_time_of_total_variation_flow():
    """In one dimension the flow and the minimum of Rudin, Osher and Fatemi agree (Steidl et al. 2004), with weight = kappa T.

    A plateau loses 2 kappa T over its width. Both are compared with that: scikit-image after many iterations, ours with a flux that
    the edges of 100 hold at kappa to 1e-6.
    """
    restoration = pytest.importorskip("skimage.restoration")
    width, weight, kappa = 20, 100.0, 10.0
    image = np.zeros(80)
    image[30 : 30 + width] = 100
    theirs = restoration.denoise_tv_chambolle(image, weight=weight, eps=1e-12, max_num_iter=5000)
    mine = nd.diffuse(image, nd.TotalVariation(kappa=kappa), time=weight / kappa, threads=1)
    for result in (theirs, mine):
        assert 100 - result[30 : 30 + width].mean() == pytest.approx(2 * weight / width, rel=1e-3)
