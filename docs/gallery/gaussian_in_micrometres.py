"""Gaussian blur in micrometres: round in the specimen, though voxels are long along z."""

import numpy as np

import napari_diffusion as nd

beads = np.zeros((33, 97))  # z, x
beads[16, [24, 72]] = 1000.0
spacing = (2.0, 0.5)  # µm

blurred = nd.diffuse(beads, nd.Linear(), time=nd.time_for_sigma(3.0), spacing=spacing)

stretched = [np.repeat(image, 4, axis=0) for image in (beads, blurred)]  # as in the specimen
panels = {"two beads": stretched[0] > 0, "blurred": stretched[1]}
