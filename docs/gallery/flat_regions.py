"""Total variation: flat regions, ready for a threshold."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
truth = 50.0 * (np.hypot(y - 30, x - 30) < 20) + 100.0 * (np.hypot(y - 64, x - 62) < 24)
noisy = truth + np.random.default_rng(5).normal(0, 15, truth.shape)

flat = nd.diffuse(noisy, nd.TotalVariation(kappa=5.0, epsilon=0.05), time=8.0)

panels = {"noisy": noisy, "flat": flat, "above 75": flat > 75}
