"""How alike structures of all directions fare: stripes at 24 angles and tubes at 12, beside DIPlib."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
from timing import table

import napari_diffusion as nd

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.oracles import contrast_lost, directions

#: Scale of the derivatives [voxel], the same for both.
SIGMA = 1.0
#: Picture: shape, our diffusion time [voxel²] and DIPlib's iterations, which take away as much of stripes; on its tubes time is short.
PICTURES = {"stripes": ((72, 72), 4.0, 19), "tubes": ((40, 40, 40), 0.83, 4)}


def rotation(n: int, rounds: int) -> dict:
    """Loss of contrast along stripes (period 8 voxels) and tubes (sigma 2.5 voxels) with a modulation of 16 voxels."""
    import diplib as dip

    ours = {
        "ours, coherence-enhancing, rho = 3": nd.CoherenceEnhancing(
            kappa=3.0, rho=3.0, sigma=SIGMA
        ),
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
        filters[
            f"DIPlib CoherenceEnhancingDiffusion, regularizationSigma = 3, {iterations} iterations"
        ] = theirs
        for name, smooth in filters.items():
            angles = directions(len(shape))[
                :: len(shape) - 1
            ]  # DIPlib takes two seconds for a tube
            lost = [contrast_lost(smooth, v, shape) for v in angles]
            spread = (max(lost) - min(lost)) / np.mean(lost)
            rows.append(
                [
                    picture,
                    f"{time:g}",
                    name,
                    *(f"{value:.3f}" for value in (np.mean(lost), min(lost), max(lost))),
                    f"{spread:.1%}",
                ]
            )
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
