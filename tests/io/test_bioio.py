"""Other formats are read through bioio where it is installed; it is an interface of others."""

import importlib.util
import logging
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


@pytest.mark.parametrize(("samples", "alpha"), [(2, 1), (3, None), (4, 3)])
def test_opacity_is_no_colour(samples, alpha, image, tmp_path):
    image.dask_data = dask.array.zeros((1, 1, 1, 5, 6, samples), dtype=np.uint8)
    image.dims = SimpleNamespace(order="TCZYXS")
    (tmp_path / "a.png").write_bytes(b"")
    volume = io.read(tmp_path / "a.png")
    assert (volume.axes, volume.channel_axis, volume.alpha) == ("YXS", 2, alpha)


def test_file_without_a_reader_is_refused_in_one_sentence(image, tmp_path, monkeypatch, caplog):
    class UnsupportedFileFormatError(Exception):
        pass

    def refuse(path):
        logging.getLogger("bioio.bio_image").warning("Attempted file\nload failed")
        raise UnsupportedFileFormatError("BioImage does not support it. Install more. See there.")

    monkeypatch.setattr(sys.modules["bioio"], "BioImage", refuse)
    (tmp_path / "a.xyz").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        io.read(tmp_path / "a.xyz")
    assert str(caught.value) == (
        f"{tmp_path / 'a.xyz'}: cannot be read as bioio: no reader of bioio that is installed "
        "reads .xyz files, or the file is damaged; convert it to NIfTI or TIFF."
    )
    assert caplog.text == ""


HAS_READERS = all(importlib.util.find_spec(name) for name in ("bioio", "bioio_czi", "pylibCZIrw"))


@pytest.mark.skipif(not HAS_READERS, reason="needs the extra readers")
def test_file_of_a_microscope_is_read_by_bioio_itself(tmp_path):
    from pylibCZIrw import czi

    planes = np.random.default_rng(0).integers(0, 60000, (2, 2, 3, 20, 30)).astype(np.uint16)
    with czi.create_czi(str(tmp_path / "a.czi")) as document:
        for t, c, z in np.ndindex(planes.shape[:3]):
            document.write(data=planes[t, c, z, ..., None], plane={"T": t, "C": c, "Z": z})
        document.write_metadata(
            "a",
            channel_names={0: "DAPI", 1: "GFP"},
            scale_x=0.5e-6,
            scale_y=0.5e-6,
            scale_z=2e-6,
        )
    volume = io.read(tmp_path / "a.czi")
    np.testing.assert_array_equal(volume.data, planes)
    assert (volume.axes, volume.unit) == ("TCZYX", "micrometer")
    assert volume.spacing == pytest.approx((None, None, 2.0, 0.5, 0.5))
    assert volume.channel_names == ("DAPI", "GFP")
