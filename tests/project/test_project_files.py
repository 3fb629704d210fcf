"""Files for contributors and platforms agree with the project, and name commands that exist."""

import importlib.util
import re
import tomllib

import pytest
import yaml

from helpers.paths import ROOT
from napari_diffusion.workflows.citation import SOFTWARE, bibliography

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ADDRESS = "https://github.com/napari-diffusion/napari-diffusion"
SITE = "https://napari-diffusion.github.io/napari-diffusion/"


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def commands():
    """Return the commands of dev.py: the words that its help shows after its name."""
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return set(re.findall(r"^python3 dev.py (\w+)", module.__doc__, flags=re.MULTILINE))


def read_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps_of(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_addresses_of_the_project_agree(project):
    urls = project["urls"]
    assert urls["Source"] == urls["Homepage"] == ADDRESS
    assert urls["Documentation"] == SITE
    assert set(urls) >= {"Issues", "Changelog"}
    citation = read_yaml(ROOT / "CITATION.cff")
    assert (citation["repository-code"], citation["url"]) == (ADDRESS, SITE)
    pages = [*ROOT.glob("*.md"), *GITHUB.rglob("*.yml"), *GITHUB.rglob("*.md")]
    for page in pages:
        for address in re.findall(
            r"https://[\w./]*napari-diffusion[\w./-]*", page.read_text("utf-8")
        ):
            raw = ADDRESS.replace("github.com", "raw.githubusercontent.com")
            assert address.startswith((ADDRESS, SITE, raw)), page


def test_citation_has_the_version_the_licence_and_the_name_of_the_project(project):
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["title"] == project["name"]
    assert set(citation["keywords"]) <= set(project["keywords"])


def plain(text):
    """Return text of BibTeX, Markdown or YAML in small letters, without marks and accents."""
    text = re.sub(r"[{}\"]|\\\\.", "", text).replace("--", "-")
    return " ".join(text.lower().split())


@pytest.mark.parametrize("key", [key for key in bibliography() if key != SOFTWARE])
def test_the_page_on_citing_has_the_numbers_of_every_reference(key):
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", bibliography()[key], flags=re.MULTILINE))
    page = plain((ROOT / "docs" / "project" / "cite.md").read_text(encoding="utf-8"))
    title = plain(fields["title"])
    assert title in page
    entry = page[page.index(title) :][: len(title) + 400]
    number = f"({fields['number']})" if "number" in fields else ""
    volume = f"{fields['volume']}{number}, {plain(fields['pages'])}" if "pages" in fields else ""
    assert volume in entry
    assert f", {fields['year']}" in entry
    if "doi" in fields:
        assert f"doi:{fields['doi'].lower()}" in entry


def test_references_of_the_citation_file_are_those_of_the_bibliography():
    for reference in read_yaml(ROOT / "CITATION.cff")["references"]:
        (body,) = [
            body
            for body in bibliography().values()
            if plain(reference["title"]) in plain(body)
            and f"year = {reference['year']}," in plain(body)
        ]
        authors = " and ".join(
            f"{author['family-names']}, {author['given-names']}" for author in reference["authors"]
        )
        assert plain(f"author = {authors},") in plain(body)
        for name in ("journal", "volume", "doi"):
            if name in reference:
                assert plain(f"{name} = {reference[name]},") in plain(body)


def test_classifiers_name_the_versions_of_python_that_the_workflows_test(project):
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    matrix = read_yaml(GITHUB / "workflows" / "tests.yml")["jobs"]["selection"]["strategy"][
        "matrix"
    ]
    assert matrix["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "windows", "macos"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_commands_of_this_project(path, commands):
    called, options = [], []
    for step in steps_of(read_yaml(path)):
        called += re.findall(r"dev\.py (\w+)", step.get("run", ""))
        options += re.findall(r"dev\.py .*?(--\w+)", step.get("run", ""))
    assert set(called) <= commands
    assert called
    text = (ROOT / "dev.py").read_text(encoding="utf-8")
    # argparse passes an unknown option on to pytest, so that its error would come late.
    for option in options:
        assert f'parser.add_argument("{option}"' in text


def test_workflows_name_environments_that_dev_py_can_make():
    text = (ROOT / "dev.py").read_text(encoding="utf-8")
    absent = read_yaml(GITHUB / "workflows" / "tests.yml")["jobs"]["library"]["strategy"]["matrix"]
    for name in absent["absent"]:
        assert f'    "{name}": (' in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_no_more_rights_than_they_need(path):
    workflow = read_yaml(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        # A job with further rights runs no code of the repository.
        if "permissions" in job:
            assert not [step for step in job["steps"] if "run" in step]
    for step in steps_of(workflow):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_the_local_check_builds_the_documentation():
    assert "python3 dev.py docs" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_forms_have_names_and_required_answers():
    forms = [path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) == 3
    for form in map(read_yaml, forms):
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids))
        assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_contributing_fits_two_screens_and_names_commands_that_exist(commands):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    assert set(re.findall(r"dev\.py (\w+)", text)) <= commands
    for name in ("CODE_OF_CONDUCT.md", "CHANGELOG.md", "LICENSE"):
        assert f"({ADDRESS}/blob/main/{name})" in text
        assert (ROOT / name).exists()
