"""Speckle: noise in proportion to the brightness."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
tissue = 30.0 + 120.0 * (np.hypot(y - 48, x - 48) < 26)
image = tissue * np.random.default_rng(8).gamma(10, 0.1, tissue.shape)

quiet = nd.diffuse(image, nd.SpeckleReducing(q0=0.32), time=3.0)

panels = {"speckle": image, "reduced": quiet}
