"""Conversion of the parameters of other packages: rows of docs/conversion.md.

The other test files in this folder check the remaining rows.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.paths import ROOT
from helpers.peers import mismatch, picture, waves
from napari_diffusion.schemes import Explicit


@pytest.mark.parametrize(("dimensions", "sizes"), [(2, (32, 64)), (3, (20, 40))])
def test_itk_conductance_is_a_kappa_of_one_step(itk, dimensions, sizes):
    """kappa = c rms(gradient), with the whole gradient.

    Both discretisations are of second order: at half the spacing they are four times closer.
    """
    mismatches = []
    for n in sizes:
        image, step, conductance = waves(n, dimensions), 0.05, 0.8
        theirs = itk.GetArrayFromImage(
            itk.GradientAnisotropicDiffusion(itk.GetImageFromArray(image), step, conductance, 1, 1)
        )
        recipe = nd.presets.itk_gradient(image, conductance, 1, step)

        def ours(factor, image=image, recipe=recipe, step=step):
            model = replace(recipe.model, kappa=factor * recipe.model.kappa)
            explicit = replace(recipe, model=model, scheme=Explicit(step=step))
            return nd.diffuse(image.astype("f8"), explicit)

        mismatches.append(mismatch(theirs, ours(1.0), image))
    assert mismatches[0] / mismatches[1] > 3
    # The documented exp(-(s/K)^2) would correspond to a kappa smaller by sqrt(2).
    assert min(mismatch(theirs, ours(2**k), image) for k in (-0.5, 0.5)) > 3 * mismatches[1]


def test_itk_curvature_conductance_is_a_kappa(itk):
    """The upwind scheme of ITK is of first order, which explains a mismatch of about a tenth.

    A kappa larger or smaller by sqrt(2) gives more than twice this mismatch.
    """
    image, step, count = waves(48, 2), 0.05, 20
    theirs = itk.GetArrayFromImage(
        itk.CurvatureAnisotropicDiffusion(itk.GetImageFromArray(image), step, 1.0, 1, count)
    )
    recipe = nd.presets.itk_curvature(image, 1.0, count, step)

    def mismatch_at(factor):
        model = replace(recipe.model, kappa=factor * recipe.model.kappa)
        return mismatch(theirs, nd.diffuse(image, replace(recipe, model=model)), image)

    low, equal, high = (mismatch_at(2**k) for k in (-0.5, 0, 0.5))
    assert equal < 0.15
    assert min(low, high) > 2 * equal


def test_example_of_the_documentation_agrees_with_itk(itk):
    """In five steps the threshold of ITK decreases by a few per cent."""
    page = (ROOT / "docs" / "conversion.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names = {"volume": waves(40, 3), "spacing": (1.0, 1.0, 1.0)}
    exec(example, names)
    theirs = itk.GetArrayFromImage(
        itk.GradientAnisotropicDiffusion(itk.GetImageFromArray(names["volume"]), 0.0625, 2.0, 1, 5)
    )
    assert mismatch(theirs, names["like_itk"], names["volume"]) < 0.02


def test_itk_discrete_gaussian_is_linear_diffusion(itk):
    """Lindeberg's kernel is the exact solution on the grid, with variance = 2 T [length²].

    ITK truncates it at 1e-4 of its weight per axis.
    """
    spacing, variance = (1.5, 1.0, 0.5), 2.0
    image = picture((20, 24, 30))
    volume = itk.GetImageFromArray(image)
    volume.SetSpacing(spacing[::-1])
    error = 1e-4
    theirs = itk.GetArrayFromImage(itk.DiscreteGaussian(volume, variance, 100, error))
    result = nd.diffuse(image, nd.Linear(), time=variance / 2, spacing=spacing)
    # 7 sigma from the border, at which ITK repeats the last voxel.
    inside = (slice(5, -5), slice(8, -8), slice(14, -14))
    tolerance = 3 * error * np.ptp(image)
    np.testing.assert_allclose(theirs[inside], result[inside], rtol=0, atol=tolerance)
    assert np.abs(result - image)[inside].max() > 0.05 * np.ptp(image)


def test_skimage_weight_is_a_time_of_total_variation_flow():
    """In 1-D the flow equals the minimiser of Rudin, Osher and Fatemi with weight = kappa T.

    A plateau loses 2 kappa T over its width (Steidl et al. 2004). scikit-image is compared with
    this after many iterations. In the flow, edges of height 100 have the flux kappa to 1e-6.
    """
    restoration = pytest.importorskip("skimage.restoration")
    width, weight, kappa = 20, 100.0, 10.0
    image = np.zeros(80)
    image[30 : 30 + width] = 100
    theirs = restoration.denoise_tv_chambolle(image, weight=weight, eps=1e-12, max_num_iter=5000)
    ours = nd.diffuse(image, nd.TotalVariation(kappa=kappa), time=weight / kappa, threads=1)
    for result in (theirs, ours):
        assert 100 - result[30 : 30 + width].mean() == pytest.approx(2 * weight / width, rel=1e-3)


@pytest.mark.parametrize(
    ("page", "diffusivity", "factor"),
    [
        ("imod", lambda s: 1 - np.exp(-3.31488 / s**16), "0.985"),
        ("fiji", lambda s: (1 + s**2) ** -0.9, "1.12"),
        ("matlab", lambda s: np.exp(-(s**2)), "1/√2"),
    ],
)
def test_factor_of_a_program_that_cannot_be_run_is_the_gradient_of_its_largest_flux(
    page, diffusivity, factor
):
    gradient = np.linspace(0.1, 3, 290_001)
    largest = gradient[np.argmax(gradient * diffusivity(gradient))]
    stated = 2**-0.5 if factor == "1/√2" else float(factor)
    assert stated == pytest.approx(largest, rel=2e-3)
    text = (ROOT / "docs" / "coming_from" / f"{page}.md").read_text(encoding="utf-8")
    assert factor.removeprefix("1") in text
