"""Filters without numba, without a usable cache folder, and with a cache of several processes."""

import os
import re
import sys
import textwrap

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
    environment = {
        "XDG_CACHE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "LOCALAPPDATA": str(tmp_path),
    }
    first = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    second = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    assert files
    # The path names the compiler, so that machine code of another one is never loaded.
    assert all(re.search(r"-numba-\d", str(path)) for path in files)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == files
    assert first == second


def test_two_processes_do_not_mix_up_their_machine_code(tmp_path):
    """Both save the same kernel for different types.

    The second process has read the index before the first one writes it.
    """
    environment = {
        "XDG_CACHE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "LOCALAPPDATA": str(tmp_path),
    }
    code = """
        import json, os, subprocess, sys
        import numpy as np
        from napari_diffusion.backends.numba import stages
        from numba.core.caching import IndexDataCacheFile
        dtype, *other = sys.argv[1:]
        save = IndexDataCacheFile._save_data
        def save_after_the_other(self, name, data):
            if other and "_diffusivity" in name:
                os.unlink(self._index_path)
                command = [sys.executable, "-c", os.environ["CODE"], *other]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            save(self, name, data)
        IndexDataCacheFile._save_data = save_after_the_other
        q = np.linspace(0, 4, 5).astype(dtype)
        stages.diffusivity(1, q)
        print(json.dumps(q.tolist()))
    """
    code = textwrap.dedent(code)
    python(code, "f4", "f8", CODE=code, **environment)
    double = python(code, "f8", CODE=code, **environment)
    single = python(code, "f4", CODE=code, **environment)
    np.testing.assert_allclose(double, single, rtol=1e-6)
