"""Channel names: a result keeps those of its source, in every format that can hold names."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import napari_diffusion as nd
from helpers.omexml import attributes
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.io import ome
from napari_diffusion.io.volume import Volume
from napari_diffusion.workflows.file_run import filter_file

DAPI = ("DAPI", "GFP")
SIZES = {"T": 2, "Z": 3, "C": 2, "Y": 8, "X": 9, "S": 3}
#: Characters that XML 1.0 cannot hold, escaped or not.
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def pixels(axes, dtype=np.uint16):
    shape = tuple(SIZES[letter] for letter in axes)
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def imagej(path, axes, labels):
    metadata = {"axes": axes, "unit": "um", "spacing": 0.5, "Labels": labels}
    tifffile.imwrite(path, pixels(axes), imagej=True, resolution=(5, 5), metadata=metadata)
    return io.read(path)


def shaped(path, axes, **metadata):
    tifffile.imwrite(
        path, pixels(axes), photometric="minisblack", metadata={"axes": axes} | metadata
    )
    return io.read(path)


def written(path, like, dtype=np.float32):
    """Write the volume itself, and return the channel names in the file."""
    data = np.asarray(like.data, dtype)
    io.write(path, data, like)
    order = [like.axes.index(letter) for letter in io.read(path).axes]
    np.testing.assert_array_equal(io.read(path).data, data.transpose(order))
    return attributes(path)[1]


# ImageJ to OME


@pytest.mark.parametrize(("axes", "planes"), [("CYX", 2), ("ZCYX", 6), ("TCYX", 4), ("TZCYX", 12)])
@pytest.mark.parametrize("per", ["channel", "plane", "channel, filled up by ImageJ"])
def test_imagej_labels_become_names_in_ome(axes, planes, per, tmp_path):
    padded = [*DAPI, *[""] * (planes - 2)]
    labels = {"channel": [*DAPI], "plane": [*DAPI] * (planes // 2)}.get(per, padded)
    volume = imagej(tmp_path / "in.tif", axes, labels)
    assert volume.channel_names == DAPI
    assert io.read_metadata(tmp_path / "in.tif").channel_names == DAPI
    # One file is OME-TIFF because of its suffix, the other because of its dtype.
    assert written(tmp_path / "out.ome.tif", volume) == ["DAPI", "GFP"]
    assert written(tmp_path / "out.tif", volume, np.float64) == ["DAPI", "GFP"]
    again = io.read(tmp_path / "out.ome.tif")
    assert (again.channel_names, again.unit) == (DAPI, "micrometer")
    assert written(tmp_path / "second.ome.tif", again) == ["DAPI", "GFP"]


def test_imagej_keeps_its_labels(tmp_path):
    labels = ["DAPI", "GFP", "DAPI", "GFP", "DAPI", "other"]
    volume = imagej(tmp_path / "in.tif", "ZCYX", labels)
    io.write(tmp_path / "out.tif", np.asarray(volume.data, np.float32), volume)
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.imagej_metadata["Labels"] == labels


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        # Only the planes of the first channel have the same label.
        (["DAPI", "GFP", "DAPI", "GFP", "DAPI", "other"], ("DAPI", "")),
        # Bio-Formats labels planes.
        ([f"c:{c}/2 z:{z}/3" for z in (1, 2, 3) for c in (1, 2)], ()),
        (["top", "middle", "bottom"], ()),  # neither channels nor planes
        (["", "", "", "mitosis", "", ""], ()),  # a remark on one plane
        (["", "", "", "", "", "mitosis"], ()),
        (["", "GFP"], ("", "GFP")),
        (["DAPI"], ("DAPI", "")),  # fewer names than channels
        (["DAPI\nexposure 10 ms", "GFP\nexposure 20 ms"], DAPI),  # ImageJ shows the first line
        (["  DAPI ", "GFP\n"], DAPI),
        (["", ""], ()),
    ],
)
def test_labels_are_names_if_all_planes_of_a_channel_agree(labels, names, tmp_path):
    volume = imagej(tmp_path / "in.tif", "ZCYX", labels)
    assert volume.channel_names == names
    assert written(tmp_path / "out.ome.tif", volume) == [name or None for name in names or ("", "")]


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX"])
def test_labels_of_planes_without_channels_are_ignored(axes, tmp_path):
    planes = len(pixels(axes)) if len(axes) == 3 else 1
    volume = imagej(tmp_path / "in.tif", axes, ["image 1.tif"] * planes)
    assert volume.channel_names == ()
    assert written(tmp_path / "out.ome.tif", volume) == [None]


def test_labels_are_assigned_to_channels_that_vary_slowest(tmp_path):
    """In the order zct, the first three planes belong to the first channel."""
    tifffile.imwrite(
        tmp_path / "in.tif",
        np.arange(2 * 3 * 8 * 9, dtype=np.uint16).reshape(3, 2, 8, 9),
        imagej=True,
        metadata={"axes": "ZCYX", "order": "zct", "Labels": ["DAPI"] * 3 + ["GFP"] * 3},
    )
    volume = io.read(tmp_path / "in.tif")
    assert (volume.axes, volume.shape) == ("CZYX", (2, 3, 8, 9))
    assert volume.channel_names == DAPI
    assert written(tmp_path / "out.tif", volume) == ["DAPI", "GFP"]


def test_colours_of_imagej_are_one_channel_without_a_name(tmp_path):
    data = pixels("ZYXS", np.uint8)
    metadata = {"axes": "ZYXS", "Labels": ["red", "green", "blue"]}
    tifffile.imwrite(tmp_path / "in.tif", data, imagej=True, metadata=metadata)
    volume = io.read(tmp_path / "in.tif")
    assert (volume.channel_axis, volume.channel_names) == (3, ())
    assert written(tmp_path / "out.tif", volume) == [None]


# Other sources and other targets


@pytest.mark.parametrize("axes", ["CYX", "ZCYX", "TCZYX"])
@pytest.mark.parametrize(
    "metadata", [{"Channel": {"Name": ["DAPI", "GFP"]}}, {"Labels": ["DAPI", "GFP"]}]
)
def test_metadata_of_tifffile_give_names(axes, metadata, tmp_path):
    volume = shaped(tmp_path / "in.tif", axes, **metadata)
    assert (volume.header.kind, volume.channel_names) == ("shaped", DAPI)
    assert written(tmp_path / "out.ome.tif", volume) == ["DAPI", "GFP"]
    io.write(tmp_path / "out.tif", volume.data, volume)
    again = io.read(tmp_path / "out.tif")
    assert (again.header.kind, again.channel_names) == ("shaped", DAPI)


@pytest.mark.parametrize(
    "metadata",
    [
        {"Channel": {"Name": ["DAPI", "GFP", "RFP"]}},  # more names than channels
        {"Channel": {"Name": [1, 2]}},
        {"Channel": {"Name": {"a": "b"}}},
        {"Channel": "DAPI"},
        {"Channel": {}},
        {"Labels": 5},
        {"Labels": [None, "GFP"]},
    ],
)
def test_invalid_names_are_ignored(metadata, tmp_path):
    volume = shaped(tmp_path / "in.tif", "CYX", **metadata)
    assert volume.channel_names == ()
    assert written(tmp_path / "out.ome.tif", volume) == [None, None]


def test_formats_without_channel_names_are_written_without_names(tmp_path):
    volume = imagej(tmp_path / "in.tif", "ZCYX", [*DAPI])
    for name in ("out.nii", "out.npy"):
        io.write(tmp_path / name, np.asarray(volume.data), volume)
        assert io.read(tmp_path / name).channel_names == ()
        again = io.read(tmp_path / name)
        io.write(tmp_path / f"{name}.ome.tif", np.asarray(again.data), again)
        assert set(attributes(tmp_path / f"{name}.ome.tif")[1]) == {None}


# Runs


@pytest.mark.parametrize(
    "options", [[], ["--axes", "C,Y,X", "--spacing", "1,1,1"], ["--channel-axis", "C"]]
)
def test_names_are_kept_by_any_treatment_of_channels(options, tmp_path):
    """Channels are filtered one by one, smoothed along the channel axis, or coupled."""
    imagej(tmp_path / "in.tif", "ZCYX", [*DAPI])
    files = [str(tmp_path / "in.tif"), str(tmp_path / "out.ome.tif")]
    model = ["--model", "perona-malik", "--kappa", "50", "--time", "0.01"]
    assert main(["run", *files, *model, "--quiet", *options]) == 0
    assert attributes(tmp_path / "out.ome.tif")[1] == ["DAPI", "GFP"]


def test_names_are_kept_by_a_recipe_on_a_file(tmp_path):
    imagej(tmp_path / "in.tif", "TZCYX", [*DAPI] * 6)
    recipe = nd.Recipe(nd.Linear(), 0.1, unit="micrometer")
    filter_file(tmp_path / "in.tif", tmp_path / "out.ome.tif", recipe)
    assert io.read(tmp_path / "out.ome.tif").channel_names == DAPI


def test_names_of_a_whole_image_are_not_written_for_a_part(tmp_path):
    data = np.zeros((3, 3, 8, 9), np.uint16)
    metadata = {"axes": "ZCYX", "Labels": ["DAPI", "GFP", "RFP"]}
    tifffile.imwrite(tmp_path / "in.tif", data, imagej=True, metadata=metadata)
    volume = io.read(tmp_path / "in.tif")
    assert volume.channel_names == ("DAPI", "GFP", "RFP")
    part = replace(volume, data=volume.data[:, 1:])
    assert written(tmp_path / "part.ome.tif", part) == [None, None]
    alone = replace(volume, data=volume.data[:, 1], axes="ZYX", spacing=(0.5, 0.2, 0.2))
    assert written(tmp_path / "alone.ome.tif", alone) == [None]


# Characters


SPECIAL_CHARACTERS = ("<&> \"quoted\" 'single'", "α-tubulin – 抗体 🔬")


def test_names_may_have_special_characters(tmp_path):
    volume = imagej(tmp_path / "in.tif", "ZCYX", [*SPECIAL_CHARACTERS])
    assert volume.channel_names == SPECIAL_CHARACTERS
    assert written(tmp_path / "out.ome.tif", volume) == [*SPECIAL_CHARACTERS]
    assert io.read(tmp_path / "out.ome.tif").channel_names == SPECIAL_CHARACTERS


def test_names_are_not_interpreted_as_markup(tmp_path):
    names = ["&amp;", "{0} %s &#65;"]
    volume = imagej(tmp_path / "in.tif", "CYX", names)
    assert written(tmp_path / "out.ome.tif", volume) == names


@given(names=st.lists(st.text(), min_size=2, max_size=2))
@example(names=["\ud800DAPI\x00", "\x1fG\ufffeFP\t\r\n"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_names_are_read_back_without_illegal_characters(names):
    like = Volume(pixels("CYX"), "CYX", (None, 1.0, 1.0), channel_names=tuple(names))
    expected = tuple(NOT_IN_XML.sub("", name) for name in names)
    fields = ome.volume_fields(ome.create(like.data, "CYX", like, ""), "CYX")
    assert fields["channel_names"] == (expected if any(expected) else ())
