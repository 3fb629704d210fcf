"""The declaration of an option is the one source of its texts and of its default."""

import inspect
import re

import pytest
from click.testing import CliRunner

import napari_diffusion as nd
from napari_diffusion.cli.app import cli
from napari_diffusion.core.parameters import parameters
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.recipe_fields import RecipeFields, run_options

OFFERED = [*run_options(), *run_options(Execution)]
#: Options that have a control of their own on every surface.
HIDDEN = [p for p in parameters(RecipeFields) if p.name == "time"]
HIDDEN += [p for p in parameters(Execution) if p.name == "backend"]


def documented():
    """Text of each parameter in the docstring of `nd.diffuse`, each on one line."""
    body = inspect.getdoc(nd.diffuse).partition("Parameters\n----------\n")[2]
    body = body.partition("\n\nReturns\n")[0]
    entries = re.findall(r"^(\w+(?:, \w+)*)\n((?:    .*(?:\n|$))+)", body, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


@pytest.fixture(scope="module")
def command_help():
    """Text of each option in the help of the command ``run``, each on one line."""
    shown = CliRunner().invoke(
        cli, ["run", "--help"], terminal_width=10_000, max_content_width=10_000
    )
    assert shown.exit_code == 0
    option = r"^  (--[\w-]+)(?: \S+)?(?:  +|\n +)(\S.*)$"  # a long list of choices ends its line
    return dict(re.findall(option, shown.output, flags=re.MULTILINE))


def test_docstring_of_diffuse_describes_every_parameter():
    assert list(documented()) == list(inspect.signature(nd.diffuse).parameters)


@pytest.mark.parametrize("option", [*OFFERED, *HIDDEN], ids=lambda p: p.name)
def test_help_sentence_of_an_option_is_in_the_docstring_of_diffuse(option):
    assert option.doc.endswith(".")
    assert option.doc in documented()[option.name]


@pytest.mark.parametrize("option", OFFERED, ids=lambda p: p.name)
def test_help_sentence_and_default_of_an_option_are_in_the_help_of_the_command(
    option, command_help
):
    text = command_help["--" + option.name.replace("_", "-")]
    assert text.startswith(option.doc)
    has_default = option.default is not None and option.type is not bool
    assert (f"(default: {option.default})" in text) == has_default


@pytest.mark.parametrize(
    ("model", "parameter"),
    [(m, p) for m in nd.models.BUILTIN for p in nd.models.parameters(m) if not p.hidden],
    ids=lambda part: part.name,
)
def test_help_of_the_command_has_the_meaning_and_default_of_a_parameter_in_every_model(
    model, parameter, command_help
):
    text = command_help["--" + parameter.name.replace("_", "-")]
    assert parameter.doc in text, "a parameter may have another meaning in another model"
    defaults = text.partition(parameter.doc)[2].partition(")")[0]
    assert f"{model.name}: {parameter.default}" in defaults


@pytest.mark.parametrize("function", [nd.diffuse, nd.evolve, nd.plan, nd.preview])
@pytest.mark.parametrize("option", [*OFFERED, *HIDDEN], ids=lambda p: p.name)
def test_default_of_an_option_is_the_declared_one(function, option):
    default = inspect.signature(function).parameters[option.name].default
    if option.name == "time":  # it must be given beside a model, and not beside a recipe
        assert default is None
    else:
        assert (type(default), default) == (type(option.default), option.default)
