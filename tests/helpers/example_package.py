"""The packages of pages such as docs/develop/add_a_model.md: files, read from a page and built."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from helpers.paths import ROOT

PAGE = ROOT / "docs" / "develop" / "add_a_model.md"


def files(page=PAGE):
    """Name and text of every file on the page."""
    listings = re.findall(
        r"^\*\*`([\w.]+)`\*\*\n\n```\w+\n(.*?)^```",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    assert {Path(name).suffix for name, _ in listings} == {".py", ".toml"}
    return dict(listings)


def commands(page=PAGE):
    """Lines to type on the page, each split into words."""
    (block,) = re.findall(
        r"```console\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    return [line.split() for line in block.splitlines()]


def install(folder, page=PAGE):
    """Write the files, build the wheel, unpack it, and return the folder to put on the path."""
    for name, text in files(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    code = "from hatchling.build import build_wheel; build_wheel('dist')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"
