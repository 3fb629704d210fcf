"""Smoothing within labels: nothing flows from one region into another."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
labels = 1 + (x > 48).astype(int)
labels[np.hypot(y - 48, x - 48) < 20] = 3
image = 40.0 * labels + np.random.default_rng(10).normal(0, 25, x.shape)

smooth = nd.diffuse(image, nd.Linear(), time=30.0, labels=labels)

panels = {"noisy": image, "labels": labels, "smoothed within": smooth}
