"""Noise of the image from which edges come: of a guide, or of both images together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.estimation.measurement.noise import (
    NoNoiseError,
    combined_noise,
    measure_noise,
)
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.patches import Patch

#: Level that counts as the noise of a guide without noise, as a share of its standard deviation.
#: Its thresholds are then 0.3 to 85 % of that deviation per voxel.
CLEAN_SHARE = 0.1


def noise_of_edges(
    patches: Sequence[Patch], noise: Noise, guide_weight: float, cancel: CancelEvent | None = None
) -> Noise | None:
    r"""Return the noise of the gradients that thresholds are compared with; None without a guide.

    With a weight w below 1, squared gradients are
    :math:`(1 - w) |\nabla u|^2 + w |\nabla g|^2`, and the level is the root of the same sum of
    both variances.

    Parameters
    ----------
    patches
        Patches of the image, with those of the guide.
    noise
        Noise of the image.
    guide_weight
        Weight of the guide.
    cancel
        The measurement ends with `Cancelled` when this event is set.

    Raises
    ------
    ValueError
        When the guide is constant.
    """
    if any(patch.guide is None for patch in patches):
        return None
    own = _noise_of([patch.of_guide() for patch in patches], cancel)
    if guide_weight == 1:
        return own
    share = (1 - guide_weight) * noise.sigma**2 + guide_weight * own.sigma**2
    return replace(own, sigma=math.sqrt(share), level_map=None)


def _noise_of(guides: Sequence[Patch], cancel: CancelEvent | None) -> Noise:
    """Return the noise of the patches of a guide."""
    noisy = [guide for guide in guides if guide.valid.any()]
    if noisy:
        with suppress(NoNoiseError):
            channels = measure_noise(noisy, None, "auto", cancel).values()
            return combined_noise([one for each in channels for one in each])
    values = [guide.field[:, guide.inside].reshape(-1) for guide in guides]
    sigma = CLEAN_SHARE * float(np.concatenate(values).std())
    if not sigma > 0:
        raise ValueError("The guide is constant where it was measured, so it shows no edges.")
    return Noise("gaussian", sigma, sigma)
