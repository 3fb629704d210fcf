"""What NRRD, MRC, MetaImage and MGH files say about axes, units, orientation and values."""

import bz2
import gzip

import mrcfile
import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from helpers.files import RECIPE
from helpers.written_volumes import write
from napari_diffusion import io
from napari_diffusion.core.errors import InputError
from napari_diffusion.io.axes import AxisRequest, resolve_axes

STACK = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


def nrrd_file(path, *lines, shape=(4, 5, 6), dtype="float"):
    """Write a NRRD file with these fields, and return the volume."""
    values = np.arange(np.prod(shape), dtype={"float": "<f4"}.get(dtype, dtype))
    head = [
        "NRRD0005",
        f"type: {dtype}",
        f"dimension: {len(shape)}",
        f"sizes: {' '.join(map(str, shape))}",
        "encoding: raw",
        "endian: little",
        *lines,
    ]
    path.write_bytes(("\n".join(head) + "\n\n").encode() + values.tobytes())
    return io.read(path)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LAS", (-1, 1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
    ],
)
def test_spaces_of_nrrd_become_ras_as_in_itk(space, signs, tmp_path):
    directions = "space directions: (2,0,0) (0,3,0) (0,0,4)"
    volume = nrrd_file(
        tmp_path / "a.nrrd", f"space: {space}", directions, "space origin: (10,20,30)"
    )
    np.testing.assert_array_equal(
        volume.affine,
        np.diag([*signs, 1]) @ [[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]],
    )
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    place = image.TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose(
        np.diag([-1, -1, 1]) @ place, (volume.affine @ [1, 2, 3, 1])[:3], atol=1e-12
    )


@pytest.mark.parametrize("space", ["3D-right-handed", "scanner-xyz"])
def test_space_without_anatomical_directions_has_no_orientation(space, tmp_path):
    directions = "space directions: (2,0,0) (0,3,0) (0,0,4)"
    volume = nrrd_file(tmp_path / "a.nrrd", f"space: {space}", directions)
    assert volume.affine is None
    assert volume.spacing == (2, 3, 4)


def test_axis_without_a_direction_is_no_axis_of_space(tmp_path):
    volume = nrrd_file(
        tmp_path / "a.nrrd",
        "space: left-posterior-superior",
        "space directions: none (2,0,0) (0,3,0) (0,0,4)",
        "space origin: (0,0,0)",
        "kinds: list domain domain domain",
        shape=(2, 4, 5, 6),
    )
    assert volume.axes == "CXYZ"
    assert volume.spacing == (None, 2, 3, 4)
    assert volume.channel_axis is None
    np.testing.assert_array_equal(volume.affine, np.diag([-2, -3, 4, 1]))


@pytest.mark.parametrize(
    ("kind", "letter", "is_coupled"),
    [("vector", "C", True), ("RGB-color", "S", True), ("list", "C", False), ("time", "T", False)],
)
def test_kind_of_an_axis_decides_how_it_is_filtered(kind, letter, is_coupled, tmp_path):
    volume = nrrd_file(
        tmp_path / "a.nrrd", f"kinds: domain domain domain {kind}", shape=(4, 5, 6, 3)
    )
    assert volume.axes == f"XYZ{letter}"
    assert (volume.channel_axis == 3) == is_coupled


def test_four_axes_without_a_kind_are_not_guessed(tmp_path):
    volume = nrrd_file(tmp_path / "a.nrrd", shape=(4, 5, 6, 3))
    assert volume.axes == "QQQQ"
    with pytest.raises(InputError, match="does not say what its"):
        resolve_axes(volume, AxisRequest())


def test_complex_numbers_of_nrrd_are_refused(tmp_path):
    with pytest.raises(InputError, match="complex numbers"):
        nrrd_file(tmp_path / "a.nrrd", "kinds: complex domain domain", shape=(2, 5, 6))


@pytest.mark.parametrize("unit", ["um", "µm", "μm", "micron", "microns"])
def test_micrometres_of_nrrd_are_no_metres(unit, tmp_path):
    """pynrrd leaves out letters that are not ASCII, and the m of µm remains."""
    units = " ".join([f'"{unit}"'] * 3)
    volume = nrrd_file(tmp_path / "a.nrrd", "spacings: 0.5 0.5 2", f"units: {units}")
    assert (volume.spacing, volume.unit) == ((0.5, 0.5, 2.0), "micrometer")


def test_nrrd_without_a_unit_is_in_mm_and_that_is_said(tmp_path):
    volume = nrrd_file(tmp_path / "a.nrrd", "spacings: 0.5 0.5 2")
    assert volume.unit == "millimeter"
    assert resolve_axes(volume, AxisRequest()).notes == (
        "It gives no unit of length; mm is assumed.",
    )


def test_unknown_or_different_units_of_nrrd_give_no_voxel_size(tmp_path):
    volume = nrrd_file(tmp_path / "a.nrrd", "spacings: 0.5 0.5 2", 'units: "mm" "mm" "um"')
    assert (volume.spacing, volume.unit) == ((None,) * 3, "pixel")


def test_nrrd_without_a_size_counts_in_pixels(tmp_path):
    assert nrrd_file(tmp_path / "a.nrrd").unit == "pixel"


def test_all_other_fields_of_nrrd_are_kept_byte_for_byte(tmp_path):
    lines = [
        "# a comment of Müller",
        "content: Kopf, Größe",
        "space: left-posterior-superior",
        "space directions: (0.3333333333333333,0,0) (0,1e-3,0) (0,0,4)",
        "space origin: (1,2,3)",
        "measurement frame: (1,0,0) (0,1,0) (0,0,1)",
        "thicknesses: NaN NaN 3",
        "modality:=DWMRI",
        "DWMRI_gradient_0000:= 0.1 0.2 0.3",
    ]
    volume = nrrd_file(tmp_path / "a.nrrd", *lines)
    io.write(tmp_path / "b.nrrd", np.asarray(volume.data), volume, RECIPE)
    text = (tmp_path / "b.nrrd").read_bytes().split(b"\n\n")[0].decode().split("\n")
    assert all(line in text for line in lines)
    data, header = nrrd.read(str(tmp_path / "b.nrrd"))
    np.testing.assert_array_equal(data, volume.data)
    assert header["napari_diffusion_recipe"] == RECIPE.to_json().encode("ascii", "ignore").decode()


def test_line_and_byte_skips_of_a_detached_header_are_honoured(tmp_path):
    values = np.arange(20, dtype="<i2")
    (tmp_path / "a.raw").write_bytes(b"first\nsecond\nxx" + values.tobytes())
    text = "NRRD0004\ntype: short\ndimension: 2\nsizes: 4 5\nendian: little\nencoding: raw\n"
    (tmp_path / "a.nhdr").write_text(f"{text}line skip: 2\nbyte skip: 2\ndata file: a.raw\n")
    np.testing.assert_array_equal(io.read(tmp_path / "a.nhdr").data.ravel(order="F"), values)
    (tmp_path / "a.nhdr").write_text(f"{text}byte skip: -1\ndatafile: a.raw\n")
    np.testing.assert_array_equal(io.read(tmp_path / "a.nhdr").data.ravel(order="F"), values)


@pytest.mark.parametrize("count", [0, 12])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_values_with_the_byte_skip_minus_one_end_the_content(pack, count, tmp_path):
    """pynrrd reads them so, also where they are compressed."""
    encoding = {bytes: "raw", gzip.compress: "gzip", bz2.compress: "bzip2"}[pack]
    values = np.arange(60, dtype="<f4")
    header = f"NRRD0005\ntype: float\ndimension: 3\nsizes: 4 5 3\nencoding: {encoding}\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes(
        f"{header}endian: little\nbyte skip: -1\n\n".encode()
        + pack(b"x" * count + values.tobytes())
    )
    read = np.asarray(io.read(path).data)
    np.testing.assert_array_equal(read, values.reshape((4, 5, 3), order="F"))
    np.testing.assert_array_equal(read, nrrd.read(str(path))[0])


@pytest.mark.parametrize("name", ["LIST", "slice%03d.raw 1 5 1"])
def test_values_in_several_files_are_refused(name, tmp_path):
    text = "NRRD0004\ntype: uchar\ndimension: 2\nsizes: 4 5\nencoding: raw\n"
    (tmp_path / "a.nhdr").write_text(f"{text}data file: {name}\n")
    with pytest.raises(InputError, match="in several files"):
        io.read(tmp_path / "a.nhdr")


def mrc_file(path, data=STACK, **fields):
    """Write an MRC file, change fields of its header, and return the volume."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(data)
        file.voxel_size = (2.0, 3.0, 4.0)
    with mrcfile.mmap(path, "r+") as file:
        for name, value in fields.items():
            file.header[name] = value
    return io.read(path)


@pytest.mark.parametrize("order", [(1, 2, 3), (2, 1, 3), (3, 2, 1), (2, 3, 1)])
def test_order_of_the_axes_of_mrc_is_that_of_its_header(order, tmp_path):
    """The voxel size belongs to x, y and z, not to columns, rows and sections."""
    column, row, section = order
    counts = {
        "XYZ"[axis - 1]: n for axis, n in zip((section, row, column), STACK.shape, strict=True)
    }
    cell = tuple(size * counts[letter] for letter, size in zip("XYZ", (2.0, 3.0, 4.0), strict=True))
    grid = {f"m{letter.lower()}": count for letter, count in counts.items()}
    volume = mrc_file(
        tmp_path / "a.mrc", mapc=column, mapr=row, maps=section, cella=cell, ispg=1, **grid
    )
    assert volume.axes == "".join("XYZ"[axis - 1] for axis in (section, row, column))
    sizes = dict(zip(volume.axes, volume.spacing, strict=True))
    assert sizes == pytest.approx({"X": 2.0, "Y": 3.0, "Z": 4.0})


def test_mrc_without_a_voxel_size_counts_in_pixels(tmp_path):
    volume = mrc_file(tmp_path / "a.mrc", cella=(0, 0, 0))
    assert (volume.spacing, volume.unit) == ((None,) * 3, "pixel")


def test_voxel_size_that_means_unknown_is_noted(tmp_path):
    volume = mrc_file(tmp_path / "a.mrc", cella=(6, 5, 4))
    assert any("many programs write" in note for note in volume.notes)


BYTES = np.arange(-60, 60, dtype=np.int8).reshape(4, 5, 6)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, BYTES),
        (0, BYTES.view(np.uint8)),
        (1, (BYTES.astype(np.int16) + 128).astype(np.uint8)),
    ],
    ids=["standard", "IMOD, unsigned", "IMOD, signed in the file"],
)
def test_bytes_of_mrc_are_signed_except_those_of_imod(flags, expected, tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(BYTES)
    if flags is not None:
        block = bytearray(path.read_bytes())
        block[152:160] = (1146047817).to_bytes(4, "little") + flags.to_bytes(4, "little")
        path.write_bytes(block)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.data, expected)
    assert volume.data.dtype == expected.dtype
    io.write(tmp_path / "b.mrc", np.asarray(volume.data), volume, preserve_dtype=True)
    result = io.read(tmp_path / "b.mrc")
    np.testing.assert_array_equal(result.data, expected)
    assert result.data.dtype == expected.dtype


@pytest.mark.parametrize(
    ("name", "fields"),
    [("a.st", {}), ("a.ali", {}), ("a.mrc", {"ispg": 0, "mz": 1}), ("a.mrc", {"exttyp": b"SERI"})],
)
def test_pictures_of_a_tilt_series_are_no_volume(name, fields, tmp_path):
    volume = mrc_file(tmp_path / "x.mrc", **fields)
    (tmp_path / "x.mrc").rename(tmp_path / name)
    volume = io.read(tmp_path / name)
    assert volume.axes == "IYX"
    with pytest.raises(InputError, match="does not say what its 4 planes are"):
        resolve_axes(volume, AxisRequest())


def test_volumes_of_an_mrc_stack_are_filtered_one_by_one(tmp_path):
    volume = mrc_file(tmp_path / "a.mrc", ispg=401, mz=2)
    assert volume.axes == "VZYX"
    assert volume.shape == (2, 2, 5, 6)
    assert resolve_axes(volume, AxisRequest()).axes == (1, 2, 3)


def test_extended_header_and_labels_of_mrc_are_kept(tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(STACK)
        file.set_extended_header(np.frombuffer(bytes(range(200)), "V1"))
        file.header.exttyp = b"FEI1"
        file.add_label("a tomogram")
        file.nstart = (1, 2, 3)
        file.header.origin = (7, 8, 9)
    volume = io.read(path)
    io.write(tmp_path / "b.mrc", np.asarray(volume.data) + 1, volume, RECIPE)
    with mrcfile.open(path) as before, mrcfile.open(tmp_path / "b.mrc") as after:
        assert after.extended_header.tobytes() == before.extended_header.tobytes()
        np.testing.assert_array_equal(after.data, before.data + 1)
        for field in ("label", "exttyp", "origin", "nxstart", "cella", "mapc", "machst"):
            assert after.header[field].tobytes() == before.header[field].tobytes()
        assert after.header.dmin == STACK.min() + 1
        assert after.header.dmax == STACK.max() + 1
        np.testing.assert_allclose(after.header.dmean, STACK.mean() + 1)
        np.testing.assert_allclose(after.header.rms, STACK.std())
    assert mrcfile.validate(tmp_path / "b.mrc")


@pytest.mark.parametrize("order", "<>")
def test_byte_order_of_mrc_is_read_and_kept(order, tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(STACK.astype(f"{order}f4"))
        file.header.mode  # noqa: B018  (mrcfile changes the header with the values)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.data, STACK)
    io.write(tmp_path / "b.mrc", np.asarray(volume.data), volume)
    np.testing.assert_array_equal(io.read(tmp_path / "b.mrc").data, STACK)
    assert mrcfile.validate(tmp_path / "b.mrc")


@pytest.mark.parametrize("mode", [3, 4])
def test_complex_numbers_of_mrc_are_refused(mode, tmp_path):
    with pytest.raises(InputError, match="complex numbers"):
        mrc_file(tmp_path / "a.mrc", mode=mode)


def test_size_of_an_extended_header_is_checked_before_memory_is_taken(tmp_path):
    with pytest.raises(InputError, match="its header declares 2,147,48"):
        mrc_file(tmp_path / "a.mrc", nsymbt=2**31 - 1)


def test_mgh_without_orientation_has_neither_size_nor_affine(tmp_path):
    path = write("MGH", tmp_path)
    block = bytearray(path.read_bytes())
    block[28:30] = b"\0\0"  # goodRASFlag
    path.write_bytes(block)
    volume = io.read(path)
    assert (volume.spacing, volume.unit, volume.affine) == ((None,) * 3, "pixel", None)
    assert any("goodRASFlag" in note for note in volume.notes)
    io.write(tmp_path / "b.mgh", np.asarray(volume.data), volume)
    assert (tmp_path / "b.mgh").read_bytes()[28:30] == b"\0\0"


def test_frames_parameters_and_tags_of_mgh_are_kept(tmp_path):
    image = nibabel.MGHImage(STACK[..., np.newaxis].repeat(3, 3), np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header["tr"], image.header["te"], image.header["flip_angle"] = 2500.0, 30.0, 1.5
    nibabel.save(image, tmp_path / "a.mgz")
    nibabel.save(image, tmp_path / "a.mgh")
    with (tmp_path / "a.mgh").open("ab") as file:
        file.write(b"\0\0\0\3tags of FreeSurfer")
    volume = io.read(tmp_path / "a.mgh")
    assert (volume.axes, volume.time_step) == ("XYZT", 2.5)
    io.write(tmp_path / "b.mgh", np.asarray(volume.data), volume, RECIPE)
    assert (tmp_path / "b.mgh").read_bytes() == (tmp_path / "a.mgh").read_bytes()


@pytest.mark.parametrize(("field", "unit"), [("", "millimeter"), ("um", "micrometer")])
def test_unit_of_metaimage_is_that_of_its_header_or_mm(field, unit, tmp_path):
    path = write("MetaImage", tmp_path)
    line = f"DistanceUnits = {field}\n".encode() if field else b""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"ElementType", line + b"ElementType"))
    volume = io.read(path)
    assert volume.unit == unit
    assert volume.unit_is_assumed == (not field)


def test_texts_of_metaimage_are_kept(tmp_path):
    image = sitk.GetImageFromArray(STACK)
    image.SetMetaData("Modality", "MET_MOD_MR")
    image.SetMetaData("MyStudy", "a phantom")
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    volume = io.read(tmp_path / "a.mha")
    io.write(tmp_path / "b.mha", np.asarray(volume.data), volume, RECIPE)
    result = sitk.ReadImage(str(tmp_path / "b.mha"))
    assert result.GetMetaData("MyStudy") == "a phantom"
    assert result.GetMetaData("NapariDiffusionRecipe").startswith('{"model": "linear"')


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colours_of_a_tiff_stay_coupled_in_another_format(suffix, tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    volume = io.read(tmp_path / "a.tif")
    io.write(tmp_path / f"b{suffix}", colours, volume)
    result = io.read(tmp_path / f"b{suffix}")
    assert result.channel_axis == result.axes.index("S")
    order = [result.axes.index(letter) for letter in "YXS"]
    rest = [i for i in range(len(result.axes)) if i not in order]
    np.testing.assert_array_equal(
        np.asarray(result.data).transpose(rest + order).reshape(colours.shape), colours
    )


@pytest.mark.parametrize("suffix", [".mgz", ".mrc"])
def test_colours_are_refused_by_formats_without_them(suffix, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="the image has the axes Y, X, S"):
        io.check_target(tmp_path / f"b{suffix}", io.read(tmp_path / "a.tif"), np.float32)
