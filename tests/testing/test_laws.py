"""Every built-in model satisfies every law on every case."""

import itertools

import pytest

from napari_diffusion import models
from napari_diffusion.testing import laws

EXAMPLES = [cls() for cls in models.BUILTIN] + [
    models.PeronaMalik(kappa=10.0, diffusivity=g, sigma=sigma)
    for g, sigma in itertools.product(
        ["rational", "exponential", "tukey", "weickert", "charbonnier"], [0.0, 1.0]
    )
]


def _name(value):
    if isinstance(value, models.Model):
        values = [str(getattr(value, p.name)) for p in models.parameters(value)]
        return "-".join([value.name, *values])
    return value.__name__


@pytest.mark.parametrize("law", laws.LAWS, ids=_name)
@pytest.mark.parametrize("model", EXAMPLES, ids=_name)
def test_model_satisfies_the_law(model, law):
    for case in laws.CASES:
        try:
            law(model, case)
        except AssertionError as error:
            raise AssertionError(f"on {case}: {error}") from error


def test_every_listed_model_has_an_example():
    assert {type(example) for example in EXAMPLES} == set(models.BUILTIN)
