"""Follow a run while it computes, and stop it early."""

import numpy as np

import napari_diffusion as nd

image = np.random.default_rng(3).normal(100, 20, (96, 96))
image[:, 48:] += 100

for state in nd.evolve(image, nd.PeronaMalik(kappa=20.0), time=20.0):
    print(f"{state.fraction:4.0%} at the diffusion time {state.time:.2f}")
    if state.image[:, :40].std() < 5:  # smooth enough
        break

panels = {"noisy": image, "stopped": state.image}
