"""Operators, schemes, backends and options of a run are known by what they say, not by name."""

import ast

import pytest

from helpers.paths import ROOT
from napari_diffusion import backends, models, operators, schemes
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.recipe_fields import run_options

SOURCE = ROOT / "src" / "napari_diffusion"
#: Classes that only their own folder may distinguish.
CLASSES = {
    "operators": {"Operator", "ScalarOperator", "ValuedOperator"}
    | {name for name in operators.__all__ if name.endswith(("Diffusivity", "Tensor", "Curvature"))},
    "schemes": {"Scheme", "Stage"} | {kind.__name__ for kind in schemes.BUILTIN},
    "backends": {"Backend"} | {kind.__name__ for kind in backends.REGISTRY.builtin},
}
OPTIONS = {option.name for option in (*run_options(), *run_options(Execution))}


def class_tests(tree):
    """Yield line and class name of every `isinstance` and `issubclass`, and of `type(x) is`."""
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "id", None)
        if name in ("isinstance", "issubclass"):
            classes = node.args[1]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node.left):
            classes = node
        else:
            continue
        for part in ast.walk(classes):
            kind = getattr(part, "id", getattr(part, "attr", None))
            if kind is not None:
                yield node.lineno, kind


def typed_lists_of_options(tree):
    """Yield line and names of literal collections with two or more names of options."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            names = {entry.value for entry in node.elts if isinstance(entry, ast.Constant)}
        elif isinstance(node, ast.Dict):
            names = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        else:
            continue
        if len(names & OPTIONS) > 1:
            yield node.lineno, names & OPTIONS


FILES = sorted(SOURCE.rglob("*.py"))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_class_of_another_folder_is_distinguished(path):
    others = {
        name
        for folder, names in CLASSES.items()
        if SOURCE / folder not in path.parents
        for name in names
    }
    tests = [(line, kind) for line, kind in class_tests(tree_of(path)) if kind in others]
    assert not tests, "ask the object, and do not test its class"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_list_of_options_is_typed(path):
    assert not list(typed_lists_of_options(tree_of(path))), "use run_options()"


def test_class_tests_are_recognised():
    code = (
        "isinstance(a, Exact | b.RKL2)\nif type(c) is Scheme: pass\nissubclass(d, (Backend, int))"
    )
    kinds = [kind for _, kind in class_tests(ast.parse(code))]
    assert {"Exact", "RKL2", "Scheme", "Backend"} <= set(kinds)
    assert {"Exact", "RKL2", "Scheme"} <= CLASSES["schemes"]
    assert {"ConstantDiffusivity", "DiffusionTensor", "LevelSetCurvature"} <= CLASSES["operators"]
    assert {"NumbaBackend", "ReferenceBackend"} <= CLASSES["backends"]


def test_typed_lists_of_options_are_recognised():
    code = "a = ('scheme', 'tolerance')\nb = {'strict': 1, 'nan': 2}\nc = ['time', 'nan', 'x']"
    assert [line for line, _ in typed_lists_of_options(ast.parse(code))] == [1, 2]


@pytest.mark.parametrize(
    ("registry", "group"),
    [
        (models.REGISTRY, "napari_diffusion.models"),
        (schemes.REGISTRY, "napari_diffusion.schemes"),
        (backends.REGISTRY, "napari_diffusion.backends"),
    ],
)
def test_built_in_entries_have_names_of_their_own(registry, group):
    names = [entry.name for entry in registry.builtin]
    assert registry.group == group
    assert len(set(names)) == len(names)
    assert [registry.get(name) for name in names] == list(registry.builtin)
