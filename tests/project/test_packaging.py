"""The distribution: one manifest in every place, and no Qt binding among the requirements."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import metadata, requires

import pytest
from npe2 import PluginManifest

from helpers.paths import ROOT

NAME = "napari-diffusion"
MANIFEST = ROOT / "napari.yaml"


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Build the source archive, and the wheel from that archive, as a release does."""
    out = tmp_path_factory.mktemp("dist")
    # hatchling is a test requirement, so the build needs no isolated environment.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


def test_installed_manifest_is_the_top_level_file():
    installed = PluginManifest.from_distribution(NAME).model_dump(exclude={"package_metadata"})
    written = PluginManifest.from_file(MANIFEST).model_dump(exclude={"package_metadata"})
    assert installed == written


def test_npe2_accepts_the_manifest_and_every_python_name():
    command = [sys.executable, "-m", "npe2", "validate", NAME, "--imports"]
    # The validator prints a check mark, which a C locale cannot encode.
    environment = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_manifest_is_readable_by_every_npe2_that_napari_allows():
    # napari requires only npe2 >= 0.9. These keys of 0.10 make the whole manifest invalid in 0.9.
    text = MANIFEST.read_text(encoding="utf-8")
    assert not re.search(r"default_dock_area|tabify", text)


def test_wheel_built_from_sdist_carries_the_manifest(archives):
    _, wheel = archives
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert names.count("napari_diffusion/napari.yaml") == 1
        assert archive.read("napari_diffusion/napari.yaml") == MANIFEST.read_bytes()


def test_wheel_carries_exactly_the_package(archives):
    _, wheel = archives
    package = ROOT / "src" / "napari_diffusion"
    expected = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix not in {".nbi", ".nbc"}
    }
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    contents = {name for name in names if ".dist-info/" not in name}
    licences = [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert contents == expected
    assert "napari_diffusion/py.typed" in contents
    assert len(licences) == 1


def test_sdist_can_build_and_test_itself(archives):
    sdist, _ = archives
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    needed = {
        "pyproject.toml",
        "hatch_build.py",
        "napari.yaml",
        "dev.py",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
    }
    assert needed <= names
    assert "tests/project/test_packaging.py" in names
    assert "src/napari_diffusion/napari.yaml" not in names


def test_every_requirement_states_its_lowest_version(project):
    """`dev.py test --oldest` installs these versions."""
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    texts = [text for group in groups for text in group if not text.startswith(NAME)]
    with_minimum = requirement_names(text for text in texts if ">=" in text)
    assert requirement_names(texts) == with_minimum


def requirement_names(requirements):
    return {re.match(r"[\w.-]+", text).group().lower().replace("_", "-") for text in requirements}


def with_prefix(requirements, *prefixes):
    return {name for name in requirement_names(requirements) if name.startswith(prefixes)}


def test_no_qt_binding_and_no_napari_without_an_extra(project):
    gui = ("pyqt", "pyside", "qtpy", "superqt", "magicgui", "napari")
    assert not with_prefix(project["dependencies"], *gui)
    # The extra for environments that already have napari must not choose a binding either.
    extra = project["optional-dependencies"]["napari"]
    assert not with_prefix(extra, "pyqt5", "pyqt6", "pyside")
    assert not [text for text in extra if text.startswith("napari[")]


def test_installed_requirements_are_those_of_the_project(project):
    installed = [text for text in requires(NAME) if "extra ==" not in text]
    assert requirement_names(installed) == requirement_names(project["dependencies"])


def test_hub_and_plugin_manager_find_the_plugin(project):
    assert "Framework :: napari" in project["classifiers"]
    assert project["entry-points"]["napari.manifest"] == {NAME: "napari_diffusion:napari.yaml"}
    # napari finds the manifest by the exact name of the distribution.
    assert metadata(NAME)["Name"] == PluginManifest.from_file(MANIFEST).name == NAME
    assert metadata(NAME)["License-Expression"] == "BSD-3-Clause"


def test_version_has_a_changelog_entry(project):
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{project['version']}]" in text


def test_recipe_of_conda_needs_what_the_package_needs(project):
    """Version, Python, dependencies, licence, program and addresses are those of the project."""
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(text)
    context = recipe["context"]
    needed = [line.replace(" ", "") for line in recipe["requirements"]["run"]]
    python = project["requires-python"].replace(context["python_min"], "${{python_min}}")
    assert sorted(needed) == sorted([f"python{python}", *project["dependencies"]])
    assert (context["name"], context["version"]) == (project["name"], project["version"])
    (build_tool,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"][
        "requires"
    ]
    assert build_tool in [line.replace(" ", "") for line in recipe["requirements"]["host"]]
    programs = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == programs
    about = recipe["about"]
    assert (about["license"], about["summary"]) == (project["license"], project["description"])
    urls = project["urls"]
    assert about["repository"] == about["homepage"] == urls["Source"]
    assert about["documentation"] == urls["Documentation"]
    scripts = [line for test in recipe["tests"] for line in test.get("script", [])]
    assert "napari-diffusion --version" in scripts
