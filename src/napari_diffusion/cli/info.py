"""The command ``info``: what is read from a file, what was assumed, and how napari shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_diffusion import io
from napari_diffusion.cli.messages import code_and_message
from napari_diffusion.cli.streams import say, show
from napari_diffusion.io.description import facts_of, rows_of

#: Exit code when some files cannot be read.
SOME_FAILED = 3


def show_files(paths: Sequence[Path], *, as_json: bool) -> int:
    """Print what is read from each file, and return the exit code.

    Parameters
    ----------
    paths
        The files.
    as_json
        Whether to print a list of JSON objects. Other programs read it, so a file that cannot be
        read is an object too.
    """
    results: list[dict[str, Any]] = []
    failed = 0
    for path in paths:
        try:
            facts = facts_of(io.read(path))
            if "question" in facts:
                _, facts["question"] = code_and_message(facts["question"])
        except Exception as error:  # one file must not hide the others
            code, sentence = code_and_message(error)
            if code == 1:
                raise
            if getattr(error, "path", None) != path:
                sentence = f"{path}: {sentence}"
            failed += 1
            facts = {"file": str(path), "error": sentence}
            if not as_json:
                say(f"Error: {sentence}")
                continue
        results.append(facts)
        if not as_json:
            show(text_of(facts))
    if as_json:
        show(json.dumps(results, indent=2, ensure_ascii=False))
    if not failed:
        return 0
    return SOME_FAILED if failed < len(paths) else 2


def text_of(facts: dict[str, Any]) -> str:
    """Return the facts as lines for people."""
    return "\n".join([facts["file"], *(f"  {name:12}{text}" for name, text in rows_of(facts))])
