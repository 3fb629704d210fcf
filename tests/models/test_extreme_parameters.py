"""Any valid parameter gives a finite result without a warning, or one sentence that refuses it."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion import models
from napari_diffusion.models import parameters

RNG = np.random.default_rng(5)
IMAGES = {
    "int16": RNG.integers(-32768, 32767, (4, 5, 6)).astype("i2"),
    "float32": RNG.normal(100, 30, (4, 5, 6)).astype("f4"),
    "huge float32": (3e17 * RNG.normal(0, 1, (4, 5))).astype("f4"),
    "tiny float32": (1e-30 * RNG.normal(0, 1, (4, 5))).astype("f4"),
    "sparse": (RNG.random((6, 7)) < 0.2).astype("f4"),
    "float64": RNG.normal(0, 100, (4, 5)),
}
EXTREMES = [1e-290, 1e-150, 1e-30, 1e-12, 1e-3, 1e3, 1e12, 1e30, 1e150, 1e300]


def variants(kind):
    """The default, each parameter at each extreme, and pairs of intensities at extremes."""
    numbers = [p.name for p in parameters(kind) if p.type is float]
    intensities = [p.name for p in parameters(kind) if p.dimension.intensity]
    choices = [{}]
    choices += [{name: value} for name in numbers for value in EXTREMES]
    if len(intensities) > 1:
        for pair in itertools.product((1e-300, 1e-25, 1e30), repeat=2):
            both = dict(zip(intensities, pair, strict=True))
            choices += [both, both | {"sigma": 0.0, "rho": 0.0}]
    for parameter in parameters(kind):
        if parameter.choices and "kappa" in numbers:
            choices += [
                {parameter.name: choice, "kappa": kappa}
                for choice in parameter.choices
                for kappa in (1e-300, 1e-30, 10.0, 1e30)
            ]
    return choices


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", models.BUILTIN, ids=lambda kind: kind.name)
def test_result_is_finite_without_a_warning(kind, name, backend, recwarn):
    image = IMAGES[name]
    for arguments in variants(kind):
        try:
            model = kind(**arguments)
            step = min(1e3, 0.9 * nd.plan(image, model, time=1e-300).max_step)
            result = nd.diffuse(image, model, time=step, scheme="explicit", backend=backend)
        except ValueError as error:
            check_sentence(error)
            continue
        assert np.isfinite(result).all(), arguments
        assert not recwarn.list, (arguments, recwarn.list[0].message)


@pytest.mark.parametrize("contrast", [0.001, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("strict", [False, True])
def test_hybrid_of_int16_with_ordinary_contrast_does_not_warn(contrast, strict, recwarn):
    model = nd.Hybrid(contrast=contrast)
    result = nd.diffuse(IMAGES["int16"], model, time=0.5, strict=strict)
    assert np.isfinite(result).all()
    assert not recwarn.list


@pytest.mark.parametrize("q0", [1e-300, 1e-30, 0.3, 10.0, 1e30, 1e300])
def test_speckle_weight_at_extreme_levels_is_that_of_the_formula(q0):
    """c in float64 from the formula, with exact integers where floats overflow."""
    image = IMAGES["sparse"].astype(float) + 1
    c = nd.conductance(image, nd.SpeckleReducing(q0=q0))
    around = np.pad(image, 1, mode="edge")
    sides = [around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]]
    a = Fraction(q0) ** 2
    for at in np.ndindex(image.shape):
        values = [Fraction(side[at]) for side in sides]
        mean = sum(values) / 4
        q2 = (sum(v * v for v in values) / 4 - mean**2) / mean**2
        expected = min(1 / (1 + (q2 - a) / (a * (1 + a))), 1) if q2 > 0 else 1
        assert c[at] == pytest.approx(float(expected), rel=1e-12, abs=1e-30)
