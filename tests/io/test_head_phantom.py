"""The simulated head: its noise obeys the Rician law, and it is the same for the same seed."""

import numpy as np

from napari_diffusion.io.head_phantom import FLUID, WHITE_MATTER, head

SMALL = {"shape": (10, 72, 60), "spacing": (12.0, 3.0, 3.0)}


def test_head_is_reproducible():
    one, two, other = head(**SMALL), head(**SMALL), head(**SMALL, seed=1)
    np.testing.assert_array_equal(one.noisy, two.noisy, strict=True)
    np.testing.assert_array_equal(one.truth, two.truth, strict=True)
    assert not np.array_equal(one.noisy, other.noisy)


def test_squares_have_the_mean_of_rician_noise():
    """The mean of M² is A² + 2 s², within four standard errors, in background and tissue."""
    scan = head(**SMALL, noise=50.0)
    excess = scan.noisy.astype(float) ** 2 - scan.truth.astype(float) ** 2
    for part in (scan.truth < 1, scan.truth > 700):
        mean = excess[part].mean()
        assert abs(mean - 2 * 50.0**2) < 4 * excess[part].std() / np.sqrt(part.sum())


def test_head_contains_all_tissues_and_a_background():
    scan = head()
    assert scan.truth.min() == 0
    inner = scan.truth[20, 30:110, 25:95]
    for magnitude in (FLUID, WHITE_MATTER):
        assert (np.abs(inner - magnitude) < 1).mean() > 0.05
    assert scan.noisy.dtype == np.uint16
