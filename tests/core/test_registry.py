"""Registries: entries of this package and of others; entry points that fail are skipped."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from helpers import entry_points
from helpers.hostile import check_sentence
from napari_diffusion import backends, models, schemes
from napari_diffusion.backends.base import Backend
from napari_diffusion.core import registry
from napari_diffusion.core.registry import Registry


@dataclass(frozen=True)
class Tool:
    """An entry."""

    name: str


SAW, FILE = Tool("saw"), Tool("file")
RASP, OTHER_SAW, NUMBER = Tool("rasp"), Tool("saw"), 3


class Nameless:
    """It is accepted by the check, but has no name."""


def check(entry):
    if isinstance(entry, int):
        raise TypeError(f"{entry!r} is no tool")


@pytest.fixture
def tools():
    return Registry("tool", "napari_diffusion.tools", (SAW, FILE), check)


def test_entries_of_this_package_need_no_entry_points(tools, monkeypatch):
    monkeypatch.setattr(
        entry_points.registry, "entry_points", lambda group: pytest.fail("entry points were read")
    )
    assert tools.get("file") is FILE


def test_entry_of_another_package_comes_last(tools, monkeypatch):
    assert tools.all() == (SAW, FILE)
    entry_points.register(monkeypatch, tools=f"{__name__}:RASP")
    assert tools.all() == (SAW, FILE, RASP)
    assert tools.get("rasp") is RASP
    # The group is asked again every time.
    entry_points.register(monkeypatch)
    assert tools.all() == (SAW, FILE)


def test_only_the_own_group_is_read(tools, monkeypatch):
    entry_points.register(monkeypatch, models=f"{__name__}:RASP")
    assert tools.all() == (SAW, FILE)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:TOOL", "No module named 'no_such_module'"),
        ("json:no_such_name", "has no attribute 'no_such_name'"),
        ("failing_import:TOOL", "division by zero"),
        ("NUMBER", "3 is no tool"),
        ("Nameless", "has no attribute 'name'"),
        ("OTHER_SAW", "its name 'saw' is taken"),
    ],
)
def test_entry_point_that_fails_is_skipped_with_one_warning(
    value, reason, tools, monkeypatch, tmp_path
):
    (tmp_path / "failing_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    value = value if ":" in value else f"{__name__}:{value}"
    entry_points.register(monkeypatch, tools=value)
    with pytest.warns(RuntimeWarning, match="The tool 'theirs'") as caught:
        assert tools.all() == (SAW, FILE)
    (warning,) = caught
    assert f"The tool 'theirs' ({value}) cannot be used: " in str(warning.message)
    assert reason in str(warning.message)


@pytest.mark.parametrize("name", ["axe", "", None, 3, []], ids=repr)
def test_unknown_name_is_refused_with_the_known_ones(name, tools, monkeypatch):
    entry_points.register(monkeypatch, tools=f"{__name__}:RASP")
    with pytest.raises(ValueError, match="There is no tool named") as caught:
        tools.get(name)
    check_sentence(caught.value, repr(name), "the tools are saw, file, rasp")
    with pytest.raises(ValueError, match="the tools are auto, saw, file, rasp"):
        tools.get(name, also=["auto"])


# --- the registries of this package -----------------------------------------------------------


class Copied(backends.ReferenceBackend):
    """A backend of another package."""

    name = "copied"


OPEN = {
    "models": (models.REGISTRY, entry_points.MODEL, entry_points.Foreign),
    "schemes": (schemes.REGISTRY, entry_points.SCHEME, entry_points.Relaxed),
    "backends": (backends.REGISTRY, f"{__name__}:Copied", Copied),
}


@pytest.mark.parametrize("kind", OPEN)
def test_models_schemes_and_backends_are_open(kind, monkeypatch):
    registry, value, entry = OPEN[kind]
    assert registry.group == f"napari_diffusion.{kind}"
    names = [own.name for own in registry.builtin]
    assert len(set(names)) == len(names)
    assert [registry.get(name) for name in names] == list(registry.builtin)
    entry_points.register(monkeypatch, **{kind: value})
    assert registry.all() == (*registry.builtin, entry)
    assert registry.get(entry.name) is entry


@pytest.mark.parametrize("kind", OPEN)
@pytest.mark.parametrize("value", ["json:dumps", "json:JSONDecoder", "RASP"])
def test_entry_of_another_kind_is_skipped(kind, value, monkeypatch):
    value = value if ":" in value else f"{__name__}:{value}"
    registry = OPEN[kind][0]
    entry_points.register(monkeypatch, **{kind: value})
    with pytest.warns(RuntimeWarning, match=f"The {registry.kind} 'theirs'.* is no subclass of"):
        assert registry.all() == registry.builtin


def test_backend_of_another_package_runs_by_name_and_is_no_default(monkeypatch):
    entry_points.register(monkeypatch, backends=f"{__name__}:Copied")
    assert type(backends.get_backend("copied", 3)) is Copied
    assert isinstance(Copied(), Backend)
    assert backends.get_backend(None, 4).name == "reference"


@pytest.mark.parametrize("name", ["auto", 5])
def test_a_scheme_needs_a_name_of_its_own(name, monkeypatch):
    @dataclass(frozen=True)
    class Odd(schemes.Explicit):
        pass

    Odd.name = name
    point = SimpleNamespace(name="theirs", value="theirs:Odd", load=lambda: Odd)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.warns(RuntimeWarning, match="cannot be used: .*name"):
        assert schemes.REGISTRY.all() == schemes.REGISTRY.builtin
