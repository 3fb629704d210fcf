"""Where a model smooths along a direction: the coherence, from 0 to 1."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
image = np.where(x < 48, 100.0 * (y % 8 < 4), 50.0)  # lines beside a flat region
image += np.random.default_rng(7).normal(0, 5, image.shape)

model = nd.CoherenceEnhancing(kappa=3.0, sigma=1.0, rho=3.0)
coherence = nd.coherence(image, model)

panels = {"image": image, "coherence": coherence}
