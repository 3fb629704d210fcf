"""Functions that describe a run have the same options with the same defaults."""

import inspect

import napari_diffusion as nd


def options(function):
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_evolve_and_plan_take_the_options_of_diffuse():
    expected = options(nd.diffuse)
    assert options(nd.evolve) == expected
    del expected["progress"], expected["cancel"]
    assert options(nd.plan) == expected
