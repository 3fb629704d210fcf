"""The option ``--noise-region``: the choice is that of Python, and a wrong file is refused."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.io.volume import Volume

SIZES = (0.5, 0.5)
AUTO = ["--model", "linear", "--auto"]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Create an image full of texture and a region without, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image = 100 + 90 * gaussian_filter(rng.normal(size=(96, 100)), 0.7)
    region = np.zeros(image.shape, np.uint8)
    region[:40, :40] = 3
    image[region > 0] = 100
    image = (image + 10 * rng.normal(size=image.shape)).astype(np.float32)
    for name, values in (("in", image), ("place", region)):
        io.write(f"{name}.ome.tif", values, Volume(values, "YX", SIZES, unit="micrometer"))
    return image, region > 0


def test_choice_is_that_of_python(scene, capsys):
    image, region = scene
    assert main(["run", "in.ome.tif", "out.npy", *AUTO, "--noise-region", "place.ome.tif"]) == 0
    said = capsys.readouterr().err
    model, time = nd.suggest(image, nd.Linear(), spacing=SIZES, noise_region=region)
    record = nd.Recipe.load("out.npy.recipe.json")
    assert (record.model, record.time) == (model, time)
    assert f"from {region.sum()} voxels of the noise region" in said
    assert nd.suggest(image, nd.Linear(), spacing=SIZES).time > 1.2 * time


def test_batch_uses_it_for_every_file_and_makes_results_again_when_it_changes(scene):
    files = ["in.ome.tif", "--output", "out", "--name", "{stem}.npy", *AUTO]
    options = ["--noise-region", "place.ome.tif"]
    assert main(["batch", *files, *options]) == 0
    before = Path("out/in.npy").stat().st_mtime_ns
    assert main(["batch", *files, *options, "--resume"]) == 0
    assert Path("out/in.npy").stat().st_mtime_ns == before
    other = np.zeros((96, 100), np.uint8)
    other[:30, :30] = 1
    changed = Volume(other, "YX", SIZES, unit="micrometer")
    io.write("place.ome.tif", other, changed, overwrite=True)
    assert main(["batch", *files, *options, "--resume"]) == 0
    assert Path("out/in.npy").stat().st_mtime_ns != before


def test_wrong_region_is_refused_before_the_work(scene, capsys):
    image, _ = scene
    np.save("empty.npy", np.zeros(image.shape))
    np.save("other.npy", np.ones((5, 5)))
    small = np.zeros(image.shape)
    small[:5, :5] = 1
    np.save("small.npy", small)
    for name, message in (
        ("empty.npy", "the noise region is 0 or NaN everywhere, so nothing would be measured"),
        ("other.npy", "noise region"),
        ("small.npy", "The noise region has 25 voxels that can be used, and 200 are the least"),
        ("missing.npy", "missing.npy"),
    ):
        assert main(["run", "in.ome.tif", "out.npy", *AUTO, "--noise-region", name]) == 2
        assert message in capsys.readouterr().err
    options = ["--model", "linear", "--time", "1", "--noise-region", "place.ome.tif"]
    assert main(["run", "in.ome.tif", "out.npy", *options]) == 2
    assert "--noise-region is only used with --auto" in capsys.readouterr().err
    assert not list(Path().glob("out*"))


def test_constant_region_is_named_and_not_the_image(scene, capsys):
    image, region = scene
    image[region] = 5
    np.save("flat.npy", image)
    np.save("place.npy", region)
    arguments = ["run", "flat.npy", "out.npy", *AUTO, "--noise-region", "place.npy"]
    assert main([*arguments, "--axes", "0,1"]) == 2
    assert "No noise can be measured in the noise region" in capsys.readouterr().err
