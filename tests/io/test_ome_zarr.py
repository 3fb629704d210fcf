"""OME-Zarr: metadata in and out, the pyramid, and independent checks of what is written."""

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import zarr

from helpers.stores import noisy, store_run, write_zarr
from napari_diffusion import io
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.volume import Volume
from napari_diffusion.io.zarr_pyramid import halved, pyramid_like
from napari_diffusion.models import PeronaMalik

yaozarrs = pytest.importorskip("yaozarrs")
RECIPE = Recipe(PeronaMalik(kappa=9.0), 0.1)
AXES = [
    {"name": "t", "type": "time", "unit": "minute"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "nanometer"},
    {"name": "x", "type": "space", "unit": "nanometer"},
]
OMERO = {
    "channels": [
        {
            "label": label,
            "color": colour,
            "active": True,
            "window": {"min": 0, "start": 10, "end": 200, "max": 255},
        }
        for label, colour in (("DAPI", "0000FF"), ("GFP", "00FF00"))
    ]
}


def ome_attributes(version):
    multiscale = {
        "name": "cells",
        "axes": AXES,
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2.0, 1.0, 2.0, 500.0, 250.0]},
                    {"type": "translation", "translation": [0.0, 0.0, 7.0, 1000.0, 0.0]},
                ],
            },
            {
                "path": "1",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2.0, 1.0, 2.0, 1000.0, 500.0]}
                ],
            },
        ],
    }
    ome = {"multiscales": [multiscale], "omero": OMERO}
    if version == "0.5":
        return {"ome": {"version": "0.5", **ome}}
    multiscale["version"] = "0.4"
    return ome


def write_source(path, version, shape=(2, 2, 6, 20, 24)):
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    group.attrs.update(ome_attributes(version))
    values = noisy(shape, "uint16")
    chunks = (1, 1, 3, 8, 8)
    if version == "0.5":
        write_zarr(path / "0", values, chunks, (1, 1, 3, 16, 16))
    else:
        write_zarr(path / "0", values, chunks, zarr_format=2)
    write_zarr(path / "1", values[..., ::2, ::2], chunks, zarr_format=3 if version == "0.5" else 2)
    return values


def is_valid(path):
    yaozarrs.validate_zarr_store(str(path))
    if find_spec("ome_zarr_models") is not None:  # it has no release for Python 3.14
        import ome_zarr_models

        ome_zarr_models.open_ome_zarr(zarr.open_group(str(path), mode="r"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_metadata_are_read_and_kept_in_blocks(version, tmp_path):
    values = write_source(tmp_path / "in.ome.zarr", version)
    volume = io.read(tmp_path / "in.ome.zarr")
    np.testing.assert_array_equal(volume.data[...], values)
    assert (volume.axes, volume.unit, volume.time_step) == ("TCZYX", "nanometer", 120.0)
    assert volume.spacing == (None, None, 2000.0, 500.0, 250.0)
    assert volume.channel_names == ("DAPI", "GFP")
    store_run(
        tmp_path / "in.ome.zarr", tmp_path / "out.ome.zarr", RECIPE, block=(6, 16, 16)
    ).execute()
    is_valid(tmp_path / "out.ome.zarr")
    group = zarr.open_group(str(tmp_path / "out.ome.zarr"), mode="r")
    ome = group.attrs["ome"]
    assert ome["omero"] == OMERO
    (multiscale,) = ome["multiscales"]
    assert multiscale["name"] == "cells"
    units = [axis.get("unit") for axis in multiscale["axes"]]
    assert units == ["second", None, "nanometer", "nanometer", "nanometer"]
    scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [120.0, 1.0, 2000.0, 500.0, 250.0]
    assert translation["translation"] == [0.0, 0.0, 7000.0, 1000.0, 0.0]
    recipe = Recipe.from_dict(group.attrs["napari-diffusion"]["recipe"])
    assert recipe.model == RECIPE.model
    assert recipe == Recipe.load(tmp_path / "out.ome.zarr.recipe.json")
    again = io.read(tmp_path / "out.ome.zarr")
    kept = ("axes", "spacing", "unit", "time_step", "channel_names")
    assert [getattr(again, name) for name in kept] == [getattr(volume, name) for name in kept]


def test_channels_and_frames_are_filtered_by_themselves(tmp_path):
    values = write_source(tmp_path / "in.ome.zarr", "0.5")
    run = store_run(tmp_path / "in.ome.zarr", tmp_path / "out.ome.zarr", RECIPE)
    run.execute()
    result = zarr.open_array(str(tmp_path / "out.ome.zarr" / "0"), mode="r")[...]
    for frame in np.ndindex(2, 2):
        alone = run.recipe.diffuse(values[frame], axes=(0, 1, 2), spacing=run.assignment.spacing)
        np.testing.assert_array_equal(result[frame], alone)


def test_levels_are_means_in_their_place(tmp_path):
    # A level shows the same linear ramp in physical coordinates as level 0.
    shape = (40, 600, 300)
    spacing = (2.0, 0.5, 1.0)
    ramp = sum(
        weight * h * np.arange(n).reshape([-1 if k == i else 1 for k in range(3)])
        for i, (n, h, weight) in enumerate(zip(shape, spacing, (1.0, 0.3, 0.7), strict=True))
    )
    volume = Volume(ramp.astype("f4"), "ZYX", spacing, "micrometer")
    io.write(tmp_path / "ramp.ome.zarr", volume.data, volume)
    is_valid(tmp_path / "ramp.ome.zarr")
    group = zarr.open_group(str(tmp_path / "ramp.ome.zarr"), mode="r")
    assert group["0"].shards > group["0"].chunks
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert [entry["path"] for entry in datasets] == ["0", "1", "2"]
    assert [group[entry["path"]].shape for entry in datasets] == [
        (40, 600, 300),
        (40, 300, 300),
        (40, 150, 150),
    ]
    for entry in datasets:
        scale, translation = (each[each["type"]] for each in entry["coordinateTransformations"])
        values = group[entry["path"]][...]
        expected = sum(
            weight * (t + h * np.arange(n)).reshape([-1 if k == i else 1 for k in range(3)])
            for i, (n, h, t, weight) in enumerate(
                zip(values.shape, scale, translation, (1.0, 0.3, 0.7), strict=True)
            )
        )
        np.testing.assert_allclose(values, expected, atol=2e-4)  # float32 of numbers up to 400


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_means_of_pairs(dtype):
    top = 255 if dtype == "uint8" else 100
    values = np.array([[top, top, 1], [top, top - 1, 3], [5, 6, 7]], dtype)
    mean = halved(values, (2, 2))
    np.testing.assert_allclose(mean, [[top - 0.25, 2.0], [5.5, 7.0]])


def test_a_result_of_memory_and_of_blocks_is_the_same_image(tmp_path):
    write_source(tmp_path / "in.ome.zarr", "0.5")
    run = store_run(tmp_path / "in.ome.zarr", tmp_path / "blocks.ome.zarr", RECIPE)
    run.execute()
    data = zarr.open_array(str(tmp_path / "blocks.ome.zarr" / "0"), mode="r")[...]
    io.write(tmp_path / "memory.ome.zarr", data, run.volume, run.recipe)
    is_valid(tmp_path / "memory.ome.zarr")
    one, other = (
        zarr.open_group(str(tmp_path / f"{name}.ome.zarr"), mode="r")
        for name in ("blocks", "memory")
    )
    assert dict(one.attrs) == dict(other.attrs)
    for name, array in one.arrays():
        np.testing.assert_array_equal(array[...], other[name][...])


def test_overwriting_a_store_replaces_all_of_it(tmp_path):
    volume = Volume(noisy((8, 9, 10)), "ZYX", (1.0, 1.0, 1.0), "micrometer")
    path = tmp_path / "a.ome.zarr"
    io.write(path, volume.data, volume)
    (path / "old").write_text("old")
    io.write(path, volume.data + 1, volume, overwrite=True)
    assert not (path / "old").exists()
    np.testing.assert_array_equal(io.read(path).data[...], volume.data + 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ome.zarr"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_arrays_have_planes_in_pixels(zarr_format, tmp_path):
    write_zarr(tmp_path / "a.zarr", noisy((2, 3, 4, 5)), (1, 2, 2, 2), zarr_format=zarr_format)
    volume = io.read(tmp_path / "a.zarr")
    assert volume.axes[1:] == "ZYX"
    assert (volume.unit, volume.spacing) == ("pixel", (None, 1.0, 1.0, 1.0))


def test_axes_in_another_order_are_brought_into_that_of_the_format(tmp_path):
    volume = Volume(noisy((4, 5, 6, 3)), "XYZT", (1.0, 2.0, 3.0, None), "millimeter", time_step=2.0)
    io.write(tmp_path / "a.ome.zarr", volume.data, volume)
    is_valid(tmp_path / "a.ome.zarr")
    read = io.read(tmp_path / "a.ome.zarr")
    assert (read.axes, read.spacing) == ("TZYX", (None, 3.0, 2.0, 1.0))
    np.testing.assert_array_equal(read.data[...], volume.data.transpose(3, 2, 1, 0))


@pytest.mark.parametrize("axes", ["X", "TCQZYX", "TTYX"])
def test_axes_that_the_format_does_not_have_are_refused(axes, tmp_path):
    volume = Volume(noisy((2,) * len(axes)), axes, (None,) * len(axes))
    with pytest.raises(ValueError, match="OME-Zarr holds the axes t, c, z, y, x"):
        io.check_target(tmp_path / "a.ome.zarr", volume, "float32")


def test_a_unit_that_is_missing_is_assumed_and_said(tmp_path):
    write_source(tmp_path / "a.ome.zarr", "0.5")
    file = tmp_path / "a.ome.zarr" / "zarr.json"
    plain = json.loads(file.read_text())
    for axis in plain["attributes"]["ome"]["multiscales"][0]["axes"]:
        axis.pop("unit", None)
    file.write_text(json.dumps(plain))
    volume = io.read(tmp_path / "a.ome.zarr")
    assert (volume.unit, volume.unit_is_assumed) == ("micrometer", True)


def test_colours_are_chosen_where_only_names_are_known():
    volume = Volume(
        noisy((2, 8, 9)), "CYX", (None, 1.0, 1.0), "micrometer", channel_names=("a", "b")
    )
    pyramid = pyramid_like(replace(volume, unit="pixel"), "float32")
    assert pyramid.axis_units == (None, None, None)
    assert pyramid.has_channels


def test_plates_and_series_name_their_images(tmp_path):
    group = zarr.open_group(str(tmp_path / "plate.ome.zarr"), mode="w")
    plate = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    group.attrs["ome"] = {"version": "0.5", "plate": plate}
    for well in plate["wells"]:
        own = group.require_group(well["path"])
        own.attrs["ome"] = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        for field in ("0", "1"):
            path = tmp_path / "plate.ome.zarr" / well["path"] / field
            write_source(path, "0.5", (1, 1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"it holds 4 images, A/1/0 to B/2/1; name one"):
        io.read(tmp_path / "plate.ome.zarr")
    assert io.read(tmp_path / "plate.ome.zarr" / "B" / "2" / "1").axes == "TCZYX"
