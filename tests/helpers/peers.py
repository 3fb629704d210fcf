"""Images for the comparison with other packages."""

import numpy as np


def picture(shape, seed=8):
    """Diagonal step edge, ramp and noise: gradients on both sides of all thresholds."""
    index = np.indices(shape).sum(0)
    noise = np.random.default_rng(seed).normal(size=shape)
    return (100.0 * (index > sum(shape) / 2) + index + 5 * noise).astype("f4")
