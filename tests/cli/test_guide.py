"""The option ``--guide``: the result is that of Python, and a guide on another grid is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.cli import main

SHAPE, SIZES = (14, 13, 9), (2.0, 2.0, 3.0)
MODEL = ["--model", "perona-malik", "--kappa", "20", "--sigma", "2", "--time", "8"]
PERONA_MALIK = nd.PeronaMalik(kappa=20.0, sigma=2.0)


def write(name, values, affine=None):
    affine = np.diag([*SIZES, 1.0]) if affine is None else affine
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, name)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Create a noisy image and a guide, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    guide = np.zeros(SHAPE, np.int16)
    guide[4:10, 3:9] = 300
    image = (guide / 10 + rng.normal(100, 15, SHAPE)).astype(np.float32)
    write("pet.nii", image)
    write("mri.nii", guide)
    return image, guide


def test_result_is_that_of_python_and_its_recipe_repeats_it(scene, capsys):
    image, guide = scene
    assert main(["run", "pet.nii", "out.npy", *MODEL, "--guide", "mri.nii"]) == 0
    assert "with edges of mri.nii." in capsys.readouterr().err
    expected = nd.diffuse(image, PERONA_MALIK, time=8.0, spacing=SIZES, guide=guide)
    np.testing.assert_array_equal(np.load("out.npy"), expected)
    again = ["run", "pet.nii", "again.npy", "--recipe", "out.npy.recipe.json"]
    assert main(again) == 2
    assert "takes its edges from 'mri.nii'; give --guide" in capsys.readouterr().err
    assert not Path("again.npy").exists()
    assert main([*again, "--guide", "mri.nii"]) == 0
    np.testing.assert_array_equal(np.load("again.npy"), expected)
    half = ["run", "pet.nii", "half.npy", *MODEL, "--guide", "mri.nii", "--guide-weight", "0.5"]
    assert main(half) == 0
    options = {"time": 8.0, "spacing": SIZES, "guide": guide, "guide_weight": 0.5}
    np.testing.assert_array_equal(np.load("half.npy"), nd.diffuse(image, PERONA_MALIK, **options))


def test_guide_of_another_orientation_is_turned(scene, capsys):
    image, guide = scene
    flipped = np.diag([-2.0, 2.0, 3.0, 1.0])
    flipped[0, 3] = 2.0 * (SHAPE[0] - 1)
    write("flipped.nii", np.ascontiguousarray(guide[::-1]), flipped)
    assert main(["run", "pet.nii", "out.npy", *MODEL, "--guide", "flipped.nii"]) == 0
    assert "it was turned to the orientation of the image" in capsys.readouterr().err
    expected = nd.diffuse(image, PERONA_MALIK, time=8.0, spacing=SIZES, guide=guide)
    np.testing.assert_array_equal(np.load("out.npy"), expected)


def test_guide_on_another_grid_or_without_effect_is_refused_before_the_work(scene, capsys):
    _, guide = scene
    write("coarse.nii", guide[::2])
    write("moved.nii", guide, np.array([[2, 0, 0, 7], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]]))
    cases = [
        (["coarse.nii"], "coarse.nii: guide has the shape X 7 x Y 13 x Z 9"),
        (["moved.nii"], "guide and image have different grids"),
        (["none.nii"], "none.nii"),
        (["mri.nii", "--model", "linear", "--time", "1"], "Linear takes no edges from a guide"),
    ]
    for (file, *other), words in cases:
        assert main(["run", "pet.nii", "out.npy", *(other or MODEL), "--guide", file]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert "nearest" not in said
        assert not Path("out.npy").exists()


def test_batch_uses_it_for_every_file_and_makes_results_again_when_it_changes(scene):
    image, guide = scene
    write("pet2.nii", image + 5)
    batch = ["batch", "pet.nii", "pet2.nii", "--output", "out", "--name", "{stem}.npy", *MODEL]
    batch += ["--guide", "mri.nii", "--resume"]
    for factor in (1, 2):
        write("mri.nii", (guide * factor).astype(np.int16))
        assert main(batch) == 0
        for name, own in (("pet", image), ("pet2", image + 5)):
            options = {"time": 8.0, "spacing": SIZES, "guide": guide * factor}
            np.testing.assert_array_equal(
                np.load(f"out/{name}.npy"), nd.diffuse(own, PERONA_MALIK, **options)
            )


def test_auto_chooses_thresholds_for_the_guide_and_the_time_for_the_image(scene, capsys):
    image, guide = scene
    guide = (guide + np.random.default_rng(1).normal(0, 9, SHAPE)).astype(np.float32)
    write("mri.nii", guide)
    auto = ["--model", "perona-malik", "--auto", "--guide", "mri.nii"]
    assert main(["run", "pet.nii", "out.npy", *auto]) == 0
    assert "Thresholds follow the noise of the edges of the guide" in capsys.readouterr().err
    model, time = nd.suggest(image, nd.PeronaMalik(), spacing=SIZES, guide=guide)
    record = nd.Recipe.load("out.npy.recipe.json")
    assert (record.model, record.time) == (model, time)
    expected = nd.diffuse(image, model, time=time, spacing=SIZES, guide=guide)
    np.testing.assert_array_equal(np.load("out.npy"), expected)
    assert nd.suggest(image, nd.PeronaMalik(), spacing=SIZES).model != model
    write("pet2.nii", image + 5)
    files = ["pet.nii", "pet2.nii", "--output", "all", "--name", "{stem}.npy"]
    assert main(["batch", *files, *auto, "--together"]) == 0
    own = {"spacing": SIZES, "guide": guide, "others": [image + 5]}
    model, time = nd.suggest(image, nd.PeronaMalik(), **own)
    record = nd.Recipe.load("all/pet2.npy.recipe.json")
    assert (record.model, record.time) == (model, time)


def test_auto_for_a_steady_state_chooses_the_parameters_alone(scene, capsys):
    image, _ = scene
    auto = ["run", "pet.nii", "out.npy", "--model", "total-variation", "--auto"]
    held = [*auto, "--fidelity-length", "4", "--overwrite"]
    model, time = nd.suggest(image, nd.TotalVariation(), spacing=SIZES, fidelity_length=4.0)
    for steady in ([], ["--time", "steady"]):
        assert main([*held, *steady]) == 0
        assert "the steady state of the fidelity length, as asked for" in capsys.readouterr().err
        record = nd.Recipe.load("out.npy.recipe.json")
        assert (record.model, record.time, record.fidelity_length) == (model, time, 4.0)
    assert main([*held, "--time", "3"]) == 0
    assert nd.Recipe.load("out.npy.recipe.json").time == 3
    assert main([*auto, "--time", "steady"]) == 2
    assert "--time steady needs --fidelity-length" in capsys.readouterr().err
