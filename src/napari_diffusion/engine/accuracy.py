"""How far a run is from the solution of its equation: the error of the time integration, measured on a piece of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_diffusion.engine.evolve import diffuse
from napari_diffusion.engine.job import make_job
from napari_diffusion.engine.plan import make_plan
from napari_diffusion.models import Model
from napari_diffusion.schemes import Scheme


def integration_error(
    image: Any,
    model: Model,
    *,
    time: float,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    largest: int = 64,
) -> float:
    r"""Estimate the error that the steps in time leave in a run, as a share of the intensity range.

    The middle of the middle frame is filtered as the run would do it and once more with every step halved. A scheme of order p
    leaves (Richardson 1911)

    .. math:: \|u_\tau - u\| \approx \frac{2^p}{2^p - 1}\,\|u_\tau - u_{\tau/2}\|

    Parameters
    ----------
    image, model, time, spacing, axes, channel_axis, scheme, tolerance, strict
        As in `diffuse`. The values must be finite.
    largest
        Voxels per axis of the piece.

    Returns
    -------
    float
        Root mean square error divided by the range (99.9th less 0.1th percentile) of the piece; 0 for the exact scheme and for constant
        images. It is no bound: where a run with halved steps does not come closer (the classic model, long times), it says how far apart
        the two are.
    """
    job = make_job(image, spacing, axes, channel_axis, None, None, "raise", False, None)
    plan = make_plan(job, model, time, scheme, tolerance, strict, None, None)
    count = sum(stage.time is not None for stage in plan.stages)
    frames = list(job.frames()) if 0 not in job.shape else []
    if not count or not frames:
        return 0.0
    coarse, fine = (plan.scheme.with_steps(float(time), n) for n in (count, 2 * count))
    if coarse is None or fine is None:
        return 0.0
    piece = job.read(frames[len(frames) // 2])[0]
    middle = [slice(max(0, (n - largest) // 2), max(0, (n - largest) // 2) + largest) for n in piece.shape[1:]]
    piece = piece[(slice(None), *middle)]
    extent = float(np.subtract(*np.percentile(piece, [99.9, 0.1])))
    if not extent > 0:
        return 0.0

    runs = [
        diffuse(piece, model, time=time, spacing=job.kernel_spacing, channel_axis=0, channel_weights=tuple(job.weights), scheme=steps)
        for steps in (coarse, fine)
    ]
    apart = np.sqrt(np.mean(np.square(runs[0] - runs[1], dtype=float)))
    order = plan.scheme.order
    return float(apart * 2**order / (2**order - 1) / extent)
