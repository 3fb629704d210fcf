"""Runs with a fidelity length: u_t = A(u) u + (f - u)/l², and their steady state."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.fft import dctn, idctn
from skimage.restoration import denoise_tv_chambolle

import napari_diffusion as nd
from napari_diffusion.engine.recipe_fields import steady_time
from napari_diffusion.models import BUILTIN
from napari_diffusion.testing.cases import CASES, RANGE

VOLUME = CASES[-1]  # three axes, spacing (4, 1, 0.8), float64
SMOOTH = np.cos(np.linspace(0, 4, 20))[:, None] * 40 + np.linspace(-1, 1, 18) ** 3 * 30


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


def by_fourier(image, spacing, length, time):
    """Solution of the linear equation by the cosine transform, for a time that may be infinite."""
    eigenvalues = np.zeros(())
    for n, h in zip(image.shape, spacing, strict=True):
        own = 2 / h**2 * (1 - np.cos(np.pi * np.arange(n) / n))
        eigenvalues = np.add.outer(eigenvalues, own)
    rate = 1 / length**2
    decay = np.exp(-(eigenvalues + rate) * time)
    factor = decay + rate * (1 - decay) / (eigenvalues + rate)
    return idctn(factor * dctn(image.astype(float), norm="ortho"), norm="ortho")


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("time", [1.5, None])
def test_linear_diffusion_has_the_closed_form_in_fourier_space(case, time):
    image, length = case.picture(), 2.0
    result = nd.diffuse(image, nd.Linear(), time=time, fidelity_length=length, spacing=case.spacing)
    reached = steady_time(length, 1e-3) if time is None else time
    expected = by_fourier(image, case.spacing, length, reached)
    assert result.dtype == image.dtype
    np.testing.assert_allclose(result, expected, rtol=0, atol=case.rounding)


def test_steady_state_of_linear_diffusion_is_tikhonov_smoothing():
    image = VOLUME.picture()
    for tolerance in (1e-3, 1e-6):
        result = nd.diffuse(
            image,
            nd.Linear(),
            fidelity_length=2.0,
            spacing=VOLUME.spacing,
            tolerance=tolerance,
        )
        tikhonov = by_fourier(image, VOLUME.spacing, 2.0, math.inf)
        assert np.abs(result - tikhonov).max() <= tolerance * RANGE


def test_between_walls_each_region_is_solved_alone():
    image = VOLUME.picture()
    labels = np.ones(image.shape, int)
    labels[:, 7:] = 2
    options = {"time": 6.0, "fidelity_length": 1.5, "spacing": VOLUME.spacing}
    result = nd.diffuse(image, nd.Linear(), labels=labels, **options)
    for part in (np.s_[:, :7], np.s_[:, 7:]):
        alone = nd.diffuse(image[part], nd.Linear(), **options)
        np.testing.assert_allclose(result[part], alone, rtol=0, atol=1e-11 * RANGE)


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        (nd.PeronaMalik(kappa=10.0, sigma=1.0), nd.schemes.Explicit),
        (nd.PeronaMalik(kappa=10.0, sigma=1.0), nd.schemes.FSI),
        (nd.PeronaMalik(kappa=10.0, sigma=1.0), nd.schemes.RKL2),
        (nd.PeronaMalik(kappa=10.0, sigma=1.0), nd.schemes.Extrapolated),
        (nd.EdgeEnhancing(kappa=10.0), nd.schemes.Midpoint),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_order_of_a_scheme_is_kept(model, scheme):
    time = 8.0
    steps = 64 if scheme is nd.schemes.Explicit else 8

    def result(count):
        fine = scheme().with_steps(time, count)
        options = {"time": time, "fidelity_length": 2.0, "tolerance": 1e-9}
        return nd.diffuse(SMOOTH, model, scheme=fine, **options)

    exact = result(32 * steps)
    errors = [rms(result(count) - exact) for count in (steps, 2 * steps)]
    # The first-order reference has an error of its own, a sixteenth of the second one.
    observed = math.log2(errors[0] / errors[1])
    assert abs(observed - scheme.order) <= 0.3, f"order {observed:.2f}"


def test_total_variation_moves_plateaus_as_the_rudin_osher_fatemi_model():
    # A plateau beside one jump moves by kappa l² over its width (Strong & Chan 2003).
    image = np.repeat([10.0, 60.0, 20.0], [30, 20, 50])
    model = nd.TotalVariation(kappa=10.0, epsilon=3e-3)
    result = nd.diffuse(image, model, fidelity_length=2.0, tolerance=1e-4)
    shift = model.kappa * 2.0**2
    levels = [10 + shift / 30, 60 - 2 * shift / 20, 20 + shift / 50]
    means = [part.mean() for part in np.split(result, [30, 50])]
    np.testing.assert_allclose(means, levels, atol=1e-3 * np.ptp(image))
    # The regularised gradient rounds the corners of the plateaus, the less the smaller epsilon is.
    np.testing.assert_allclose(result, np.repeat(levels, [30, 20, 50]), atol=0.75)


@pytest.mark.parametrize(("length", "kappa"), [(1.0, 10.0), (2.0, 5.0)])
def test_total_variation_equals_the_minimiser_of_chambolle(length, kappa):
    noise = np.random.default_rng(5)
    line = np.repeat([0.0, 50.0, 0.0, 80.0, 20.0], 30)
    picture = np.where(np.hypot(*np.mgrid[-24:24, -24:24]) < 14, 90.0, 20.0)
    # In one dimension both discretise the same energy. In two, scikit-image takes one-sided
    # differences for the gradient, and single noisy voxels differ.
    for clean, bound in ((line, 2e-3), (picture, 1.2e-2)):
        image = clean + noise.normal(0, 8, clean.shape)
        expected = denoise_tv_chambolle(
            image, weight=kappa * length**2, eps=1e-9, max_num_iter=10_000
        )
        model = nd.TotalVariation(kappa=kappa, epsilon=3e-3)
        result = nd.diffuse(image, model, fidelity_length=length, tolerance=3e-4)
        change = rms(image - expected)
        assert rms(result - expected) <= bound * np.ptp(image) <= 0.3 * change


#: Models whose residual is that of the intensities, and which come to rest. The switch of the
#: min/max flow is not continuous, so single voxels change to and fro.
RESTING = [kind for kind in BUILTIN if not (kind().has_transform or kind is nd.MinMaxCurvature)]


@pytest.mark.parametrize(
    ("kind", "case"),
    [*((kind, VOLUME) for kind in RESTING), *((nd.VesselEnhancing, CASES[k]) for k in (1, 3))],
    ids=lambda value: getattr(value, "name", None),
)
def test_residual_of_the_steady_state_is_below_the_tolerance(kind, case):
    model, length, image = kind(), 2.0, case.picture()
    options = {"spacing": case.spacing}
    steady = nd.diffuse(image, model, fidelity_length=length, **options)
    step = 1e-3 * nd.plan(image, model, time=1.0, **options).max_step
    flow = nd.diffuse(steady, model, time=step, scheme="explicit", **options) - steady
    residual = length**2 * flow / step + image - steady
    assert rms(residual) <= 1e-3 * RANGE
    assert rms(steady - image) >= 1e-2 * RANGE


def test_time_of_the_steady_state_is_a_number_known_before_the_run():
    recipe = nd.Recipe(nd.TotalVariation(), None, "µm", fidelity_length=2.0)
    assert recipe.time == steady_time(2.0, 1e-3) == pytest.approx(6 * math.log(1e3))
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    nanometres = recipe.in_unit("nm")
    assert (nanometres.fidelity_length, nanometres.time) == pytest.approx(
        (2000.0, recipe.time * 1e6)
    )
    image = VOLUME.picture()
    in_nanometres = nanometres.diffuse(image, spacing=tuple(1000 * h for h in VOLUME.spacing))
    result = recipe.diffuse(image, spacing=VOLUME.spacing)
    np.testing.assert_allclose(in_nanometres, result, rtol=0, atol=1e-9 * RANGE)
    namespace = {"image": image}
    code = dataclasses.replace(recipe, spacing=VOLUME.spacing).to_python()
    exec(code, namespace)
    np.testing.assert_array_equal(namespace["result"], result)
    assert "--fidelity-length 2.0" in recipe.to_command()
    assert "held to the input over 2 µm" in recipe.describe()
    with pytest.raises(TypeError, match="or a fidelity length for the steady state"):
        nd.diffuse(image, nd.Linear())


def test_a_run_of_any_thread_count_has_the_same_bits():
    image = np.tile(VOLUME.picture().astype("f4"), (10, 4, 5))
    for model in (nd.Linear(), nd.PeronaMalik(sigma=1.0)):
        one, three = (
            nd.diffuse(image, model, time=3.0, fidelity_length=2.0, threads=n) for n in (1, 3)
        )
        np.testing.assert_array_equal(one, three)


def test_frames_channels_nan_and_outside_are_those_of_runs_one_by_one():
    image = np.stack([CASES[0].picture() * factor for factor in (1.0, 0.5, 2.0)])
    options = {"time": 3.0, "fidelity_length": 2.0}
    model = nd.PeronaMalik(kappa=8.0, sigma=1.0)
    frames = nd.diffuse(image, model, axes=(1, 2), **options)
    for frame, plane in zip(frames, image, strict=True):
        np.testing.assert_array_equal(frame, nd.diffuse(plane, model, **options))
    grey = nd.diffuse(image[0], model, **options)
    colours = nd.diffuse(np.stack([image[0]] * 3, -1), model, channel_axis=-1, **options)
    for channel in range(3):
        np.testing.assert_allclose(colours[..., channel], grey, rtol=0, atol=1e-5 * RANGE)
    hole = image[0].copy()
    hole[5, 7] = np.nan
    mask = np.ones(hole.shape, bool)
    mask[5, 7] = mask[:3] = False
    result = nd.diffuse(hole, model, mask=mask, nan="mask", **options)
    np.testing.assert_array_equal(result[~mask], hole[~mask])
    assert np.isfinite(result[mask]).all()


@pytest.mark.parametrize("length", [0.05, 0.3], ids=str)
@pytest.mark.parametrize(
    ("model", "strict"),
    [(nd.PeronaMalik(sigma=1.0), False), (nd.PeronaMalik(), True), (nd.EdgeEnhancing(), True)],
    ids=str,
)
def test_short_length_holds_the_image_in_steps_that_are_stable(model, strict, length):
    image = CASES[0].picture()
    image[::2, ::2] += 40  # the finest wave is the least stable
    options = {"fidelity_length": length, "strict": strict, "scheme": "explicit"}
    limit = nd.plan(image, model, time=0.1).max_step
    held = nd.plan(image, model, time=0.1, **options)
    assert held.max_step == pytest.approx(1 / (1 / limit + length**-2))
    result = nd.diffuse(image, model, time=20 * length**2, **options)
    slack = 1e-5 * RANGE
    assert image.min() - slack <= result.min() <= result.max() <= image.max() + slack
    # One step of the flow alone changes a voxel by at most the range, and the source holds it.
    assert np.abs(result - image).max() <= 2 * np.ptp(image) * length**2 / limit
    assert rms(result - image) <= 0.5 * np.ptp(image) * length**2 / limit


def test_cycles_are_at_most_the_time_of_the_source_long():
    options = {"fidelity_length": 1.0, "scheme": "extrapolated"}
    plan = nd.plan(CASES[0].picture(), nd.PeronaMalik(sigma=1.0), **options)
    assert plan.scheme.cycles >= steady_time(1.0, 1e-3)
    chosen = nd.schemes.Extrapolated(cycles=3)
    options["scheme"] = chosen
    assert nd.plan(CASES[0].picture(), nd.PeronaMalik(sigma=1.0), **options).scheme == chosen


def test_input_is_not_written_to_and_the_history_of_steps_starts_at_it():
    image = SMOOTH.astype("f4")
    image.flags.writeable = False
    before = image.copy()
    states = nd.evolve(image, nd.PeronaMalik(sigma=1.0), time=4.0, fidelity_length=1.0)
    distances = [rms(state.image - before) for state in states]
    np.testing.assert_array_equal(image, before)
    assert len(distances) > 1
    assert max(distances) < 10


@pytest.mark.parametrize("model", [nd.Linear(), nd.PeronaMalik(kappa=8.0, sigma=1.0)], ids=str)
def test_preview_equals_the_run(model):
    image = np.tile(CASES[0].picture(), (3, 4))
    region = (slice(30, 40), slice(35, 50))
    options = {"fidelity_length": 1.5}
    whole = nd.diffuse(image, model, **options)[region]
    part = nd.preview(image, model, region=region, **options)
    np.testing.assert_allclose(part, whole, rtol=0, atol=1e-3 * RANGE)


def test_preview_of_a_held_run_reads_little_though_its_time_is_long():
    image = np.zeros((400, 400), "f4")
    options = {"model": nd.PeronaMalik(sigma=1.0), "fidelity_length": 2.0}
    reads = []

    class Lazy:
        shape, dtype, ndim = image.shape, image.dtype, 2

        def __getitem__(self, index):
            reads.append(index)
            return image[index]

    nd.preview(Lazy(), region=(200, slice(190, 210)), **options)
    read = max(part.stop - part.start for index in reads for part in index)
    # The Gaussian of the whole time is 6.4 voxels wide, and its tail would reach 42 voxels.
    assert read <= 20 + 2 * 24


def test_direct_scheme_that_ignores_the_source_is_refused(monkeypatch):
    monkeypatch.setattr(nd.schemes.Exact, "solves_fidelity", False)
    with pytest.raises(ValueError, match="it does not include a fidelity length"):
        nd.plan(SMOOTH, nd.Linear(), time=1.0, fidelity_length=2.0, scheme="exact")
