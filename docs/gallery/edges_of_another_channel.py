"""Edges of another channel: a faint square stays where the clean channel has its edges."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
square = (abs(y - 48) < 24) & (abs(x - 48) < 24)
noise = np.random.default_rng(7).normal(size=(2, 96, 96))
faint, clean = 12.0 * square + 20 * noise[0], 100.0 * square + 3 * noise[1]
model = nd.PeronaMalik(kappa=10.0)  # in intensities of the clean channel

guided = nd.diffuse(faint, model, time=60.0, guide=clean)
alone = nd.diffuse(faint, model, time=60.0)

panels = {"faint": faint, "alone": alone, "guided": guided, "guide": clean}
