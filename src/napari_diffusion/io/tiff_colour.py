"""Colours of a TIFF page: which samples are grey or colour, and which one is the opacity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.tiff_header import MIN_IS_BLACK, MIN_IS_WHITE, PALETTE, RGB, YCBCR

#: Compressions by JPEG, whose decoder converts YCbCr to RGB.
_JPEG = (6, 7, 33007, 34892)
#: Values of the tag ExtraSamples: opacity, multiplied into the colours or not.
_OPACITY = (1, 2)
#: Names of colour spaces whose numbers are no intensities, or none that may be mixed.
_NAMES = {
    4: "a transparency mask",
    5: "a CMYK image",
    8: "a CIELab image",
    9: "an ICCLab image",
    10: "an ITULab image",
    32803: "a mosaic of colour filters",
    32844: "a LogL image",
    32845: "a LogLuv image",
    34892: "a linear raw image",
    51177: "a depth map",
}


@dataclass(frozen=True)
class Colours:
    """Colours of a page.

    Attributes
    ----------
    photometric
        Value of the tag PhotometricInterpretation for a result.
    extrasamples
        Value of the tag ExtraSamples, one entry per sample beyond grey or RGB.
    alpha
        Number of the sample that is the opacity, or ``None``.
    notes
        Sentences for the user.
    """

    photometric: int
    extrasamples: tuple[int, ...] = ()
    alpha: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def are_coupled(self) -> bool:
        """Whether the samples belong together: colours, or grey with opacity.

        Other samples are detectors or bands.
        """
        return self.photometric == RGB or self.alpha is not None


def colours_of(page: Any, is_imagej: bool) -> Colours:
    """Return the colours of a page of tifffile.

    Raises
    ------
    InputError
        When the samples are neither grey nor RGB.
    """
    photometric = MIN_IS_BLACK if 262 not in page.tags else int(page.photometric)
    if photometric == PALETTE:
        return _palette(page, is_imagej)
    if photometric == YCBCR and page.compression in _JPEG:
        photometric = RGB
    if photometric == RGB and page.samplesperpixel < 3:  # ITK calls every set of samples RGB
        photometric = MIN_IS_BLACK
    if photometric not in (MIN_IS_BLACK, MIN_IS_WHITE, RGB):
        name = "a YCbCr image" if photometric == YCBCR else _NAMES.get(photometric)
        name = name or f"an image in colour space {photometric}"
        raise InputError(
            f"it is {name}, whose numbers are no grey values or colours", Remedy.CONVERT_COLOURS
        )
    base = 3 if photometric == RGB else 1
    extra = max(int(page.samplesperpixel) - base, 0)
    declared = tuple(int(value) for value in page.extrasamples)[-extra:] if extra else ()
    if len(declared) < extra and photometric == RGB and extra == 1:
        note = "Its fourth sample is taken for the opacity, as the file does not say what it is."
        return Colours(photometric, (2,), base, (note,))
    declared = (0,) * (extra - len(declared)) + declared
    opacity = [base + i for i, value in enumerate(declared) if value in _OPACITY]
    notes: tuple[str, ...] = ()
    if photometric == RGB and extra and not opacity:
        count = "fourth sample is" if extra == 1 else "further samples are"
        notes = (f"Its {count} not declared as opacity and filtered together with the colours.",)
    return Colours(photometric, declared, opacity[0] if opacity else None, notes)


def _palette(page: Any, is_imagej: bool) -> Colours:
    """Return the colours of a page whose palette only shows its intensities.

    Electron microscopes and ImageJ store grey values with such a palette.
    """
    palette = np.asarray(page.colormap, np.float64)
    ramps = palette.ndim == 2 and len(palette) == 3 and palette.shape[1] > 1
    if ramps and (direction := _direction(palette)):
        grey = bool((palette == palette[0]).all())
        photometric = MIN_IS_WHITE if grey and direction < 0 else MIN_IS_BLACK
        note = "Its colours only show its intensities; a result is grey."
        return Colours(photometric, notes=() if grey else (note,))
    luminance = np.diff(palette.T @ (0.299, 0.587, 0.114)) if ramps else np.zeros(1)
    if is_imagej and luminance.any() and ((luminance >= 0).all() or (luminance <= 0).all()):
        note = "Its lookup table only shows its intensities; a result has none."
        return Colours(MIN_IS_BLACK, notes=(note,))
    raise InputError(
        "it is a palette image, whose numbers are places in a table of colours",
        Remedy.CONVERT_COLOURS,
    )


def _direction(palette: NDArray[np.float64]) -> int:
    """Return 1 or -1 for a linear ramp that rises or falls, and 0 for other palettes."""
    first, last = palette[:, :1], palette[:, -1:]
    share = np.arange(palette.shape[1]) / (palette.shape[1] - 1)
    # 8-bit colours are stored times 256 or times 257.
    tolerance = 1 + np.abs(last - first).max() / 256
    if (np.abs(palette - (first + (last - first) * share)) > tolerance).any():
        return 0
    directions = set(np.sign(last - first).ravel().astype(int)) - {0}
    return int(directions.pop()) if len(directions) == 1 else 0
