"""The rules that keep the code readable: layers, file lengths, types, style, and a light import."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "napari_diffusion"
HEAVY = {"PyQt5", "PyQt6", "PySide2", "PySide6", "dask", "magicgui", "napari", "numba", "pyqtgraph", "qtpy", "scipy", "superqt"}


def run(*command):
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def limit(path):
    """Lines that a file may have: compiled loops are unrolled by hand over axes, so kernels may be longer."""
    return 700 if SOURCE / "kernels" in path.parents else 400


def test_imports_point_down():
    # In a process of its own: import-linter switches off every logger of the one it runs in.
    report = run("-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))")
    assert report.returncode == 0, report.stdout + report.stderr


def test_files_are_short():
    files = [*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.py")]
    assert SOURCE / "__init__.py" in files
    assert not {str(path.relative_to(ROOT)): lines(path) for path in files if lines(path) > limit(path)}


def test_model_files_are_short():
    from napari_diffusion import models

    files = {Path(inspect.getsourcefile(model)) for model in models.BUILTIN}
    assert files
    assert not {path.name: lines(path) for path in files if lines(path) > 60}


def test_ruff_is_clean():
    done = run("-m", "ruff", "check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)  # the first run, without a cache, reads NumPy's and napari's types too
def test_mypy_strict_is_clean():
    done = run("-m", "mypy")
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_is_light():
    code = "import json, sys, napari_diffusion; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert "napari_diffusion" in loaded
    assert not loaded & HEAVY
