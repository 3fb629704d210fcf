"""What total variation flow must do by mathematics: the speed of balls and plateaus, and edges that stay."""

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
def test_signature_a_ball_loses_height_at_its_surface_per_volume(shape, spacing, radius):
    """d(height)/dt = -kappa N/R, whatever the height; what the ball loses the background gains.

    Its edge is three voxels wide: one that the grid does not resolve is longer on it, by 7 % in 2-D and 11 % in 3-D.
    """
    kappa, time = 3.0, 1.0
    x = np.meshgrid(
        *(h * (np.arange(n) - n // 2) for n, h in zip(shape, spacing, strict=True)), indexing="ij"
    )
    r = np.sqrt(np.sum([c**2 for c in x], axis=0))
    for height in (40.0, 400.0):
        image = height * np.clip((radius - r) / (3 * max(spacing)) + 0.5, 0, 1)
        result = nd.diffuse(
            image, nd.TotalVariation(kappa=kappa, epsilon=0.05), time=time, spacing=spacing
        )
        lost = (image - result)[r <= radius].mean()
        assert lost == pytest.approx(
            kappa * time * len(shape) / radius, rel=0.01
        )  # those voxels are a ball to 0.3 %


@pytest.mark.parametrize("spacing", [1.0, 0.25])
def test_plateaus_move_at_two_over_their_width_and_steps_stay(spacing):
    """In 1-D, exactly: an extremum of width w moves by 2 kappa T/w, one at the border by kappa T/w, a step between them not at all."""
    levels, widths = (0.0, 30.0, 100.0, 60.0), (12, 9, 8, 20)
    image = np.repeat(levels, widths)
    kappa, time = 2.0, 1.5
    result = nd.diffuse(image, nd.TotalVariation(kappa=kappa), time=time, spacing=spacing)
    edges = np.cumsum((0, *widths))
    mean = [result[a:b].mean() for a, b in pairwise(edges)]
    moved = np.multiply([1, 0, -2, 1], kappa * time) / (spacing * np.array(widths))
    # A step of s has the flux kappa (1 - (epsilon kappa h/s)²/2), here 1 - 2e-7.
    np.testing.assert_allclose(mean - np.array(levels), moved, rtol=0, atol=1e-6)
    # Inside, the flux needs a gradient of some epsilon kappa: plateaus stay flat, and steps sharp, to a hundredth of the step.
    for (a, b), level in zip(pairwise(edges), mean, strict=True):
        assert np.abs(result[a:b] - level).max() < 0.3


def test_epsilon_is_all_that_parts_it_from_charbonnier():
    """kappa / sqrt(s² + (epsilon kappa)²) = g(s)/epsilon with charbonnier's g at epsilon kappa: in 1-D the same run, longer."""
    image = np.random.default_rng(3).normal(50, 20, 60)
    kappa, epsilon, time = 8.0, 0.2, 0.5
    steps = nd.schemes.Explicit(step=time * epsilon / 20)
    result = nd.diffuse(
        image, nd.TotalVariation(kappa=kappa, epsilon=epsilon), time=time, scheme=steps
    )
    steps = nd.schemes.Explicit(step=time / 20)
    expected = nd.diffuse(
        image,
        nd.PeronaMalik(kappa=epsilon * kappa, diffusivity="charbonnier"),
        time=time / epsilon,
        scheme=steps,
    )
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)
