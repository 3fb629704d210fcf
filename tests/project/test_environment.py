"""Filters without numba, with a damaged or unusable cache, and with that of several processes."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.processes import python

RUN = """
    import json, sys, warnings
    {before}
    import numpy as np
    import napari_diffusion as nd
    image = np.random.default_rng(6).normal(100, 20, (9, 10, 11)).astype("f4")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [nd.diffuse(image, model, time=1.0) for model in {models}]
    print(json.dumps({{
        "warnings": [[w.category.__name__, str(w.message)] for w in caught],
        "compiled": "napari_diffusion.backends.numba.jit" in sys.modules,
        "sums": [float(r.sum(dtype=float)) for r in results],
    }}))
"""

#: Compile or load one kernel for a data type.
COMPILE_ONE = """
    import json, sys
    import numpy as np
    from napari_diffusion.backends.numba import stages
    q = np.linspace(0, 4, 5).astype(sys.argv[1])
    stages.diffusivity(1, q)
    print(json.dumps([stages._diffusivity.stats.cache_hits != {}, q.tolist()]))
"""


def environment_in(folder):
    """Return the variables that put the cache into a folder."""
    return dict.fromkeys(("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"), str(folder))


def sums(*models):
    image = np.random.default_rng(6).normal(100, 20, (9, 10, 11)).astype("f4")
    return [float(nd.diffuse(image, model, time=1.0).sum(dtype=float)) for model in models]


def test_reference_backend_runs_without_numba_and_warns_once():
    models = "[nd.Linear(), nd.PeronaMalik(), nd.PeronaMalik(sigma=1)]"
    report = python(RUN.format(before="sys.modules['numba'] = None", models=models))
    ((category, message),) = report["warnings"]
    assert category == "RuntimeWarning"
    assert "numba" in message
    assert not report["compiled"]
    expected = sums(nd.Linear(), nd.PeronaMalik(), nd.PeronaMalik(sigma=1))
    # float32 rounding of a sum of 990 values
    np.testing.assert_allclose(report["sums"], expected, rtol=1e-6)


@pytest.mark.parametrize("cache", ["disabled", "read-only"])
def test_kernels_compile_without_a_cache_folder(cache, tmp_path):
    """Results are the same, without a warning, and nothing is written."""
    home = tmp_path / "home"
    home.mkdir()
    blocked = home / "cache"
    environment = {"XDG_CACHE_HOME": str(blocked), "HOME": str(home), "LOCALAPPDATA": str(blocked)}
    if cache == "disabled":
        environment["NAPARI_DIFFUSION_NO_CACHE"] = "1"
        blocked.mkdir()
    else:
        blocked.mkdir(0o555)
        if os.access(blocked, os.W_OK):
            # Root can write everywhere except below a file.
            blocked.chmod(0o755)
            (blocked / "napari-diffusion").write_text("not a folder")
    before = sorted(str(path) for path in home.rglob("*"))
    report = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    assert report["warnings"] == []
    assert report["compiled"]
    np.testing.assert_allclose(report["sums"], sums(nd.Linear()), rtol=1e-6)
    if sys.platform != "darwin":  # macOS ignores these environment variables
        assert sorted(str(path) for path in home.rglob("*")) == before


def test_filter_does_not_import_scipy_linalg():
    """numba would import it, which doubles its start-up time.

    The answers of numba about SciPy to other code must not change.
    """
    report = python("""
        import json, sys
        import numpy as np
        import napari_diffusion as nd
        nd.diffuse(np.eye(9, dtype="f4"), nd.PeronaMalik(), time=1.0)
        loaded = "scipy.linalg" in sys.modules
        from numba.np import arraymath, linalg
        print(json.dumps([loaded, arraymath._HAVE_BLAS, linalg.ensure_blas.__module__]))
    """)
    assert report == [False, True, "numba.np.linalg"]


def test_next_process_uses_the_cache(tmp_path):
    environment = environment_in(tmp_path)
    first = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    second = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    assert files
    # The path names the compiler, so that machine code of another one is never loaded.
    assert all(re.search(r"-numba-\d", str(path)) for path in files)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == files
    assert first == second


def test_eight_processes_do_not_mix_up_their_machine_code(tmp_path):
    """They compile the same kernel for two types at the same moment, with an empty cache."""
    own = environment_in(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda i: python(COMPILE_ONE, f"f{4 + 4 * (i % 2)}", **own), range(8))
        )
    assert not list(tmp_path.rglob("*.tmp"))
    later = [python(COMPILE_ONE, dtype, **own) for dtype in ("f4", "f8")]
    assert [is_loaded for is_loaded, _ in later] == [True, True]
    for _, values in together + later:
        np.testing.assert_allclose(values, 1 / (1 + np.linspace(0, 4, 5)), rtol=1e-6)


def command_line(folder, **environment):
    """Filter a small file in a process of its own; return exit code, standard error, result."""
    source, target = folder / "image.npy", folder / "result.npy"
    np.save(source, np.random.default_rng(6).normal(100, 20, (9, 10, 11)).astype("f4"))
    words = ["run", source, target, "--model", "linear", "--time", "1", "--scheme", "explicit"]
    words += ["--axes", "ZYX", "--spacing", "1", "--overwrite"]
    before = environment.pop("before", "")
    code = (
        f"{before}\nimport sys\nfrom napari_diffusion.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    return done.returncode, done.stderr, np.load(target) if target.exists() else None


def test_cache_that_a_power_cut_has_emptied_is_filled_again(tmp_path):
    own = environment_in(tmp_path)
    _, _, expected = command_line(tmp_path, **own)
    files = [path for path in tmp_path.rglob("*.nb?") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"")
    code, notes, result = command_line(tmp_path, **own)
    assert code == 0, notes
    assert "Note" not in notes
    np.testing.assert_array_equal(result, expected)
    assert all(path.stat().st_size > 1000 for path in files)


#: A disk that is full for kernels; the result is on another one.
FULL_DISK = """
import errno, os
replace = os.replace
def fail(source, target):
    if str(target).endswith(".nbc"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    replace(source, target)
os.replace = fail
"""
#: Files of at most 8000 bytes, as after the command ulimit -f. Python would cut off the bytecode of
#: its modules without an error, and later processes could not import them.
SMALL_FILES = """
import resource, sys
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
"""


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (FULL_DISK, "No space left on device"),
        pytest.param(
            SMALL_FILES,
            "File too large",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit"),
        ),
    ],
    ids=["full disk", "small files"],
)
def test_command_line_runs_without_a_cache_and_says_so_once(before, reason, tmp_path):
    code, notes, result = command_line(tmp_path, before=before, **environment_in(tmp_path))
    assert code == 0, notes
    assert result is not None
    (note,) = [line for line in notes.splitlines() if line.startswith("Note")]
    assert reason in note
    assert str(tmp_path) in note
    assert "NUMBA_CACHE_DIR" in note
    assert not [path for path in tmp_path.rglob("*.nbc") if path.is_file()]


@pytest.mark.skipif(os.name == "nt", reason="a user of Windows has a folder")
def test_user_without_a_home_gets_no_folder_of_an_odd_name(tmp_path):
    """A container may run as a user whom the system does not know."""
    code = """
        import json, logging, os, pwd
        import numpy as np
        for name in ("HOME", "XDG_CACHE_HOME"):
            os.environ.pop(name, None)
        pwd.getpwuid = {}.__getitem__
        os.chdir(os.environ["FOLDER"])
        notes = []
        handler = logging.Handler()
        handler.emit = lambda record: notes.append(record.getMessage())
        logging.getLogger("napari_diffusion").addHandler(handler)
        from napari_diffusion.backends.numba import jit, stages
        q = np.zeros(3, "f4")
        stages.diffusivity(1, q)
        print(json.dumps([q.tolist(), notes, jit.completion_mark("kind") is None]))
    """
    values, (note,), has_no_mark = python(code, FOLDER=str(tmp_path))
    assert values == [1, 1, 1]
    assert "this user has no home" in note
    assert has_no_mark
    assert list(tmp_path.iterdir()) == []


def test_user_chooses_the_folder_of_the_cache(tmp_path):
    chosen = tmp_path / "chosen"
    own = environment_in(tmp_path / "home") | {"NUMBA_CACHE_DIR": str(chosen)}
    python(COMPILE_ONE, "f4", **own)
    assert [path for path in chosen.rglob("*.nbc") if path.is_file()]
    assert not list((tmp_path / "home").rglob("*.nbc"))


@pytest.mark.parametrize("way", ["variable", "file", "setting"])
def test_every_model_runs_while_the_compiler_of_numba_is_switched_off(way, tmp_path):
    """The NumPy kernels run, and a warning says so; numba's own would take hours in Python."""
    before = "import os, numba; numba.config.DISABLE_JIT = 1" if way == "setting" else ""
    if way == "file":
        pytest.importorskip("yaml")
        before = f"import os; os.chdir({str(tmp_path)!r})"
        (tmp_path / ".numba_config.yaml").write_text("disable_jit: 1\n")
    code = RUN.format(before=before, models="[model() for model in nd.models.all_models()]")
    own = {"NUMBA_DISABLE_JIT": "1"} if way == "variable" else {}
    report = python(code, **own)
    ((category, message),) = report["warnings"]
    assert category == "RuntimeWarning"
    assert "NUMBA_DISABLE_JIT" in message
    assert not report["compiled"]
    image = np.random.default_rng(6).normal(100, 20, (9, 10, 11)).astype("f4")
    expected = [
        float(nd.diffuse(image, model(), time=1.0, backend="reference").sum(dtype=float))
        for model in nd.models.all_models()
    ]
    assert report["sums"] == expected


def test_settings_of_numba_do_not_change_the_result(tmp_path):
    settings = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_THREADING_LAYER": "none such",
        "NUMBA_NUM_THREADS": "1",
        "NUMBA_CACHE_LOCATOR_CLASSES": "none.such",
        "NUMBA_DISABLE_JIT": "0",
        "NUMBA_OPT": "1",
    }
    own = environment_in(tmp_path) | settings
    report = python(RUN.format(before="", models="[nd.Linear()]"), **own)
    assert report["warnings"] == []
    assert report["compiled"]
    np.testing.assert_allclose(report["sums"], sums(nd.Linear()), rtol=1e-6)
