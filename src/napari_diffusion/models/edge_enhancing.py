r"""Edge-enhancing diffusion.

.. math:: u_t = \operatorname{div}(D\,\nabla u), \qquad D = \sum_i \lambda_i v_i v_i^T

with the eigenvectors :math:`v_i` and eigenvalues :math:`\mu_1 \ge \mu_2 \ge \dots` of the structure
tensor :math:`J = G_\rho * (\nabla u_\sigma \nabla u_\sigma^T)`. The diffusivity across an edge is
:math:`\lambda_1 = 1 - \exp(-3.31488\,(\kappa^2/\mu_1)^4)`; along the edge :math:`\lambda_i = 1`.
Noise on an edge is smoothed along the edge, whereas scalar diffusion does not remove it. Where
:math:`\mu_1 = \mu_2`, no direction is across the edge, and the diffusivity in all of them is
:math:`\lambda_1`. Without a gradient D is the identity.

Source: Weickert 1998, Anisotropic Diffusion in Image Processing, section 5.2; in 3-D as Mendrik et
al. 2009 (doi:10.1109/TMI.2009.2022368).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_diffusion.models.base import Model, ThresholdMap, param, threshold_map
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features, gradient_unit, in_gradient_unit
from napari_diffusion.operators.tensor import DiffusionTensor


@dataclass(frozen=True, kw_only=True)
class EdgeEnhancing(Model):
    """Smooths along edges and inside regions, not across edges steeper than ``kappa``."""

    name = "edge-enhancing"
    title = "Edge-enhancing"
    summary = (
        "Smooths along edges as well as inside regions, so that edges become clean lines and "
        "surfaces."
    )
    references = ("weickert1998", "mendrik2009")

    kappa: float = param(
        10.0,
        "Edge threshold: steeper changes of intensity count as edges and are kept.",
        unit="intensity/length",
        gt=0,
        suggest="threshold",
    )
    sigma: float = param(
        1.0, "Pre-smoothing σ: before taking the gradient.", unit="length", ge=0, suggest="scale"
    )
    rho: float = param(
        1.0,
        "Neighbourhood over which directions are averaged.",
        unit="length",
        ge=0,
        suggest="voxels",
    )
    kappa_map: ThresholdMap | None = threshold_map("kappa")

    def operator(self, f: Features) -> DiffusionTensor:
        """Return the tensor with the eigenvectors of the structure tensor."""
        unit = gradient_unit(self.kappa)
        matrix = f.relative(f.structure(self.sigma, self.rho, unit), self.kappa_map)
        kernel = "edge", tuple(in_gradient_unit(matrix.dtype, self.kappa))
        return DiffusionTensor(matrix, self.spectrum, (1.0,), (), unit, 4.8, kernel)

    def spectrum(self, mu: np.ndarray) -> list[np.ndarray]:
        """Return the diffusivities along the eigenvectors: reduced across the edge, 1 along it."""
        (kappa,) = in_gradient_unit(mu[0].dtype, self.kappa)
        across = Diffusivity("weickert", kappa).of(mu[0])
        return [across, *[np.ones_like(mu[0])] * (len(mu) - 1)]
