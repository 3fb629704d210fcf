"""Without numba, and with a cache folder that cannot be used."""

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
    told = [[w.category.__name__, str(w.message)] for w in caught]
    compiled = "napari_diffusion.backends.numba.stages" in sys.modules
    print(json.dumps({{"told": told, "compiled": compiled, "sums": [float(r.sum(dtype=float)) for r in results]}}))
"""


def sums(*models):
    image = np.random.default_rng(6).normal(100, 20, (9, 10, 11)).astype("f4")
    return [float(nd.diffuse(image, model, time=1.0).sum(dtype=float)) for model in models]


def test_without_numba_the_reference_runs_with_one_warning():
    models = "[nd.Linear(), nd.PeronaMalik(), nd.PeronaMalik(sigma=1)]"
    done = python(RUN.format(before="sys.modules['numba'] = None", models=models))
    assert [kind for kind, _ in done["told"]] == ["RuntimeWarning"]
    assert "numba" in done["told"][0][1]
    assert not done["compiled"]
    expected = sums(nd.Linear(), nd.PeronaMalik(), nd.PeronaMalik(sigma=1))
    np.testing.assert_allclose(
        done["sums"], expected, rtol=1e-6
    )  # float32 rounding of a sum of 990 values


@pytest.mark.parametrize("where", ["forbidden", "read-only"])
def test_without_a_cache_folder_it_compiles_anew(where, tmp_path):
    """Same results, no warning, nothing written."""
    home = tmp_path / "home"
    home.mkdir()
    blocked = home / "cache"
    environment = {"XDG_CACHE_HOME": str(blocked), "HOME": str(home), "LOCALAPPDATA": str(blocked)}
    if where == "forbidden":
        environment["NAPARI_DIFFUSION_NO_CACHE"] = "1"
        blocked.mkdir()
    else:
        blocked.mkdir(0o555)
        if os.access(blocked, os.W_OK):
            # root may write anywhere but below a file
            blocked.chmod(0o755)
            (blocked / "napari-diffusion").write_text("not a folder")
    before = sorted(str(path) for path in home.rglob("*"))
    done = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    assert done["told"] == []
    assert done["compiled"]
    np.testing.assert_allclose(done["sums"], sums(nd.Linear()), rtol=1e-6)
    if sys.platform != "darwin":  # its cache folder is found by other means
        assert sorted(str(path) for path in home.rglob("*")) == before


def test_a_filter_leaves_the_linear_algebra_of_scipy_alone():
    """numba would load it, for as long as all the rest of its start; what it then says about SciPy to others must not change."""
    found = python("""
        import json, sys
        import numpy as np
        import napari_diffusion as nd
        nd.diffuse(np.eye(9, dtype="f4"), nd.PeronaMalik(), time=1.0)
        loaded = "scipy.linalg" in sys.modules
        from numba.np import arraymath, linalg
        print(json.dumps([loaded, arraymath._HAVE_BLAS, linalg.ensure_blas.__module__]))
    """)
    assert found == [False, True, "numba.np.linalg"]


def test_the_cache_is_used_by_the_next_process(tmp_path):
    environment = {
        "XDG_CACHE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "LOCALAPPDATA": str(tmp_path),
    }
    first = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    second = python(RUN.format(before="", models="[nd.Linear()]"), **environment)
    assert files
    assert all(
        re.search(r"-numba-\d", str(path)) for path in files
    )  # machine code of another compiler is never found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == files
    assert first == second


def test_two_processes_do_not_mix_up_their_machine_code(tmp_path):
    """Both save the same kernel for other types; the second has read the index before the first wrote it."""
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
        def late(self, name, data):
            if other and "_diffusivity" in name:
                os.unlink(self._index_path)
                subprocess.run([sys.executable, "-c", os.environ["CODE"], *other], check=True, stdout=subprocess.DEVNULL)
            save(self, name, data)
        IndexDataCacheFile._save_data = late
        q = np.linspace(0, 4, 5).astype(dtype)
        stages.diffusivity(1, q)
        print(json.dumps(q.tolist()))
    """
    code = textwrap.dedent(code)
    python(code, "f4", "f8", CODE=code, **environment)
    np.testing.assert_allclose(
        python(code, "f8", CODE=code, **environment),
        python(code, "f4", CODE=code, **environment),
        rtol=1e-6,
    )
