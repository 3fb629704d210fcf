"""One run, kept at several diffusion times."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
image = 100.0 * ((x // 24 + y // 24) % 2) + np.random.default_rng(2).normal(0, 30, x.shape)

panels = {"T = 0": image}
for time in (1.0, 8.0, 64.0):
    panels[f"T = {time:g}"] = nd.diffuse(image, nd.PeronaMalik(kappa=8.0, sigma=1.0), time=time)
