"""Header of a TIFF file: its layout, its metadata, and the tags that a result keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Codes of tags.
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, DATETIME = 282, 283, 296, 306
#: Values of the tag ResolutionUnit.
INCH, CENTIMETER = 2, 3
#: Values of the tag PhotometricInterpretation.
MIN_IS_WHITE, PALETTE = 0, 3
#: TIFF types of values.
ASCII, UNDEFINED = 2, 7
#: Further tags that a result keeps, with the types of their values.
KEPT_TAGS = {
    269: ASCII,  # DocumentName
    271: ASCII,  # Make
    272: ASCII,  # Model
    315: ASCII,  # Artist
    316: ASCII,  # HostComputer
    33432: ASCII,  # Copyright
    34675: UNDEFINED,  # ICC profile
}


@dataclass(frozen=True)
class TiffHeader:
    """Metadata of a TIFF file.

    Attributes
    ----------
    kind
        Layout: ``"ome"``, ``"imagej"``, ``"shaped"`` (tifffile's own) or ``"plain"``; ``"none"``
        when the source is not a TIFF.
    description
        OME-XML, or the tag ImageDescription of the first page.
    metadata
        Metadata of ImageJ or of tifffile.
    resolution, resolution_unit, photometric, datetime
        Values of the tags of the same names.
    tags
        Further tags that a result keeps, as the argument ``extratags`` of tifffile.
    """

    kind: str
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    resolution: tuple[Any, Any] | None = None
    resolution_unit: int = 1
    photometric: int = 1
    tags: tuple[Any, ...] = ()
    datetime: str | None = None
