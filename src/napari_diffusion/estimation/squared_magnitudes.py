r"""Squares of magnitudes, whose noise has no bias.

A magnitude image M is brighter than the amplitude A of its signal, and by much where the signal is
weak. A model that removes this bias cannot be judged by the mean of M. The squares can: with n
coils, and noise of standard deviation s in the real and the imaginary part,

.. math:: E[M^2] = A^2 + 2 n s^2, \qquad \operatorname{Var}(M^2) = 4 s^2 (A^2 + n s^2)

The risk is therefore computed on the scale :math:`\varphi = M^2 / 2a`, and a result u becomes
:math:`(u^2 + 2 n s^2) / 2a`. With the local amplitude a, differences of :math:`\varphi` are those
of intensities where the signal is strong. Where there is none, a is s.

Stein's lemma for both parts of the signal gives the kernel of the noise of M²,

.. math:: \tau(M) = 2 s^2 \Bigl(M^2 + A M \frac{I_n(A M / s^2)}{I_{n-1}(A M / s^2)}\Bigr)

with modified Bessel functions I. It is :math:`2 s^2 M^2` where there is no signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_diffusion.core.arrays import FloatArray


@dataclass(frozen=True)
class SquaredMagnitudes:
    """Conversion of magnitudes to the scale of their squares; fields ``(C, *space)``.

    Attributes
    ----------
    noise
        Standard deviation s of the real and the imaginary part [intensity].
    amplitude
        Local amplitude A of the signal [intensity].
    unit
        Amplitude a by which squares are divided [intensity], above 0.
    coils
        Number n of the coils whose squares were added.
    """

    noise: FloatArray
    amplitude: FloatArray
    unit: FloatArray
    coils: int = 1

    @classmethod
    def of(
        cls, mean_square: FloatArray, noise: FloatArray, sigma: float, coils: int = 1
    ) -> SquaredMagnitudes:
        """Return the conversion for local mean squares, local noise, and its typical level."""
        amplitude = np.sqrt(np.maximum(mean_square - 2 * coils * noise**2, 0))
        return cls(noise, amplitude, np.maximum(amplitude, sigma), coils)

    def part(self, box: tuple[slice, ...]) -> SquaredMagnitudes:
        """Return the conversion for a box of the patch."""
        noise, amplitude, unit = (a[:, *box] for a in (self.noise, self.amplitude, self.unit))
        return SquaredMagnitudes(noise, amplitude, unit, self.coils)

    def of_image(self, magnitudes: FloatArray) -> FloatArray:
        """Scaled squares of magnitudes."""
        return np.asarray(magnitudes**2 / (2 * self.unit), magnitudes.dtype)

    def to_image(self, squares: FloatArray) -> FloatArray:
        """Magnitudes of scaled squares; those below 0 give 0."""
        return np.asarray(np.sqrt(2 * self.unit * np.maximum(squares, 0)), squares.dtype)

    def of_result(self, amplitudes: FloatArray) -> FloatArray:
        """Scaled mean squares of the image that amplitudes without bias give."""
        squares = amplitudes**2 + 2 * self.coils * self.noise**2
        return np.asarray(squares / (2 * self.unit), amplitudes.dtype)

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation of the scaled squares [intensity]."""
        squares = self.amplitude**2 + self.coils * self.noise**2
        return np.asarray(self.noise * np.sqrt(squares) / self.unit)

    def kernel(self, magnitudes: FloatArray) -> FloatArray:
        """Stein kernel of the scaled squares [intensity²] at magnitudes."""
        from scipy.special import ive

        product = self.amplitude * magnitudes
        variance = np.where(self.noise > 0, self.noise, 1.0) ** 2
        argument = np.maximum(product / variance, 1e-12)
        ratio = ive(self.coils, argument) / ive(self.coils - 1, argument)
        squares = 2 * self.noise**2 * (magnitudes**2 + product * ratio)
        return np.asarray(squares / (2 * self.unit) ** 2)
