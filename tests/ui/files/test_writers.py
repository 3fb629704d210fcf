"""Layers are saved with voxel size, units, axes, channels and recipe, from napari's own command."""

import json
from xml.etree import ElementTree as ET

import dask.array
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from napari.components import ViewerModel
from npe2 import PluginManager

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.ui.files import writers

SHAPE = (5, 12, 14)
LOOK = {"scale": (2, 0.5, 0.25), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
RECIPE = nd.Recipe(nd.PeronaMalik(kappa=3.0), 1.5, unit="micrometer", axes=(0, 1, 2))
NOTES = {"napari-diffusion": {"recipe": RECIPE.to_dict(), "source": "a", "earlier": []}}


@pytest.fixture
def viewer():
    PluginManager.instance().discover()
    return ViewerModel()


@pytest.fixture
def warnings_shown(monkeypatch):
    shown = []
    monkeypatch.setattr("napari.utils.notifications.show_warning", shown.append)
    return shown


def image(seed=0, shape=SHAPE, dtype="f4"):
    return np.random.default_rng(seed).normal(100, 9, shape).astype(dtype)


def save(viewer, path):
    (written,) = viewer.layers.save(str(path), plugin="napari-diffusion")
    return io.read(written)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_one_layer(viewer, tmp_path, name):
    viewer.add_image(image(), name="cells", metadata=NOTES, translate=(4, 5, 6), **LOOK)
    volume = save(viewer, tmp_path / name)
    assert volume.path == tmp_path / name
    np.testing.assert_array_equal(np.asarray(volume.data[...]), image(), strict=True)
    assert (volume.axes, volume.spacing, volume.unit) == ("ZYX", (2, 0.5, 0.25), "micrometer")
    assert nd.Recipe.load(io.sidecar_of(tmp_path / name)) == RECIPE
    if name.endswith("zarr"):
        yaozarrs.validate_zarr_store(str(tmp_path / name))
        attributes = json.loads((tmp_path / name / "zarr.json").read_text())["attributes"]
        assert attributes["napari-diffusion"]["recipe"] == json.loads(RECIPE.to_json())
        assert attributes["ome"]["multiscales"][0]["name"] == "cells"
        assert volume.header.translation == (4, 5, 6)
    else:
        with tifffile.TiffFile(tmp_path / name) as file:
            assert file.is_ome
            assert file.series[0].axes == "ZYX"
            assert "perona-malik" in file.ome_metadata
            pixels = ET.fromstring(file.ome_metadata).find("{*}Image/{*}Pixels")
        assert [float(pixels.get(f"PhysicalSize{axis}")) for axis in "XYZ"] == [0.25, 0.5, 2]
        assert pixels.get("PhysicalSizeXUnit") == "µm"


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_layers_on_the_same_voxels_are_channels(viewer, tmp_path, name):
    viewer.add_image(image(), name="DAPI", colormap="blue", contrast_limits=(80, 120), **LOOK)
    viewer.add_image(image(1), name="GFP", colormap="green", contrast_limits=(90, 130), **LOOK)
    volume = save(viewer, tmp_path / name)
    place = volume.axes.index("C")
    channels = np.moveaxis(np.asarray(volume.data[...]), place, 0)
    np.testing.assert_array_equal(channels, [image(), image(1)], strict=True)
    assert volume.channel_names == ("DAPI", "GFP")
    assert [volume.spacing[volume.axes.index(axis)] for axis in "ZYX"] == [2, 0.5, 0.25]
    if name.endswith("zarr"):
        yaozarrs.validate_zarr_store(str(tmp_path / name))
        shown = volume.header.omero["channels"]
        assert [each["color"] for each in shown] == ["0000FF", "00FF00"]
        windows = [(each["window"]["start"], each["window"]["end"]) for each in shown]
        assert windows == [(80, 120), (90, 130)]


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_multiscale_and_lazy_layers_are_saved_in_full(viewer, tmp_path, name):
    # The writer of napari 0.9 raises a TypeError for multiscale layers.
    array = zarr.create_array(str(tmp_path / "in.zarr"), shape=SHAPE, chunks=(2, 5, 5), dtype="u2")
    array[...] = image(dtype="u2")
    viewer.add_image([array, array[:, ::2, ::2]], multiscale=True, contrast_limits=(0, 9), **LOOK)
    volume = save(viewer, tmp_path / name)
    np.testing.assert_array_equal(np.asarray(volume.data[...]), image(dtype="u2"), strict=True)


def test_a_lazy_layer_is_read_in_parts(viewer, tmp_path, monkeypatch):
    large = dask.array.random.default_rng(0).integers(0, 9, (32, 300, 300), "u1", chunks=64)
    viewer.add_image(large, contrast_limits=(0, 9))
    monkeypatch.setattr(io.zarr_pyramid, "_SHARD_BYTES", 1 << 20)
    sizes, write = [], io.zarr_pyramid.Pyramid.write

    def recorded(pyramid, folder, number, region, values):
        sizes.append(values.nbytes)
        write(pyramid, folder, number, region, values)

    monkeypatch.setattr(io.zarr_pyramid.Pyramid, "write", recorded)
    volume = save(viewer, tmp_path / "a.ome.zarr")
    assert max(sizes) <= 1 << 20 < large.nbytes
    part = np.s_[10:12, 40:70, 280:]
    np.testing.assert_array_equal(volume.data[part], large[part].compute())


def test_time_series_and_colours(viewer, tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (9, 8, 3), "u1")
    viewer.add_image(colours, rgb=True, name="rgb", scale=(2, 3), units=("nm", "nm"))
    volume = save(viewer, tmp_path / "rgb.ome.zarr")
    np.testing.assert_array_equal(np.moveaxis(volume.data[...], 0, -1), colours)
    assert (volume.axes, volume.spacing, volume.unit) == ("CYX", (None, 2, 3), "nanometer")
    viewer.layers.clear()
    series = image(shape=(3, *SHAPE))
    look = {"scale": (30, *LOOK["scale"]), "units": ("min", "um", "um", "um")}
    viewer.add_image(series, axis_labels=("t", "z", "y", "x"), **look)
    for name in ("t.ome.zarr", "t.ome.tif"):
        volume = save(viewer, tmp_path / name)
        np.testing.assert_array_equal(np.asarray(volume.data[...]), series)
        assert (volume.axes, volume.time_step) == ("TZYX", 1800)


def test_what_cannot_be_kept_is_said(viewer, tmp_path, warnings_shown):
    viewer.add_image(image(), rotate=20.0, name="turned", metadata=NOTES)
    save(viewer, tmp_path / "a.ome.zarr")
    assert [text for text in warnings_shown if "rotated, sheared or flipped" in text]
    other = nd.Recipe(nd.PeronaMalik(kappa=4.0), 1.5).to_dict()
    viewer.add_image(
        image(1), rotate=20.0, name="b", metadata={"napari-diffusion": {"recipe": other}}
    )
    save(viewer, tmp_path / "a.ome.zarr")
    assert [text for text in warnings_shown if "different recipes" in text]
    assert not io.sidecar_of(tmp_path / "a.ome.zarr").exists()
    viewer.add_image(image(2, (5, 12, 13)), name="other")
    # napari 0.9 takes a ValueError for a missing writer.
    with pytest.raises(OSError, match="differ in voxels, place or data type"):
        save(viewer, tmp_path / "b.ome.zarr")
    assert not (tmp_path / "b.ome.zarr").exists()


def test_a_lazy_layer_does_not_replace_its_own_store(viewer, tmp_path):
    viewer.add_image(image(), **LOOK)
    path = tmp_path / "a.ome.zarr"
    save(viewer, path)
    save(viewer, path)  # an array in memory does
    viewer.layers.clear()
    viewer.add_image(zarr.open_array(str(path / "0"), mode="r"), contrast_limits=(0, 1))
    with pytest.raises(FileExistsError, match="exists already"):
        save(viewer, path)
    np.testing.assert_array_equal(io.read(path).data[...], image())


def test_a_name_without_a_suffix_gets_one(tmp_path):
    written = writers.write_ome_zarr(str(tmp_path / "a"), [(image(), dict(LOOK), "image")])
    assert written == [str(tmp_path / "a.ome.zarr")]
