r"""Filters of ITK, which SimpleITK, 3D Slicer and ANTs use too.

With the time step :math:`\tau`, n iterations and the conductance c, the anisotropic filters solve

.. math:: u_t = \sum_i h_i\,\partial_i\bigl(g\,\partial_i u\bigr), \qquad
   g = \exp\left(-\frac{|\nabla u|^2}{2 c^2 r^2}\right), \qquad r^2 = \langle|\nabla u|^2\rangle

up to :math:`n\tau`: the flux is divided by the voxel size :math:`h_i`, its differences are not. The
flux is largest at the gradient :math:`c\,r`. r is measured at every iteration, and falls. A run
here has one threshold.

Source: itkGradientNDAnisotropicDiffusionFunction, itkCurvatureNDAnisotropicDiffusionFunction and
itkCurvatureFlowFunction of ITK 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_diffusion.core.parameters import param
from napari_diffusion.models import MeanCurvature, ModifiedCurvature, PeronaMalik
from napari_diffusion.presets.base import UNSTABLE, Conversion, Measured, Preset

#: Pre-smoothing [voxel] that smooths nothing: with it, g is that of the whole gradient, as in ITK,
#: and not that of each difference of neighbours.
_WHOLE_GRADIENT = 1e-6


@dataclass(frozen=True)
class _ITKAnisotropic(Preset):
    """What the two anisotropic filters of ITK have in common."""

    conductance: float = param(3.0, "Threshold, in units of the root mean square gradient.", gt=0)
    iterations: int = param(5, "Number of iterations.", ge=0)
    time_step: float = param(0.125, "Length of a step.", gt=0)

    def kappa(self, image: Measured) -> float:
        """Return the threshold [intensity/length] of the first iteration."""
        return self.conductance * image.rms_gradient()

    def time(self, image: Measured) -> float:
        """Return the diffusion time [length²]."""
        return self.iterations * self.time_step * image.size

    def differences(self, image: Measured, threshold: str) -> tuple[str, ...]:
        """Return what differs from ITK, with the kind of the ``threshold`` here."""
        sentences = []
        if self.iterations > 1:
            sentences.append(
                "ITK measures its threshold again at every iteration, and the threshold falls "
                f"with the gradients; here it is {threshold}."
            )
        if not image.is_cubic:
            sentences.append(
                "ITK divides by the voxel size once, where the equation has its square: along the "
                f"longest side of a voxel it smooths {image.elongation:.3g} times more than along "
                "the shortest; here smoothing is equal in all directions."
            )
        if self.time_step > 1 / (2 * sum(1 / h for h in image.sizes)) * (1 + 1e-9):
            sentences.append(UNSTABLE.format("ITK"))
        return tuple(sentences)


@dataclass(frozen=True)
class ITKGradient(_ITKAnisotropic):
    r"""Gradient anisotropic diffusion; the defaults are those of SimpleITK.

    The threshold is the mean over the iterations, weighted by the squared gradient that each of
    them removes:

    .. math:: \kappa = c\,\frac{\sum_k w_k r_k}{\sum_k w_k}, \qquad w_k = r_k^2 - r_{k+1}^2

    With :math:`r_1` alone, the results on noise differ from ITK's by up to twice as much.
    """

    name = "itk-gradient"
    title = "ITK: gradient diffusion"

    def converted(self, image: Measured) -> Conversion:
        """Return Perona-Malik diffusion with the whole gradient."""
        differences = self.differences(image, "constant, a mean over the iterations")
        # A constant image has the threshold 0; no threshold changes it.
        model = self._model(self.kappa(image) or 1.0, image)
        return Conversion(model, self.time(image), differences=differences)

    def kappa(self, image: Measured) -> float:
        """Return the mean threshold over the iterations."""
        kappas, weights = [super().kappa(image)], []
        if self.iterations < 2 or kappas[0] == 0:
            return kappas[0]
        for _ in range(self.iterations):
            model = self._model(kappas[-1], image)
            image = image.filtered(model, self.time_step * image.size)
            kappas.append(super().kappa(image))
            weights.append(max(0.0, kappas[-2] ** 2 - kappas[-1] ** 2))
        return float(np.average(kappas[:-1], weights=weights)) if any(weights) else kappas[0]

    def _model(self, kappa: float, image: Measured) -> PeronaMalik:
        sigma = _WHOLE_GRADIENT * min(image.sizes)
        return PeronaMalik(kappa=kappa, diffusivity="exponential", sigma=sigma)


@dataclass(frozen=True)
class ITKCurvature(_ITKAnisotropic):
    """Curvature anisotropic diffusion; the defaults are those of SimpleITK."""

    name = "itk-curvature"
    title = "ITK: curvature diffusion"
    time_step: float = param(0.0625, "Length of a step.", gt=0)

    def converted(self, image: Measured) -> Conversion:
        """Return modified curvature diffusion."""
        upwind = "ITK takes one-sided differences of first order; here they are of second order."
        differences = (*self.differences(image, "that of the first iteration"), upwind)
        model = ModifiedCurvature(kappa=self.kappa(image) or 1.0, diffusivity="exponential")
        return Conversion(model, self.time(image), differences=differences)


@dataclass(frozen=True)
class ITKCurvatureFlow(Preset):
    """Curvature flow; the defaults are those of SimpleITK."""

    name = "itk-curvature-flow"
    title = "ITK: curvature flow"

    time_step: float = param(0.05, "Length of a step.", unit="length^2", gt=0)
    iterations: int = param(5, "Number of iterations.", ge=0)

    def converted(self, image: Measured) -> Conversion:
        """Return motion by mean curvature, for which ITK uses the true voxel size."""
        flat = (
            "ITK leaves voxels as they are where the square of the gradient is below 1e-9, "
            "whatever the range of the image; here all intensities are treated alike."
        )
        return Conversion(MeanCurvature(), self.iterations * self.time_step, differences=(flat,))
