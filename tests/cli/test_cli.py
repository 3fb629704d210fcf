"""The command line: the same results as Python, errors of one sentence, no partial output."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from helpers.files import load
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.workflows import file_run

RNG = np.random.default_rng(0)
PERONA_MALIK = ["--model", "perona-malik", "--kappa", "20", "--time", "3"]
LINEAR = ["--model", "linear", "--time", "3"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Create a folder with one small file of each kind, and make it the current folder."""
    monkeypatch.chdir(tmp_path)
    data = RNG.normal(100, 20, (10, 9, 8)).astype(np.int16)
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("mm", "sec")
    header.set_data_dtype(np.int16)
    series = np.stack([data, data[::-1]], axis=-1)
    image = nibabel.Nifti1Image(series, np.diag([2.0, 2.0, 3.0, 1.0]), header)
    nibabel.save(image, "series.nii.gz")
    nibabel.save(image.slicer[..., 0], "brain.nii")
    tifffile.imwrite("pages.tif", data.astype(np.uint8), photometric="minisblack", metadata=None)
    colours = RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    tifffile.imwrite("rgb.tif", colours, photometric="rgb")
    np.save("array.npy", data.astype(np.float32) + 0.25)
    return tmp_path


def test_end_of_a_file_is_no_interruption(folder, monkeypatch, capsys):
    def read(path):
        raise EOFError("Ran out of input")

    monkeypatch.setattr("napari_diffusion.cli.run_file.io.read", read)
    assert main(["run", "brain.nii", "out.nii", *LINEAR]) == 1
    assert "Error: EOFError: Ran out of input" in capsys.readouterr().err


# The result


@pytest.mark.parametrize(
    ("options", "model", "keywords"),
    [
        (PERONA_MALIK, nd.PeronaMalik(kappa=20.0), {"time": 3.0}),
        (
            [*PERONA_MALIK, "--diffusivity", "tukey"],
            nd.PeronaMalik(kappa=20.0, diffusivity="tukey"),
            {"time": 3.0},
        ),
        ([*PERONA_MALIK, "--sigma", "1.5"], nd.PeronaMalik(kappa=20.0, sigma=1.5), {"time": 3.0}),
        (LINEAR, nd.Linear(), {"time": 3.0}),
        (["--model", "linear", "--smoothing-sigma", "2"], nd.Linear(), {"time": 2.0}),
        (
            ["--model", "linear", "--time", "steady", "--fidelity-length", "4"],
            nd.Linear(),
            {"fidelity_length": 4.0},
        ),
        (
            ["--model", "total-variation", "--kappa", "20", "--fidelity-length", "2"],
            nd.TotalVariation(kappa=20.0),
            {"fidelity_length": 2.0},
        ),
        (
            [*LINEAR, "--axes", "YX"],
            nd.Linear(),
            {"time": 3.0, "axes": (1, 0), "spacing": (2.0, 2.0)},
        ),
        ([*LINEAR, "--spacing", "1,2,4"], nd.Linear(), {"time": 3.0, "spacing": (1.0, 2.0, 4.0)}),
        (
            [*PERONA_MALIK, "--strict", "--tolerance", "0.1"],
            nd.PeronaMalik(kappa=20.0),
            {"time": 3.0, "strict": True, "tolerance": 0.1},
        ),
        (
            [*PERONA_MALIK, "--preserve-dtype", "--threads", "1"],
            nd.PeronaMalik(kappa=20.0),
            {"time": 3.0, "preserve_dtype": True},
        ),
    ],
)
def test_result_equals_that_of_python(options, model, keywords, folder):
    assert main(["run", "brain.nii", "out.nii.gz", *options]) == 0
    expected = nd.diffuse(load("brain.nii"), model, **{"spacing": (2.0, 2.0, 3.0)} | keywords)
    result = load("out.nii.gz")
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_fwhm_is_the_width_of_a_filtered_peak(folder):
    peak = np.zeros(401, np.float32)
    peak[200] = 1.0
    np.save("peak.npy", peak)
    assert main(["run", "peak.npy", "out.npy", "--model", "linear", "--fwhm", "40"]) == 0
    above = np.load("out.npy") >= np.load("out.npy").max() / 2
    assert abs(int(above.sum()) - 40) <= 1  # counted in whole pixels


def test_time_points_are_filtered_separately_and_the_log_says_so(folder, capsys):
    assert main(["run", "series.nii.gz", "out.nii", *LINEAR]) == 0
    log = capsys.readouterr().err
    assert "Smooths along X, Y, Z" in log
    assert "T by itself" in log
    result, source = load("out.nii"), load("series.nii.gz")
    for t in range(2):
        expected = nd.diffuse(source[..., t], nd.Linear(), time=3.0, spacing=(2.0, 2.0, 3.0))
        np.testing.assert_array_equal(result[..., t], expected)


def test_result_does_not_depend_on_the_unit_of_the_options(folder):
    assert main(["run", "brain.nii", "mm.nii", *PERONA_MALIK]) == 0
    in_micrometer = ["--model", "perona-malik", "--kappa", "0.02", "--time", "3e6", "--unit", "um"]
    assert main(["run", "brain.nii", "um.nii", *in_micrometer]) == 0
    # The threshold is rounded to float32 in either unit.
    np.testing.assert_allclose(load("um.nii"), load("mm.nii"), rtol=1e-5)


def test_recipe_reproduces_the_result(folder):
    assert main(["run", "brain.nii", "one.nii", *PERONA_MALIK]) == 0
    assert main(["run", "brain.nii", "two.nii", "--recipe", "one.nii.recipe.json"]) == 0
    np.testing.assert_array_equal(load("two.nii"), load("one.nii"))
    recipe = nd.Recipe.load("one.nii.recipe.json")
    assert recipe.model == nd.PeronaMalik(kappa=20.0)
    assert (recipe.time, recipe.unit) == (3.0, "millimeter")
    assert recipe.spacing == (2.0, 2.0, 3.0)


def test_command_of_a_recipe_reproduces_the_result(folder):
    recipe = nd.Recipe(
        nd.PeronaMalik(kappa=0.02, sigma=2000.0), 3e6, unit="micrometer", preserve_dtype=True
    )
    recipe.save("r.json")
    assert main(["run", "brain.nii", "one.nii", "--recipe", "r.json"]) == 0
    assert main(shlex.split(recipe.to_command("brain.nii", "two.nii"))[1:]) == 0
    difference = load("two.nii").astype(int) - load("one.nii")
    # The recipe is converted to mm and the command is not, so that rounding may differ.
    assert abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


def test_auto_equals_suggest(folder):
    automatic = ["--model", "perona-malik", "--auto"]
    assert main(["run", "brain.nii", "out.nii", *automatic]) == 0
    model, duration = nd.suggest(load("brain.nii"), nd.PeronaMalik(), spacing=(2.0, 2.0, 3.0))
    recipe = nd.Recipe.load("out.nii.recipe.json")
    assert (recipe.model, recipe.time) == (model, duration)
    assert main(["run", "brain.nii", "timed.nii", *automatic, "--time", "0.5"]) == 0
    assert nd.Recipe.load("timed.nii.recipe.json").time == 0.5


def test_auto_keeps_given_options(folder, capsys):
    options = ["--model", "perona-malik", "--auto", "--kappa", "7", "--fwhm", "3"]
    assert main(["run", "brain.nii", "out.nii", *options]) == 0
    recipe = nd.Recipe.load("out.nii.recipe.json")
    assert recipe.model.kappa == 7
    assert recipe.time == pytest.approx(nd.time_for_sigma(3 / 2.3548), rel=1e-4)
    log = capsys.readouterr().err
    assert "Noise: Gaussian" in log
    assert "mm²" in log
    assert "kappa = " not in log  # it was not chosen


def test_auto_chooses_the_model(folder, capsys):
    options = ["--auto", "--noise-reduction", "2", "--dry-run"]
    assert main(["run", "brain.nii", "out.nii", *options]) == 0
    suggestion = nd.suggest(load("brain.nii"), spacing=(2.0, 2.0, 3.0), noise_reduction=2.0)
    assert suggestion.model.title in capsys.readouterr().out


def test_auto_takes_aim_and_strength(folder):
    chosen = ["--model", "perona-malik", "--auto", "--aim", "segmentation", "--strength", "-0.5"]
    assert main(["run", "brain.nii", "out.nii", *chosen]) == 0
    options = {"spacing": (2.0, 2.0, 3.0), "aim": "segmentation", "strength": -0.5}
    suggestion = nd.suggest(load("brain.nii"), nd.PeronaMalik(), **options)
    recipe = nd.Recipe.load("out.nii.recipe.json")
    assert (recipe.model, recipe.time) == (suggestion.model, suggestion.time)


def test_auto_uses_shared_files(folder):
    """The choice is the same for a shared file, for its folder, and in another unit."""
    noise = np.random.default_rng(4).normal(size=(24, 20, 18))
    ramp = np.indices(noise.shape).sum(0)
    for name, sigma in (("quiet", 2.0), ("loud", 20.0)):
        header = nibabel.Nifti1Header()
        header.set_xyzt_units("mm")
        Path(name).mkdir()
        image = nibabel.Nifti1Image((3 * ramp + sigma * noise).astype("f4"), np.eye(4), header)
        nibabel.save(image, f"{name}/{name}.nii")
    shares = [[], ["--share", "loud/loud.nii"], ["--share", "loud"]]
    shares += [["--share", "loud", "--unit", "µm"]]
    # A result is no evidence of the noise.
    assert main(["run", "loud/loud.nii", "loud/smooth.nii", *LINEAR]) == 0
    options = ["--model", "linear", "--auto", "--overwrite"]
    times = []
    for share in shares:
        assert main(["run", "quiet/quiet.nii", "out.nii", *options, *share]) == 0
        times.append(nd.Recipe.load("out.nii.recipe.json").in_unit("mm").time)
    assert times[0] < times[1]
    assert times[2] == times[1]
    # The file itself counts once.
    Path("quiet/copy.nii").write_bytes(Path("loud/loud.nii").read_bytes())
    assert main(["run", "quiet/quiet.nii", "out.nii", *options, "--share", "quiet"]) == 0
    assert nd.Recipe.load("out.nii.recipe.json").in_unit("mm").time == times[1]
    assert times[3] == pytest.approx(times[1], rel=1e-4)


def test_colours_are_coupled_by_default(folder):
    assert main(["run", "rgb.tif", "out.tif", *PERONA_MALIK]) == 0
    source = tifffile.imread("rgb.tif")
    expected = nd.diffuse(source, nd.PeronaMalik(kappa=20.0), time=3.0, channel_axis=2)
    np.testing.assert_array_equal(load("out.tif"), expected)


def test_mask_and_labels_may_have_another_axis_order(folder):
    mask = np.zeros((10, 9, 8), np.uint8)
    mask[2:8] = 3
    tifffile.imwrite("mask.ome.tif", mask.T, metadata={"axes": "ZYX"})
    for name, regions in (("mask", mask != 0), ("labels", mask.astype(int))):
        assert main(["run", "brain.nii", f"{name}.nii", *LINEAR, f"--{name}", "mask.ome.tif"]) == 0
        keywords = {"time": 3.0, "spacing": (2.0, 2.0, 3.0), name: regions}
        expected = nd.diffuse(load("brain.nii"), nd.Linear(), **keywords)
        np.testing.assert_array_equal(load(f"{name}.nii"), expected)


def test_options_give_axes_and_voxel_size_to_planes_of_unknown_kind(folder):
    options = ["--axes", "ZYX", "--spacing", "2,.5,.5", "--unit", "µm"]
    assert main(["run", "array.npy", "out.ome.tif", *LINEAR, *options]) == 0
    volume = io.read("out.ome.tif")
    assert (volume.axes, volume.spacing, volume.unit) == ("ZYX", (2.0, 0.5, 0.5), "micrometer")
    expected = nd.diffuse(load("array.npy"), nd.Linear(), time=3.0, spacing=(2.0, 0.5, 0.5))
    np.testing.assert_array_equal(volume.data, expected)


def test_nan_is_refused_or_kept(folder, capsys):
    data = load("array.npy").copy()
    data[1, 2, 3] = np.nan
    np.save("hole.npy", data)
    arguments = ["run", "hole.npy", "out.npy", *LINEAR, "--axes", "ZYX"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.endswith(
        "NaN or infinite at index [1, 2, 3]; use --nan mask to diffuse around it.\n"
    )
    assert main([*arguments, "--nan", "mask"]) == 0
    expected = nd.diffuse(data, nd.Linear(), time=3.0, nan="mask")
    np.testing.assert_array_equal(np.load("out.npy"), expected)
    assert np.isnan(np.load("out.npy")).sum() == 1


# Errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run none.nii out.nii {linear}", "no such file"),
        ("run brain.nii brain.nii {linear}", "own source"),
        ("run brain.nii brain.nii {linear} --overwrite", "own source"),
        ("run brain.nii array.npy {linear}", "array.npy: exists already; use --overwrite"),
        ("run brain.nii out.jpg {linear}", "one such as .nii.gz"),
        ("run brain.nii no/out.nii {linear}", "no/out.nii: cannot be written: the folder"),
        ("run broken.nii out.nii {linear}", "cannot be read as NIfTI"),
        ("run brain.nii out.nii --time 3", "--model linear or perona-malik"),
        ("run brain.nii out.nii --model line --time 3", "no model named 'line'"),
        ("run brain.nii out.nii --model linear", "--time"),
        ("run brain.nii out.nii --model linear --time 3 --fwhm 2", "give one"),
        ("run brain.nii out.nii --model linear --time -3", ">= 0"),
        ("run brain.nii out.nii --model linear --fwhm -3", ">= 0"),
        ("run brain.nii out.nii --model linear --time nan", "finite"),
        ("run brain.nii out.nii --model linear --time much", "not a valid float"),
        ("run brain.nii out.nii {linear} --kappa 4", "no option of the model linear"),
        ("run brain.nii out.nii --model perona-malik --kappa 0 --time 1", "kappa must be > 0"),
        ("run brain.nii out.nii --model perona-malik --diffusivity strong --time 1", "'rational'"),
        ("run brain.nii out.nii --auto --kappa 3", "--model"),
        (
            "run brain.nii out.nii --model perona-malik --kappa 3 --time 1 --noise rician",
            "--auto too",
        ),
        ("run brain.nii out.nii --auto --noise-reduction 2 --time 1", "give one"),
        ("run brain.nii out.nii --auto --noise-reduction 0.5", "> 1"),
        ("run brain.nii out.nii --auto --strength 0.5 --fwhm 2", "give one"),
        ("run brain.nii out.nii --auto --strength 0.5 --noise-reduction 2", "give one"),
        ("run brain.nii out.nii --auto --aim segmentation --time 1", "give one"),
        ("run brain.nii out.nii --auto --aim beauty", "'error', 'segmentation'"),
        ("run brain.nii out.nii --auto --strength 2", "from -1"),
        ("run brain.nii out.nii {linear} --strength 0", "--auto"),
        ("run brain.nii out.nii {linear} --aim error", "--auto"),
        ("run brain.nii out.nii --auto --share empty", "no image"),
        ("run brain.nii out.nii {linear} --unit parrot", "not a unit of length"),
        (
            "run array.npy out.npy {linear} --axes ZYX --unit mm",
            "in pixel cannot be converted to mm; give --spacing",
        ),
        ("run brain.nii out.nii {linear} --unit pixel", "give --spacing"),
        (
            "run brain.nii out.nii {linear} --spacing 1,2",
            "2 voxel sizes were given for 3 smoothed axes; give --spacing",
        ),
        ("run brain.nii out.nii {linear} --spacing 0", "> 0"),
        ("run brain.nii out.nii {linear} --spacing wide", "> 0"),
        ("run brain.nii out.nii {linear} --axes ZYT", "no axis T"),
        ("run brain.nii out.nii {linear} --axes ZZ", "different axes"),
        ("run rgb.tif out.tif {linear} --axes YXS", "without the channel axis"),
        ("run brain.nii out.nii {linear} --channel-axis 7", "no axis 7"),
        (
            "run array.npy out.npy {linear}",
            (
                "array.npy: it does not say what its 10 planes are; give --axes ZYX if they are a "
                "stack, or --axes YX to filter each by itself."
            ),
        ),
        ("run pages.tif out.tif {linear}", "does not say what its 10 planes are"),
        ("run brain.nii out.nii {linear} --labels array.npy", "whole numbers"),
        ("run brain.nii out.nii {linear} --labels rgb.tif", "colour image"),
        ("run brain.nii out.nii {linear} --scheme magic", "magic"),
        ("run brain.nii out.nii {linear} --threads 0", "threads"),
        ("run brain.nii out.nii {linear} --tolerance 0", "tolerance"),
        ("run brain.nii out.nii --recipe none.json", "none.json"),
        ("run brain.nii out.nii --recipe bad.json", "JSON"),
        ("run brain.nii out.nii --recipe plane.json", "say which with --axes"),
        ("run brain.nii out.nii --recipe channels.json", "give --channel-axis"),
        ("run brain.nii out.nii --recipe labels.json", "give --labels or --mask"),
        ("run brain.nii out.nii --recipe pixel.json", "pixel"),
        ("run brain.nii out.nii --recipe plane.json --time 0", "already set by the recipe"),
        ("run brain.nii out.nii {linear} --kapa 3", "--kapa"),
        ("run brain.nii", "Missing argument"),
        ("filter brain.nii out.nii", "filter"),
    ],
)
def test_error_is_one_sentence_and_nothing_is_written(words, message, folder, capsys):
    Path("broken.nii").write_bytes(b"no image")
    Path("empty").mkdir()
    Path("bad.json").write_text("{", encoding="utf-8")
    nd.Recipe(nd.Linear(), 1.0, unit="mm", axes=(0, 1)).save("plane.json")
    nd.Recipe(nd.Linear(), 1.0, unit="mm", channel_axis=0).save("channels.json")
    nd.Recipe(nd.Linear(), 1.0, unit="mm", labels="halves").save("labels.json")
    nd.Recipe(nd.Linear(), 1.0).save("pixel.json")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert main(shlex.split(words.format(linear=shlex.join(LINEAR)))) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert message in lines[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_fault_of_the_program_has_its_own_exit_code(folder, capsys, monkeypatch):
    def fault(*args, **kwargs):
        raise KeyError("oops")

    monkeypatch.setattr(file_run, "run_to_end", fault)
    assert main(["run", "brain.nii", "out.nii", *LINEAR]) == 1
    assert "fault of the program" in capsys.readouterr().err
    with pytest.raises(KeyError):
        main(["run", "brain.nii", "out.nii", *LINEAR, "--debug"])


def test_target_is_checked_before_the_run(folder, monkeypatch):
    monkeypatch.setattr(
        file_run,
        "run_to_end",
        lambda *args, **kwargs: pytest.fail("computed before the target was checked"),
    )
    assert main(["run", "brain.nii", "array.npy", *LINEAR]) == 2


# Other behaviour


def test_dry_run_prints_the_plan_and_writes_nothing(folder, capsys):
    before = sorted(os.listdir())
    assert main(["run", "brain.nii", "out.nii", *PERONA_MALIK, "--dry-run"]) == 0
    log = capsys.readouterr().out
    plan = nd.plan(load("brain.nii"), nd.PeronaMalik(kappa=20.0), time=3.0, spacing=(2.0, 2.0, 3.0))
    assert plan.describe() in log
    assert "kappa 20.0 intensity/mm" in log
    assert sorted(os.listdir()) == before


def test_quiet_run_prints_nothing_and_overwrite_replaces_the_target(folder, capsys):
    Path("out.nii").write_bytes(b"old")
    assert main(["run", "brain.nii", "out.nii", *LINEAR, "--quiet", "--overwrite"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert load("out.nii").dtype == np.float32


def test_progress_bar_reaches_its_end_on_a_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["run", "series.nii.gz", "out.nii", *PERONA_MALIK]) == 0
    assert "100%" in capsys.readouterr().err
    monkeypatch.undo()


def test_command_models_lists_all_parameters(capsys):
    assert main(["models"]) == 0
    log = capsys.readouterr().out
    for model in nd.models.all_models():
        assert model.summary in log
        for parameter in nd.models.parameters(model):
            option = f"--{parameter.name.replace('_', '-')} "
            assert (f"  {parameter.name} " if parameter.is_map else option) in log
            assert parameter.doc in log


def test_help_imports_no_heavy_modules():
    code = (
        "import sys; from napari_diffusion.cli import main; main(['--help']); "
        "assert not {'numpy', 'numba', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("module", ["napari_diffusion", "napari_diffusion.cli"])
@pytest.mark.parametrize(("words", "code"), [(["models"], 0), (["models", "--wrong"], 2)])
def test_module_runs_the_command_line(module, words, code, capsys):
    assert main(words) == code
    expected = capsys.readouterr()
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (code, expected.out, expected.err)


def test_image_without_noise_names_the_options_to_give(tmp_path, capsys):
    np.save(tmp_path / "flat.npy", np.ones((20, 20)))
    assert main(["run", str(tmp_path / "flat.npy"), str(tmp_path / "out.npy"), "--auto"]) == 2
    assert "give --model, its options and --time instead of --auto." in capsys.readouterr().err
