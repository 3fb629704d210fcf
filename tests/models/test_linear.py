"""Linear diffusion against mathematics.

Cosine modes, moments, semigroup property, matrix exponential, order of convergence.
"""

import math

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.ndimage
from scipy.special import ive

import napari_diffusion as nd
from helpers.oracles import dense_operator, eigenvalue, max_explicit_step, mode, step_and_ramp
from napari_diffusion.operators.smoothing import gaussian_taps
from napari_diffusion.schemes import Explicit, exact

GRIDS = [  # shape, spacing, wave numbers of a cosine mode
    ((33,), (1.0,), (3,)),
    ((24, 17), (1.0, 1.0), (2, 5)),
    ((24, 17), (3.0, 0.5), (2, 5)),
    ((9, 12, 10), (1.0, 1.0, 1.0), (0, 3, 4)),
    ((9, 12, 10), (3.0, 1.0, 0.5), (2, 1, 4)),
    ((5, 6, 4, 7), (2.0, 1.0, 0.5, 1.5), (1, 2, 1, 3)),
]


def use_branch(monkeypatch, branch):
    limit = {"convolution": np.inf, "transform": -1.0}[branch]
    monkeypatch.setattr(exact, "MAX_CONVOLUTION_SIGMA", limit)


@pytest.mark.parametrize(("shape", "spacing", "waves"), GRIDS)
def test_explicit_steps_damp_a_cosine_mode_by_their_symbol(shape, spacing, waves):
    image, step, count = mode(shape, waves), 0.8 * max_explicit_step(spacing), 12
    result = nd.diffuse(
        image, nd.Linear(), time=count * step, spacing=spacing, scheme=Explicit(step=step)
    )
    factor = (1 - step * eigenvalue(shape, spacing, waves)) ** count
    # Rounding of 12 float64 steps on values <= 1.
    np.testing.assert_allclose(result, factor * image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("branch", ["convolution", "transform"])
@pytest.mark.parametrize(("shape", "spacing", "waves"), GRIDS)
def test_exact_scheme_damps_a_cosine_mode_exponentially(shape, spacing, waves, branch, monkeypatch):
    use_branch(monkeypatch, branch)
    image, time = mode(shape, waves), 0.7 / eigenvalue(shape, spacing, waves)
    result = nd.diffuse(image, nd.Linear(), time=time, spacing=spacing, scheme="exact")
    # Kernels are truncated at a quarter of the rounding of float64.
    np.testing.assert_allclose(result, math.exp(-0.7) * image, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("time", "branch"), [(200.0, "convolution"), (400.0, "transform")])
def test_exact_scheme_chooses_the_branch_by_sigma(time, branch, monkeypatch):
    """Sigma is 20 and 28 voxels, below and above the documented limit of 24. Both are exact."""
    calls = []
    original = scipy.fft.dct

    def recorded(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(scipy.fft, "dct", recorded)
    image = mode((150, 3), (2, 0))
    result = nd.diffuse(image, nd.Linear(), time=time, scheme="exact")
    assert bool(calls) == (branch == "transform")
    expected = math.exp(-time * eigenvalue((150,), (1.0,), (2,))) * image
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scheme", ["exact", "explicit", "walls"])
@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0), (0.5, 0.5, 0.5), (3.0, 1.0, 0.5), (2.0, 0.7)]
)
def test_variance_of_a_blob_grows_by_twice_the_time_along_every_axis(spacing, scheme):
    time = 1.2
    # At 9.5 standard deviations from the border, reflections are below the rounding of float64.
    shape = tuple(2 * math.ceil(9.5 * math.sqrt(2 * time) / h) + 9 for h in spacing)
    image = np.zeros(shape)
    image[tuple(n // 2 for n in shape)] = 3.0
    image[tuple(n // 2 + 1 for n in shape)] = 1.0
    mask = np.ones(shape, bool)
    mask[(0,) * len(shape)] = False  # a single distant wall selects the series
    options = {"mask": mask} if scheme == "walls" else {}
    result = nd.diffuse(
        image,
        nd.Linear(),
        time=time,
        spacing=spacing,
        scheme="explicit" if scheme == "explicit" else "exact",
        **options,
    )
    for axis, h in enumerate(spacing):
        x = h * (np.arange(shape[axis]) - shape[axis] // 2)
        moments = []
        for u in (image, result):
            profile = u.sum(tuple(i for i in range(u.ndim) if i != axis)) / u.sum()
            moments.append((profile @ x**2) - (profile @ x) ** 2)
        # Sums over 1e5 voxels at squared distances up to 250 have errors of a few 1e-12.
        assert moments[1] - moments[0] == pytest.approx(2 * time, rel=1e-10)


def test_spacing_follows_the_order_of_the_axes():
    """``axes`` may have any order and negative numbers. Other axes and channels do not mix."""
    image, time = np.zeros((2, 31, 33, 3, 35)), 1.2
    image[1, 15, 16, 2, 17] = 1
    for axes, spacing in (
        ((1, 2, 4), (3.0, 1.0, 0.8)),
        ((4, 1, 2), (0.8, 3.0, 1.0)),
        ((-1, -3, -4), (0.8, 1.0, 3.0)),
    ):
        result = nd.diffuse(
            image, nd.Linear(), time=time, axes=axes, spacing=spacing, channel_axis=3
        )
        assert np.count_nonzero(result.any((1, 2, 4))) == 1
        for axis, h in ((1, 3.0), (2, 1.0), (4, 0.8)):
            x = h * (np.arange(image.shape[axis]) - image.shape[axis] // 2)
            profile = result.sum(tuple(i for i in range(5) if i != axis))
            # The border is 8 to 40 standard deviations away.
            assert profile @ x**2 == pytest.approx(2 * time, rel=1e-8)


# Rounding of two sums of 100 terms; the range is 130.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 3e-6)])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((40,), (0.6,)), ((30, 26), (1.0, 0.4)), ((9, 16, 15), (3.0, 1.0, 0.5))]
)
def test_convolution_and_transform_agree(shape, spacing, dtype, tolerance, monkeypatch):
    image, results = step_and_ramp(shape).astype(dtype), []
    for branch in ("convolution", "transform"):
        use_branch(monkeypatch, branch)
        results.append(nd.diffuse(image, nd.Linear(), time=6.0, spacing=spacing, scheme="exact"))
    np.testing.assert_allclose(*results, rtol=0, atol=tolerance * 130)


@pytest.mark.parametrize("scheme", ["exact", "explicit"])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((11,), (0.5,)), ((6, 7), (2.0, 0.7)), ((4, 5, 3), (3.0, 1.0, 0.5))]
)
def test_result_between_walls_is_the_exponential_of_the_operator(shape, spacing, scheme):
    labels = np.random.default_rng(5).integers(0, 3, shape)
    image, time = step_and_ramp(shape), 1.5
    operator = dense_operator(labels, spacing)
    count = math.ceil(time / max_explicit_step(spacing))
    if scheme == "exact":
        matrix = scipy.linalg.expm(time * operator)
    else:
        matrix = np.linalg.matrix_power(np.eye(image.size) + time / count * operator, count)
        scheme = Explicit(step=time / count)
    result = nd.diffuse(
        image, nd.Linear(), time=time, spacing=spacing, labels=labels, scheme=scheme
    )
    # Rounding of expm and of 40 terms.
    np.testing.assert_allclose(result.ravel(), matrix @ image.ravel(), rtol=0, atol=1e-11 * 130)
    assert np.abs(result - image).max() > 10  # the image has changed


@pytest.mark.parametrize("walls", [False, True])
def test_two_runs_are_one_run_of_the_summed_time(walls):
    image = step_and_ramp((20, 17))
    labels = np.where(np.arange(17) < 8, 1, 2) * np.ones((20, 1), int) if walls else None
    options = {"spacing": (2.0, 0.8), "labels": labels, "scheme": "exact"}
    run = lambda u, time: nd.diffuse(u, nd.Linear(), time=time, **options)  # noqa: E731
    # Up to rounding.
    np.testing.assert_allclose(run(run(image, 1.3), 2.9), run(image, 4.2), rtol=0, atol=1e-12 * 130)


@pytest.mark.parametrize(
    ("sigma", "rms", "maximum"), [(1.0, 0.01, 0.05), (2.0, 2e-3, 0.01), (5.0, 5e-4, 1e-3)]
)
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((90, 80), (1.0, 1.0)), ((90, 80), (2.0, 0.5)), ((24, 40, 30), (3.0, 1.0, 2.0))],
)
def test_linear_diffusion_is_gaussian_smoothing(shape, spacing, sigma, rms, maximum):
    """The error is below 1 % rms of the range for sigma >= 1 voxel, and below 1 % for sigma >= 2.

    Both kernels have the same variance; their fourth moments differ by h^2/sigma^2 (relative). At
    sigma = 1 the centre of the heat kernel of the grid is 0.466, and that of the sampled Gaussian
    0.399. Next to a sharp step their results differ by 3.4 % of its height.
    """
    image = step_and_ramp(shape)
    length = sigma * max(spacing)  # at least ``sigma`` voxels along every axis
    expected = scipy.ndimage.gaussian_filter(
        image, [length / h for h in spacing], mode="reflect", truncate=8
    )
    result = nd.diffuse(image, nd.Linear(), time=nd.time_for_sigma(length), spacing=spacing)
    error = (result - expected) / np.ptp(image)
    assert np.sqrt(np.mean(error**2)) < rms
    assert np.abs(error).max() < maximum


@pytest.mark.parametrize(
    ("sizes", "waves"), [((10,), (2,)), ((10, 8), (1, 2)), ((6, 8, 5), (1, 2, 1))]
)
def test_linear_diffusion_converges_to_the_continuous_solution_at_order_two(sizes, waves):
    lengths = (20.0, 12.0, 15.0)[: len(sizes)]
    rate = sum((math.pi * k / length) ** 2 for k, length in zip(waves, lengths, strict=True))
    errors = []
    for refine in (2, 4, 8):
        shape = tuple(n * refine for n in sizes)
        spacing = tuple(length / n for length, n in zip(lengths, shape, strict=True))
        image = mode(shape, waves)
        result = nd.diffuse(image, nd.Linear(), time=1 / rate, spacing=spacing, scheme="exact")
        errors.append(np.abs(result - math.exp(-1) * image).max())
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    # The next term of the error, h^4, contributes at these resolutions.
    np.testing.assert_allclose(orders, 2, atol=0.1)


@pytest.mark.parametrize("tail", [1e-3, 1e-8])
@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 2.0, 7.3, 40.0])
def test_weights_of_the_gaussian_are_bessel_functions_truncated_at_the_tail(sigma, tail):
    w = gaussian_taps(sigma, 1000, tail)
    exact_weights = ive(np.arange(len(w)), sigma**2)
    total = exact_weights[0] + 2 * exact_weights[1:].sum()
    assert 1 - total < tail <= 1 - total + 2 * exact_weights[-1]  # as short as possible
    np.testing.assert_allclose(w, exact_weights / total, rtol=0, atol=1e-15)
