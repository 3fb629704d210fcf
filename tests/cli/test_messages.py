"""The command line words every remedy with its own options."""

import re

import click
import pytest
from click.testing import CliRunner

from napari_diffusion.cli.app import cli
from napari_diffusion.cli.messages import COMMAND_LINE_WORDS, code_and_message
from napari_diffusion.core.errors import (
    InputError,
    NotFinite,
    Remedy,
    SourceMissing,
    TargetExists,
    WriteError,
)


@pytest.mark.parametrize("remedy", Remedy)
@pytest.mark.parametrize("kind", [InputError, TargetExists, SourceMissing, WriteError])
def test_command_line_has_words_for_every_remedy(remedy, kind):
    words = COMMAND_LINE_WORDS[remedy]
    assert code_and_message(kind("it is wrong", remedy)) == (2, f"it is wrong; {words}.")
    assert not set("“”=") & set(words)


def test_options_in_the_words_exist():
    options = {
        name
        for command in (cli.commands["run"], cli.commands["batch"])
        for option in command.get_params(click.Context(command))
        for name in option.opts
    }
    named = set(re.findall(r"--[a-z-]+", " ".join(COMMAND_LINE_WORDS.values())))
    assert len(named) >= 7
    assert named <= options


def test_list_of_commands_has_whole_sentences():
    text = CliRunner().invoke(cli, ["--help"]).output.partition("Commands:")[2]
    lines = text.strip().splitlines()
    assert len(lines) == len(cli.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_purpose_follows_the_words():
    assert code_and_message(NotFinite(2, (0,), "The image"))[1].endswith(
        "; use --nan mask to diffuse around them."
    )
