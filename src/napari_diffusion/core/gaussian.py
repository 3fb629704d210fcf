"""The Gaussian that equals linear diffusion: its width from the diffusion time, and back."""

from __future__ import annotations

import math

#: Full width at half maximum of a Gaussian of standard deviation 1.
FWHM = 2 * math.sqrt(2 * math.log(2))


def equivalent_sigma(time: float) -> float:
    r"""Return the sigma [length] of linear diffusion over ``time`` [length²], :math:`\sqrt{2T}`."""
    return math.sqrt(2 * time)


def time_for_sigma(sigma: float) -> float:
    r"""Return the time [length²] of a Gaussian of ``sigma`` [length], :math:`\sigma^2/2`.

    Raises
    ------
    ValueError
        If the square overflows.
    """
    try:
        return sigma**2 / 2
    except OverflowError:
        raise ValueError(f"A Gaussian of {sigma:g} is too wide, its square overflows.") from None
