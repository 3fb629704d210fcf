"""Filters of other programs on the command line: the bits are those of Python."""

import json
from pathlib import Path

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.io.volume import Volume

SIZES = (2.0, 0.5, 0.5)


@pytest.fixture
def image(tmp_path, monkeypatch):
    """Create a file in an empty folder, which becomes the current one."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(4).normal(100, 20, (8, 12, 14)).astype(np.float32)
    io.write("in.ome.tif", values, Volume(values, "ZYX", SIZES, unit="micrometer"))
    return values


def test_run_equals_the_function_and_says_what_differs(image, capsys):
    arguments = ["run", "in.ome.tif", "out.npy", "--as", "itk-gradient:conductance=2,iterations=4"]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    recipe = nd.presets.itk_gradient(image, 2.0, 4, spacing=SIZES, unit="micrometer")
    np.testing.assert_array_equal(np.load("out.npy"), nd.diffuse(image, recipe))
    for sentence in recipe.remarks:
        assert f"Note: {sentence}" in said
    record = nd.Recipe.load("out.npy.recipe.json")
    assert (record.model, record.time, record.remarks) == (
        recipe.model,
        recipe.time,
        recipe.remarks,
    )
    assert main(["run", "in.ome.tif", "again.npy", "--recipe", "out.npy.recipe.json"]) == 0
    np.testing.assert_array_equal(np.load("again.npy"), np.load("out.npy"))


def test_options_of_a_run_are_kept_beside_it(image):
    options = ["--spacing", "1", "--unit", "pixel", "--scheme", "auto", "--strict", "--axes", "YX"]
    assert main(["run", "in.ome.tif", "out.npy", "--as", "medpy:niter=3", *options]) == 0
    record = nd.Recipe.load("out.npy.recipe.json")
    assert (record.scheme, record.strict, record.axis_names) == ("auto", True, ("y", "x"))
    assert main(["run", "in.ome.tif", "same.npy", "--as", "medpy:niter=3", "--axes", "YX"]) == 0
    steps = nd.Recipe.load("same.npy.recipe.json").scheme
    assert steps == nd.presets.medpy(image[0], 3, spacing=0.5).scheme
    assert steps.name == "explicit"


def test_batch_measures_each_file_by_itself(image):
    other = 3 * image
    io.write("b.ome.tif", other, Volume(other, "ZYX", SIZES, unit="micrometer"))
    files = ["in.ome.tif", "b.ome.tif", "--output", "out"]
    assert (
        main(["batch", *files, "--as", "itk-curvature:conductance=2", "--name", "{stem}.npy"]) == 0
    )
    records = [nd.Recipe.load(f"out/{stem}.npy.recipe.json").model for stem in ("in", "b")]
    assert records[1].kappa == pytest.approx(3 * records[0].kappa)
    # A changed parameter is another setting: the results are made again.
    more = ["--as", "itk-curvature:conductance=3", "--name", "{stem}.npy", "--resume"]
    assert main(["batch", *files, *more]) == 0
    again = nd.Recipe.load("out/in.npy.recipe.json").model
    assert again.kappa == pytest.approx(1.5 * records[0].kappa)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--as", "gauss"], "--as: There is no filter 'gauss'"),
        (["--as", "medpy:kapa=3"], "--as: medpy has the parameters niter, kappa"),
        (["--as", "medpy:niter=x"], "--as: medpy: niter must be a number"),
        (["--as", "medpy", "--model", "linear"], "--model is already set by --as"),
        (["--as", "medpy", "--auto"], "--auto is already set by --as"),
        (["--as", "medpy", "--time", "2"], "--time is already set by --as"),
        (["--as", "medpy", "--kappa", "2"], "--kappa is already set by --as"),
        (["--as", "medpy", "--recipe", "x.json"], "--recipe is already set by --as"),
        (["--as", "medpy", "--noise", "rician"], "--noise is only used with --auto"),
        (["--as", "opencv"], "smoothed along 3 axes; say which with --axes"),
        (["--as", "diplib:g=exponential", "--axes", "YX"], "cannot hold a function"),
    ],
)
@pytest.mark.parametrize("command", ["run", "batch"])
def test_error_is_one_sentence_before_the_work(image, capsys, command, options, message):
    target = ["out.npy"] if command == "run" else ["--output", "out"]
    assert main([command, "in.ome.tif", *target, *options]) in (2, 3)
    error = capsys.readouterr().err
    assert message in error
    assert not list(Path().rglob("out*.npy")), error


def test_list_of_models_names_every_filter(capsys):
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    for preset in nd.presets.BUILTIN:
        assert f"  {preset.name}:" in listed


def test_sidecar_is_plain(image):
    assert main(["run", "in.ome.tif", "out.npy", "--as", "itk-curvature"]) == 0
    plain = json.loads(Path("out.npy.recipe.json").read_text(encoding="utf-8"))
    assert isinstance(plain["remarks"], list)
    assert plain["model"] == "modified-curvature"
