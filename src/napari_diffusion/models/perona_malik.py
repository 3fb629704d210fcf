r"""Perona-Malik diffusion, classic and regularised.

.. math:: u_t = \operatorname{div}\bigl(g(|\nabla u_\sigma|)\,\nabla u\bigr), \qquad
   u_\sigma = G_\sigma * u

``kappa`` is the gradient at which the flux :math:`s\,g(s)` is largest. Weaker gradients are
smoothed, and stronger ones are kept. ``sigma = 0`` is the classic model with one diffusivity per
face. It is ill posed in the continuum, and its results depend on the grid. ``sigma > 0`` is the
regularised model, which is well posed for every smooth :math:`g`.

``diffusivity`` is a name or, in Python, a vectorised function of :math:`s/\kappa` with values from
0 to 1, such as ``lambda x: 1 / (1 + x**4)``. The meaning of :math:`\kappa` then depends on the
function. Recipes and the command line support names only.

Sources: Perona & Malik 1990 (doi:10.1109/34.56205); Catté, Lions, Morel & Coll 1992
(doi:10.1137/0729012).
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.backends.base import DiffusivityFunction
from napari_diffusion.models.base import Model, ThresholdMap, param, threshold_map
from napari_diffusion.operators.diffusivity import CODES, Diffusivity
from napari_diffusion.operators.divergence import FaceDiffusivity, VoxelDiffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class PeronaMalik(Model):
    """Smooths where gradients are below ``kappa`` and keeps edges above it."""

    name = "perona-malik"
    title = "Perona-Malik"
    summary = "Smooths inside regions and keeps edges whose gradient exceeds the threshold."
    references = ("perona1990",)

    kappa: float = param(
        10.0,
        "Edge threshold: steeper changes of intensity count as edges and are kept.",
        unit="intensity/length",
        gt=0,
        suggest="threshold",
    )
    diffusivity: str | DiffusivityFunction = param(
        "rational",
        "How smoothing falls off with the gradient.",
        choices=tuple(CODES)[1:],
        function=True,
    )
    sigma: float = param(
        0.0,
        "Gaussian before taking the gradient, at the scale of the noise; 0 is the classic model.",
        unit="length",
        ge=0,
        suggest="scale",
        label="Pre-smoothing σ",
    )
    kappa_map: ThresholdMap | None = threshold_map("kappa")

    def __post_init__(self) -> None:
        """Check the parameters, and the values of a function."""
        super().__post_init__()
        Diffusivity(self.diffusivity, self.kappa).check()

    def cited_references(self) -> tuple[str, ...]:
        """Return the sources, with that of the regularised model where it is used."""
        return self.references if self.sigma == 0 else (*self.references, "catte1992")

    def operator(self, f: Features) -> FaceDiffusivity | VoxelDiffusivity:
        """Return g of each face difference, or g of the smoothed gradient at the voxels."""
        g = Diffusivity(self.diffusivity, self.kappa, self.kappa_map)
        if self.sigma == 0:
            return FaceDiffusivity(g)
        values = f.apply(g, f.grad2(self.sigma))
        return VoxelDiffusivity(values, error_factor=g.error_factor)
