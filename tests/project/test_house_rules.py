"""The rules that keep the code readable: layers, lengths, names, format, types, light import."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from napari_diffusion import models

SOURCE = ROOT / "src" / "napari_diffusion"
KERNELS = SOURCE / "backends"
CHECKS = SOURCE / "testing"
#: Signatures for editors and notebooks, which are flat on purpose.
FLAT_SIGNATURES = {
    SOURCE / "api" / "filters.py": None,
    SOURCE / "api" / "measurements.py": None,
    SOURCE / "api" / "stores.py": None,
    SOURCE / "presets" / "__init__.py": None,
    SOURCE / "core" / "parameters.py": {"param"},
}
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


def handles_an_error(function):
    """Whether an error is an argument of a function, or is in its name."""
    return any("error" in name for name in (function.name, *parameters(function)))


def is_message(node, names):
    """Whether an expression is a text for the user, or such a text changed by its methods."""
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Attribute):
        owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
        return node.attr.strip("_") in MESSAGES or (owner, node.attr) in SHOWN
    if isinstance(node, ast.BoolOp):
        return any(is_message(value, names) for value in node.values)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        own = is_message(node.func.value, names)
        return own or any(is_message(argument, names) for argument in node.args)
    called = getattr(node.func, "id", "")
    arguments = {getattr(argument, "id", "") for argument in node.args}
    return called in WORDING or (called == "str" and any("error" in name for name in arguments))


def uses_of_messages(tree):
    """Lines that cut a text for the user, replace parts of it, or compare it."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    for function in [node for node in ast.walk(tree) if isinstance(node, kinds)]:
        names = MESSAGES | ({"text"} if handles_an_error(function) else set())
        for node in ast.walk(function):
            operands = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                operands = [node.func.value] if node.func.attr in CUTTING else []
            elif isinstance(node, ast.Compare) and isinstance(node.ops[0], COMPARING):
                operands = [node.left, *node.comparators]
            if any(is_message(operand, names) for operand in operands):
                yield node.lineno


#: Names of texts for the user; `text` is one too where an error is handled.
MESSAGES = {"advice", "description", "details", "message", "reason", "sentence"}
#: Texts on screen, as the last two parts of their names.
SHOWN = {
    (owner, part) for owner in ("plan", "state", "status") for part in ("text", "tooltip", "value")
}
#: Functions that return a text for the user.
WORDING = {"reason_of", "screen_message"}
COMPARING = ast.Eq | ast.NotEq | ast.In | ast.NotIn
#: Methods that replace or cut parts of a text, or compare them.
CUTTING = {
    "endswith",
    "find",
    "index",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rpartition",
    "startswith",
}


@pytest.mark.parametrize(
    "path", [path for path in source_files() if CHECKS not in path.parents], ids=name_of
)
def test_text_for_the_user_is_neither_changed_nor_compared(path):
    """What an error or a status is about is a value: its class, remedy, path or kind.

    Checks of other packages may read their messages, as tests do.
    """
    assert not list(uses_of_messages(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "line",
    [
        "def screen_message(error):\n text = text.replace('give --axes', 'open the file')",
        "def message(self, error):\n text = text.replace(f'{folder}/', '')",
        "def _record_error(self, run, text):\n named = text.startswith((f'{run.name}: ', 'a'))",
        "def _suggest(self):\n if self.panel.status.value == TRYING: pass",
        "def finish(_):\n if self._message and self._panel.status.value == self._message: pass",
        "def forget(self):\n if 'failed' in self.status.tooltip: pass",
        "def f(path):\n try: g()\n except ValueError as error: str(error).removeprefix(path)",
        "def f(path):\n reason = reason.removeprefix(f'{path}: ').rstrip('.')",
        "def f(tif):\n try: g()\n except ValueError as error: 'imagecodecs' in str(error)",
        "def f(error):\n error.description.strip().partition(':')",
        "def f(error):\n screen_message(error).replace('a', 'b')",
        "def f(panel):\n if panel.state.text != 'Done.': pass",
        "def f(error):\n ' '.join(text.split()).endswith('.')",
    ],
)
def test_change_or_comparison_of_a_text_for_the_user_is_recognised(line):
    assert list(uses_of_messages(ast.parse(line))) == [line.count("\n") + 1]


@pytest.mark.parametrize(
    "line",
    [
        "def canonical(text):\n return text.lower().removesuffix('s').replace('metre', 'meter')",
        "def f(error):\n name.replace('_', '-')",
        "def f(error):\n ' '.join(text.split()).rstrip('.')",
        "def f(panel):\n if panel.state.kind is StatusKind.FAILED: pass",
        "def f(reason):\n if reason is not None: pass",
        "def from_json(text):\n try: g(text.removeprefix('a'))\n except ValueError as error: pass",
        "def f(message):\n self.waits = bool(message)",
        "def f(error):\n dataclasses.replace(run, message='a')",
    ],
)
def test_handling_of_other_text_is_allowed(line):
    assert not list(uses_of_messages(ast.parse(line)))


def test_words_of_the_command_line_are_in_its_folder():
    """A recipe may write a whole command line; other errors and texts name no options."""
    command_lines = {SOURCE / "engine" / "recipe.py"}
    folders = ("core", "io", "workflows", "engine")
    named = {}
    for path in source_files():
        if path.relative_to(SOURCE).parts[0] not in folders or path in command_lines:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        }
        named[name_of(path)] = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.search("--[a-z]", node.value)
            and id(node) not in docstrings
        ]
    assert len(named) > 30
    assert not {name: texts for name, texts in named.items() if texts}


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
