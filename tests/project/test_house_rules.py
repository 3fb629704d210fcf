"""The rules that keep the code readable: layers, lengths, names, format, types, light import."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from napari_diffusion import models

SOURCE = ROOT / "src" / "napari_diffusion"
KERNELS = SOURCE / "backends"
#: Signatures for editors and notebooks, which are flat on purpose.
FLAT_SIGNATURES = {SOURCE / "api.py": None, SOURCE / "models" / "base.py": {"param"}}
#: One file per entry: these folders grow with every model and format.
REGISTRIES = {SOURCE / "models", SOURCE / "io"}
#: Identifiers that leave a reader with the question "what?".
VAGUE = {"told", "found", "wanted", "here", "there", "few", "most", "much"}
HEAVY = {
    "PyQt5",
    "PyQt6",
    "PySide2",
    "PySide6",
    "dask",
    "magicgui",
    "napari",
    "numba",
    "pyqtgraph",
    "qtpy",
    "scipy",
    "superqt",
}


def run(*command):
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def source_files():
    files = sorted(SOURCE.rglob("*.py"))
    assert SOURCE / "__init__.py" in files
    return files


def python_files():
    others = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.py"), *ROOT.glob("*.py")]
    return source_files() + sorted(others)


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def body_lines(function):
    """Lines of a function's body without its docstring."""
    body = function.body[ast.get_docstring(function) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def parameters(function):
    every = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def name_of(path):
    return str(path.relative_to(ROOT))


def test_imports_point_down():
    # In a process of its own: import-linter switches off every logger of the one it runs in.
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    report = run("-c", code)
    assert report.returncode == 0, report.stdout + report.stderr


def test_files_are_short():
    """At most 500 lines, and 800 for kernels, whose loops are unrolled by hand over axes."""
    limit = {path: 800 if KERNELS in path.parents else 500 for path in python_files()}
    assert not {name_of(path): lines(path) for path in limit if lines(path) > limit[path]}


def test_model_files_are_short():
    files = {Path(inspect.getsourcefile(model)) for model in models.BUILTIN}
    assert files
    assert not {path.name: lines(path) for path in files if lines(path) > 90}


def test_functions_are_short():
    """At most 60 lines without the docstring; kernels are excepted."""
    long = {
        f"{name_of(path)}:{function.name}": body_lines(function)
        for path in source_files()
        if KERNELS not in path.parents
        for function in functions(path)
        if body_lines(function) > 60
    }
    assert not long


def test_functions_have_few_parameters():
    """At most 8; flat public signatures and kernels are excepted."""
    wide = {
        f"{name_of(path)}:{function.name}": len(parameters(function))
        for path in source_files()
        if KERNELS not in path.parents
        for function in functions(path)
        if len(parameters(function)) > 8
        and not (
            path in FLAT_SIGNATURES
            and (FLAT_SIGNATURES[path] is None or function.name in FLAT_SIGNATURES[path])
        )
    }
    assert not wide


def test_folders_are_small():
    """At most 14 files; registries with one file per entry are excepted."""
    counts = {}
    for folder in {path.parent for path in source_files()} - REGISTRIES:
        counts[name_of(folder)] = len(list(folder.glob("*.py")))
    assert not {folder: count for folder, count in counts.items() if count > 14}


def identifiers(path):
    """Names that a file defines: variables, functions, classes, arguments, attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.split(".")[-1]


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_names_say_of_what(path):
    assert not VAGUE & {name.strip("_").lower() for name in identifiers(path)}


def test_ruff_is_clean():
    done = run("-m", "ruff", "check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_has_formatted_everything():
    done = run("-m", "ruff", "format", "--check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)  # the first run, without a cache, reads NumPy's and napari's types too
def test_mypy_strict_is_clean():
    done = run("-m", "mypy")
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_is_light():
    done = run("-c", "import sys, napari_diffusion; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "napari_diffusion" in loaded
    assert not loaded & HEAVY
