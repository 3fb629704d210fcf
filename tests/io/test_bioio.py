"""Other formats are read through bioio where it is installed; it is an interface of others."""

import sys
from collections import namedtuple
from types import SimpleNamespace

import dask.array
import numpy as np
import pytest

from napari_diffusion import io
from napari_diffusion.core.errors import InputError
from napari_diffusion.io import bioio

DATA = np.arange(2 * 4 * 5 * 6, dtype=np.uint16).reshape(1, 2, 4, 5, 6)
Sizes = namedtuple("Sizes", "Z Y X")


@pytest.fixture
def image(monkeypatch):
    """Replace bioio by a module with the attributes of an image that are used."""
    image = SimpleNamespace(
        scenes=("Image:0",),
        dask_data=dask.array.from_array(DATA),
        dims=SimpleNamespace(order="TCZYX"),
        physical_pixel_sizes=Sizes(2.0, 0.5, 0.5),
        channel_names=["DAPI", "GFP"],
    )
    monkeypatch.setitem(sys.modules, "bioio", SimpleNamespace(BioImage=lambda path: image))
    monkeypatch.setattr(bioio, "find_spec", lambda name: name)
    return image


def test_axes_sizes_and_channels_are_kept(image, tmp_path):
    (tmp_path / "a.czi").write_bytes(b"")
    volume = io.read(tmp_path / "a.czi")
    np.testing.assert_array_equal(volume.data, DATA[0])
    assert (volume.axes, volume.unit) == ("CZYX", "micrometer")
    assert volume.spacing == (None, 2.0, 0.5, 0.5)
    assert volume.channel_names == ("DAPI", "GFP")
    assert io.result_name(tmp_path / "a.czi") == "a.ome.tif"
    io.write(tmp_path / "a.ome.tif", DATA[0], volume)
    assert io.read(tmp_path / "a.ome.tif").channel_names == ("DAPI", "GFP")


def test_several_images_are_refused(image, tmp_path):
    image.scenes = ("one", "two")
    (tmp_path / "a.lif").write_bytes(b"")
    with pytest.raises(InputError, match="it holds 2 images"):
        io.read(tmp_path / "a.lif")


def test_unknown_suffix_is_refused_without_bioio(tmp_path, monkeypatch):
    monkeypatch.setattr(bioio, "find_spec", lambda name: None)
    (tmp_path / "a.czi").write_bytes(b"")
    with pytest.raises(InputError, match="the suffix of the name chooses the format"):
        io.read(tmp_path / "a.czi")
