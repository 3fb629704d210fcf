"""Contrast that tensor models leave of thin tubes, and the law of its loss."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.tubes import box, gaussian, tube

#: Along an axis, in a plane, along the diagonal of the voxel, and oblique.
DIRECTIONS = [(0, 0, 1), (0, 1, 1), (1, 1, 1), (0, 1, 3), (1, 2, 4.3)]
#: Contrast of the tubes, and noise of a tenth of it.
CONTRAST, NOISE = 100.0, 10.0
MODELS = [nd.CoherenceEnhancing(), nd.VesselEnhancing(gamma=NOISE)]
models = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)


def filtered(phantom, model, noise=0.0, **options):
    image = CONTRAST * phantom.clean
    image = image + noise * np.random.default_rng(7).normal(size=image.shape)
    return image.astype("f4"), nd.diffuse(image.astype("f4"), model, **options)


@models
@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_tube_of_one_voxel_keeps_nine_tenths_at_the_defaults(model, direction, noise):
    """For a time of one voxel²."""
    phantom = tube(1.0, direction)
    before, after = filtered(phantom, model, noise, time=1.0)
    assert phantom.kept(after, before) > 0.9


@models
def test_contrast_kept_depends_little_on_the_direction(model):
    """By less than 0.05 between the five directions."""
    kept = []
    for direction in DIRECTIONS:
        phantom = tube(1.0, direction)
        before, after = filtered(phantom, model, time=1.0)
        kept.append(phantom.kept(after, before))
    assert max(kept) - min(kept) < 0.05


@pytest.mark.parametrize("contrast", [50.0, 200.0, 800.0])
@pytest.mark.parametrize("direction", [(0, 1, 1), (1, 2, 4.3)], ids=str)
def test_strong_tubes_keep_as_much_as_faint_ones(contrast, direction):
    """The published coherence-enhancing model smooths across strong tubes."""
    phantom = tube(1.0, direction)
    image = (contrast * phantom.clean).astype("f4")
    kept = phantom.kept(nd.diffuse(image, nd.CoherenceEnhancing(), time=2.0), image)
    assert kept > 0.9
    published = nd.diffuse(image, nd.CoherenceEnhancing(selectivity=0.0), time=2.0)
    assert contrast == 50.0 or phantom.kept(published, image) < 0.7


def two_axes_of_heat(phantom, diffusivity, time):
    """Solution of the heat equation on the lattice, in the plane across an axis, exact in time."""
    image = CONTRAST * phantom.clean
    return nd.diffuse(image, nd.Linear(), time=diffusivity * time, axes=(0, 1))


@pytest.mark.parametrize("profile", [gaussian, box])
@pytest.mark.parametrize(
    ("model", "across"),
    [
        (nd.CoherenceEnhancing(alpha=0.01), 0.01),
        (nd.CoherenceEnhancing(alpha=0.03), 0.03),
        (nd.VesselEnhancing(gamma=1.0, epsilon=0.003, omega=1.0), 0.003),
        (nd.VesselEnhancing(gamma=1.0, epsilon=0.02), 0.02),
    ],
    ids=str,
)
def test_axis_of_a_tube_obeys_the_heat_equation_across(model, across, profile):
    """Along an axis of the grid, with the diffusivity across, for two voxels²."""
    phantom = tube(1.0, (0, 0, 1), profile)
    _, after = filtered(phantom, model, time=2.0)
    expected = two_axes_of_heat(phantom, across, 2.0)
    assert phantom.contrast(after) == pytest.approx(phantom.contrast(expected), rel=3e-3)


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0, 3.0])
def test_loss_of_a_gaussian_tube_is_that_of_the_continuum(radius):
    """Of the radius r, r² / (r² + 2 alpha T) is left, to a thousandth of the contrast."""
    phantom = tube(radius, (0, 0, 1))
    before, after = filtered(phantom, nd.CoherenceEnhancing(alpha=0.01), time=1.0)
    # The second difference of a Gaussian of radius 1 is 0.79 of its curvature.
    slack = 2e-3 if radius > 1 else 5e-3
    assert phantom.kept(after, before) == pytest.approx(radius**2 / (radius**2 + 0.02), abs=slack)


@models
def test_tube_along_an_axis_does_not_change_along_it(model):
    """Planes across the tube remain equal to rounding."""
    phantom = tube(1.0, (0, 0, 1))
    _, after = filtered(phantom, model, time=2.0)
    for plane in np.moveaxis(after, 2, 0):
        np.testing.assert_allclose(plane, after[:, :, 20], rtol=0, atol=1e-4 * CONTRAST)


@models
def test_dark_tubes_keep_what_bright_ones_keep(model):
    if isinstance(model, nd.VesselEnhancing):
        dark = nd.VesselEnhancing(gamma=NOISE, polarity="dark")
    else:
        dark = model
    phantom = tube(1.0, (1, 2, 4.3))
    before, after = filtered(phantom, model, NOISE, time=1.0)
    mirrored = nd.diffuse(-before, dark, time=1.0)
    np.testing.assert_allclose(mirrored, -after, rtol=0, atol=5e-4 * CONTRAST)


@models
def test_voxels_of_another_size_keep_as_much(model):
    """In planes at thrice the voxel a tube of radius 3, and one of radius 1 in half voxels."""
    coarse = tube(3.0, (0, 1, 3), shape=(14, 40, 40), spacing=(3.0, 1.0, 1.0))
    before, after = filtered(coarse, model, time=1.0, spacing=coarse.spacing)
    assert coarse.kept(after, before) > 0.9
    fine = tube(1.0, (1, 2, 4.3), shape=(48, 48, 48), spacing=(0.5,) * 3)
    before, after = filtered(fine, model, time=1.0, spacing=0.5)
    assert fine.kept(after, before) > 0.9
