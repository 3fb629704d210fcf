"""A recipe on files: axes are matched by name, errors are one sentence, no file is incomplete."""

import threading

import dask.array
import nibabel
import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.engine.execution import Execution
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.io.volume import Volume
from napari_diffusion.workflows.file_run import (
    axis_names_in_file,
    files_of,
    filter_file,
    targets_of,
)
from napari_diffusion.workflows.recipe_axes import describe_file_run

RECIPE = nd.Recipe(nd.PeronaMalik(kappa=20.0), 2.0, unit="millimeter")


@pytest.fixture
def brain(tmp_path):
    """Write a file with the axes x, y, z in mm."""
    noise = np.random.default_rng(14).normal(size=(9, 8, 7))
    values = (90 * (np.indices((9, 8, 7)).sum(0) > 11) + 5 * noise).astype("f4")
    volume = Volume(values, "XYZ", (0.5, 0.5, 2.0), unit="millimeter")
    io.write(tmp_path / "brain.nii", values, volume)
    return tmp_path / "brain.nii"


def test_axes_are_matched_by_name_in_any_order():
    recipe = nd.Recipe(
        nd.Linear(), 2.0, axes=(1, 2, 3), spacing=(2.0, 0.5, 0.25), axis_names=("z", "y", "x")
    )
    image = np.random.default_rng(0).random((2, 5, 6, 7), np.float32)
    reordered = recipe.on(("X", "t", "Y", "Z"))
    assert reordered.axes == (3, 2, 0)
    result = reordered.diffuse(image.transpose(3, 0, 2, 1))
    expected = recipe.diffuse(image).transpose(3, 0, 2, 1)
    # Sums over axes in another order are rounded differently.
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    for names in (("x", "y"), ("z", "z", "y", "x")):
        with pytest.raises(ValueError, match="smooths along z, y, x") as caught:
            recipe.on(names)
        check_sentence(caught.value, ", ".join(names))
    with pytest.raises(ValueError, match="axes without names"):
        RECIPE.on("zyx")


def test_recipe_for_planes_smooths_planes(brain, tmp_path):
    recipe = nd.Recipe(nd.Linear(), 2.0, unit="millimeter", axes=(1, 2), axis_names=("y", "x"))
    recipe.save(tmp_path / "r.json")
    image = io.read(brain).data
    expected = nd.diffuse(image, nd.Linear(), time=2.0, axes=(1, 0), spacing=(0.5, 0.5))
    filter_file(brain, tmp_path / "one.nii", recipe)
    files = [str(brain), str(tmp_path / "two.nii")]
    assert main(["run", *files, "--recipe", str(tmp_path / "r.json")]) == 0
    for name in ("one.nii", "two.nii"):
        np.testing.assert_array_equal(np.asarray(io.read(tmp_path / name).data), expected)
        assert nd.Recipe.load(tmp_path / f"{name}.recipe.json").axis_names == ("y", "x")


@pytest.mark.parametrize(
    ("shape", "axes"), [((6, 9, 8), (0, 1, 2)), ((6, 9, 8), (1, 2)), ((2, 6, 9, 8), (1, 2, 3))]
)
@pytest.mark.parametrize("name", ["stack.npy", "stack.tif"])
def test_axes_without_names_are_matched_by_number(tmp_path, name, shape, axes):
    image = np.random.default_rng(0).normal(100, 10, shape).astype("f4")
    recipe = nd.Recipe(nd.PeronaMalik(kappa=20.0), 0.5, axes=axes)
    if name.endswith("npy"):
        np.save(tmp_path / name, image)
    else:
        tifffile.imwrite(tmp_path / name, image, photometric="minisblack", metadata=None)
        image = image.reshape(-1, 9, 8) if image.ndim > 3 else image  # pages have a single axis
    if max(axes) < image.ndim:
        (written, *_) = filter_file(tmp_path / name, tmp_path / f"out-{name}", recipe)
        result = np.asarray(io.read(written).data)
        np.testing.assert_array_equal(result, recipe.diffuse(image), strict=True)
    else:
        with pytest.raises(ValueError, match="does not say what its 12 planes are"):
            filter_file(tmp_path / name, tmp_path / f"out-{name}", recipe)


def test_axes_by_number_do_not_match_an_array_of_more_axes(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), "f4"))
    recipe = nd.Recipe(nd.Linear(), 1.0, axes=(0, 1))
    with pytest.raises(ValueError, match="does not say what its 3 planes are"):
        filter_file(tmp_path / "a.npy", tmp_path / "b.npy", recipe)


def test_names_in_a_file_are_assigned_to_the_axes_of_an_array(brain, tmp_path):
    """The order of the axes follows from the shape and, if that is ambiguous, from the values."""
    rng = np.random.default_rng(0)
    image = np.asarray(io.read(brain).data)
    assert axis_names_in_file(brain, image) == ("X", "Y", "Z")
    assert axis_names_in_file(brain, image.T) == ("Z", "Y", "X")
    assert axis_names_in_file(brain, image[:8]) is None
    cube = rng.random((6, 6, 6, 3)).astype("f4")
    volume = Volume(cube, "XYZT", (1.0, 1.0, 6.0, None), unit="millimeter")
    io.write(tmp_path / "cube.nii", cube, volume)
    assert axis_names_in_file(tmp_path / "cube.nii", cube.transpose(2, 1, 0, 3)) == (
        "Z",
        "Y",
        "X",
        "T",
    )
    assert axis_names_in_file(tmp_path / "cube.nii", cube.transpose(3, 1, 0, 2)) == (
        "T",
        "Y",
        "X",
        "Z",
    )
    assert axis_names_in_file(tmp_path / "cube.nii", 2 * cube) is None
    assert axis_names_in_file(tmp_path / "cube.nii", dask.array.from_array(cube)) is None
    assert axis_names_in_file(brain, dask.array.from_array(image)) == ("X", "Y", "Z")
    large = rng.integers(0, 9, (2, 700, 700)).astype("u1")  # only some values are compared
    np.save(tmp_path / "large.npy", large)
    leading = axis_names_in_file(tmp_path / "large.npy", large)[0]
    assert axis_names_in_file(tmp_path / "large.npy", large.swapaxes(1, 2)) == (leading, "X", "Y")
    assert axis_names_in_file(tmp_path / "missing.npy", large) is None
    (tmp_path / "photo.jpeg").write_bytes(b"")
    assert axis_names_in_file(tmp_path / "photo.jpeg", large) is None


def test_axes_by_number_that_are_not_space_axes_are_refused(tmp_path):
    """A recipe without axis names smooths along the channels of a file that names its axes."""
    image = np.random.default_rng(0).random((5, 3, 9, 8), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "ZCYX"})
    along_channels = nd.Recipe(nd.Linear(), 1.0, axes=(1, 2, 3))
    message = "by number they are C, Y, X here, and those of space are Z, Y, X"
    with pytest.raises(ValueError, match=message) as caught:
        filter_file(tmp_path / "a.tif", tmp_path / "b.tif", along_channels)
    check_sentence(caught.value, "name the axes to smooth along")
    in_space = nd.Recipe(nd.Linear(), 1.0, axes=(0, 2, 3))
    (written, *_) = filter_file(tmp_path / "a.tif", tmp_path / "b.tif", in_space)
    expected = nd.diffuse(image, nd.Linear(), time=1.0, axes=(0, 2, 3))
    np.testing.assert_array_equal(np.asarray(io.read(written).data), expected)


@pytest.mark.parametrize("names", [None, ("z", "y", "x")])
def test_voxel_size_of_a_recipe_in_pixels_is_used_for_a_file_without_one(tmp_path, names):
    image = np.random.default_rng(0).random((5, 9, 8), np.float32)
    recipe = nd.Recipe(
        nd.PeronaMalik(kappa=1.0), 1.0, spacing=(6.0, 1.0, 1.0), axes=(0, 1, 2), axis_names=names
    )
    io.write(tmp_path / "a.tif", image, Volume(image, "ZYX", (None,) * 3))
    (written, *_) = filter_file(tmp_path / "a.tif", tmp_path / "b.tif", recipe)
    np.testing.assert_array_equal(np.asarray(io.read(written).data), recipe.diffuse(image))
    assert nd.Recipe.load(tmp_path / "b.tif.recipe.json").spacing == (6.0, 1.0, 1.0)


def test_recipe_with_labels_requires_labels(brain, tmp_path):
    image = np.asarray(io.read(brain).data)
    labels = 1 + (np.indices(image.shape)[0] > 3).astype("u1")
    volume = Volume(labels, "XYZ", (0.5, 0.5, 2.0), unit="millimeter")
    io.write(tmp_path / "two.nii", labels, volume)
    words = ["--model", "linear", "--time", "2", "--labels", str(tmp_path / "two.nii")]
    assert main(["run", str(brain), str(tmp_path / "one.nii"), *words]) == 0
    recipe = nd.Recipe.load(tmp_path / "one.nii.recipe.json")
    assert recipe.labels == "two.nii"
    assert "within two.nii" in recipe.describe()
    assert "--labels LABELS" in recipe.to_command()
    keywords = {"time": 2.0, "spacing": (0.5, 0.5, 2.0)}
    expected = nd.diffuse(image, nd.Linear(), labels=labels, **keywords)
    for result in (recipe.diffuse(image, labels=labels), io.read(tmp_path / "one.nii").data):
        np.testing.assert_array_equal(np.asarray(result), expected)
    without_labels = nd.diffuse(image, nd.Linear(), **keywords)
    np.testing.assert_array_equal(recipe.diffuse(image, labels=None), without_labels)
    names = {"image": image, "labels": labels}
    exec(recipe.to_python(), names)
    np.testing.assert_array_equal(names["result"], expected)
    for refused in (
        lambda: recipe.diffuse(image),
        lambda: filter_file(brain, tmp_path / "three.nii", recipe),
    ):
        with pytest.raises(ValueError, match=r"two\.nii") as caught:
            refused()
        check_sentence(caught.value, "labels")
    again = ["--recipe", str(tmp_path / "one.nii.recipe.json")]
    assert main(["run", str(brain), str(tmp_path / "three.nii"), *again]) != 0
    assert main(["run", str(brain), str(tmp_path / "three.nii"), *again, *words[-2:]]) == 0
    np.testing.assert_array_equal(np.asarray(io.read(tmp_path / "three.nii").data), expected)


def test_recipe_is_converted_to_the_unit_of_the_file(brain, tmp_path):
    recipe = nd.Recipe(nd.PeronaMalik(kappa=0.02), 2e6, unit="micrometer")
    shares = []
    written = filter_file(
        brain, tmp_path / "out.nii", recipe, execution=Execution(threads=1), progress=shares.append
    )
    assert written == (tmp_path / "out.nii", tmp_path / "out.nii.recipe.json")
    assert shares[-1] == 1
    image = io.read(brain).data
    expected = nd.diffuse(image, nd.PeronaMalik(kappa=20.0), time=2.0, spacing=(0.5, 0.5, 2.0))
    np.testing.assert_array_equal(np.asarray(io.read(written[0]).data), expected)


def test_no_file_is_written_after_an_error_or_a_cancel(brain, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(nd.Cancelled):
        filter_file(brain, out / "a.nii", RECIPE, cancel=cancel)
    with pytest.raises(MemoryError, match="at most 1 KiB are allowed"):
        filter_file(brain, out / "a.nii", RECIPE, limit=1024)
    with pytest.raises(ValueError, match="pixel"):
        filter_file(brain, out / "a.nii", nd.Recipe(nd.Linear(), 1.0))
    assert list(out.iterdir()) == []
    filter_file(brain, out / "a.nii", RECIPE)
    before = (out / "a.nii").read_bytes()
    linear = nd.Recipe(nd.Linear(), 1.0, unit="millimeter")
    with pytest.raises(FileExistsError):
        filter_file(brain, out / "a.nii", linear)
    assert (out / "a.nii").read_bytes() == before
    filter_file(brain, out / "a.nii", linear, overwrite=True)
    assert (out / "a.nii").read_bytes() != before


def test_files_of_a_folder_are_its_images(brain, tmp_path):
    for name in ("z.npy", ".hidden.npy", "notes.txt", "a.tif.recipe.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.nii").mkdir()
    assert files_of(tmp_path) == [brain, tmp_path / "z.npy"]
    assert targets_of([brain], tmp_path / "folder.nii") == [tmp_path / "folder.nii" / "brain.nii"]
    with pytest.raises(InputError, match="would replace the images") as caught:
        targets_of([brain], tmp_path / "folder.nii" / "..")
    assert caught.value.remedy is Remedy.CHOOSE_ANOTHER_FOLDER


def rgba(path):
    """Write a NIfTI of the type RGBA32, and return its values."""
    values = np.random.default_rng(0).integers(0, 255, (6, 5, 4, 4), "u1")
    structured = values.view([(name, "u1") for name in "RGBA"])[..., 0]
    image = nibabel.Nifti1Image(structured, np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return values


def test_opacity_of_a_file_is_copied_and_has_no_influence(tmp_path):
    values = rgba(tmp_path / "a.nii")
    recipe = nd.Recipe(nd.PeronaMalik(kappa=20.0), 2.0, unit="millimeter")
    written = filter_file(tmp_path / "a.nii", tmp_path / "b.nii", recipe)
    result = np.asarray(io.read(written[0]).data).reshape(values.shape)
    np.testing.assert_array_equal(result[..., 3], values[..., 3])
    colours = nd.diffuse(
        values[..., :3], recipe.model, time=2.0, spacing=(2.0, 2.0, 3.0), channel_axis=3
    )
    np.testing.assert_array_equal(result[..., :3], colours)


def test_opacity_of_a_file_is_no_noise(tmp_path):
    """The command line chooses the same parameters with and without opacity."""
    values = rgba(tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    structured = np.ascontiguousarray(values[..., :3]).view([(name, "u1") for name in "RGB"])
    nibabel.save(nibabel.Nifti1Image(structured[..., 0], image.affine, None), tmp_path / "b.nii")
    words = ["--auto", "--model", "perona-malik", "--time", "1", "--unit", "mm"]
    for name in "ab":
        files = [str(tmp_path / f"{name}.nii"), str(tmp_path / f"out-{name}.nii")]
        assert main(["run", *files, *words]) == 0
    chosen = [nd.Recipe.load(tmp_path / f"out-{name}.nii.recipe.json").model for name in "ab"]
    assert chosen[0] == chosen[1]


def test_notes_of_a_file_reach_the_user(tmp_path, capsys):
    image = nibabel.Nifti1Image(np.ones((6, 5, 4), "f4"), np.diag([2.0, 2.0, 3.0, 1.0]))
    nibabel.save(image, tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes() + b"rest")
    notes = (
        "4 bytes follow its image; they are left out.",
        "It gives no unit of length; mm is assumed.",
    )
    linear = nd.Recipe(nd.Linear(), 1.0, unit="millimeter")
    assert filter_file(tmp_path / "a.nii", tmp_path / "b.nii", linear).notes == notes
    words = ["run", str(tmp_path / "a.nii"), "--model", "linear", "--time", "1"]
    assert main([*words, str(tmp_path / "c.nii")]) == 0
    assert [f"Note: {note}" for note in notes] == [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("Note")
    ]
    assert main([*words, str(tmp_path / "d.nii"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("axes", "request_", "words"),
    [
        ("ZYX", {}, "Smooths along Z, Y, X, voxel 2 x 0.5 x 0.5 µm.\n"),
        ("TCZYX", {}, "; each of 2 time points along T by itself; each of 3 channels along C by"),
        ("ZYXS", {"channel_axis": "S"}, "µm; 5 colour samples along S together.\n"),
        ("ZYX", {"axes": ("Y", "X")}, "µm; each of 2 planes along Z by itself.\n"),
        ("QZYX", {}, "; each of 2 images along Q by itself.\n"),
        ("XYZTVU", {}, "; each of 5 time points along T by itself; each of 6 images along V by"),
    ],
)
def test_run_on_a_file_is_described_in_words(axes, request_, words):
    sizes = {"Z": 2.0, "Y": 0.5, "X": 0.5}
    shape = (2, 3, 4, 5, 6, 1)[: len(axes)]
    volume = Volume(np.zeros(shape, "u1"), axes, tuple(map(sizes.get, axes)), "micrometer")
    if "Q" in axes:
        request_ = {"axes": ("Z", "Y", "X")}
    assignment = resolve_axes(volume, AxisRequest(**request_))
    text = describe_file_run(volume, assignment, nd.Recipe(nd.Linear(), 1.0, unit="um"))
    assert words in text
