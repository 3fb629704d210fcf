"""OME-TIFF of several files: all planes are there, or the file is refused with their names."""

import os
import shutil

import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from helpers.files import RECIPE, result_of
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import InputError, Remedy, TargetExists
from napari_diffusion.workflows.file_run import files_of, filter_file, targets_of

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
PLANES = np.random.default_rng(0).integers(1, 999, (4, 20, 22)).astype(np.uint16)
NAMES = ("z0.ome.tif", "z1.ome.tif", "z2.ome.tif")


def tiff_data(plane, name, uuid, ifd=0, count=1):
    own = f'<UUID FileName="{name}">urn:uuid:{uuid}</UUID>'
    return f'<TiffData FirstZ="{plane}" IFD="{ifd}" PlaneCount="{count}">{own}</TiffData>'


def document(uuid, data, planes=3):
    identifier = "" if uuid is None else f' UUID="urn:uuid:{uuid}"'
    sizes = " ".join(f'PhysicalSize{axis}="0.5" PhysicalSize{axis}Unit="µm"' for axis in "XYZ")
    return (
        f'<?xml version="1.0"?><OME xmlns="{SCHEMA}"{identifier}><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="22" SizeY="20" '
        f'SizeZ="{planes}" SizeC="1" SizeT="1" {sizes}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )


def write(path, data, xml):
    path.parent.mkdir(exist_ok=True)
    options = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, data, description=xml.encode(), **options)
    return path


def write_set(folder, names=NAMES, in_xml=None):
    """Write a set of one plane per file, and return its files."""
    data = "".join(tiff_data(i, name, i) for i, name in enumerate(in_xml or names))
    return [write(folder / name, PLANES[i], document(i, data)) for i, name in enumerate(names)]


def write_one(path, data, uuid=0, planes=3):
    """Write a file of three planes with these elements TiffData."""
    return write(path, PLANES[:3], document(uuid, data, planes))


def refusal(path):
    with pytest.raises(InputError) as caught:
        io.read(path)
    assert caught.value.path == path
    return caught.value.description


@pytest.mark.parametrize("opened", range(3))
def test_set_is_read_from_each_of_its_files(opened, tmp_path):
    paths = write_set(tmp_path)
    volume = io.read(paths[opened])
    np.testing.assert_array_equal(volume.data, PLANES[:3])
    assert sorted(volume.members) == paths
    assert sorted(io.members_of(paths[opened])) == paths


def test_missing_file_of_a_set_is_named(tmp_path, capfd):
    first, _, last = write_set(tmp_path)
    last.unlink()
    assert "z2.ome.tif is missing" in refusal(first)
    assert capfd.readouterr() == ("", "")  # no log lines of the decoder


def test_missing_file_is_named_by_the_command_line(tmp_path, capsys):
    first, *others = write_set(tmp_path)
    for path in others:
        path.unlink()
    words = ["run", str(first), str(tmp_path / "out.tif"), "--model", "linear", "--time", "1"]
    assert main(words) != 0
    message = capsys.readouterr().err
    assert "z1.ome.tif, z2.ome.tif are missing" in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "out.tif").exists()


def test_file_under_the_name_of_another_is_refused(tmp_path):
    first, second, third = write_set(tmp_path)
    shutil.move(third, second)
    assert "urn:uuid:1" in refusal(first)
    assert "urn:uuid:2" in refusal(first)
    # The first plane of this file is not the one that its document places here.
    refusal(second)


def test_file_of_a_set_may_have_another_name_if_it_is_opened_itself(tmp_path):
    first, second, _ = write_set(tmp_path)
    renamed = tmp_path / "renamed.ome.tif"
    shutil.move(first, renamed)
    np.testing.assert_array_equal(io.read(renamed).data, PLANES[:3])
    assert "z0.ome.tif is missing" in refusal(second)


@pytest.mark.parametrize("uuid", [0, None])
def test_single_file_may_have_another_name(uuid, tmp_path):
    path = write_one(tmp_path / "new.ome.tif", tiff_data(0, "old.ome.tif", 0, count=3), uuid)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.data, PLANES[:3])
    assert volume.members == ()


def test_planes_of_a_file_with_another_identifier_are_missing(tmp_path):
    path = write_one(tmp_path / "new.ome.tif", tiff_data(0, "old.ome.tif", 7, count=3))
    assert "old.ome.tif is missing" in refusal(path)


@pytest.mark.parametrize(
    ("data", "planes", "words"),
    [
        ('<TiffData IFD="0" PlaneCount="3"/>', 4, "1 of its 4 planes is in no file: T 1 C 1 Z 4"),
        ("<TiffData/>", 5, "2 of its 5 planes are in no file: T 1 C 1 Z 4, T 1 C 1 Z 5"),
        ("", 4, "1 of its 4 planes"),
        ('<TiffData FirstZ="5" IFD="0"/><TiffData/>', 3, "outside the image"),
        ('<TiffData IFD="2" PlaneCount="3"/>', 3, "2 of its 3 planes"),
        ('<TiffData IFD="0" PlaneCount="4"/>', 3, "outside the image"),
        ('<TiffData FirstZ="-1" IFD="0"/><TiffData/>', 3, "outside the image"),
        ('<TiffData IFD="-1"/>', 3, "outside the image"),
        ("<TiffData/>", 0, "the size 0 along Z"),
        ("<TiffData/>", 10**12, "1,000,000,000,000 planes"),
    ],
)
def test_planes_that_are_in_no_file_are_named(data, planes, words, tmp_path):
    assert words in refusal(write_one(tmp_path / "a.ome.tif", data, planes=planes))


@pytest.mark.parametrize(
    ("data", "order"),
    [
        ("<TiffData/>", [0, 1, 2]),
        ("", [0, 1, 2]),  # as Bio-Formats, the pages are the planes in their order
        ("".join(f'<TiffData FirstZ="{i}" IFD="{2 - i}"/>' for i in range(3)), [2, 1, 0]),
        ('<TiffData FirstZ="1" IFD="0" PlaneCount="2"/><TiffData FirstZ="0" IFD="2"/>', [2, 0, 1]),
    ],
)
def test_planes_of_one_file_are_in_the_order_of_the_document(data, order, tmp_path):
    volume = io.read(write_one(tmp_path / "a.ome.tif", data))
    np.testing.assert_array_equal(volume.data, PLANES[order])


@pytest.mark.parametrize("opened_pages", [1, 3])
def test_planes_may_all_be_in_another_file(opened_pages, tmp_path):
    data = tiff_data(0, "b.ome.tif", 1, count=3)
    path = write(tmp_path / "a.ome.tif", PLANES[-opened_pages:], document(0, data))
    write(tmp_path / "b.ome.tif", PLANES[:3], document(1, data))
    volume = io.read(path)
    np.testing.assert_array_equal(volume.data, PLANES[:3])
    assert volume.members == (path, tmp_path / "b.ome.tif")


def test_places_of_pixels_are_those_of_their_file(tmp_path):
    """The first page of one file and the second of another would be contiguous in one file."""
    data = tiff_data(0, "a.ome.tif", 0) + tiff_data(1, "b.ome.tif", 1, ifd=1)
    path = write(tmp_path / "a.ome.tif", PLANES[:2], document(0, data, 2))
    write(tmp_path / "b.ome.tif", PLANES[2:], document(1, data, 2))
    np.testing.assert_array_equal(io.read(path).data, PLANES[[0, 3]])


def test_further_pages_are_no_planes(tmp_path):
    path = write_one(tmp_path / "a.ome.tif", "<TiffData/>", planes=2)
    np.testing.assert_array_equal(io.read(path).data, PLANES[:2])


@pytest.mark.parametrize("prefix", ["/data/", "C:\\data\\", "../other/", "data/../../"])
def test_folder_of_another_machine_is_ignored(prefix, tmp_path):
    paths = write_set(tmp_path, in_xml=[prefix + name for name in NAMES])
    volume = io.read(paths[0])
    np.testing.assert_array_equal(volume.data, PLANES[:3])
    assert sorted(volume.members) == paths


def test_files_may_be_in_a_subfolder(tmp_path):
    names = ("z0.ome.tif", "sub/z1.ome.tif", "sub/z2.ome.tif")
    np.testing.assert_array_equal(io.read(write_set(tmp_path, names)[0]).data, PLANES[:3])


def test_names_do_not_lead_out_of_the_folder(tmp_path):
    folder = tmp_path / "in"
    paths = write_set(tmp_path, ("in/z0.ome.tif", "z1.ome.tif", "z2.ome.tif"))
    data = "".join(tiff_data(i, f"../z{i}.ome.tif", i) for i in (1, 2))
    write(paths[0], PLANES[0], document(0, tiff_data(0, "z0.ome.tif", 0) + data))
    assert "are missing" in refusal(folder / "z0.ome.tif")


@pytest.mark.parametrize("other", [PLANES[2, :10], PLANES[2].astype(np.float32)])
def test_files_of_a_set_have_one_size_and_type(other, tmp_path):
    first, *_ = write_set(tmp_path)
    write(tmp_path / "z2.ome.tif", other, document(2, "<TiffData/>", 1))
    assert "z2.ome.tif" in refusal(first)


@pytest.mark.parametrize("stop", [0, 100, -300])
def test_damaged_file_of_a_set_is_named(stop, tmp_path):
    first, second, _ = write_set(tmp_path)
    second.write_bytes(second.read_bytes()[:stop])
    assert "z1.ome.tif" in refusal(first)


# Writing


@pytest.mark.parametrize("member", NAMES)
def test_no_file_of_a_set_is_replaced_by_its_result(member, tmp_path):
    first, *_ = write_set(tmp_path)
    before = (tmp_path / member).read_bytes()
    recipe = nd.Recipe(nd.Linear(), 0.1, unit="micrometer")
    with pytest.raises(InputError, match="cannot replace its own source") as caught:
        filter_file(first, tmp_path / member, recipe, overwrite=True)
    assert caught.value.remedy is Remedy.CHOOSE_ANOTHER_NAME
    assert (tmp_path / member).read_bytes() == before


def test_another_file_of_the_folder_may_be_replaced(tmp_path):
    first, *_ = write_set(tmp_path)
    shutil.copy(first, tmp_path / "other.ome.tif")
    volume = io.read(first)
    with pytest.raises(TargetExists):
        io.check_target(tmp_path / "other.ome.tif", volume, np.float32)
    io.check_target(tmp_path / "other.ome.tif", volume, np.float32, overwrite=True)


def test_result_of_a_set_is_one_file(tmp_path):
    volume = io.read(write_set(tmp_path)[0])
    io.write(tmp_path / "out.ome.tif", result_of(volume), volume, RECIPE)
    again = io.read(tmp_path / "out.ome.tif")
    np.testing.assert_array_equal(again.data, result_of(volume))
    assert (again.members, again.spacing) == ((), volume.spacing)


def test_set_counts_once_in_a_folder(tmp_path):
    first, *_ = write_set(tmp_path)
    single = write_one(tmp_path / "single.ome.tif", "<TiffData/>")
    np.save(tmp_path / "a.npy", PLANES[0])
    assert files_of(tmp_path) == [tmp_path / "a.npy", single, first]


def test_incomplete_set_counts_once_in_a_folder(tmp_path):
    first, _, last = write_set(tmp_path)
    last.unlink()
    assert files_of(tmp_path) == [first]


def test_results_do_not_go_into_the_folder_of_a_member(tmp_path):
    first, *_ = write_set(tmp_path, ("z0.ome.tif", "sub/z1.ome.tif", "sub/z2.ome.tif"))
    with pytest.raises(ValueError, match="would replace the images"):
        targets_of([first], tmp_path / "sub")


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not a TIFF", b"II*\0\x08\0\0\0\xff\xff"])
def test_damaged_file_is_no_set(content, tmp_path):
    path = tmp_path / "a.ome.tif"
    path.write_bytes(content)
    assert io.members_of(path) == ()
    assert files_of(tmp_path) == [path]


# Metadata in a companion file


def write_companion_set(folder, companion="a.companion.ome"):
    data = "".join(tiff_data(i, name, i) for i, name in enumerate(NAMES))
    if companion is not None:
        (folder / companion).write_text(document(9, data), encoding="utf-8")
    for i, name in enumerate(NAMES):
        binary = f'<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:{i}"/>'
        write(folder / name, PLANES[i], f'<OME xmlns="{SCHEMA}">{binary}</OME>')
    return [folder / name for name in NAMES]


@pytest.mark.parametrize("opened", range(3))
def test_companion_file_is_read(opened, tmp_path):
    paths = write_companion_set(tmp_path)
    volume = io.read(paths[opened])
    np.testing.assert_array_equal(volume.data, PLANES[:3])
    assert (volume.axes, volume.spacing, volume.unit) == ("ZYX", (0.5,) * 3, "micrometer")
    assert set(volume.members) == {*paths, tmp_path / "a.companion.ome"}
    assert files_of(tmp_path) == paths[:1]
    io.write(tmp_path / "out.ome.tif", result_of(volume), volume, RECIPE)
    again = io.read(tmp_path / "out.ome.tif")
    np.testing.assert_array_equal(again.data, result_of(volume))
    assert (again.spacing, again.members) == ((0.5,) * 3, ())


def test_missing_companion_file_is_named(tmp_path):
    paths = write_companion_set(tmp_path, companion=None)
    assert "'a.companion.ome', which is not in its folder" in refusal(paths[0])


def test_damaged_companion_file_is_named(tmp_path):
    paths = write_companion_set(tmp_path)
    (tmp_path / "a.companion.ome").write_text("<OME>")
    assert "the OME-XML in a.companion.ome is damaged" in refusal(paths[0])


def test_document_that_refers_to_itself_is_refused(tmp_path):
    binary = '<BinaryOnly MetadataFile="a.ome.tif" UUID="urn:uuid:0"/>'
    path = write(tmp_path / "a.ome.tif", PLANES, f'<OME xmlns="{SCHEMA}">{binary}</OME>')
    assert "a.ome.tif" in refusal(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let everybody make links")
def test_link_to_a_file_of_a_set_is_no_target(tmp_path):
    first, second, _ = write_set(tmp_path)
    link = tmp_path / "link.ome.tif"
    link.symlink_to(second)
    with pytest.raises(InputError, match="cannot replace its own source"):
        io.check_target(link, io.read(first), np.float32, overwrite=True)
