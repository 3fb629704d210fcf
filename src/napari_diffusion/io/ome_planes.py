"""Planes of an OME-TIFF: the file and the page of each, as the OME-XML says.

Decoders put zeros in the place of a plane that they do not find.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from napari_diffusion.core.errors import InputError
from napari_diffusion.io.compressed import check_memory
from napari_diffusion.io.tiff_ifds import directories, first_description

_UUID = re.compile(r"<(?:\w+:)?(?:OME|BinaryOnly)\b[^>]*?\bUUID\s*=\s*[\"']([^\"']+)[\"']")
#: Largest number of planes, to refuse a damaged number before memory is taken.
_MAX_PLANES = 10**8
#: Number of missing planes or files that a message names.
_NAMED = 3


@dataclass
class PlaneSet:
    """The files that hold the planes of an image.

    Attributes
    ----------
    xml
        OME-XML for the decoder: each plane of this file without a file name, and each other file by
        its path relative to the folder.
    root
        The document of the set: that of the file or of its companion.
    members
        All files of the set, this file first; empty if this file holds all planes.
    """

    xml: str
    root: str
    members: tuple[Path, ...] = ()
    _pages: dict[Path, int] = field(default_factory=dict, repr=False)

    def pages(self, path: Path) -> int:
        """Return the number of pages of a file."""
        if path not in self._pages:
            try:
                self._pages[path] = len(directories(path))
            except InputError as error:
                raise InputError(f"{path.name} of its set: {error.description}") from None
        return self._pages[path]


def resolve(path: Path, xml: str) -> PlaneSet:
    """Return the files of an image, after checking that each of its planes is there.

    Parameters
    ----------
    path
        The file.
    xml
        Its OME-XML.

    Raises
    ------
    InputError
        When a file or a plane is missing, or a file belongs to another set.
    """
    root, own_uuid, companion = _document(path, xml)
    planes = PlaneSet(xml, xml if companion is None else _text(root))
    pixels = [child for image in _named(root, "Image") for child in _named(image, "Pixels")]
    if len(pixels) != 1:
        return planes  # the reader refuses a file of several images
    data, is_changed = _named(pixels[0], "TiffData"), companion is not None
    if not data:
        if _named(pixels[0], "BinData"):
            raise InputError("its OME-XML places its planes outside the TIFF")
        # Without TiffData, the pages of this file are the planes in their order.
        namespace, is_changed = pixels[0].tag.removesuffix("Pixels"), True
        data = [ET.SubElement(pixels[0], f"{namespace}TiffData")]
    files = _files_of(data, path, own_uuid)
    others = [file for file in dict.fromkeys(files) if file != path]
    _check_planes(pixels[0], data, files, planes)
    for element, file in zip(data, files, strict=True):
        for uuid in _named(element, "UUID"):
            is_changed = True
            if file == path:
                element.remove(uuid)
            else:
                uuid.set("FileName", file.relative_to(path.parent).as_posix())
    planes.xml = _text(root) if is_changed else xml
    if others or companion:
        planes.members = (path, *others, *([companion] if companion else []))
    return planes


def members_of(path: Path) -> tuple[Path, ...]:
    """Return the files of the set of an OME-TIFF that exist, by its OME-XML alone.

    It is empty for every other file, and for a file that holds all its planes.
    """
    xml = first_description(path)
    if not xml.rstrip().endswith("OME>"):
        return ()
    try:
        root, own_uuid, companion = _document(path, xml)
        data = [element for element in root.iter() if _is(element, "TiffData")]
        uuids = [uuid for element in data for uuid in _named(element, "UUID")]
        names = {uuid.get("FileName", "") for uuid in uuids if uuid.text != own_uuid}
        named = {file for name in names if (file := _located(path, name)) is not None}
    except (OSError, ValueError):
        return ()
    others = sorted(named - {path})
    return (path, *others, *([companion] if companion else [])) if others or companion else ()


def _document(path: Path, xml: str) -> tuple[ET.Element, str | None, Path | None]:
    """Return the root of the document, the identifier of this file, and the companion file."""
    root = _parsed(xml, "its OME-XML")
    binary = _named(root, "BinaryOnly")
    if not binary:
        return root, root.get("UUID"), None
    name = binary[0].get("MetadataFile", "")
    companion = _located(path, name)
    if companion is None:
        raise InputError(
            f"its metadata are in the file {name!r:.200}, which is not in its folder; put it there"
        )
    xml = first_description(companion)
    check_memory(companion.stat().st_size, path)
    root = _parsed(xml or companion.read_bytes(), f"the OME-XML in {companion.name}")
    if _named(root, "BinaryOnly"):
        raise InputError(f"its metadata are not in the file {name!r:.200}, as it says")
    return root, binary[0].get("UUID"), companion


def _parsed(xml: str | bytes, subject: str) -> ET.Element:
    try:
        return ET.fromstring(xml)
    except ET.ParseError as error:
        raise InputError(f"{subject} is damaged: {error}") from None


def _files_of(data: list[ET.Element], path: Path, own_uuid: str | None) -> list[Path]:
    """Return the file of each element TiffData."""
    uuids = [(uuids[0] if (uuids := _named(element, "UUID")) else None) for element in data]
    texts = {uuid.text for uuid in uuids if uuid is not None}
    # One question to the disk per name: a set may have very many planes.
    names = {uuid.get("FileName", "") for uuid in uuids if uuid is not None}
    located = {name: _located(path, name) for name in names}
    files, missing = [], []
    checked: dict[Path, str | None] = {}
    for uuid in uuids:
        if uuid is None or uuid.text == own_uuid:
            files.append(path)
            continue
        name = uuid.get("FileName", "")
        file = located[name]
        if file is None:
            # The only file of a set was renamed. It holds all planes.
            if own_uuid is not None or len(texts) > 1:
                missing.append(name or str(uuid.text))
            files.append(path)
            continue
        if file not in checked:
            own = _UUID.search(first_description(file))
            checked[file] = own_uuid if file == path else own.group(1) if own else None
        if checked[file] not in (None, uuid.text):
            raise InputError(
                f"its set of files has a file {name!r:.200} with the identifier {uuid.text}, and "
                f"the file of this name has {checked[file]}; it belongs to another set, or was "
                "renamed"
            )
        files.append(file)
    if missing:
        raise InputError(
            f"it is one file of a set, and {_list(list(dict.fromkeys(missing)))} "
            f"{'is' if len(set(missing)) == 1 else 'are'} missing; put all files of the set into "
            "one folder"
        )
    return files


def _check_planes(
    pixels: ET.Element, data: list[ET.Element], files: list[Path], planes: PlaneSet
) -> None:
    """Refuse an image some of whose planes are in no file."""
    order = pixels.get("DimensionOrder", "")[:1:-1]
    if set(order) != set("ZCT") or len(order) != 3:
        raise InputError("the order of axes in its OME-XML is damaged")
    shape = [_size(pixels, letter) for letter in order]
    channels = _named(pixels, "Channel")
    samples = int(channels[0].get("SamplesPerPixel", 1)) if channels else 1
    place = order.index("C")
    shape[place] = max(shape[place] // max(samples, 1), 1)
    count = math.prod(shape)
    if count > _MAX_PLANES:
        raise InputError(f"its OME-XML describes {count:,} planes; it is damaged")
    present = np.zeros(count, bool)
    for element, file in zip(data, files, strict=True):
        first, last, page = _range_of(element, order, shape, planes.pages(file))
        lasting = min(last, first + planes.pages(file) - page)
        present[first : max(lasting, first)] = True
    absent = np.flatnonzero(~present)
    if absent.size:
        texts = []
        for plane in absent[:_NAMED]:
            places = np.unravel_index(plane, shape)
            texts.append(" ".join(f"{a} {int(i) + 1}" for a, i in zip(order, places, strict=True)))
        rest = f" and {absent.size - _NAMED} more" if absent.size > _NAMED else ""
        raise InputError(
            f"{absent.size} of its {count} planes {'is' if absent.size == 1 else 'are'} in no "
            f"file: {', '.join(texts)}{rest}"
        )


def _range_of(
    element: ET.Element, order: str, shape: list[int], pages: int
) -> tuple[int, int, int]:
    """Return the first plane of an element TiffData, the end of its planes, and its first page."""
    start = [int(element.get(f"First{letter}", 0)) for letter in order]
    if not all(0 <= i < n for i, n in zip(start, shape, strict=True)):
        places = ", ".join(
            f"First{letter} {i} of {n}" for letter, i, n in zip(order, start, shape, strict=True)
        )
        raise InputError(f"its OME-XML places a plane outside the image: {places}")
    first, page = int(np.ravel_multi_index(start, shape)), int(element.get("IFD", 0))
    number = int(element.get("NumPlanes", 1 if "IFD" in element.attrib else 0))
    number = int(element.get("PlaneCount", number))
    if number < 0 or page < 0 or (number and first + number > math.prod(shape)):
        raise InputError(
            f"its OME-XML places {number} planes from number {first} on outside the image"
        )
    return first, min(first + (number or pages), math.prod(shape)), page


def _size(pixels: ET.Element, letter: str) -> int:
    size = int(pixels.get(f"Size{letter}", 0))
    if size < 1:
        raise InputError(f"its OME-XML gives it the size {size} along {letter}")
    return size


def _located(path: Path, name: str) -> Path | None:
    """Return the file of a name in the folder of ``path``; ``None`` if there is none.

    A name with a folder may point into a subfolder, but not out of the folder. Otherwise its last
    part counts.
    """
    for parts in (PurePosixPath(name).parts, PureWindowsPath(name).parts[-1:]):
        if not parts or ".." in parts or PureWindowsPath(*parts).anchor:
            continue
        file = path.parent.joinpath(*parts)
        if file.is_file():
            return path if path.exists() and file.samefile(path) else file
    return None


def _list(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _is(element: ET.Element, name: str) -> bool:
    return element.tag.rpartition("}")[2] == name


def _named(parent: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in parent if _is(child, name)]


def _text(root: ET.Element) -> str:
    namespace = root.tag.rpartition("}")[0].removeprefix("{")
    if namespace:
        ET.register_namespace("", namespace)
    return ET.tostring(root, encoding="unicode")
