"""A recipe on files: axes found by name, everything refused in one sentence, nothing half-written."""

import threading

import dask.array
import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.io.volume import Volume
from napari_diffusion.workflows.file_run import files_of, filter_file, names_in, targets_of

RECIPE = nd.Recipe(nd.PeronaMalik(kappa=20.0), 2.0, unit="millimeter")


@pytest.fixture
def brain(tmp_path):
    """A file (x, y, z) in mm."""
    values = (
        90 * (np.indices((9, 8, 7)).sum(0) > 11)
        + 5 * np.random.default_rng(14).normal(size=(9, 8, 7))
    ).astype("f4")
    io.write(
        tmp_path / "brain.nii", values, Volume(values, "XYZ", (0.5, 0.5, 2.0), unit="millimeter")
    )
    return tmp_path / "brain.nii"


def test_axes_have_names_wherever_they_are():
    recipe = nd.Recipe(
        nd.Linear(), 2.0, axes=(1, 2, 3), spacing=(2.0, 0.5, 0.25), axis_names=("z", "y", "x")
    )
    image = np.random.default_rng(0).random((2, 5, 6, 7), np.float32)
    there = recipe.on(("X", "t", "Y", "Z"))
    assert there.axes == (3, 2, 0)
    # Axes in another order are summed in another order.
    np.testing.assert_allclose(
        there.diffuse(image.transpose(3, 0, 2, 1)),
        recipe.diffuse(image).transpose(3, 0, 2, 1),
        rtol=1e-6,
    )
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    for names in (("x", "y"), ("z", "z", "y", "x")):
        with pytest.raises(ValueError, match="smooths along z, y, x") as caught:
            recipe.on(names)
        check_sentence(caught.value, ", ".join(names))
    with pytest.raises(ValueError, match="axes without names"):
        RECIPE.on("zyx")


def test_a_recipe_of_planes_stays_one_of_planes(brain, tmp_path):
    recipe = nd.Recipe(nd.Linear(), 2.0, unit="millimeter", axes=(1, 2), axis_names=("y", "x"))
    recipe.save(tmp_path / "r.json")
    expected = nd.diffuse(
        io.read(brain).data, nd.Linear(), time=2.0, axes=(1, 0), spacing=(0.5, 0.5)
    )
    filter_file(brain, tmp_path / "one.nii", recipe)
    assert (
        main(["run", str(brain), str(tmp_path / "two.nii"), "--recipe", str(tmp_path / "r.json")])
        == 0
    )
    for name in ("one.nii", "two.nii"):
        np.testing.assert_array_equal(np.asarray(io.read(tmp_path / name).data), expected)
        assert nd.Recipe.load(tmp_path / f"{name}.recipe.json").axis_names == ("y", "x")


@pytest.mark.parametrize(
    ("shape", "axes"), [((6, 9, 8), (0, 1, 2)), ((6, 9, 8), (1, 2)), ((2, 6, 9, 8), (1, 2, 3))]
)
@pytest.mark.parametrize("name", ["stack.npy", "stack.tif"])
def test_axes_without_names_are_those_of_the_same_number(tmp_path, name, shape, axes):
    image = np.random.default_rng(0).normal(100, 10, shape).astype("f4")
    recipe = nd.Recipe(nd.PeronaMalik(kappa=20.0), 0.5, axes=axes)
    if name.endswith("npy"):
        np.save(tmp_path / name, image)
    else:
        tifffile.imwrite(tmp_path / name, image, photometric="minisblack", metadata=None)
        image = image.reshape(-1, 9, 8) if image.ndim > 3 else image  # pages say no more
    if max(axes) < image.ndim:
        (written, *_) = filter_file(tmp_path / name, tmp_path / f"out-{name}", recipe)
        np.testing.assert_array_equal(
            np.asarray(io.read(written).data), recipe.diffuse(image), strict=True
        )
    else:
        with pytest.raises(ValueError, match="does not say what its 12 planes are"):
            filter_file(tmp_path / name, tmp_path / f"out-{name}", recipe)


def test_numbers_do_not_say_which_axes_a_longer_array_has(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), "f4"))
    with pytest.raises(ValueError, match="does not say what its 3 planes are"):
        filter_file(
            tmp_path / "a.npy", tmp_path / "b.npy", nd.Recipe(nd.Linear(), 1.0, axes=(0, 1))
        )


def test_how_a_file_calls_the_axes_of_an_array(brain, tmp_path):
    """In the order of the array: by its shape, and where several orders have that by its values."""
    rng = np.random.default_rng(0)
    inside = np.asarray(io.read(brain).data)
    assert names_in(brain, inside) == ("X", "Y", "Z")
    assert names_in(brain, inside.T) == ("Z", "Y", "X")
    assert names_in(brain, inside[:8]) is None
    cube = rng.random((6, 6, 6, 3)).astype("f4")
    io.write(
        tmp_path / "cube.nii", cube, Volume(cube, "XYZT", (1.0, 1.0, 6.0, None), unit="millimeter")
    )
    assert names_in(tmp_path / "cube.nii", cube.transpose(2, 1, 0, 3)) == ("Z", "Y", "X", "T")
    assert names_in(tmp_path / "cube.nii", cube.transpose(3, 1, 0, 2)) == ("T", "Y", "X", "Z")
    assert names_in(tmp_path / "cube.nii", 2 * cube) is None
    assert names_in(tmp_path / "cube.nii", dask.array.from_array(cube)) is None
    assert names_in(brain, dask.array.from_array(inside)) == ("X", "Y", "Z")
    long = rng.integers(0, 9, (2, 700, 700)).astype("u1")  # of which not every value is compared
    np.save(tmp_path / "long.npy", long)
    assert names_in(tmp_path / "long.npy", long.swapaxes(1, 2)) == (
        names_in(tmp_path / "long.npy", long)[0],
        "X",
        "Y",
    )
    assert names_in(tmp_path / "there_is_none.npy", long) is None
    (tmp_path / "photo.jpeg").write_bytes(b"")
    assert names_in(tmp_path / "photo.jpeg", long) is None


def test_axes_by_number_that_are_not_those_of_space_are_refused(tmp_path):
    """A layer without names, of which channels were smoothed along; the file knows that they are channels."""
    image = np.random.default_rng(0).random((5, 3, 9, 8), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(
        ValueError, match="by number they are C, Y, X here, and those of space are Z, Y, X"
    ) as caught:
        filter_file(
            tmp_path / "a.tif", tmp_path / "b.tif", nd.Recipe(nd.Linear(), 1.0, axes=(1, 2, 3))
        )
    check_sentence(caught.value, "--axes")
    (written, *_) = filter_file(
        tmp_path / "a.tif", tmp_path / "b.tif", nd.Recipe(nd.Linear(), 1.0, axes=(0, 2, 3))
    )
    np.testing.assert_array_equal(
        np.asarray(io.read(written).data), nd.diffuse(image, nd.Linear(), time=1.0, axes=(0, 2, 3))
    )


@pytest.mark.parametrize("names", [None, ("z", "y", "x")])
def test_the_voxel_size_of_a_recipe_in_pixel_is_that_of_a_file_without_one(tmp_path, names):
    image = np.random.default_rng(0).random((5, 9, 8), np.float32)
    recipe = nd.Recipe(
        nd.PeronaMalik(kappa=1.0), 1.0, spacing=(6.0, 1.0, 1.0), axes=(0, 1, 2), axis_names=names
    )
    io.write(tmp_path / "a.tif", image, Volume(image, "ZYX", (None,) * 3))
    (written, *_) = filter_file(tmp_path / "a.tif", tmp_path / "b.tif", recipe)
    np.testing.assert_array_equal(np.asarray(io.read(written).data), recipe.diffuse(image))
    assert nd.Recipe.load(tmp_path / "b.tif.recipe.json").spacing == (6.0, 1.0, 1.0)


def test_labels_are_not_forgotten(brain, tmp_path):
    """A recipe tells that it smooths within some, and does not run without any."""
    inside = np.asarray(io.read(brain).data)
    labels = 1 + (np.indices(inside.shape)[0] > 3).astype("u1")
    io.write(
        tmp_path / "two.nii", labels, Volume(labels, "XYZ", (0.5, 0.5, 2.0), unit="millimeter")
    )
    words = ["--model", "linear", "--time", "2", "--labels", str(tmp_path / "two.nii")]
    assert main(["run", str(brain), str(tmp_path / "one.nii"), *words]) == 0
    recipe = nd.Recipe.load(tmp_path / "one.nii.recipe.json")
    assert recipe.labels == "two.nii"
    assert "within two.nii" in recipe.describe()
    assert "--labels LABELS" in recipe.to_command()
    expected = nd.diffuse(inside, nd.Linear(), time=2.0, spacing=(0.5, 0.5, 2.0), labels=labels)
    for here in (recipe.diffuse(inside, labels=labels), io.read(tmp_path / "one.nii").data):
        np.testing.assert_array_equal(np.asarray(here), expected)
    np.testing.assert_array_equal(
        recipe.diffuse(inside, labels=None),
        nd.diffuse(inside, nd.Linear(), time=2.0, spacing=(0.5, 0.5, 2.0)),
    )
    code = {"image": inside, "labels": labels}
    exec(recipe.to_python(), code)
    np.testing.assert_array_equal(code["result"], expected)
    for refused in (
        lambda: recipe.diffuse(inside),
        lambda: filter_file(brain, tmp_path / "three.nii", recipe),
    ):
        with pytest.raises(ValueError, match=r"two\.nii") as caught:
            refused()
        check_sentence(caught.value, "labels")
    again = ["--recipe", str(tmp_path / "one.nii.recipe.json")]
    assert main(["run", str(brain), str(tmp_path / "three.nii"), *again]) != 0
    assert main(["run", str(brain), str(tmp_path / "three.nii"), *again, *words[-2:]]) == 0
    np.testing.assert_array_equal(np.asarray(io.read(tmp_path / "three.nii").data), expected)


def test_a_file_is_filtered_in_its_own_unit(brain, tmp_path):
    in_micrometer = nd.Recipe(nd.PeronaMalik(kappa=0.02), 2e6, unit="micrometer")
    shares = []
    written = filter_file(
        brain, tmp_path / "out.nii", in_micrometer, threads=1, progress=shares.append
    )
    assert written == (tmp_path / "out.nii", tmp_path / "out.nii.recipe.json")
    assert shares[-1] == 1
    expected = nd.diffuse(
        io.read(brain).data, nd.PeronaMalik(kappa=20.0), time=2.0, spacing=(0.5, 0.5, 2.0)
    )
    np.testing.assert_array_equal(np.asarray(io.read(written[0]).data), expected)


def test_nothing_is_written_after_an_error_or_a_cancel(brain, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(nd.Cancelled):
        filter_file(brain, out / "a.nii", RECIPE, cancel=cancel)
    with pytest.raises(MemoryError, match="the preferences allow 1 KiB"):
        filter_file(brain, out / "a.nii", RECIPE, limit=1024)
    with pytest.raises(ValueError, match="pixel"):
        filter_file(brain, out / "a.nii", nd.Recipe(nd.Linear(), 1.0))
    assert list(out.iterdir()) == []
    filter_file(brain, out / "a.nii", RECIPE)
    before = (out / "a.nii").read_bytes()
    with pytest.raises(FileExistsError):
        filter_file(brain, out / "a.nii", nd.Recipe(nd.Linear(), 1.0, unit="millimeter"))
    assert (out / "a.nii").read_bytes() == before
    filter_file(
        brain, out / "a.nii", nd.Recipe(nd.Linear(), 1.0, unit="millimeter"), overwrite=True
    )
    assert (out / "a.nii").read_bytes() != before


def test_a_folder_gives_its_images(brain, tmp_path):
    for name in ("z.npy", ".hidden.npy", "notes.txt", "a.tif.recipe.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.nii").mkdir()
    assert files_of(tmp_path) == [brain, tmp_path / "z.npy"]
    assert targets_of([brain], tmp_path / "folder.nii") == [tmp_path / "folder.nii" / "brain.nii"]
    with pytest.raises(ValueError, match="would replace the images"):
        targets_of([brain], tmp_path / "folder.nii" / "..")
