"""The OME-XML of a file, read without the package."""

import xml.etree.ElementTree as ET

import tifffile

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
RECIPES = "napari-diffusion/recipe"


def root_of(path):
    """Return the root element of the OME-XML in an OME-TIFF."""
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        return ET.fromstring(tif.ome_metadata)


def pixels_of(path):
    """Return the element Pixels of the first image."""
    return root_of(path).find(f"{OME}Image/{OME}Pixels")


def attributes(path):
    """Return the attributes of Pixels, and the names of the channels."""
    pixels = pixels_of(path)
    return dict(pixels.attrib), [channel.get("Name") for channel in pixels.findall(f"{OME}Channel")]


def recipes(path):
    """Return the recipes in an OME-TIFF, the oldest first."""
    notes = root_of(path).iter(f"{OME}CommentAnnotation")
    return [note.findtext(f"{OME}Value") for note in notes if note.get("Namespace") == RECIPES]
