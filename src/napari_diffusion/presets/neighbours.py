r"""Filters of MedPy, DIPlib and OpenCV: explicit steps with one diffusivity per difference.

.. math:: u^{k+1} = u^k + \gamma \sum_j g(\delta_j)\,\delta_j

:math:`\delta_j` are the differences to the neighbours [intensity]: thresholds are per voxel. In
units of length, :math:`\kappa = s/h` for the difference s at which :math:`s\,g(s)` is largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.core.parameters import param
from napari_diffusion.models import PeronaMalik
from napari_diffusion.presets.base import UNSTABLE, Conversion, Measured, Preset
from napari_diffusion.schemes import AUTO, Explicit

_UNEQUAL = (
    "{} does not divide by the square of the voxel size, and its threshold is a difference of "
    "neighbours, whatever their distance; here smoothing and threshold are equal in all directions."
)
_LEAK = (
    "DIPlib loses intensity through the border of the image, which affects one voxel per "
    "iteration; here the border is closed."
)
_OPENCV = (
    "OpenCV rounds to whole grey levels at every iteration; here intensities are not rounded.",
    (
        "OpenCV adds diagonal neighbours with the weight of the others, and adds the differences "
        "of the channels; here a gradient has the same length in every direction of space and "
        "of colour."
    ),
)


class Flux(NamedTuple):
    """A diffusivity of another program.

    Attributes
    ----------
    diffusivity
        Its name, or a function of the gradient in units of ``kappa``.
    per_threshold
        Difference with the largest flux, in units of the threshold K.
    largest
        Its value at 0, by which the time is multiplied.
    """

    diffusivity: Any
    per_threshold: float
    largest: float = 1.0


def _exponential(x: Any) -> Any:
    """Return exp(-x), whose flux is largest at 1."""
    return np.exp(-x)


@dataclass(frozen=True)
class _Steps:
    """Explicit steps of another program.

    Attributes
    ----------
    program
        Its name.
    count
        Number of steps.
    length
        Length of a step [voxel²], without the largest diffusivity.
    flux, threshold
        The diffusivity, and its threshold K [intensity].
    """

    program: str
    count: int
    length: float
    flux: Flux
    threshold: float

    def converted(self, image: Measured) -> Conversion:
        """Return classic Perona-Malik diffusion, with the same steps if that is possible."""
        kappa = self.flux.per_threshold * self.threshold / image.size
        model = PeronaMalik(kappa=kappa, diffusivity=self.flux.diffusivity)
        step = self.flux.largest * self.length
        length, sentences = step * image.size**2, []
        is_stable = step <= 1 / (2 * len(image.sizes)) * (1 + 1e-9)
        if not is_stable:
            sentences.append(UNSTABLE.format(self.program))
        if not image.is_cubic:
            sentences.append(_UNEQUAL.format(self.program))
        scheme = AUTO if sentences else Explicit(step=length)
        return Conversion(model, self.count * length, scheme, tuple(sentences))


@dataclass(frozen=True)
class MedPy(Preset):
    """Anisotropic diffusion of MedPy."""

    name = "medpy"
    title = "MedPy: anisotropic_diffusion"
    #: exp(-(s/K)²); 1/(1 + (s/K)²); (1 - s²/(2K²))²/2 up to s = K√2.
    fluxes: ClassVar[dict[int, Flux]] = {
        1: Flux("exponential", math.sqrt(1 / 2)),
        2: Flux("rational", 1.0),
        3: Flux("tukey", math.sqrt(2 / 5), 0.5),
    }

    niter: int = param(1, "Number of iterations.", ge=0)
    kappa: float = param(50.0, "Threshold, per voxel.", unit="intensity", gt=0)
    gamma: float = param(0.1, "Length of a step.", gt=0)
    voxelspacing: bool = param(False, "Whether MedPy is given the voxel size of the image.")
    option: int = param(1, "Number of the diffusivity, from 1 to 3.", ge=1, le=3)

    def converted(self, image: Measured) -> Conversion:
        """Return classic Perona-Malik diffusion."""
        # With a voxel size, MedPy divides by it once: γ becomes γ/h.
        step = self.gamma / image.size if self.voxelspacing else self.gamma
        flux = self.fluxes[self.option]
        return _Steps("MedPy", self.niter, step, flux, self.kappa).converted(image)


@dataclass(frozen=True)
class DIPlib(Preset):
    """Perona-Malik diffusion of DIPlib."""

    name = "diplib"
    title = "DIPlib: PeronaMalikDiffusion"
    #: exp(-(s/K)²); 1/(1 + (s/K)²); exp(-s/K); (1 - (s/K)²)² up to s = K.
    fluxes: ClassVar[dict[str, Flux]] = {
        "Gauss": Flux("exponential", math.sqrt(1 / 2)),
        "quadratic": Flux("rational", 1.0),
        "exponential": Flux(_exponential, 1.0),
        "Tukey": Flux("tukey", math.sqrt(1 / 5)),
    }

    iterations: int = param(5, "Number of iterations.", ge=0)
    k: float = param(10.0, "Threshold, per voxel.", unit="intensity", gt=0)
    step: float = param(0.25, "Length of a step, lambda in the manual.", gt=0, le=1)
    g: str = param(
        "Gauss",
        "The diffusivity; exponential is for Python only.",
        choices=("Gauss", "quadratic", "exponential", "Tukey"),
    )

    def converted(self, image: Measured) -> Conversion:
        """Return classic Perona-Malik diffusion."""
        steps = _Steps("DIPlib", self.iterations, self.step, self.fluxes[self.g], self.k)
        conversion = steps.converted(image)
        return replace(conversion, differences=(_LEAK, *conversion.differences))


@dataclass(frozen=True)
class OpenCV(Preset):
    """Anisotropic diffusion of OpenCV's module ximgproc; it has no defaults of its own."""

    name = "opencv"
    title = "OpenCV: anisotropicDiffusion"
    #: Second differences of a smooth image over all 8 neighbours, in units of its Laplacian: the
    #: diagonal neighbours, at √2 times the distance, have the weight of the others.
    per_laplacian: ClassVar[float] = 3.0
    #: Largest stable step for 8 neighbours.
    stable_alpha: ClassVar[float] = 1 / 8

    alpha: float = param(0.1, "Length of a step.", gt=0)
    k: float = param(0.02, "Threshold per voxel, as a share of the 8-bit range.", gt=0)
    niters: int = param(10, "Number of iterations.", ge=0)

    def converted(self, image: Measured) -> Conversion:
        """Return classic Perona-Malik diffusion, coupled over the channels."""
        count = len(image.problem.axes)
        if count != 2:
            raise InputError(
                f"OpenCV filters planes, and this image is smoothed along {count} "
                f"{'axis' if count == 1 else 'axes'}",
                Remedy.NAME_AXES,
            )
        # The differences of three channels are added, and divided by three times 255.
        kappa = 255 * self.k / math.sqrt(2) / image.size
        time = self.niters * self.alpha * self.per_laplacian * image.size**2
        is_eight_bit = image.problem.input_dtype == np.uint8
        sentences = [
            *_OPENCV,
            *(
                []
                if is_eight_bit
                else ["OpenCV takes 8-bit images; k is a share of 255 here, too."]
            ),
            *([UNSTABLE.format("OpenCV")] if self.alpha > self.stable_alpha else []),
            *([] if image.is_cubic else [_UNEQUAL.format("OpenCV")]),
        ]
        model = PeronaMalik(kappa=kappa, diffusivity="exponential")
        return Conversion(model, time, differences=tuple(sentences))
