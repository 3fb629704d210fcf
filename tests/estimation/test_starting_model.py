"""Values to begin with: they follow noise and voxel size, and need no compiled code."""

import subprocess
import sys

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.problems import problem_of
from napari_diffusion.estimation.starting_model import starting_model
from napari_diffusion.models import BUILTIN, parameters

IMAGE = np.random.default_rng(0).normal(100.0, 5.0, (16, 24, 24)).astype(np.float32)

WITHOUT_COMPILER = """
import sys
import numpy as np
import napari_diffusion as nd
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.estimation.starting_model import starting_model
image = np.random.default_rng(0).normal(100.0, 5.0, (16, 24, 24)).astype(np.float32)
problem = make_problem(image, nd.Recipe(nd.EdgeEnhancing(), 1.0), Geometry(), Domain())
assert starting_model(problem, nd.EdgeEnhancing()) != nd.EdgeEnhancing()
assert "numba" not in sys.modules
"""


def start(model, image=IMAGE, size=1.0):
    problem, _ = problem_of(image, model, time=1.0, spacing=(size,) * 3)
    return starting_model(problem, model)


@pytest.mark.parametrize("model", BUILTIN, ids=lambda model: model.name)
def test_values_have_the_dimensions_of_their_parameters(model):
    usual, other = start(model()), start(model(), 4 * IMAGE, 0.5)
    for p in parameters(model):
        value = getattr(usual, p.name)
        if isinstance(value, float) and p.suggest is not None:
            expected = value * p.dimension.factor(0.5, 4.0)
            assert getattr(other, p.name) == pytest.approx(expected, rel=1e-2), p.name


def test_threshold_is_near_the_noise_level():
    assert 0.3 * 5 < start(nd.PeronaMalik()).kappa < 2 * 5


def test_values_that_the_image_does_not_decide_stay():
    assert start(nd.CoherenceEnhancing(alpha=0.2)).alpha == 0.2


def test_image_without_noise_has_no_such_values():
    with pytest.raises(ValueError, match="noise"):
        start(nd.PeronaMalik(), np.full((8, 8, 8), 3.0, np.float32))


def test_compiler_is_not_loaded():
    subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], check=True)
