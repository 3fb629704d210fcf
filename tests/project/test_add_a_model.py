"""The page docs/develop/add_a_model.md is executed.

`tests/ui/test_added_model.py` repeats it in the widget.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import example_package


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a folder with the files of the page, and an environment with its package installed."""
    folder = tmp_path_factory.mktemp("geman_mcclure")
    site = example_package.install(folder)
    for path in folder.glob("*_mcclure.py"):
        if not path.name.startswith("test_"):
            path.unlink()  # only the installed module can be imported
    python_path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return folder, os.environ | {"PYTHONPATH": python_path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(project, *arguments):
    folder, environment = project
    command = [sys.executable, "-W", "error", "-m", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tests_of_the_page_pass(project):
    """The laws and the signature test run in a Python without this test suite."""
    output = run(project, "pytest", "-q", "-p", "no:cacheprovider")
    assert "4 passed" in output


def test_command_line_lists_and_runs_the_model(project, monkeypatch):
    folder, _ = project
    image = np.random.default_rng(0).normal(100, 10, (6, 9, 8))
    np.save(folder / "noisy.npy", image)
    commands = [words for words in example_package.commands() if words[0] == "napari-diffusion"]
    list_models, run_model = (words[1:] for words in commands)
    output = run(project, "napari_diffusion.cli", *list_models)
    assert "geman-mcclure: Geman-McClure. Smooths inside regions" in output
    run(project, "napari_diffusion.cli", *run_model)
    monkeypatch.syspath_prepend(folder / "site")
    model = nd.models.get("geman-mcclure")(kappa=12.0, sigma=0.7)
    smooth = np.load(folder / "smooth.npy")
    np.testing.assert_array_equal(smooth, nd.diffuse(image, model, time=2.0))
