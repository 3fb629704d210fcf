"""Schemes: order in time, stability at the largest step, and exact damping of single modes."""

import math

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import eigenvalue, mode
from napari_diffusion.schemes import BUILTIN, FSI, RKL2, Explicit, Extrapolated, Midpoint
from napari_diffusion.schemes.intervals import GeometricTimes
from napari_diffusion.schemes.rkc2 import chebyshev_degree, chebyshev_superstep

STEPPED = [cls for cls in BUILTIN if cls is not nd.schemes.Exact]


def amplitudes(stages, z, u=1.0, previous=1.0):
    """Amplitudes of a mode after each stage, with eigenvalue z (in units of 1/step)."""
    u, previous = u * np.ones_like(z), previous * np.ones_like(z)
    base, starts_superstep = u, True
    for stage in stages:
        base = u if starts_superstep else base
        u = base if stage.from_start else u
        u, previous = u + stage.momentum * (u - previous) + stage.step * z * u, u
        if stage.start_weight:
            u = u + stage.start_weight * (base - u)
        starts_superstep = stage.time is not None
        yield u


def polynomial(stages, z):
    """Amplification of a mode by a list of stages."""
    *_, last = amplitudes(stages, z)
    return last


@pytest.mark.parametrize("cls", STEPPED)
@pytest.mark.parametrize("ratio", [0.3, 1.0, 7.7, 60.0, 333.0])
def test_all_modes_are_damped_for_any_time(cls, ratio):
    z = -np.linspace(0, 2, 4001)  # 2/tau is the largest eigenvalue
    amplitude = polynomial(cls().stages(ratio, 1.0, 1e-3), z)
    assert np.abs(amplitude).max() <= 1 + 1e-12
    assert amplitude[0] == 1
    assert np.abs(amplitude[z < -1.9]).max() < 0.95  # the finest modes decay


@pytest.mark.parametrize("cls", STEPPED)
def test_stages_end_at_the_requested_time(cls):
    stages = tuple(cls().stages(12.5, 0.2, 1e-3))
    reached = [stage.time for stage in stages if stage.time is not None]
    assert reached == sorted(reached)
    assert reached[-1] == pytest.approx(12.5, rel=1e-15)
    # Consistency: the first derivative of the amplification at z = 0 is the time.
    slope = (polynomial(stages, np.array([1e-7])) - polynomial(stages, np.array([-1e-7]))) / 2e-7
    assert slope[0] == pytest.approx(12.5, rel=1e-5)


def test_rkl2_has_the_stability_polynomial_of_the_four_field_method():
    """a + b P_s(1 + w z) of Meyer, Balsara and Aslam 2014, from SciPy's Legendre polynomials."""
    from scipy.special import eval_legendre

    for reach in (0.5, 4.0, 21.0, 90.0):
        stages = tuple(RKL2(supersteps=1).stages(reach, 1.0, 1e-3))
        s = len(stages)
        w, b = 4 / (s * s + s - 2), (s * s + s - 2) / (2 * s * (s + 1))
        z = -np.linspace(0, 2, 101)
        expected = 1 - b + b * eval_legendre(s, 1 + w * z * reach)
        np.testing.assert_allclose(polynomial(stages, z), expected, atol=1e-12)


def test_rkc2_has_the_stability_polynomial_of_its_source():
    """1 - b T_s(w0) + b T_s(w0 + w1 z) of Sommeijer, Shampine and Verwer 1998, with NumPy's T_s.

    It is stable on the whole interval, and no smaller number of stages is.
    """
    for reach in (0.5, 4.0, 21.0, 90.0):
        s = chebyshev_degree(reach, 1.0)
        stages = chebyshev_superstep(reach, s)
        assert len(stages) == s
        t, w0 = np.polynomial.Chebyshev.basis(s), math.cosh(3.2 / s)
        w1, b = t.deriv(1)(w0) / t.deriv(2)(w0), t.deriv(2)(w0) / t.deriv(1)(w0) ** 2
        z = -np.linspace(0, 2, 101)
        expected = 1 - b * t(w0) + b * t(w0 + w1 * z * reach)
        np.testing.assert_allclose(polynomial(stages, z), expected, atol=1e-12)
        assert np.abs(expected).max() <= 1
        assert s == 2 or w0 + w1 * -2 * reach >= -1 - 1e-12
        if s > 2:
            shorter = polynomial(chebyshev_superstep(reach, s - 1), z)
            assert np.abs(np.diff(shorter[-2:])) > np.abs(np.diff(expected[-2:]))


def test_fsi_is_the_polynomial_of_fed():
    """Product of the FED steps tau_max/(2 cos^2) of Grewenig, Weickert and Bruhn 2010."""
    for n in (1, 2, 5, 12):
        stages = tuple(FSI(cycles=1).stages((n * n + n) / 3, 1.0, 1e-3))
        assert len(stages) == n
        z = -np.linspace(0, 2, 101)
        steps = [1 / (2 * math.cos(math.pi * (2 * i + 1) / (4 * n + 2)) ** 2) for i in range(n)]
        expected = np.prod([1 + t * z for t in steps], axis=0)
        np.testing.assert_allclose(polynomial(stages, z), expected, atol=1e-12)


@pytest.mark.parametrize("reach", [0.02, 0.3, 3.0, 12.0, 80.0, 500.0])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
def test_midpoint_is_the_exponential_and_no_rounding_error_grows(reach, tolerance):
    """The weights are positive: the error is a few times the truncated share (measured: 8.6).

    A stage rounds its result, and all later stages amplify this error. In float32, whose
    rounding error is 6e-8, a sum of 300 leaves an error of 2e-5.
    """
    stages = tuple(Midpoint(cycles=1).stages(reach, 1.0, tolerance))
    z = -np.linspace(0, 2, 401)
    sizes = list(amplitudes(stages, z))
    np.testing.assert_allclose(sizes[-1], np.exp(reach * z), rtol=0, atol=10 * tolerance)
    total = 0.0
    for number, size in enumerate(sizes[:-1], 1):
        *_, error = amplitudes(stages[number:], z, u=1.0, previous=0.0)
        total += np.abs(size).max() * np.abs(error).max()
    assert total < 300 * max(1, reach / 100)


@pytest.mark.parametrize("cycle", [1.0, 5.0, 12.0, 20.0])
def test_long_midpoint_runs_have_the_polynomial_of_rkc2_and_no_rounding_error_grows(cycle):
    """A product of factors in two fields, instead of a recursion in three."""
    count = math.floor(16 / cycle) + 1
    stages = tuple(Midpoint(cycles=count).stages(count * cycle, 1.0, 1e-3))
    degree = chebyshev_degree(cycle, 1.0)
    z, one = -np.linspace(0, 2, 401), stages[:degree]
    expected = polynomial(chebyshev_superstep(cycle, degree), z)
    sizes = list(amplitudes(one, z))
    np.testing.assert_allclose(sizes[-1], expected, rtol=0, atol=1e-12)
    total = 0.0
    for number, size in enumerate(sizes[:-1], 1):
        *_, error = amplitudes(one[number:], z, u=1.0, previous=0.0)
        total += np.abs(size).max() * np.abs(error).max()
    assert total < 100


@pytest.mark.parametrize("scheme", ["auto", Midpoint(cycles=1), Extrapolated(cycles=2)], ids=str)
@pytest.mark.parametrize(
    "model", [nd.EdgeEnhancing(kappa=10.0), nd.PeronaMalik(kappa=10.0, sigma=1.0)], ids=repr
)
def test_float32_agrees_with_float64_after_thousands_of_stable_steps(scheme, model):
    y, x = np.indices((48, 48))
    image = 100 + 50 * np.sin((x + y) / 6) + np.random.default_rng(0).normal(0, 10, x.shape)
    options = {"time": 1000.0, "scheme": scheme}
    single = nd.diffuse(image.astype(np.float32), model, **options)
    double = nd.diffuse(image, model, **options)
    assert np.abs(single - double).max() < 2e-5 * np.ptp(image)


def test_midpoint_computes_one_tensor_per_cycle_in_its_middle_and_one_at_the_start():
    image, model = np.zeros((20, 20)), nd.EdgeEnhancing()
    plan = nd.plan(image, model, time=3.0, scheme=Midpoint(cycles=5))
    starts = [stage for stage in plan.stages if not stage.reuse_operator]
    assert plan.operators_made == len(starts) + 1 == 6
    assert [stage.predictor_step for stage in starts] == pytest.approx([0.3] * 5)
    plan = nd.plan(image, model, time=12.0, scheme=Midpoint(cycles=2))
    # The first prediction starts from the unsmoothed image: at most two stable steps.
    assert plan.stages[0].predictor_step == pytest.approx(2 * 0.25)
    for scheme in ("midpoint", "extrapolated"):
        with pytest.raises(ValueError, match="a diffusivity at the voxels"):
            nd.diffuse(np.zeros((8, 8)), nd.PeronaMalik(), time=1.0, scheme=scheme)
    with pytest.raises(ValueError, match="extremum principle"):
        nd.diffuse(np.zeros((8, 8)), nd.EdgeEnhancing(), time=1.0, scheme="midpoint", strict=True)


@pytest.mark.parametrize("cls", STEPPED)
@pytest.mark.parametrize(
    ("shape", "waves", "spacing"),
    [((16, 12), (3, 5), (2.0, 0.7)), ((8, 12, 10), (1, 7, 4), (4.0, 1.0, 0.8))],
)
def test_cosine_mode_decays_by_the_stability_polynomial(cls, shape, waves, spacing):
    u = mode(shape, waves)
    rate = eigenvalue(shape, spacing, waves)
    stages = nd.plan(u, nd.Linear(), time=3.0, spacing=spacing, scheme=cls()).stages
    result = nd.diffuse(u, nd.Linear(), time=3.0, spacing=spacing, scheme=cls())
    np.testing.assert_allclose(result, u * polynomial(stages, np.array([-rate])), atol=1e-12)


def observed_order(make, image, model, time, spacing, counts):
    """Slope of log(error) against log(number of steps).

    The error is relative to Richardson's limit of two fine second-order runs.
    """

    def run(scheme):
        # The tolerance truncates the exponentials.
        options = {"time": time, "spacing": spacing, "tolerance": 1e-10}
        return nd.diffuse(image, model, scheme=scheme, **options)

    fine = [run(RKL2(supersteps=m)) for m in (256, 512)]
    limit = (4 * fine[1] - fine[0]) / 3
    errors = [np.sqrt(np.mean((run(make(m)) - limit) ** 2)) for m in counts]
    return -np.diff(np.log(errors)) / np.diff(np.log(counts))


CASES = {
    "2-D": ((28, 24), (1.0, 1.0)),
    "2-D anisotropic": ((18, 28), (2.0, 0.8)),
    "3-D anisotropic": ((8, 14, 12), (3.0, 1.0, 0.8)),
}


@pytest.mark.parametrize("case", CASES)
# Midpoint: tests/models/test_tensor_models.py.
@pytest.mark.parametrize("cls", [cls for cls in STEPPED if cls is not Midpoint])
def test_observed_order_in_time_is_the_declared_one(cls, case):
    shape, spacing = CASES[case]
    image = 10 * mode(shape, [2] * len(shape)) + 5 * mode(shape, [3, *[1] * (len(shape) - 1)])
    model = nd.PeronaMalik(kappa=2.0, diffusivity="charbonnier", sigma=1.0)
    time = 4.0
    make, counts = {
        Explicit: (lambda m: Explicit(step=time / m), (256, 512)),
        RKL2: (lambda m: RKL2(supersteps=m), (32, 64)),
        FSI: (lambda m: FSI(cycles=m), (256, 512)),
        Extrapolated: (lambda m: Extrapolated(cycles=m), (64, 128)),
    }[cls]
    (order,) = observed_order(make, image, model, time, spacing, counts)
    assert order == pytest.approx(cls.order, abs=0.05)


@pytest.mark.parametrize("case", CASES)
def test_total_variation_with_stored_face_diffusivities_is_of_second_order(case):
    """Epsilon is large, so that the flow is smooth in time."""
    shape, spacing = CASES[case]
    image = 10 * mode(shape, [2] * len(shape)) + 5 * mode(shape, [3, *[1] * (len(shape) - 1)])
    model = nd.TotalVariation(kappa=2.0, epsilon=1.0)
    options = image, model, 4.0, spacing, (64, 128)
    (order,) = observed_order(lambda m: Extrapolated(cycles=m), *options)
    assert order == pytest.approx(2, abs=0.05)


def test_auto_is_exact_for_linear_models_and_of_second_order_for_long_times():
    image, smooth = np.zeros((20, 20), np.float32), nd.PeronaMalik(kappa=1.0, sigma=1.0)
    assert nd.plan(image, nd.Linear(), time=9.0).scheme == nd.schemes.Exact()
    assert nd.plan(image, smooth, time=1.9).scheme == Explicit()
    assert nd.plan(image, smooth, time=1.9, tolerance=1e-4).scheme == Extrapolated()
    assert nd.plan(image, smooth, time=2.5).scheme == Extrapolated()
    assert nd.plan(image, smooth, time=50.0).scheme == Extrapolated()
    assert nd.plan(image, nd.TotalVariation(), time=50.0).scheme == Extrapolated()
    assert nd.plan(image, smooth, time=50.0, strict=True).scheme == Explicit()
    assert nd.plan(image, nd.PeronaMalik(kappa=1.0), time=50.0).scheme == Explicit()


def test_smaller_tolerance_requires_more_evaluations():
    image, model = np.zeros((20, 20), np.float32), nd.PeronaMalik(kappa=1.0, sigma=1.0)
    steps = [
        nd.plan(image, model, time=50.0, scheme="rkl2", tolerance=tolerance).steps
        for tolerance in (1e-2, 1e-3, 1e-4)
    ]
    assert steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize("cls", [RKL2, FSI])
def test_strict_refuses_schemes_that_may_overshoot(cls):
    with pytest.raises(ValueError, match="extremum principle"):
        nd.diffuse(np.zeros((8, 8)), nd.PeronaMalik(sigma=1.0), time=1.0, scheme=cls(), strict=True)


def test_float32_agrees_with_float64_over_a_thousand_steps():
    rng = np.random.default_rng(7)
    image = rng.normal(100, 20, (24, 24, 24))
    model = nd.PeronaMalik(kappa=8.0, diffusivity="charbonnier")
    options = {"time": 100.0, "scheme": Explicit(step=0.1)}
    single = nd.diffuse(image.astype(np.float32), model, **options)
    double = nd.diffuse(image, model, **options)
    assert np.abs(single - double).max() < 1e-5 * np.ptp(image)


def test_geometric_times_of_no_time_have_no_stage():
    times = GeometricTimes(3, nd.schemes.Explicit())
    assert list(times.stages(0.0, 0.25, 1e-3)) == []
    ends = [stage.time for stage in times.stages(1.0, 0.25, 1e-3) if stage.time is not None]
    assert ends == times.times(1.0)
