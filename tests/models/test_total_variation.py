"""Total variation flow against mathematics: speed of balls and plateaus, and fixed edges."""

from itertools import pairwise

import numpy as np
import pytest

import napari_diffusion as nd


@pytest.mark.parametrize(
    ("shape", "spacing", "radius"),
    [
        ((81, 81), (1.0, 1.0), 20.0),
        ((61, 121), (2.0, 1.0), 30.0),
        ((37, 37, 37), (1.0, 1.0, 1.0), 12.0),
    ],
)
def test_signature_ball_loses_height_in_proportion_to_surface_per_volume(shape, spacing, radius):
    """The rate is d(height)/dt = -kappa N/R for any height.

    The edge is three voxels wide. An edge that the grid does not resolve is longer on it, by 7 %
    in 2-D and 11 % in 3-D.
    """
    kappa, time = 3.0, 1.0
    x = np.meshgrid(
        *(h * (np.arange(n) - n // 2) for n, h in zip(shape, spacing, strict=True)), indexing="ij"
    )
    r = np.sqrt(np.sum([c**2 for c in x], axis=0))
    for height in (40.0, 400.0):
        image = height * np.clip((radius - r) / (3 * max(spacing)) + 0.5, 0, 1)
        model = nd.TotalVariation(kappa=kappa, epsilon=0.05)
        result = nd.diffuse(image, model, time=time, spacing=spacing)
        lost = (image - result)[r <= radius].mean()
        # The voxels are a ball to 0.3 %.
        assert lost == pytest.approx(kappa * time * len(shape) / radius, rel=0.01)


@pytest.mark.parametrize("spacing", [1.0, 0.25])
def test_plateaus_move_in_proportion_to_inverse_width_and_steps_stay(spacing):
    """In 1-D, an extremum of width w moves by 2 kappa T/w, and by kappa T/w at the border.

    A plateau between a lower and a higher one does not move.
    """
    levels, widths = (0.0, 30.0, 100.0, 60.0), (12, 9, 8, 20)
    image = np.repeat(levels, widths)
    kappa, time, model = 2.0, 1.5, nd.TotalVariation(kappa=2.0)
    edges = np.cumsum((0, *widths))
    shift = np.multiply([1, 0, -2, 1], kappa * time) / (spacing * np.array(widths))
    # A step of height s has the flux kappa (1 - (epsilon kappa h/s)²/2), here (1 - 2e-7) kappa. A
    # flux with a stored diffusivity has the tolerance, 1e-3 of the range.
    for scheme, largest_error in (("rkl2", 1e-6), ("auto", 1e-3 * np.ptp(levels))):
        result = nd.diffuse(image, model, time=time, spacing=spacing, scheme=scheme)
        mean = [result[a:b].mean() for a, b in pairwise(edges)]
        np.testing.assert_allclose(mean - np.array(levels), shift, rtol=0, atol=largest_error)
        # The flux inside a plateau requires a gradient of the order of epsilon kappa. Plateaus are
        # therefore flat, and steps sharp, to a hundredth of the step.
        for (a, b), level in zip(pairwise(edges), mean, strict=True):
            assert np.abs(result[a:b] - level).max() < 0.3


def test_flow_in_1d_is_charbonnier_diffusion_over_a_longer_time():
    """kappa / sqrt(s² + (epsilon kappa)²) = g(s)/epsilon with charbonnier's g at epsilon kappa."""
    image = np.random.default_rng(3).normal(50, 20, 60)
    kappa, epsilon, time = 8.0, 0.2, 0.5
    scheme = nd.schemes.Explicit(step=time * epsilon / 20)
    model = nd.TotalVariation(kappa=kappa, epsilon=epsilon)
    result = nd.diffuse(image, model, time=time, scheme=scheme)
    scheme = nd.schemes.Explicit(step=time / 20)
    model = nd.PeronaMalik(kappa=epsilon * kappa, diffusivity="charbonnier")
    expected = nd.diffuse(image, model, time=time / epsilon, scheme=scheme)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)
