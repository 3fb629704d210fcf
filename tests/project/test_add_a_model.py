"""The page that says how to add a model is followed to the letter; in the widget, by tests/ui/test_add_a_model.py."""

import os
import subprocess
import sys

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import example_package


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Folder with the files of the page, and an environment in which its package is installed."""
    folder = tmp_path_factory.mktemp("geman_mcclure")
    site = example_package.install(folder)
    for path in folder.glob("*_mcclure.py"):
        if not path.name.startswith("test_"):
            path.unlink()  # so that only the installed one can be imported
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return folder, os.environ | {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(project, *command):
    folder, environment = project
    words = [sys.executable, "-W", "error", "-m", *command]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_tests_pass(project):
    """The laws and the signature test, in a Python that knows nothing of this test suite."""
    printed = run(project, "pytest", "-q", "-p", "no:cacheprovider")
    assert "4 passed" in printed


def test_the_command_line_lists_and_runs_it(project, monkeypatch):
    folder, _ = project
    image = np.random.default_rng(0).normal(100, 10, (6, 9, 8))
    np.save(folder / "noisy.npy", image)
    lists, runs = (
        words[1:] for words in example_package.commands() if words[0] == "napari-diffusion"
    )
    assert "geman-mcclure: Geman-McClure. Smooths inside regions" in run(
        project, "napari_diffusion.cli", *lists
    )
    run(project, "napari_diffusion.cli", *runs)
    monkeypatch.syspath_prepend(folder / "site")
    model = nd.models.get("geman-mcclure")(kappa=12.0, sigma=0.7)
    np.testing.assert_array_equal(
        np.load(folder / "smooth.npy"), nd.diffuse(image, model, time=2.0)
    )
