"""Examples of the pages of the documentation, run in their order."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from helpers.paths import ROOT
from napari_diffusion.cli import main


def run_page(page, names):
    """Run the examples of a page in their order, in the current folder; return the commands.

    ``names`` receives the names that the examples in Python define. Installation and `dev.py` are
    tested elsewhere. A block in the language of bash is the script of a job in a cluster, and a
    block of text is for another program.
    """
    text, commands = page.read_text(encoding="utf-8"), []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.M):
        if language == "python":
            exec(block, names)
            continue
        if language == "text":
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
