"""Maps of thresholds on the command line: they come from a recipe, and are never dropped."""

from pathlib import Path

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.io.volume import Volume

MODEL = nd.PeronaMalik(kappa=15.0, kappa_map=[[[1.0, 4.0, 0.5]], [[2.0, 0.25, 1.0]]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Create a folder with a recipe and three files, and make it the current folder."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(4).normal(100, 20, (10, 12, 14)).astype(np.float32)
    sizes = (2.0, 0.5, 0.25)
    io.write("zyx.ome.tif", image, Volume(image, "ZYX", sizes, unit="micrometer"))
    io.write("xyz.nii", image.T, Volume(image.T, "XYZ", sizes[::-1], unit="micrometer"))
    io.write("yx.ome.tif", image[0], Volume(image[0], "YX", sizes[1:], unit="micrometer"))
    axes = {"axes": (0, 1, 2), "axis_names": ("z", "y", "x"), "spacing": sizes}
    nd.Recipe(MODEL, 2.0, unit="micrometer", **axes).save("map.json")
    return image, sizes


def test_map_of_a_recipe_acts_on_files_of_any_axis_order(folder):
    image, sizes = folder
    expected = nd.diffuse(image, MODEL, time=2.0, spacing=sizes)
    for name, order in (("zyx.ome.tif", (0, 1, 2)), ("xyz.nii", (2, 1, 0))):
        assert main(["run", name, f"out-{name}", "--recipe", "map.json"]) == 0
        result = np.asarray(io.read(f"out-{name}").data).transpose(order)
        np.testing.assert_allclose(result, expected, atol=1e-3)
        record = nd.Recipe.load(io.sidecar_of(io.read(f"out-{name}").path))
        assert sorted(np.ravel(record.model.kappa_map)) == sorted(np.ravel(MODEL.kappa_map))
    assert np.abs(nd.diffuse(image, nd.PeronaMalik(kappa=15.0), time=2.0) - expected).max() > 1


def test_file_with_another_number_of_axes_is_refused_before_the_work(folder, capsys):
    assert main(["run", "yx.ome.tif", "out.ome.tif", "--recipe", "map.json"]) == 2
    assert "axes" in capsys.readouterr().err
    assert main(["run", "zyx.ome.tif", "out.npy", "--recipe", "map.json", "--axes", "YX"]) == 2
    error = capsys.readouterr().err
    assert "kappa_map has 3 levels of factors and the image is smoothed along 2 axes" in error
    assert not list(Path().glob("out*"))


def test_map_is_no_option_and_the_help_says_where_it_comes_from(folder, capsys):
    options = ["--model", "perona-malik", "--time", "1", "--kappa-map", "1"]
    assert main(["run", "zyx.ome.tif", "out.npy", *options]) == 2
    error = capsys.readouterr().err  # its words differ between releases of click
    assert "No such option" in error
    assert "--kappa-map" in error
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split()[:4] == ["kappa_map", "only", "in", "a"] for line in lines) >= 6
    assert main(["run", "--help"]) == 0
    assert "(kappa_map)" in " ".join(capsys.readouterr().out.split())


def test_recipe_with_a_map_is_not_mixed_with_options_of_the_model(folder, capsys):
    run = ["run", "zyx.ome.tif", "out.npy", "--recipe", "map.json"]
    assert main([*run, "--kappa", "3"]) == 2
    assert "--kappa is already set by the recipe" in capsys.readouterr().err
