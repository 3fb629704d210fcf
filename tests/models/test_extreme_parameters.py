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
    "int16": RNG.integers(-32768, 32767, (2, 3, 4)).astype("i2"),
    "huge float32": (3e17 * RNG.normal(0, 1, (3, 4))).astype("f4"),
    "tiny float32": (1e-30 * RNG.normal(0, 1, (3, 4))).astype("f4"),
    "sparse": (RNG.random((4, 5)) < 0.2).astype("f4"),
    "huge float64": 1e95 * RNG.normal(0, 1, (2, 3, 2)),
}
EXTREMES = [1e-300, 1e-150, 1e-30, 1e-12, 1e12, 1e30, 1e150, 1e300]


def variants(kind):
    """The default, each parameter at each extreme, and pairs of intensities at extremes."""
    numbers = [p.name for p in parameters(kind) if p.type is float]
    intensities = [p.name for p in parameters(kind) if p.dimension.intensity]
    choices = [{}]
    choices += [{name: value} for name in numbers for value in EXTREMES]
    if len(intensities) > 1:
        for pair in itertools.product((1e-300, 1e-9, 1e30), repeat=2):
            both = dict(zip(intensities, pair, strict=True))
            choices += [both, both | {"sigma": 0.0, "rho": 0.0}]
    for parameter in parameters(kind):
        if parameter.choices and "kappa" in numbers:
            choices += [
                {parameter.name: choice, "kappa": kappa}
                for choice in parameter.choices
                for kappa in (1e-300, 1e-30, 1e30)
            ]
    return choices


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("kind", models.BUILTIN, ids=lambda kind: kind.name)
def test_result_is_finite_without_a_warning(kind, backend, recwarn):
    """Each choice of parameters meets two of the images, and their neighbours the others."""
    images = itertools.cycle(IMAGES.values())
    for arguments, image in zip(np.repeat(variants(kind), 2), images, strict=False):
        if image.dtype == np.float64 and "diffusivity" in arguments:
            continue  # the kernels of each diffusivity would be compiled once more
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


@pytest.mark.parametrize("dtype", ["i2", "f8"])
@pytest.mark.parametrize(("shape", "sigma", "rho"), [((5, 6), 0.0, 0.0), ((4, 5, 6), 1e6, 1e6)])
@pytest.mark.parametrize(
    ("kappa", "contrast", "alpha"),
    [(1e30, 1e-9, 1e-30), (1e-9, 1e30, 1.0), (1e30, 1e-9, 0.01), (1e-9, 1e30, 1e-30)],
)
def test_hybrid_with_distant_thresholds_is_that_of_the_formula(
    kappa, contrast, alpha, shape, sigma, rho, dtype
):
    """Far above all gradients, kappa makes D = I in 2-D without rho, and else D = alpha I.

    There epsilon is 1, or 0 with a negligible tube term, because h is far below the gradients.
    """
    image = np.random.default_rng(3).integers(-32768, 32767, shape).astype(dtype)
    options = {"time": 1e11, "spacing": 1e6, "scheme": "explicit"}
    model = nd.Hybrid(kappa=kappa, contrast=contrast, alpha=alpha, sigma=sigma, rho=rho)
    compiled, reference = (
        nd.diffuse(image, model, backend=name, **options) for name in ("compiled", "reference")
    )
    np.testing.assert_allclose(compiled, reference, rtol=0, atol=1e-6 * 65535)
    if kappa > contrast:
        free = nd.diffuse(image, nd.Linear(), **options | {"time": 1e11 * (alpha if rho else 1)})
        np.testing.assert_allclose(reference, free, rtol=0, atol=1e-5 * 65535)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize(
    ("model", "scale"),
    [
        (nd.EdgeEnhancing(kappa=1e30), 1e95),
        (nd.CoherenceEnhancing(kappa=1e30), 1e95),
        (nd.Hybrid(kappa=1e30, contrast=1e30), 1e95),
        (nd.VesselEnhancing(gamma=1e-300), 1e45),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_squares_near_the_limit_of_float64_do_not_warn(model, scale, backend, recwarn):
    image = scale * np.random.default_rng(8).normal(size=(4, 5, 6))
    result = nd.diffuse(image, model, time=0.01, scheme="explicit", backend=backend)
    assert np.isfinite(result).all()
    assert not recwarn.list


FAR_TOO_STEEP = [
    nd.MeanCurvature(),
    nd.ModifiedCurvature(kappa=1e18),
    nd.TotalVariation(kappa=1e18),
    nd.PeronaMalik(kappa=1e45, sigma=5e-7),
]


@pytest.mark.parametrize("model", FAR_TOO_STEEP, ids=lambda model: model.name)
def test_gradients_whose_squares_overflow_are_refused(model):
    """The values have finite squares; divided by the voxel size they have none in float32."""
    image = 1e15 * np.random.default_rng(2).uniform(1, 200, (7, 8))
    options = {"time": 1e-13, "spacing": 1e-6}
    for run in (nd.diffuse, nd.conductance):
        arguments = options if run is nd.diffuse else {"spacing": 1e-6}
        with pytest.raises(ValueError, match=r"beyond 1.2e\+12, which overflow in float32"):
            run(image.astype(np.float32), model, **arguments)
        assert np.isfinite(run(image, model, **arguments)).all()
    result = nd.diffuse(image, nd.PeronaMalik(kappa=1e21), **options)
    assert np.isfinite(result).all()


@pytest.mark.parametrize("model", [nd.MeanCurvature(), nd.ModifiedCurvature(kappa=1e6)])
def test_level_sets_of_gradients_whose_squares_underflow_are_refused(model):
    """Ratios of gradients count at any magnitude, whatever the threshold."""
    image = np.random.default_rng(2).uniform(1, 200, (7, 8))
    with pytest.raises(ValueError, match="squares of its gradients underflow in float32"):
        nd.diffuse((1e-24 * image).astype(np.float32), model, time=0.1)
    small = nd.diffuse(2.0**-80 * image, nd.MeanCurvature(), time=0.1)
    np.testing.assert_array_equal(small * 2.0**80, nd.diffuse(image, nd.MeanCurvature(), time=0.1))


@pytest.mark.parametrize("options", [{}, {"nan": "mask"}, {"labels": np.eye(7, 8, dtype=int)}])
@pytest.mark.parametrize("sigma", [1e30, 1e154, 1e300])
def test_gaussian_whose_square_overflows_is_too_wide(sigma, options):
    """With walls, sigma is squared to a time."""
    image = np.random.default_rng(2).uniform(1, 200, (7, 8))
    for model in (nd.PeronaMalik(sigma=sigma), nd.VesselEnhancing(sigma=sigma)):
        with pytest.raises(ValueError, match="voxels is too wide, at most 1000") as caught:
            nd.diffuse(image, model, time=0.1, **options)
        check_sentence(caught.value)


def test_diffusivity_without_a_stable_step_is_refused():
    """Its largest step is below the smallest number, and the time needs more steps than counted."""
    image = np.random.default_rng(2).uniform(1, 200, (7, 8))
    model = nd.TotalVariation(kappa=1e-30, epsilon=1e-300)
    with pytest.raises(ValueError, match=r"needs more than 1e\+18 stable steps") as caught:
        nd.diffuse(image, model, time=0.1, spacing=1e-6)
    check_sentence(caught.value)
    np.testing.assert_array_equal(nd.diffuse(image, model, time=0.0, spacing=1e-6), image)
