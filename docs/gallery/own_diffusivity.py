"""A diffusivity of your own: any function of the gradient divided by kappa."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
noisy = 80.0 * (x > y) + np.random.default_rng(4).normal(0, 10, x.shape)

sharp = nd.PeronaMalik(kappa=12.0, sigma=1.0, diffusivity=lambda s: 1 / (1 + s**8))
smooth = nd.diffuse(noisy, sharp, time=10.0)

panels = {"noisy": noisy, "1 / (1 + s^8)": smooth}
