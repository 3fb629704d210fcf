"""Time points stay apart: a flash of light is in one frame only."""

import numpy as np

import napari_diffusion as nd

frames = np.random.default_rng(14).normal(50, 10, (3, 64, 64))  # t, y, x
frames[1, 20:44, 20:44] += 100

smooth = nd.diffuse(frames, nd.PeronaMalik(kappa=8.0, sigma=1.0), time=6.0, axes=(1, 2))

panels = {"frame 1": frames[1], "frame 1, smoothed": smooth[1]}
