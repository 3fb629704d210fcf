"""Masks and labels: their affine says which voxels they mean, and their values what is inside."""

import nibabel
import numpy as np
import pytest
import tifffile

from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.io.regions import read_regions

SHAPE = (12, 11, 10)
RNG = np.random.default_rng(0)
DATA = RNG.normal(100, 10, SHAPE).astype("f4")
MASK = DATA > 100
LABELS = np.where(MASK, 1 + np.arange(12)[:, None, None] // 4, 0)
AFFINE = np.array([[2.0, 0, 0, -9], [0, 2.0, 0, 4], [0, 0, 3.0, 7], [0, 0, 0, 1]])


def save(path, data, affine=AFFINE, unit="mm", slope=None):
    # nibabel writes 64-bit integers only when told to.
    image = nibabel.Nifti1Image(data, affine, dtype=data.dtype)
    if affine is None:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    if unit is not None:
        image.header.set_xyzt_units(unit)
    image.header.set_slope_inter(slope, None if slope is None else 0.0)
    nibabel.save(image, path)
    return path


@pytest.fixture
def image(tmp_path):
    return io.read(save(tmp_path / "image.nii", DATA))


def regions(path, image, name="mask", **request):
    return read_regions(name, path, image, resolve_axes(image, AxisRequest(**request)))


def refusal(path, image, name="mask"):
    with pytest.raises(InputError) as caught:
        regions(path, image, name)
    assert caught.value.path == path
    return caught.value


def stored_as(order, flipped, data=None, affine=AFFINE):
    """Return an array and its affine in another orientation, by their definition.

    Voxel ``j`` of the new array is voxel ``i`` of the old one, with ``i[order[k]] = j[k]``, or
    ``n - 1 - j[k]`` if the axis is flipped.
    """
    data = MASK if data is None else data
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flipped, strict=True)):
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = data.shape[old] - 1 if flip else 0
    index = np.indices([data.shape[old] for old in order]).reshape(3, -1)
    old = np.rint(to_old[:3, :3] @ index + to_old[:3, 3:]).astype(int)
    return data[tuple(old)].reshape([data.shape[i] for i in order]), affine @ to_old


ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("flips", range(8))
def test_mask_of_another_orientation_is_turned(image, tmp_path, order, flips):
    flipped = [bool(flips >> i & 1) for i in range(3)]
    data, affine = stored_as(order, flipped)
    result = regions(save(tmp_path / "m.nii", data.astype("u1"), affine), image)
    np.testing.assert_array_equal(result.values, MASK, strict=True)
    turned = order != (0, 1, 2) or any(flipped)
    assert bool(result.notes) is turned
    if turned:
        assert "it was turned to the orientation of the image" in result.notes[0]


def test_labels_of_another_orientation_are_turned_for_a_series(tmp_path):
    series = io.read(save(tmp_path / "s.nii", np.stack([DATA, DATA + 1], -1)))
    data, affine = stored_as((0, 1, 2), (True, False, False), LABELS)
    path = save(tmp_path / "l.nii", data.astype("i2"), affine)
    np.testing.assert_array_equal(regions(path, series, "labels").values, LABELS)
    both = np.stack([data, data[::-1]], -1)
    path = save(tmp_path / "l4.nii", both.astype("i2"), affine)
    np.testing.assert_array_equal(regions(path, series, "labels").values, both[::-1])


def test_result_with_a_flipped_mask_is_that_with_the_mask(image, tmp_path):
    flipped, affine = stored_as((0, 1, 2), (True, False, False))
    save(tmp_path / "m.nii", MASK.astype("u1"))
    save(tmp_path / "f.nii", flipped.astype("u1"), affine)
    for name in ("m", "f"):
        files = [str(image.path), str(tmp_path / f"out-{name}.nii")]
        mask = ["--mask", str(tmp_path / f"{name}.nii")]
        assert main(["run", *files, "--model", "linear", "--time", "2", *mask]) == 0
    np.testing.assert_array_equal(
        np.asarray(io.read(tmp_path / "out-m.nii").data),
        np.asarray(io.read(tmp_path / "out-f.nii").data),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: np.diag([3.0, 3.0, 3.0, 1.0]), "voxel 3 x 3 x 3 mm from (0, 0, 0)"),
        (lambda a: a + np.eye(4)[:, [0]] * np.eye(4)[3], "voxel 2 x 2 x 3 mm from (-8, 4, 7)"),
        (lambda a: a @ np.diag([1.01, 1, 1, 1]), "voxel 2.02 x 2 x 3 mm"),
    ],
    ids=["other voxel size", "half a voxel away", "slightly other voxel size"],
)
def test_mask_on_another_grid_is_refused(image, tmp_path, change, words):
    path = save(tmp_path / "m.nii", MASK.astype("u1"), change(AFFINE))
    error = refusal(path, image)
    assert words in error.description
    assert "voxel 2 x 2 x 3 mm from (-9, 4, 7) to right, front, head" in error.description
    assert str(image.path) in error.description
    assert error.remedy is Remedy.RESAMPLE_REGIONS


@pytest.mark.parametrize("share", [0.01, 0.3, 0.48])
def test_nearest_neighbours_of_a_close_grid_are_those_of_the_same_index(image, tmp_path, share):
    affine = AFFINE.copy()
    affine[0, 3] += share * 2.0
    result = regions(save(tmp_path / "m.nii", MASK.astype("u1"), affine), image)
    place = np.rint(np.arange(12) - share).astype(int)  # index in the mask of each voxel
    np.testing.assert_array_equal(result.values, MASK[place])
    (note,) = result.notes
    assert note.startswith(f"m.nii: its grid is up to {share:g} voxels away from that of the image")


def test_rounding_of_a_rotation_is_no_other_grid(tmp_path):
    """The qform holds a rotation in float32; close to half a turn, it is rounded by 3e-4 rad."""
    half_turn = np.diag([-0.9, -0.9, 1.2])
    noted = 0
    for seed in range(20):
        angles = 0.05 * np.random.default_rng(seed).normal(size=3)
        affine = np.eye(4)
        affine[:3, :3] = nibabel.eulerangles.euler2mat(*angles) @ half_turn
        image = io.read(save(tmp_path / "i.nii", DATA, affine))
        mask = nibabel.Nifti1Image(MASK.astype("u1"), affine)
        mask.set_qform(affine, 1)
        mask.set_sform(None, 0)
        nibabel.save(mask, tmp_path / "m.nii")
        result = regions(tmp_path / "m.nii", image)
        np.testing.assert_array_equal(result.values, MASK)
        noted += bool(result.notes)
    assert 0 < noted < 20


def test_units_of_length_are_compared_as_lengths(image, tmp_path):
    in_um = AFFINE.copy()
    in_um[:3] *= 1000
    path = save(tmp_path / "m.nii", MASK.astype("u1"), in_um, "micron")
    np.testing.assert_array_equal(regions(path, image).values, MASK)
    path = save(tmp_path / "n.nii", MASK.astype("u1"), AFFINE, "micron")
    assert "voxel 0.002 x 0.002 x 0.003 mm" in refusal(path, image).description
    path = save(tmp_path / "o.nii", MASK.astype("u1"), AFFINE, None)  # no unit: that of the image
    np.testing.assert_array_equal(regions(path, image).values, MASK)


@pytest.mark.parametrize("name", ["m.tif", "m.npy", "m.nii"])
def test_mask_without_orientation_is_used_by_index(image, tmp_path, name):
    path = tmp_path / name
    if name == "m.tif":
        tifffile.imwrite(path, MASK.T.astype("u1"), photometric="minisblack")
    elif name == "m.npy":
        np.save(path, MASK)
    else:
        save(path, MASK.astype("u1"), None)
        assert io.read(path).affine is None
    np.testing.assert_array_equal(regions(path, image).values, MASK)


def test_pages_of_a_mask_are_the_planes_of_a_cube(tmp_path):
    """The shape alone does not tell the order of the axes of a cube."""
    cube = RNG.normal(size=(6, 6, 6)).astype("f4")
    image = io.read(save(tmp_path / "c.nii", cube))
    tifffile.imwrite(tmp_path / "m.tif", (cube > 0).T.astype("u1"), photometric="minisblack")
    np.testing.assert_array_equal(regions(tmp_path / "m.tif", image).values, cube > 0)


@pytest.mark.parametrize(
    "data",
    [
        np.where(MASK, 0.3, 0).astype("f4"),
        np.where(MASK, 1, np.nan).astype("f4"),
        np.where(MASK, -2.5, 0),
        np.where(MASK, np.inf, np.nan).astype("f4"),
        MASK.astype("u1")[..., None],
        MASK.astype("i2")[..., None, None],
    ],
    ids=["fraction", "NaN outside", "negative", "infinite", "trailing axis", "two trailing axes"],
)
def test_mask_is_inside_where_it_is_neither_zero_nor_nan(image, tmp_path, data):
    path = save(tmp_path / "m.nii", data)
    np.testing.assert_array_equal(regions(path, image).values, MASK, strict=True)


def test_plane_mask_for_a_plane_image(tmp_path):
    image = io.read(save(tmp_path / "p.nii", DATA[:, :, :1]))
    path = save(tmp_path / "m.nii", MASK[:, :, 0].astype("u1"))
    assert regions(path, image).values.shape == (12, 11, 1)


#: Beginning of the sentence about regions without a voxel inside.
EMPTY = {"mask": "the mask is 0 or NaN", "labels": "the labels are 0"}


@pytest.mark.parametrize("name", ["mask", "labels"])
@pytest.mark.parametrize("value", [0, np.nan])
def test_regions_without_a_voxel_inside_are_refused(image, tmp_path, name, value):
    path = save(tmp_path / "e.nii", np.full(SHAPE, value, "f4"))
    assert refusal(path, image, name).description == (
        f"{EMPTY[name]} everywhere, so nothing would be smoothed"
    )


@pytest.mark.parametrize("count", [3, 4])
def test_colours_are_no_regions(image, tmp_path, count):
    colours = RNG.integers(0, 255, (*SHAPE, count), "u1")
    structured = colours.view([(name, "u1") for name in "RGBA"[:count]])[..., 0]
    path = save(tmp_path / "c.nii", structured, unit=None)
    assert f"a colour image with {count} samples" in refusal(path, image, "labels").description


def test_other_shape_is_refused_with_both(image, tmp_path):
    path = save(tmp_path / "m.nii", MASK[:5].astype("u1"))
    error = refusal(path, image)
    assert error.description == (
        "mask has the shape X 5 x Y 11 x Z 10, and the image X 12 x Y 11 x Z 10"
    )
    assert error.remedy is Remedy.RESAMPLE_REGIONS


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "u8", "f4", "f8"])
def test_labels_keep_their_values(image, tmp_path, dtype):
    labels = LABELS * (40 if dtype == "u1" else 1000)
    path = save(tmp_path / "l.nii", labels.astype(dtype))
    result = regions(path, image, "labels").values
    np.testing.assert_array_equal(result, labels)
    assert result.dtype == np.int64


def test_large_and_negative_labels_are_exact(image, tmp_path):
    labels = np.where(MASK, 2**60 + 1, -7)
    path = save(tmp_path / "l.nii", labels.astype("i8"))
    np.testing.assert_array_equal(regions(path, image, "labels").values, labels)
    path = save(tmp_path / "u.nii", np.where(MASK, np.uint64(2**64 - 1), np.uint64(0)))
    assert "at most 9223372036854775807" in refusal(path, image, "labels").description
    path = save(tmp_path / "f.nii", np.where(MASK, 2.0**60, 0))
    assert "of type float64 must be at most 9007199254740992" in str(refusal(path, image, "labels"))


@pytest.mark.parametrize("largest", [8, 12, 100])
@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_labels_that_a_scale_factor_makes_nearly_whole_are_rounded(image, tmp_path, largest, dtype):
    """Some programs scale labels to the range of an integer type: 12 labels in steps of 12/255."""
    labels = RNG.integers(0, largest + 1, SHAPE)
    labels.flat[0] = largest
    slope = largest / np.iinfo(dtype).max
    path = save(tmp_path / "l.nii", np.rint(labels / slope).astype(dtype), slope=slope)
    read = np.asarray(io.read(path).data)
    assert not (read == np.rint(read)).all()
    np.testing.assert_array_equal(regions(path, image, "labels").values, labels)


@pytest.mark.parametrize(
    ("slope", "stored"), [(1.0, 0.25), (1 / 255, 77.0), (0.75, 1.0)], ids=["none", "fine", "coarse"]
)
def test_labels_that_are_not_whole_are_refused_with_a_value(image, tmp_path, slope, stored):
    dtype = "f4" if slope == 1.0 else "u1"
    path = save(tmp_path / "l.nii", np.where(MASK, stored, 0).astype(dtype), slope=slope)
    text, value = refusal(path, image, "labels").description.rsplit(" ", 1)
    assert text == "labels must hold whole numbers, got"
    assert float(value) == pytest.approx(slope * stored)


@pytest.mark.parametrize("error", [1e-4, -1e-4])
def test_labels_of_floating_point_that_are_nearly_whole_are_rounded(image, tmp_path, error):
    path = save(tmp_path / "l.nii", np.where(MASK, 7015 + error, 0))
    np.testing.assert_array_equal(regions(path, image, "labels").values, np.where(MASK, 7015, 0))
    path = save(tmp_path / "m.nii", np.where(MASK, 7015 + 300 * error, 0))
    assert "got 701" in refusal(path, image, "labels").description


def test_labels_are_outside_where_they_are_nan(image, tmp_path):
    path = save(tmp_path / "l.nii", np.where(MASK, LABELS, np.nan).astype("f4"))
    np.testing.assert_array_equal(regions(path, image, "labels").values, LABELS)
    path = save(tmp_path / "i.nii", np.where(MASK, np.inf, 0).astype("f4"))
    assert "got inf" in refusal(path, image, "labels").description


def test_other_voxel_size_without_an_orientation_is_a_note(image, tmp_path):
    axes = {"axes": "ZYX", "PhysicalSizeXUnit": "mm", "PhysicalSizeX": 5.0}
    tifffile.imwrite(tmp_path / "m.ome.tif", MASK.T.astype("u1"), ome=True, metadata=axes)
    (note,) = regions(tmp_path / "m.ome.tif", image).notes
    assert note == (
        "m.ome.tif: its voxels are 5 mm and those of the image 2 mm; it is used voxel by voxel."
    )
