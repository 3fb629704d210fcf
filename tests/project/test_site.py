"""The check of the built site finds what is broken; settings and scripts of the site agree."""

import importlib.util
import re

import pytest

import napari_diffusion as nd
from helpers.paths import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def check_site():
    spec = importlib.util.spec_from_file_location("check_site", DOCS / "check_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "picture.png").touch()
    (tmp_path / "part" / "index.html").write_text('<h1 id="top">A</h1>', encoding="utf-8")
    return tmp_path


def faults(check_site, site, body):
    (site / "index.html").write_text(body, encoding="utf-8")
    check_site.page_at.cache_clear()
    return [line.partition(": ")[2] for line in check_site.faults(site)]


@pytest.mark.parametrize(
    "body",
    [
        '<a href="part/index.html#top">a</a><img src="picture.png">',
        '<a href="part/">a folder</a><a href="#own">own</a><p id="own">',
        '<a href="https://a.b/c#d">another host</a><a href="mailto:a@b.c">mail</a>',
        '<link rel="canonical" href="https://a.b/c">',
    ],
)
def test_a_site_without_faults_passes(check_site, site, body):
    assert faults(check_site, site, body) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="none.html">a</a>', "broken link none.html"),
        ('<a href="part/index.html#none">a</a>', "broken link part/index.html#none"),
        ('<a href="#none">a</a>', "broken link #none"),
        ('<img src="none.png">', "broken link none.png"),
        ('<script src="https://a.b/c.js"></script>', "file from another host https://a.b/c.js"),
        (
            '<link rel="stylesheet" href="https://a.b/c.css">',
            "file from another host https://a.b/c.css",
        ),
        ('<img src="//a.b/c.png">', "file from another host //a.b/c.png"),
    ],
)
def test_faults_of_a_site_are_reported(check_site, site, body, fault):
    assert faults(check_site, site, body) == [fault]


def test_an_empty_site_fails(check_site, tmp_path, capsys):
    assert check_site.main(tmp_path) == 1
    assert "0 pages" in capsys.readouterr().out


def test_every_page_is_in_a_table_of_contents():
    """Sphinx warns of pages outside; this test needs no Sphinx."""
    listed = {DOCS / "index.md"}
    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            for line in block.splitlines():
                name = re.sub(r"^.*<(.*)>$", r"\1", line)
                if name and not name.startswith(":"):
                    listed.add((page.parent / f"{name}.md").resolve())
    pages = {page for page in DOCS.rglob("*.md") if "generated" not in page.parts}
    assert listed == pages


def test_public_names_are_in_the_reference():
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   (\w+)$", text, flags=re.MULTILINE))
    assert set(nd.__all__) - {"models", "presets", "schemes"} <= listed
