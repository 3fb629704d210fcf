"""Images for the comparison with other packages."""

import numpy as np


def picture(shape, seed=8):
    """Diagonal step edge, ramp and noise: gradients on both sides of all thresholds."""
    index = np.indices(shape).sum(0)
    noise = np.random.default_rng(seed).normal(size=shape)
    return (100.0 * (index > sum(shape) / 2) + index + 5 * noise).astype("f4")


def waves(n, dimensions):
    """Smooth and periodic image, the same function on any grid.

    The gradients are between 0 and 2.3 times their root mean square.
    """
    x = [c / n for c in np.meshgrid(*[np.arange(n) + 0.5] * dimensions, indexing="ij")]
    product = np.cos(2 * np.pi * x[0]) * np.cos(np.pi * x[-1])
    return (n * (product + 0.5 * np.cos(3 * np.pi * x[-1]))).astype("f4")


def mean_square_gradient(image):
    """Mean square gradient with one-sided differences at the border."""
    return np.mean(sum(g.astype("f8") ** 2 for g in np.gradient(image)))


def mismatch(theirs, ours, start):
    """Rms difference of two results, as a share of the rms change of the image."""
    return np.linalg.norm(theirs - ours) / np.linalg.norm(theirs - start)
