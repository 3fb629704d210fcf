"""A diffusivity given as a function: the same run as by name, checked, and refused where only names can go."""

from dataclasses import dataclass

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import DIFFUSIVITIES, noise, scene


@pytest.mark.parametrize("sigma", [0.0, 0.8])
@pytest.mark.parametrize("name", DIFFUSIVITIES)
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((31,), (0.5,)), ((19, 22), (2.0, 0.7)), ((4, 5, 6, 7), (3.0, 1.0, 0.5, 1.0))],
)
def test_a_function_runs_as_the_name_does(shape, spacing, name, sigma):
    image = scene(shape)
    run = lambda g: nd.diffuse(  # noqa: E731
        image,
        nd.PeronaMalik(kappa=15.0, diffusivity=g, sigma=sigma),
        time=0.5,
        spacing=spacing,
        labels=(image > 0).astype(int) + 1,
    )
    np.testing.assert_allclose(
        run(DIFFUSIVITIES[name]), run(name), rtol=0, atol=1e-12 * 130
    )  # rounding of a few float64 steps
    assert np.abs(run(name) - image).max() > 1


@dataclass
class Inverse:
    """Like every dataclass that can be changed, it has no hash."""

    share: float

    def __call__(self, x):
        return 1 / (1 + self.share * x**2)


def test_a_function_without_a_hash_runs_too():
    """And what it is now counts, not what it was when it was seen first."""
    image, function = scene((19, 22)), Inverse(1.0)
    model = nd.PeronaMalik(kappa=15.0, diffusivity=function, sigma=1.0)
    np.testing.assert_array_equal(
        nd.diffuse(image, model, time=0.5),
        nd.diffuse(
            image, nd.PeronaMalik(kappa=15.0, diffusivity=Inverse(1.0), sigma=1.0), time=0.5
        ),
    )
    before = nd.diffuse(image, model, time=0.5)
    function.share = 100.0
    assert np.abs(nd.diffuse(image, model, time=0.5) - before).max() > 1


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_threads_do_not_change_what_a_function_gives(sigma):
    image = noise((1400, 300)).astype("f4")
    model = nd.PeronaMalik(kappa=1.0, diffusivity=lambda x: np.exp(-(x**4)), sigma=sigma)
    assert nd.plan(image, model, time=0.6, threads=2).height <= 700
    one, two = (nd.diffuse(image, model, time=0.6, threads=n, channel_axis=None) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda x: 1 + x, "stay within 0 and 1"),
        (lambda x: 1 - x, "stay within 0 and 1"),
        (lambda x: x / x, "stay within 0 and 1"),  # NaN without gradient
        (lambda x: 1.0, "one number for each"),
        (lambda x: x[1:], "one number for each"),
        (lambda x: np.full(x.shape, "1"), "one number for each"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_function_that_is_no_diffusivity_is_refused_before_a_run(function, told):
    with pytest.raises(ValueError, match=told):
        nd.PeronaMalik(diffusivity=function)


def test_a_function_that_misbehaves_only_on_the_image_is_refused_there():
    model = nd.PeronaMalik(
        kappa=1.0, diffusivity=lambda x: np.where(np.abs(x - 3.21) < 1e-3, 2.0, 1.0)
    )
    with pytest.raises(ValueError, match="stay within 0 and 1"):
        nd.diffuse(np.array([0.0, 3.21, 0.0]), model, time=0.1)


def test_recipes_and_the_compiled_backend_say_that_they_take_no_function():
    model = nd.PeronaMalik(diffusivity=lambda x: 1 / (1 + x**4))
    recipe = nd.Recipe(model, time=1.0)
    for write in (recipe.to_json, recipe.to_python, recipe.to_command):
        with pytest.raises(
            ValueError, match="cannot hold a function, and diffusivity is <function"
        ):
            write()
    with pytest.raises(ValueError, match="leave backend=None"):
        nd.diffuse(np.eye(5), model, time=1.0, backend="compiled")
    with pytest.raises(ValueError, match="charbonnier or a function, got 'sharp'"):
        nd.PeronaMalik(diffusivity="sharp")
