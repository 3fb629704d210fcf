"""Channels that share one edge map."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
shape = (np.hypot(y - 48, x - 48) < 28).astype(float)
rng = np.random.default_rng(13)
strong, weak = 200 * shape, 20 * shape
image = np.stack([strong, weak]) + rng.normal(0, 10, (2, 96, 96))

model = nd.PeronaMalik(kappa=12.0, sigma=1.0)
apart = nd.diffuse(image, model, time=8.0, axes=(1, 2))
coupled = nd.diffuse(image, model, time=8.0, axes=(1, 2), channel_axis=0)

panels = {"weak channel": image[1], "by itself": apart[1], "coupled": coupled[1]}
