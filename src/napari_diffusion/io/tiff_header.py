"""Header of a TIFF file: its layout, its metadata, and the tags that a result keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Codes of tags.
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
#: Values of the tag ResolutionUnit.
INCH, CENTIMETER = 2, 3
#: Values of the tag PhotometricInterpretation.
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
#: TIFF types of values.
ASCII, SHORT, UNDEFINED, DOUBLE = 2, 3, 7, 12
#: Further tags that a result keeps, with the types of their values. Text is kept as bytes: many
#: programs write other characters than ASCII, and dates in formats of their own.
KEPT_TAGS = {
    269: ASCII,  # DocumentName
    285: ASCII,  # PageName
    271: ASCII,  # Make
    272: ASCII,  # Model
    306: ASCII,  # DateTime
    315: ASCII,  # Artist
    316: ASCII,  # HostComputer
    33432: ASCII,  # Copyright
    34675: UNDEFINED,  # ICC profile
    274: SHORT,  # Orientation: viewers turn the image
    # Place on the earth, and value of missing data.
    33550: DOUBLE,  # ModelPixelScale
    33922: DOUBLE,  # ModelTiepoint
    34264: DOUBLE,  # ModelTransformation
    34735: SHORT,  # GeoKeyDirectory
    34736: DOUBLE,  # GeoDoubleParams
    34737: ASCII,  # GeoAsciiParams
    42112: ASCII,  # GDAL_METADATA
    42113: ASCII,  # GDAL_NODATA
}
#: Tags of text that may differ from page to page: description and name. A result has the first.
TEXT_OF_PAGES = {270: "description", 285: "name"}
#: Tags that each page has, not only the first.
PAGE_TAGS = {274}


@dataclass(frozen=True)
class TiffHeader:
    """Metadata of a TIFF file.

    Attributes
    ----------
    kind
        Layout: ``"ome"``, ``"imagej"``, ``"shaped"`` (tifffile's own), ``"plain"``, or ``"other"``
        for a layout that is not written; ``"none"`` when the source is not a TIFF.
    description
        OME-XML, or the tag ImageDescription of the first page.
    metadata
        Metadata of ImageJ or of tifffile.
    resolution, resolution_unit, photometric
        Values of the tags of the same names.
    extrasamples
        Kind of each sample beyond grey or RGB: 0 for data, 1 or 2 for the opacity.
    tags
        Further tags that a result keeps, as the argument ``extratags`` of tifffile.
    """

    kind: str
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    resolution: tuple[Any, Any] | None = None
    resolution_unit: int = 1
    photometric: int = 1
    extrasamples: tuple[int, ...] = ()
    tags: tuple[Any, ...] = ()
