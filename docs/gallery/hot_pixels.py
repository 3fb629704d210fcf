"""Hot and dead pixels are replaced before the first step."""

import numpy as np

import napari_diffusion as nd

y, x = np.indices((96, 96))
rng = np.random.default_rng(11)
image = 100.0 + 60.0 * (x > 48) + rng.normal(0, 5, x.shape)
image[rng.random(x.shape) < 0.01] = 400

model = nd.PeronaMalik(kappa=4.0)
kept = nd.diffuse(image, model, time=4.0)
repaired = nd.diffuse(image, model, time=4.0, impulses="mask")

panels = {"hot pixels": image, "without a repair": kept, "repaired": repaired}
