"""Every built-in model satisfies every law on every case."""

import itertools

import numpy as np
import pytest

from napari_diffusion import models
from napari_diffusion.testing import laws

EXAMPLES = [cls() for cls in models.BUILTIN]
DIFFUSIVITIES = [
    models.PeronaMalik(kappa=10.0, diffusivity=g, sigma=sigma)
    for g, sigma in itertools.product(
        ["rational", "exponential", "tukey", "weickert", "charbonnier"], [0.0, 1.0]
    )
]
#: Maps with factors that differ along every axis.
MAPS = {2: 2.0 ** np.array([[0, 1, -1], [2, -1, 0]]), 3: 0.5 + np.arange(12).reshape(2, 3, 2) % 5}
MAPPED = [
    cls(kappa_map=MAPS[axes])
    for cls in models.BUILTIN
    if "kappa_map" in {p.name for p in models.parameters(cls)}
    for axes in MAPS
]
MAPPED += [models.PeronaMalik(sigma=1.0, kappa_map=MAPS[3])]
VARIANTS = [model for model in (*DIFFUSIVITIES, *MAPPED) if model not in EXAMPLES]


def _name(value):
    if isinstance(value, models.Model):
        values = [_text(getattr(value, p.name)) for p in models.parameters(value)]
        return "-".join([value.name, *values])
    return value.__name__


def _text(value):
    return f"{np.ndim(value)}-D" if isinstance(value, tuple) else str(value)


#: Laws on rounding. Every model meets them on every grid in both dtypes.
ROUNDED = (laws.constants_are_fixed, laws.offset_is_carried, laws.backends_agree)


def _cases(model, law):
    """Return the cases of a law: every grid, in dtypes that alternate, or in one for a variant.

    Neighbouring laws and variants take the other dtypes, so that each of them meets both.
    """
    cases = [case for case in laws.CASES if case.fits(model)]
    dtypes = sorted({case.dtype for case in cases})
    if model in VARIANTS:
        turn = VARIANTS.index(model) + laws.LAWS.index(law)
        return [case for case in cases if case.dtype == dtypes[turn % len(dtypes)]]
    if law in ROUNDED:
        return cases
    turn = EXAMPLES.index(model) + laws.LAWS.index(law)
    grids = list(dict.fromkeys((case.shape, case.spacing) for case in cases))
    return [
        case
        for case in cases
        if case.dtype == dtypes[(turn + grids.index((case.shape, case.spacing))) % len(dtypes)]
    ]


@pytest.mark.parametrize("law", laws.LAWS, ids=_name)
@pytest.mark.parametrize("model", [*EXAMPLES, *VARIANTS], ids=_name)
def test_model_satisfies_the_law(model, law):
    cases = _cases(model, law)
    assert cases
    for case in cases:
        try:
            law(model, case)
        except AssertionError as error:
            raise AssertionError(f"on {case}: {error}") from error


def test_every_listed_model_has_an_example():
    assert {type(example) for example in EXAMPLES} == set(models.BUILTIN)
