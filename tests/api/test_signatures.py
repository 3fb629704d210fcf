"""The same options, with the same defaults, wherever a run is asked for."""

import inspect

import napari_diffusion as nd


def options(function):
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_evolve_and_plan_take_the_options_of_diffuse():
    wanted = options(nd.diffuse)
    assert options(nd.evolve) == wanted
    assert options(nd.plan) == {
        name: default for name, default in wanted.items() if name not in ("progress", "cancel")
    }
