"""Model, threshold and time chosen from the noise of the image."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
truth = 100.0 + 60.0 * np.sign(np.sin(x / 9) * np.sin(y / 13))
noisy = truth + np.random.default_rng(1).normal(0, 25, truth.shape)

suggestion = nd.suggest(noisy, nd.PeronaMalik())
print(suggestion.summary)
smooth = nd.diffuse(noisy, suggestion.model, time=suggestion.time)

panels = {"noisy": noisy, "automatic": smooth, "removed": noisy - smooth}
