"""Images are deleted and windows closed under our layers in a visible window; napari lives."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import delete_in_window


@functools.cache
def program(*kinds):
    """Run the cases of some kinds in one process; its start takes as long as three cases."""
    command = [sys.executable, Path(delete_in_window.__file__), *kinds]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("kind", ["preview", "edges", "closing"])
def test_napari_survives_every_deletion(kind):
    ended = program("closing") if kind == "closing" else program("preview", "edges")
    cases = [f"{kind} {view} {case.__name__}" for view, case in delete_in_window.cases_of(kind)]
    survived = [line for line in ended.stdout.splitlines() if line in cases]
    assert survived == cases, ended.stderr[-4000:]
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr, ended.stderr[-4000:]
