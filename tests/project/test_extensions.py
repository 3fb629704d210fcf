"""The page docs/develop/add_a_scheme.md is executed: a scheme, a backend and a format outside."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import example_package
from helpers.paths import ROOT

PAGE = ROOT / "docs" / "develop" / "add_a_scheme.md"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a folder with the files of the page, and an environment with its package installed."""
    folder = tmp_path_factory.mktemp("diffusion_extras")
    site = example_package.install(folder, PAGE)
    for path in folder.glob("extra_*.py"):
        path.unlink()  # only the installed modules can be imported
    python_path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return folder, os.environ | {"PYTHONPATH": python_path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(project, *arguments):
    folder, environment = project
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_checks_of_the_page_pass(project):
    """The conformance checks run in a Python without this test suite."""
    output = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "4 passed" in output


def test_command_line_uses_scheme_and_format(project):
    folder, _ = project
    image = np.random.default_rng(0).normal(100, 10, (6, 9, 8))
    mask = np.ones(image.shape, bool)
    mask[2:4, 3:5, 3:5] = False
    sizes = {"axes": "ZYX", "spacing": [2.0, 0.5, 0.5], "unit": "micrometer", "recipe": ""}
    np.savez(folder / "noisy.npz", data=image, **sizes)
    np.savez(folder / "mask.npz", data=mask, **sizes)
    (words,) = [words for words in example_package.commands(PAGE) if words[0] == "napari-diffusion"]
    # With a mask and --strict, linear diffusion takes the steps of the scheme.
    run(project, "-m", "napari_diffusion.cli", *words[1:], "--mask", "mask.npz")
    recipe = json.loads((folder / "smooth.npz.recipe.json").read_text(encoding="utf-8"))
    assert (recipe["scheme"], recipe["unit"]) == ("gentle", "micrometer")
    limit = nd.plan(image, nd.Linear(), time=2.0, spacing=(2.0, 0.5, 0.5), mask=mask).max_step
    step = 2.0 / np.ceil(2.0 / (0.5 * limit))
    expected = nd.diffuse(
        image, nd.Linear(), time=2.0, spacing=(2.0, 0.5, 0.5), mask=mask,
        scheme=nd.schemes.Explicit(step=step),
    )  # fmt: skip
    np.testing.assert_array_equal(np.load(folder / "smooth.npz")["data"], expected)


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
