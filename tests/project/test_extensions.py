"""The pages on schemes, backends and formats in packages of their own are executed."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import example_package
from helpers.paths import ROOT

DEVELOP = ROOT / "docs" / "develop"
SCHEME, BACKEND, FORMAT = (DEVELOP / f"add_a_{kind}.md" for kind in ("scheme", "backend", "format"))


def project_of(page, tmp_path_factory):
    """Return a folder with the files of a page, and an environment with its package installed."""
    folder = tmp_path_factory.mktemp(page.stem)
    site = example_package.install(folder, page)
    for path in folder.glob("extra_*.py"):
        path.unlink()  # only the installed modules can be imported
    python_path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return folder, os.environ | {"PYTHONPATH": python_path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return project_of(SCHEME, tmp_path_factory)


def run(project, *arguments):
    folder, environment = project
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_the_image(project, page):
    """Run the Python of a page that makes an image."""
    (code,) = re.findall(
        r"or make one:\n\n```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL
    )
    run(project, "-c", code)


def run_the_command(project, page):
    """Run the command line of a page."""
    commands = [c for c in example_package.commands(page) if c[0] == "napari-diffusion"]
    ((_, *words),) = commands
    run(project, "-m", "napari_diffusion.cli", *words)


@pytest.mark.parametrize(("page", "passed"), [(SCHEME, 2), (BACKEND, 3), (FORMAT, 2)])
def test_checks_of_the_page_pass(page, passed, project, tmp_path_factory):
    """The conformance checks run in a Python without this test suite."""
    own = project if page == SCHEME else project_of(page, tmp_path_factory)
    output = run(own, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert f"{passed} passed" in output


def test_command_line_uses_the_scheme(project):
    folder, _ = project
    make_the_image(project, SCHEME)
    run_the_command(project, SCHEME)
    image, model = np.load(folder / "noisy.npy"), nd.TotalVariation()
    recipe = json.loads((folder / "smooth.npy.recipe.json").read_text(encoding="utf-8"))
    assert recipe["scheme"] == "gentle"
    limit = nd.plan(image, model, time=2.0).max_step
    step = 2.0 / np.ceil(2.0 / (0.5 * limit))
    expected = nd.diffuse(image, model, time=2.0, scheme=nd.schemes.Explicit(step=step))
    np.testing.assert_array_equal(np.load(folder / "smooth.npy"), expected)


def test_python_uses_the_backend(tmp_path_factory):
    own = project_of(BACKEND, tmp_path_factory)
    (code,) = re.findall(
        r"to use it:\n\n```python\n(.*?)```", BACKEND.read_text("utf-8"), flags=re.DOTALL
    )
    run(own, "-c", f"{code}\nnp.save('smooth.npy', smooth)")
    image = np.random.default_rng(0).normal(100, 10, (6, 9, 8))
    expected = nd.diffuse(image, nd.PeronaMalik(sigma=1.0), time=2.0, backend="reference")
    np.testing.assert_allclose(np.load(own[0] / "smooth.npy"), expected, rtol=1e-12)


def test_command_line_uses_the_format(tmp_path_factory):
    own = project_of(FORMAT, tmp_path_factory)
    make_the_image(own, FORMAT)
    run_the_command(own, FORMAT)
    recipe = json.loads((own[0] / "smooth.npz.recipe.json").read_text(encoding="utf-8"))
    assert recipe["unit"] == "micrometer"
    image, result = (np.load(own[0] / f"{name}.npz") for name in ("noisy", "smooth"))
    expected = nd.diffuse(image["data"], nd.Linear(), time=2.0, spacing=(2.0, 0.5, 0.5))
    np.testing.assert_array_equal(result["data"], expected)
    assert result["spacing"].tolist() == [2.0, 0.5, 0.5]


def test_a_recipe_with_a_scheme_from_outside_is_saved_loaded_and_run(project):
    code = """
import numpy as np, napari_diffusion as nd
from extra_schemes import AOS, Gentle
image = np.random.default_rng(0).normal(100, 10, (12, 9))
for scheme in (Gentle(safety=0.25), AOS(factor=2.5)):
    recipe = nd.Recipe(nd.Rician(), 1.5, "micrometer", scheme=scheme)
    loaded = nd.Recipe.from_json(recipe.to_json())
    assert loaded == recipe, (loaded, recipe)
    assert loaded.in_unit("nanometer").scheme == scheme
    namespace = {"image": image}
    exec(loaded.to_python(), namespace)
    np.testing.assert_array_equal(namespace["result"], loaded.diffuse(image))
    assert nd.plan(image, loaded).scheme == scheme
print("saved and loaded")
"""
    assert "saved and loaded" in run(project, "-c", code)


FAULTS = {
    SCHEME: """
from extra_schemes import Gentle
from napari_diffusion.testing import check_scheme
Gentle.order = 2
check = lambda: check_scheme(Gentle())
""",
    BACKEND: """
import numpy as np
from extra_backend import NdimageBackend
from napari_diffusion.backends.reference.backend import ReferenceBackend
from napari_diffusion.testing import check_backend
NdimageBackend.eigenvalues = lambda self, j: ReferenceBackend.eigenvalues(j).astype(np.float32)
check = lambda: check_backend("ndimage")
""",
}


@pytest.mark.parametrize("page", FAULTS, ids=lambda page: page.stem)
def test_a_failure_reads_as_the_page_shows(page, tmp_path_factory):
    """Errors, which depend on the processor, are left out."""
    (shown,) = re.findall(r"```text\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    report = "\ntry:\n    check()\nexcept AssertionError as error:\n    print(error)"
    printed = run(project_of(page, tmp_path_factory), "-c", FAULTS[page] + report)
    expected, actual = (
        re.sub(r"\b\d[\d.e-]*", "#", " ".join(text.split())) for text in (shown, printed)
    )
    assert actual == expected
