"""Held to the image: total variation comes to rest, and a wide square keeps its level."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
truth = 60.0 * ((abs(y - 48) < 24) & (abs(x - 48) < 24))
noisy = truth + np.random.default_rng(6).normal(0, 15, truth.shape)
model = nd.TotalVariation(kappa=6.0, epsilon=0.05)

held = nd.diffuse(noisy, model, fidelity_length=3.0)  # to the steady state
free = nd.diffuse(noisy, model, time=nd.Recipe(model, None, fidelity_length=3.0).time)

panels = {"noisy": noisy, "held": held, "free": free}
