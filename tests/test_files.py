"""A recipe on files: axes found by name, everything refused in one sentence, nothing half-written."""

import threading

import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from hostile import check_sentence
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.engine.files import files_of, filter_file, holds, targets_of
from napari_diffusion.io.volume import Volume

RECIPE = nd.Recipe(nd.PeronaMalik(kappa=20.0), 2.0, unit="millimeter")


@pytest.fixture
def brain(tmp_path):
    """A file (x, y, z) in mm."""
    values = (90 * (np.indices((9, 8, 7)).sum(0) > 11) + 5 * np.random.default_rng(14).normal(size=(9, 8, 7))).astype("f4")
    io.write(tmp_path / "brain.nii", values, Volume(values, "XYZ", (0.5, 0.5, 2.0), unit="millimeter"))
    return tmp_path / "brain.nii"


def test_axes_have_names_wherever_they_are():
    recipe = nd.Recipe(nd.Linear(), 2.0, axes=(1, 2, 3), spacing=(2.0, 0.5, 0.25), axis_names=("z", "y", "x"))
    image = np.random.default_rng(0).random((2, 5, 6, 7), np.float32)
    there = recipe.on(("X", "t", "Y", "Z"))
    assert there.axes == (3, 2, 0)
    # Axes in another order are summed in another order.
    np.testing.assert_allclose(there.diffuse(image.transpose(3, 0, 2, 1)), recipe.diffuse(image).transpose(3, 0, 2, 1), rtol=1e-6)
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
    expected = nd.diffuse(io.read(brain).data, nd.Linear(), time=2.0, axes=(1, 0), spacing=(0.5, 0.5))
    filter_file(brain, tmp_path / "one.nii", recipe)
    assert main(["run", str(brain), str(tmp_path / "two.nii"), "--recipe", str(tmp_path / "r.json")]) == 0
    for name in ("one.nii", "two.nii"):
        np.testing.assert_array_equal(np.asarray(io.read(tmp_path / name).data), expected)
        assert nd.Recipe.load(tmp_path / f"{name}.recipe.json").axis_names == ("y", "x")


@pytest.mark.parametrize(("shape", "axes"), [((6, 9, 8), (0, 1, 2)), ((6, 9, 8), (1, 2)), ((2, 6, 9, 8), (1, 2, 3))])
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
        np.testing.assert_array_equal(np.asarray(io.read(written).data), recipe.diffuse(image), strict=True)
    else:
        with pytest.raises(ValueError, match="does not say what its 12 planes are"):
            filter_file(tmp_path / name, tmp_path / f"out-{name}", recipe)


def test_numbers_do_not_say_which_axes_a_longer_array_has(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), "f4"))
    with pytest.raises(ValueError, match="does not say what its 3 planes are"):
        filter_file(tmp_path / "a.npy", tmp_path / "b.npy", nd.Recipe(nd.Linear(), 1.0, axes=(0, 1)))


def test_which_files_hold_an_array_as_napari_shows_it(brain, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), "f4"))
    assert holds(tmp_path / "a.npy", (3, 4, 5))
    assert not holds(tmp_path / "a.npy", (3, 4, 4))
    assert not holds(brain, (9, 8, 7))  # x first
    assert not holds(tmp_path / "there_is_none.npy", (3, 4, 5))
    (tmp_path / "photo.jpeg").write_bytes(b"")
    assert not holds(tmp_path / "photo.jpeg", (3, 4, 5))


def test_a_file_is_filtered_in_its_own_unit(brain, tmp_path):
    in_micrometer = nd.Recipe(nd.PeronaMalik(kappa=0.02), 2e6, unit="micrometer")
    shares = []
    written = filter_file(brain, tmp_path / "out.nii", in_micrometer, threads=1, progress=shares.append)
    assert written == (tmp_path / "out.nii", tmp_path / "out.nii.recipe.json")
    assert shares[-1] == 1
    expected = nd.diffuse(io.read(brain).data, nd.PeronaMalik(kappa=20.0), time=2.0, spacing=(0.5, 0.5, 2.0))
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
    filter_file(brain, out / "a.nii", nd.Recipe(nd.Linear(), 1.0, unit="millimeter"), overwrite=True)
    assert (out / "a.nii").read_bytes() != before


def test_a_folder_gives_its_images(brain, tmp_path):
    for name in ("z.npy", ".hidden.npy", "notes.txt", "a.tif.recipe.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.nii").mkdir()
    assert files_of(tmp_path) == [brain, tmp_path / "z.npy"]
    assert targets_of([brain], tmp_path / "folder.nii") == [tmp_path / "folder.nii" / "brain.nii"]
    with pytest.raises(ValueError, match="would replace the images"):
        targets_of([brain], tmp_path / "folder.nii" / "..")
