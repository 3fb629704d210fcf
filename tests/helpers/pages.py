"""Examples of the pages of the documentation, run in their order."""

import contextlib
import io
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from napari_diffusion.cli import main


def run_page(page, names):
    """Run the examples of a page in their order, in the current folder; return the commands.

    ``names`` receives the names that the examples in Python define. Installation and `dev.py` are
    tested elsewhere. A block of bash is the script of a job in a cluster, and a text is what the
    example before it prints. Blocks of py, sh and groovy are for other programs.
    """
    text, commands, printed = page.read_text(encoding="utf-8"), [], io.StringIO()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.M):
        if language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(block, names)
            sys.stdout.write(printed.getvalue())
            continue
        if language == "text":
            check_output(block, printed.getvalue())
            continue
        if language in ("py", "sh", "groovy"):
            continue
        if language == "bash":
            run_job(block)
            continue
        for line in block.splitlines():
            program, *words = shlex.split(line, comments=True)
            if program == "cp":
                shutil.copy(*words)
            elif program == "napari-diffusion":
                assert main(words) == 0, line
            else:
                assert program in ("pip", "python3", "source"), line
                continue
            commands.append(line)
    return commands


def check_output(expected, printed):
    """Check that an example prints a text; its numbers may differ by 2 % between processors."""
    number = r"\d+(?:\.\d+)?"
    assert re.sub(number, "#", printed).split() == re.sub(number, "#", expected).split()
    values = [[float(part) for part in re.findall(number, text)] for text in (printed, expected)]
    assert values[0] == pytest.approx(values[1], rel=0.02)


def run_job(script):
    """Run the script of a job as a cluster does, for every number of its array."""
    first, last = map(int, re.search(r"#SBATCH --array=(\d+)-(\d+)", script).groups())
    program = Path("bin", "napari-diffusion").absolute()
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m napari_diffusion "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    sources = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    for number in range(first, last + 1):
        variables = {"SLURM_ARRAY_TASK_ID": str(number), "PATH": path, "PYTHONPATH": sources}
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
