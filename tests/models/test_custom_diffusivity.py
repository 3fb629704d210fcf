"""Diffusivities given as functions.

A function gives the same result as the name. Its values are checked, and recipes refuse it.
"""

from dataclasses import dataclass

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import DIFFUSIVITIES, noise, step_and_ramp


@pytest.mark.parametrize("sigma", [0.0, 0.8])
@pytest.mark.parametrize("name", DIFFUSIVITIES)
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((31,), (0.5,)), ((19, 22), (2.0, 0.7)), ((4, 5, 6, 7), (3.0, 1.0, 0.5, 1.0))],
)
def test_function_gives_the_result_of_the_name(shape, spacing, name, sigma):
    image = step_and_ramp(shape)
    labels = (image > 0).astype(int) + 1

    def run(g):
        model = nd.PeronaMalik(kappa=15.0, diffusivity=g, sigma=sigma)
        # With "auto", the number of steps depends on the name.
        options = {"time": 0.5, "scheme": "explicit"}
        return nd.diffuse(image, model, spacing=spacing, labels=labels, **options)

    # Rounding of a few float64 steps.
    np.testing.assert_allclose(run(DIFFUSIVITIES[name]), run(name), rtol=0, atol=1e-12 * 130)
    assert np.abs(run(name) - image).max() > 1


@dataclass
class Inverse:
    """A mutable dataclass, which has no hash."""

    share: float

    def __call__(self, x):
        return 1 / (1 + self.share * x**2)


def test_function_without_a_hash_is_used_in_its_current_state():
    image, function = step_and_ramp((19, 22)), Inverse(1.0)
    model = nd.PeronaMalik(kappa=15.0, diffusivity=function, sigma=1.0)
    equal = nd.PeronaMalik(kappa=15.0, diffusivity=Inverse(1.0), sigma=1.0)
    before = nd.diffuse(image, model, time=0.5)
    np.testing.assert_array_equal(before, nd.diffuse(image, equal, time=0.5))
    function.share = 100.0
    assert np.abs(nd.diffuse(image, model, time=0.5) - before).max() > 1


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_threads_do_not_change_the_result_with_a_function(sigma):
    image = noise((1400, 300)).astype("f4")
    model = nd.PeronaMalik(kappa=1.0, diffusivity=lambda x: np.exp(-(x**4)), sigma=sigma)
    assert nd.plan(image, model, time=0.6, threads=2).height <= 700
    one, two = (nd.diffuse(image, model, time=0.6, threads=n, channel_axis=None) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: 1 + x, "stay within 0 and 1"),
        (lambda x: 1 - x, "stay within 0 and 1"),
        (lambda x: x / x, "stay within 0 and 1"),  # NaN at zero gradient
        (lambda x: 1.0, "one number for each"),
        (lambda x: x[1:], "one number for each"),
        (lambda x: np.full(x.shape, "1"), "one number for each"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_function_with_invalid_values_is_refused_before_the_run(function, message):
    with pytest.raises(ValueError, match=message):
        nd.PeronaMalik(diffusivity=function)


def test_function_with_invalid_values_on_the_image_only_is_refused_during_the_run():
    function = lambda x: np.where(np.abs(x - 3.21) < 1e-3, 2.0, 1.0)  # noqa: E731
    model = nd.PeronaMalik(kappa=1.0, diffusivity=function)
    with pytest.raises(ValueError, match="stay within 0 and 1"):
        nd.diffuse(np.array([0.0, 3.21, 0.0]), model, time=0.1)


def test_recipes_and_the_compiled_backend_refuse_functions():
    model = nd.PeronaMalik(diffusivity=lambda x: 1 / (1 + x**4))
    recipe = nd.Recipe(model, time=1.0)
    message = "cannot hold a function, and diffusivity is <function"
    for write in (recipe.to_json, recipe.to_python, recipe.to_command):
        with pytest.raises(ValueError, match=message):
            write()
    with pytest.raises(ValueError, match="leave backend=None"):
        nd.diffuse(np.eye(5), model, time=1.0, backend="compiled")
    with pytest.raises(ValueError, match="charbonnier or a function, got 'sharp'"):
        nd.PeronaMalik(diffusivity="sharp")
