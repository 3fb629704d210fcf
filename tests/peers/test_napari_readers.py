"""Reader plugins of napari and our readers give the same voxels and sizes of the same file.

They are in the extra ``readers``, and are left out where they are not installed.
"""

import importlib
import itertools

import numpy as np
import pytest

from helpers.format_cells import OTHERS
from helpers.written_volumes import KINDS
from napari_diffusion import io

#: Module and function of a plugin, names of the files that it reads, and whether it tells sizes.
PLUGINS = {
    "napari-tiff": (
        "napari_tiff.napari_tiff_reader:napari_get_reader",
        ["ImageJ TIFF", "OME-TIFF", "tiled TIFF", "BigTIFF"],
        True,
    ),
    "napari-nifti": (
        "napari_nifti._reader:napari_get_reader",
        ["NIfTI", "NIfTI, gzip", "NRRD, raw", "NRRD, gzip", "NRRD, text", "NRRD of ITK"],
        True,
    ),
    "napari-nibabel": ("napari_nibabel._reader:napari_get_reader", ["NIfTI", "Analyze"], False),
    "napari-mrcfile-reader": ("napari_mrcfile_reader._reader:napari_get_reader", ["MRC"], False),
}
CASES = [
    pytest.param(plugin, row, id=f"{plugin}, {row}")
    for plugin, (_, rows, _) in PLUGINS.items()
    for row in rows
]


def file_of(row, folder):
    name, write = (KINDS.get(row) or OTHERS[row])[:2]
    write(folder / name)
    return folder / name


def placements(values, sizes):
    """Yield values and sizes with the axes of an array in all orders and directions."""
    for order in itertools.permutations(range(values.ndim)):
        turned = values.transpose(order)
        own = [sizes[i] for i in order]
        for flips in itertools.product((1, -1), repeat=values.ndim):
            yield turned[tuple(slice(None, None, step) for step in flips)], own


@pytest.mark.parametrize(("plugin", "row"), CASES)
def test_plugin_and_reader_agree(plugin, row, tmp_path):
    place, _, has_sizes = PLUGINS[plugin]
    module, _, name = place.partition(":")
    pytest.importorskip(module.partition(".")[0])
    path = file_of(row, tmp_path)
    read = getattr(importlib.import_module(module), name)(str(path))
    layers = read(str(path))
    parts = [np.asarray(layer[0]) for layer in layers]
    theirs = parts[0] if len(parts) == 1 else np.stack(parts)
    options = layers[0][1] if len(layers[0]) > 1 else {}
    channel_axis = options.get("channel_axis")
    if channel_axis is not None:
        theirs = np.moveaxis(theirs, channel_axis, 0)
    volume = io.read(path)
    sizes = [size or 1.0 for size in volume.spacing]
    matches = [
        own
        for values, own in placements(np.asarray(volume.data), sizes)
        if values.shape == theirs.shape and np.array_equal(values, theirs)
    ]
    assert matches, "other voxels"
    if has_sizes:
        scale = np.abs(np.asarray(options["scale"], float))
        assert any(np.allclose(own[-3:], scale[-3:], rtol=1e-5) for own in matches)
