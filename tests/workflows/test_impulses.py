"""Hot and dead voxels in files: the option, the record, and the number that were replaced."""

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.io import Volume
from napari_diffusion.workflows.file_run import filter_file
from napari_diffusion.workflows.outputs import OutputRequest, impulse_note, run_with_outputs

NOTE = "3 hot or dead voxels (0.052 %) were replaced."


@pytest.fixture
def image():
    image = np.random.default_rng(0).normal(100, 8, (12, 20, 24)).astype(np.float32)
    image[3, 4, 5], image[8, 9, 10], image[6, 15, 20] = 500, -300, 400
    return image


@pytest.fixture
def path(tmp_path, image):
    volume = Volume(image, "ZYX", (1.0, 1.0, 1.0), unit="micrometer")
    (written,) = io.write(tmp_path / "a.tif", image, volume)
    return written


def test_the_command_line_replaces_records_and_counts_them(path, image, capsys):
    target = path.with_name("b.tif")
    words = ["run", str(path), str(target), "--model", "linear", "--time", "1"]
    assert main([*words, "--impulses", "mask"]) == 0
    assert capsys.readouterr().err.rstrip().endswith(f" s. {NOTE}")
    expected = nd.diffuse(image, nd.Linear(), time=1.0, impulses="mask")
    np.testing.assert_array_equal(np.asarray(io.read(target).data), expected)
    recipe = nd.Recipe.load(target.with_name("b.tif.recipe.json"))
    assert recipe.impulses == "mask"
    assert main([*words, "--overwrite"]) == 0
    assert "voxels (" not in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        raise SystemExit(main([*words, "--impulses", "replace", "--overwrite"]))
    assert end.value.code != 0


def test_a_recipe_counts_them_in_its_notes(path, image):
    recipe = nd.Recipe(nd.Linear(), 1.0, unit="micrometer", impulses="mask")
    written = filter_file(path, path.with_name("c.tif"), recipe)
    assert written.notes == (NOTE,)
    expected = nd.diffuse(image, nd.Linear(), time=1.0, impulses="mask")
    np.testing.assert_array_equal(np.asarray(io.read(written[0]).data), expected)


def test_outputs_remove_them_and_map_the_result(image):
    recipe = nd.Recipe(nd.PeronaMalik(), 1.0, impulses="mask")
    problem = make_problem(image, recipe, Geometry(), Domain())
    request = OutputRequest(snapshots=3, residual=True, conductance=True)
    outputs = run_with_outputs(problem, request)
    assert outputs.replaced == 3
    for time, part in zip(outputs.times, outputs.image, strict=True):
        own = nd.diffuse(image, recipe.model, time=time, impulses="mask")
        np.testing.assert_array_equal(part, own)
    np.testing.assert_array_equal(outputs.residual, image - outputs.image[-1])
    assert outputs.residual[3, 4, 5] > 350
    conductance = nd.conductance(outputs.image[-1], recipe.model)
    np.testing.assert_array_equal(outputs.conductance, conductance)


def test_numbers_in_words():
    assert impulse_note(0, 1000) == ""
    assert impulse_note(1, 1000) == "1 hot or dead voxel (0.1 %) was replaced."
    assert impulse_note(1012, 103272) == "1 012 hot or dead voxels (0.98 %) were replaced."
    assert impulse_note(123456789, 10**9) == (
        "123 456 789 hot or dead voxels (12 %) were replaced."
    )
