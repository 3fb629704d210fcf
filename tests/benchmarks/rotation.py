"""Rotational invariance: contrast lost on stripes at 24 angles and tubes at 12, beside DIPlib."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
from timing import table

import napari_diffusion as nd

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.oracles import contrast_lost, directions

#: Scale of the derivatives [voxel], the same for both packages.
SIGMA = 1.0
#: For each picture, its shape, our diffusion time [voxel²], and the iterations of DIPlib. Both
#: remove the same contrast from stripes; fewer iterations keep the runs of DIPlib on tubes short.
PICTURES = {"stripes": ((72, 72), 4.0, 19), "tubes": ((40, 40, 40), 0.83, 4)}


def rotation(n: int, rounds: int) -> dict:
    """Table of the contrast lost along stripes and tubes with a modulation of 16 voxels.

    The stripes have a period of 8 voxels, the tubes a sigma of 2.5 voxels.
    """
    import diplib as dip

    coherence = nd.CoherenceEnhancing(kappa=3.0, rho=3.0, sigma=SIGMA)
    ours = {
        "ours, coherence-enhancing, rho = 3": coherence,
        "ours, edge-enhancing, rho = 1": nd.EdgeEnhancing(kappa=3.0, sigma=SIGMA, rho=1.0),
    }
    rows = []
    for picture, (shape, time, iterations) in PICTURES.items():

        def theirs(u: np.ndarray, iterations: int = iterations) -> np.ndarray:
            image = dip.Image(np.ascontiguousarray(u, np.float32))
            return np.asarray(dip.CoherenceEnhancingDiffusion(image, SIGMA, 3.0, iterations))

        filters = {
            name: partial(nd.diffuse, model=model, time=time) for name, model in ours.items()
        }
        peer = "DIPlib CoherenceEnhancingDiffusion"
        filters[f"{peer}, regularizationSigma = 3, {iterations} iterations"] = theirs
        # Every second direction in 3-D: DIPlib takes two seconds for a tube.
        angles = directions(len(shape))[:: len(shape) - 1]
        for name, smooth in filters.items():
            lost = [contrast_lost(smooth, v, shape) for v in angles]
            spread = (max(lost) - min(lost)) / np.mean(lost)
            numbers = [f"{value:.3f}" for value in (np.mean(lost), min(lost), max(lost))]
            rows.append([picture, f"{time:g}", name, *numbers, f"{spread:.1%}"])
    head = [
        "picture",
        "T",
        "filter",
        "contrast lost, mean",
        "least",
        "most",
        "(most - least) / mean",
    ]
    return {"text": "## Rotation: stripes at 24 angles and tubes at 12\n\n" + table(head, rows)}
