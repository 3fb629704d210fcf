"""Noise that grows to the right: the threshold follows it."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
level = 1 + 7 * x / 95
image = (40.0 * (y % 48 < 24) + np.random.default_rng(12).normal(0, 6, x.shape)) * level

even = nd.diffuse(image, nd.PeronaMalik(kappa=1.0, sigma=1.0), time=8.0)
mapped = nd.PeronaMalik(kappa=1.0, sigma=1.0, kappa_map=((2.0, 4.0, 6.0, 8.0),))
smooth = nd.diffuse(image, mapped, time=8.0)

panels = {"noisy": image / level, "one threshold": even / level, "a map": smooth / level}
