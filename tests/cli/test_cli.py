"""The command line: the same bits as Python, one sentence for every mistake, and nothing half-done."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from helpers.paths import ROOT
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.cli.signals import Stop
from napari_diffusion.workflows import file_run

RNG = np.random.default_rng(0)
PERONA_MALIK = ["--model", "perona-malik", "--kappa", "20", "--time", "3"]
LINEAR = ["--model", "linear", "--time", "3"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder with one small file of each kind."""
    monkeypatch.chdir(tmp_path)
    data = RNG.normal(100, 20, (10, 9, 8)).astype(np.int16)
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("mm", "sec")
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(
        np.stack([data, data[::-1]], axis=-1), np.diag([2.0, 2.0, 3.0, 1.0]), header
    )
    nibabel.save(image, "series.nii.gz")
    nibabel.save(image.slicer[..., 0], "brain.nii")
    tifffile.imwrite("pages.tif", data.astype(np.uint8), photometric="minisblack", metadata=None)
    tifffile.imwrite(
        "rgb.tif", RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8), photometric="rgb"
    )
    np.save("array.npy", data.astype(np.float32) + 0.25)
    return tmp_path


def load(path):
    return np.asarray(io.read(path).data)


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
def test_file_gets_what_python_computes(options, model, keywords, folder):
    assert main(["run", "brain.nii", "out.nii.gz", *options]) == 0
    expected = nd.diffuse(load("brain.nii"), model, **{"spacing": (2.0, 2.0, 3.0)} | keywords)
    result = load("out.nii.gz")
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_width_at_half_maximum_is_what_it_says(folder):
    peak = np.zeros(401, np.float32)
    peak[200] = 1.0
    np.save("peak.npy", peak)
    assert main(["run", "peak.npy", "out.npy", "--model", "linear", "--fwhm", "40"]) == 0
    above = np.load("out.npy") >= np.load("out.npy").max() / 2
    assert abs(int(above.sum()) - 40) <= 1  # counted in whole pixels


def test_time_points_stay_apart_and_the_program_says_so(folder, capsys):
    assert main(["run", "series.nii.gz", "out.nii", *LINEAR]) == 0
    told = capsys.readouterr().err
    assert "Smooths along X, Y, Z" in told
    assert "T by itself" in told
    result, source = load("out.nii"), load("series.nii.gz")
    for t in range(2):
        np.testing.assert_array_equal(
            result[..., t],
            nd.diffuse(source[..., t], nd.Linear(), time=3.0, spacing=(2.0, 2.0, 3.0)),
        )


def test_unit_of_the_options_does_not_change_the_picture(folder):
    assert main(["run", "brain.nii", "mm.nii", *PERONA_MALIK]) == 0
    assert (
        main(
            [
                "run",
                "brain.nii",
                "um.nii",
                "--model",
                "perona-malik",
                "--kappa",
                "0.02",
                "--time",
                "3e6",
                "--unit",
                "um",
            ]
        )
        == 0
    )
    np.testing.assert_allclose(
        load("um.nii"), load("mm.nii"), rtol=1e-5
    )  # the threshold is rounded to float32 in either unit


def test_recipe_makes_the_same_file_again(folder):
    assert main(["run", "brain.nii", "one.nii", *PERONA_MALIK]) == 0
    assert main(["run", "brain.nii", "two.nii", "--recipe", "one.nii.recipe.json"]) == 0
    np.testing.assert_array_equal(load("two.nii"), load("one.nii"))
    recipe = nd.Recipe.load("one.nii.recipe.json")
    assert (recipe.model, recipe.time, recipe.unit) == (
        nd.PeronaMalik(kappa=20.0),
        3.0,
        "millimeter",
    )
    assert recipe.spacing == (2.0, 2.0, 3.0)


def test_command_of_a_recipe_makes_the_same_file(folder):
    recipe = nd.Recipe(
        nd.PeronaMalik(kappa=0.02, sigma=2000.0), 3e6, unit="micrometer", preserve_dtype=True
    )
    recipe.save("r.json")
    assert main(["run", "brain.nii", "one.nii", "--recipe", "r.json"]) == 0
    assert main(shlex.split(recipe.to_command("brain.nii", "two.nii"))[1:]) == 0
    difference = load("two.nii").astype(int) - load("one.nii")
    assert (
        abs(difference).max() <= 1
    )  # the recipe is converted to mm, the command is not: rounding may tip
    assert (difference != 0).mean() < 0.01


def test_auto_is_what_suggest_says(folder):
    assert main(["run", "brain.nii", "out.nii", "--model", "perona-malik", "--auto"]) == 0
    model, duration = nd.suggest(load("brain.nii"), nd.PeronaMalik(), spacing=(2.0, 2.0, 3.0))
    recipe = nd.Recipe.load("out.nii.recipe.json")
    assert (recipe.model, recipe.time) == (model, duration)
    assert (
        main(
            ["run", "brain.nii", "timed.nii", "--model", "perona-malik", "--auto", "--time", "0.5"]
        )
        == 0
    )
    assert nd.Recipe.load("timed.nii.recipe.json").time == 0.5


def test_auto_leaves_what_is_given(folder, capsys):
    assert (
        main(
            [
                "run",
                "brain.nii",
                "out.nii",
                "--model",
                "perona-malik",
                "--auto",
                "--kappa",
                "7",
                "--fwhm",
                "3",
            ]
        )
        == 0
    )
    recipe = nd.Recipe.load("out.nii.recipe.json")
    assert recipe.model.kappa == 7
    assert recipe.time == pytest.approx(nd.time_for_sigma(3 / 2.3548), rel=1e-4)
    told = capsys.readouterr().err
    assert "Noise: Gaussian" in told
    assert "mm²" in told
    assert "kappa = " not in told  # it was not chosen


def test_auto_chooses_the_model(folder, capsys):
    assert (
        main(["run", "brain.nii", "out.nii", "--auto", "--noise-reduction", "2", "--dry-run"]) == 0
    )
    found = nd.suggest(load("brain.nii"), spacing=(2.0, 2.0, 3.0), noise_reduction=2.0)
    assert found.model.title in capsys.readouterr().out


def test_auto_is_shared(folder):
    """With another file, or with the folder that holds it, in any unit: what both get together."""
    noise = np.random.default_rng(4).normal(size=(24, 20, 18))
    ramp = np.indices(noise.shape).sum(0)
    for name, sigma in (("quiet", 2.0), ("loud", 20.0)):
        header = nibabel.Nifti1Header()
        header.set_xyzt_units("mm")
        Path(name).mkdir()
        nibabel.save(
            nibabel.Nifti1Image((3 * ramp + sigma * noise).astype("f4"), np.eye(4), header),
            f"{name}/{name}.nii",
        )
    times = []
    for shared in (
        [],
        ["--share", "loud/loud.nii"],
        ["--share", "loud"],
        ["--share", "loud", "--unit", "µm"],
    ):
        assert (
            main(
                [
                    "run",
                    "quiet/quiet.nii",
                    "out.nii",
                    "--model",
                    "linear",
                    "--auto",
                    "--overwrite",
                    *shared,
                ]
            )
            == 0
        )
        times.append(nd.Recipe.load("out.nii.recipe.json").in_unit("mm").time)
    assert times[0] < times[1]
    assert times[2] == times[1]
    assert times[3] == pytest.approx(times[1], rel=1e-4)


def test_colours_are_coupled_by_default(folder):
    assert main(["run", "rgb.tif", "out.tif", *PERONA_MALIK]) == 0
    source = tifffile.imread("rgb.tif")
    np.testing.assert_array_equal(
        load("out.tif"), nd.diffuse(source, nd.PeronaMalik(kappa=20.0), time=3.0, channel_axis=2)
    )


def test_mask_and_labels_in_another_axis_order(folder):
    mask = np.zeros((10, 9, 8), np.uint8)
    mask[2:8] = 3
    tifffile.imwrite("mask.ome.tif", mask.T, metadata={"axes": "ZYX"})
    for name, expected in (("mask", mask != 0), ("labels", mask.astype(int))):
        assert main(["run", "brain.nii", f"{name}.nii", *LINEAR, f"--{name}", "mask.ome.tif"]) == 0
        np.testing.assert_array_equal(
            load(f"{name}.nii"),
            nd.diffuse(
                load("brain.nii"),
                nd.Linear(),
                time=3.0,
                spacing=(2.0, 2.0, 3.0),
                **{name: expected},
            ),
        )


def test_stack_of_unknown_planes_gets_its_meaning_from_the_user(folder):
    assert (
        main(
            [
                "run",
                "array.npy",
                "out.ome.tif",
                *LINEAR,
                "--axes",
                "ZYX",
                "--spacing",
                "2,.5,.5",
                "--unit",
                "µm",
            ]
        )
        == 0
    )
    volume = io.read("out.ome.tif")
    assert (volume.axes, volume.spacing, volume.unit) == ("ZYX", (2.0, 0.5, 0.5), "micrometer")
    np.testing.assert_array_equal(
        volume.data, nd.diffuse(load("array.npy"), nd.Linear(), time=3.0, spacing=(2.0, 0.5, 0.5))
    )


def test_nan_is_refused_or_kept(folder, capsys):
    data = load("array.npy").copy()
    data[1, 2, 3] = np.nan
    np.save("hole.npy", data)
    arguments = ["run", "hole.npy", "out.npy", *LINEAR, "--axes", "ZYX"]
    assert main(arguments) == 2
    assert "NaN" in capsys.readouterr().err
    assert main([*arguments, "--nan", "mask"]) == 0
    np.testing.assert_array_equal(
        np.load("out.npy"), nd.diffuse(data, nd.Linear(), time=3.0, nan="mask")
    )
    assert np.isnan(np.load("out.npy")).sum() == 1


# Mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run none.nii out.nii {linear}", "no such file"),
        ("run brain.nii brain.nii {linear}", "own source"),
        ("run brain.nii brain.nii {linear} --overwrite", "own source"),
        ("run brain.nii array.npy {linear}", "exists already"),
        ("run brain.nii out.jpg {linear}", "one of .nii.gz"),
        ("run brain.nii no/out.nii {linear}", "does not exist"),
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
        ("run brain.nii out.nii --auto --share empty", "no image"),
        ("run brain.nii out.nii {linear} --unit furlong", "not a unit of length"),
        ("run array.npy out.npy {linear} --axes ZYX --unit mm", "give --spacing"),
        ("run brain.nii out.nii {linear} --unit pixel", "give --spacing"),
        ("run brain.nii out.nii {linear} --spacing 1,2", "or 3 with commas"),
        ("run brain.nii out.nii {linear} --spacing 0", "> 0"),
        ("run brain.nii out.nii {linear} --spacing wide", "> 0"),
        ("run brain.nii out.nii {linear} --axes ZYT", "no axis T"),
        ("run brain.nii out.nii {linear} --axes ZZ", "different axes"),
        ("run rgb.tif out.tif {linear} --axes YXS", "without the channel axis"),
        ("run brain.nii out.nii {linear} --channel-axis 7", "no axis 7"),
        ("run array.npy out.npy {linear}", "does not say what its 10 planes are"),
        ("run pages.tif out.tif {linear}", "does not say what its 10 planes are"),
        ("run brain.nii out.nii {linear} --mask array.npy", "whole numbers"),
        ("run brain.nii out.nii {linear} --labels rgb.tif", "shape"),
        ("run brain.nii out.nii {linear} --scheme magic", "magic"),
        ("run brain.nii out.nii {linear} --threads 0", "threads"),
        ("run brain.nii out.nii {linear} --tolerance 0", "tolerance"),
        ("run brain.nii out.nii --recipe none.json", "none.json"),
        ("run brain.nii out.nii --recipe bad.json", "JSON"),
        ("run brain.nii out.nii --recipe plane.json", "say which with --axes"),
        ("run brain.nii out.nii --recipe channels.json", "--channel-axis"),
        ("run brain.nii out.nii --recipe pixel.json", "pixel"),
        ("run brain.nii out.nii --recipe plane.json --time 0", "already said by the recipe"),
        ("run brain.nii out.nii {linear} --kapa 3", "--kapa"),
        ("run brain.nii", "Missing argument"),
        ("filter brain.nii out.nii", "filter"),
    ],
)
def test_mistake_is_one_sentence_and_writes_nothing(words, said, folder, capsys):
    Path("broken.nii").write_bytes(b"no image")
    Path("empty").mkdir()
    Path("bad.json").write_text("{", encoding="utf-8")
    nd.Recipe(nd.Linear(), 1.0, unit="mm", axes=(0, 1)).save("plane.json")
    nd.Recipe(nd.Linear(), 1.0, unit="mm", channel_axis=0).save("channels.json")
    nd.Recipe(nd.Linear(), 1.0).save("pixel.json")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert main(shlex.split(words.format(linear=shlex.join(LINEAR)))) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert said in lines[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_fault_of_the_program_is_told_apart(folder, capsys, monkeypatch):
    def fault(*args, **kwargs):
        raise KeyError("oops")

    monkeypatch.setattr(file_run.Request, "result", fault)
    assert main(["run", "brain.nii", "out.nii", *LINEAR]) == 1
    assert "fault of the program" in capsys.readouterr().err
    with pytest.raises(KeyError):
        main(["run", "brain.nii", "out.nii", *LINEAR, "--debug"])


def test_everything_is_checked_before_computing(folder, monkeypatch):
    monkeypatch.setattr(
        file_run.Request,
        "result",
        lambda *args, **kwargs: pytest.fail("computed before the target was checked"),
    )
    assert main(["run", "brain.nii", "array.npy", *LINEAR]) == 2


# Behaviour


def test_dry_run_says_the_plan_and_does_nothing(folder, capsys):
    before = sorted(os.listdir())
    assert main(["run", "brain.nii", "out.nii", *PERONA_MALIK, "--dry-run"]) == 0
    told = capsys.readouterr().out
    plan = nd.plan(load("brain.nii"), nd.PeronaMalik(kappa=20.0), time=3.0, spacing=(2.0, 2.0, 3.0))
    assert plan.describe() in told
    assert "kappa 20.0 intensity/mm" in told
    assert sorted(os.listdir()) == before


def test_quiet_is_quiet_and_overwrite_overwrites(folder, capsys):
    Path("out.nii").write_bytes(b"old")
    assert main(["run", "brain.nii", "out.nii", *LINEAR, "--quiet", "--overwrite"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert load("out.nii").dtype == np.float32


def test_bar_is_drawn_to_its_end_on_a_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["run", "series.nii.gz", "out.nii", *PERONA_MALIK]) == 0
    assert "100%" in capsys.readouterr().err
    monkeypatch.undo()


def test_models_lists_every_parameter(capsys):
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    for model in nd.models.all_models():
        assert model.summary in told
        for parameter in nd.models.parameters(model):
            assert f"--{parameter.name.replace('_', '-')} " in told
            assert parameter.doc in told


def test_help_needs_none_of_the_heavy_modules():
    code = "import sys; from napari_diffusion.cli import main; main(['--help']); assert not {'numpy', 'numba', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("compiled", [True, False])
def test_interrupt_leaves_nothing_behind(number, code, compiled, folder, tmp_path_factory):
    """While kernels are compiled, an exception would be swallowed or hang: the run ends right after."""
    np.save("large.npy", np.zeros((64, 256, 256), np.float32))
    before = sorted(os.listdir())
    command = [
        sys.executable,
        "-m",
        "napari_diffusion.cli",
        "run",
        "large.npy",
        "out.npy",
        "--axes",
        "ZYX",
    ]
    command += ["--model", "perona-malik", "--time", "2000", "--scheme", "explicit"]
    env = (
        os.environ
        if compiled
        else {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    )
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        lines = [
            process.stderr.readline() for _ in range(3)
        ]  # the third says what will be done; then it is
        assert "steps" in lines[2]
        time.sleep(0.3 if compiled else 0.05)
        process.send_signal(number)
        try:
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert rest.strip() == "Cancelled; nothing was written."
    assert sorted(os.listdir()) == before


def test_a_signal_waits_while_it_may_not_interrupt():
    def interrupted(stop, *numbers):
        with stop.waiting():
            for number in numbers:
                stop(number, None)
            reached.append(number)

    reached = []
    with pytest.raises(KeyboardInterrupt):
        Stop()(signal.SIGINT, None)
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        interrupted(stop, signal.SIGTERM)
    assert reached == [signal.SIGTERM]
    assert stop.event.is_set()
    assert stop.number == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):  # whoever insists is not made to wait
        interrupted(Stop(), signal.SIGINT, signal.SIGINT)
    assert reached == [signal.SIGTERM]


def test_every_documented_command_runs(folder):
    text = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    commands = [
        line
        for block in re.findall(r"```\n(.*?)```", text, flags=re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) >= 8
    for line in commands:
        program, *words = shlex.split(line)
        if program == "cp":
            shutil.copy(*words)
            labels = np.zeros((128, 96, 24), np.uint8)
            labels[:64] = 1
            nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), "demo/labels.nii.gz")
            continue
        assert program == "napari-diffusion"
        assert main(words) == 0, line
    np.testing.assert_array_equal(load("again.nii.gz"), load("smooth.nii.gz"))
