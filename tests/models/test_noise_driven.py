"""The noise-driven models against statistics.

Speckle is removed and edges are kept; magnitudes lose their bias.
"""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import max_explicit_step, noise
from napari_diffusion.schemes import Explicit

GRIDS = [((23,), (0.5,)), ((14, 17), (2.0, 0.7)), ((6, 8, 7), (3.0, 1.0, 0.5))]


def neighbour_moments(image, labels, spacing):
    """Mean and variance of the 2N neighbours, voxel by voxel.

    A neighbour in another region is replaced by the voxel itself.
    """
    mean, variance = np.zeros_like(image), np.zeros_like(image)
    for at in np.ndindex(image.shape):
        values, weights = [], []
        for axis, h in enumerate(spacing):
            for step in (-1, 1):
                other = list(at)
                other[axis] += step
                inside = 0 <= other[axis] < image.shape[axis]
                open_face = inside and labels[tuple(other)] == labels[at] != 0
                values.append(image[tuple(other)] if open_face else image[at])
                weights.append(1 / h**2)
        mean[at] = np.average(values, weights=weights)
        variance[at] = np.average((np.array(values) - mean[at]) ** 2, weights=weights)
    return mean, variance


def step_with(image, c, labels, spacing, tau):
    """One explicit step with the diffusivity c at the voxels and walls between labels."""
    change = np.zeros_like(image)
    for axis, h in enumerate(spacing):
        n = image.shape[axis]
        index = np.moveaxis(np.indices(image.shape), 1 + axis, 1)
        near, far = tuple(index[:, : n - 1]), tuple(index[:, 1:n])
        is_open = (labels[near] == labels[far]) & (labels[near] != 0)
        flux = (c[near] + c[far]) / 2 * (image[far] - image[near]) / h**2 * is_open
        np.add.at(change, near, flux)
        np.add.at(change, far, -flux)
    return image + tau * change


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("walls", [False, True])
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_one_step_agrees_with_the_published_equations(shape, spacing, walls, backend):
    image = 50 + 20 * np.abs(noise(shape))
    labels = np.random.default_rng(4).integers(0, 3, shape) if walls else np.ones(shape, int)
    tau = 0.9 * max_explicit_step(spacing)
    options = {
        "time": tau,
        "spacing": spacing,
        "labels": labels,
        "scheme": Explicit(step=tau),
        "backend": backend,
    }
    mean, variance = neighbour_moments(image, labels, spacing)
    q2, q0 = variance / mean**2, 0.05
    c = np.clip(1 / (1 + (q2 - q0**2) / (q0**2 * (1 + q0**2))), 0, 1)
    result = nd.diffuse(image, nd.SpeckleReducing(q0=q0), **options)
    expected = step_with(image, c, labels, spacing, tau)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-11)  # rounding
    assert 0 < c.min() < 0.9

    s, squares = 6.0, image**2
    mean, variance = neighbour_moments(squares, labels, spacing)
    c = np.clip(4 * s**2 * (mean - s**2) / np.maximum(variance, 1e-9), 0, 1)
    expected = np.sqrt(np.maximum(step_with(squares, c, labels, spacing, tau) - 2 * s**2, 0))
    expected[labels == 0] = image[labels == 0]
    result = nd.diffuse(image, nd.Rician(sigma_noise=s), **options)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((96, 96), (1.0, 1.0)), ((48, 96), (2.0, 1.0)), ((20, 22, 44), (1.0, 1.0, 1.0))],
)
def test_signature_speckle_is_removed_and_edges_stay_at_any_brightness(shape, spacing):
    """Multiplicative noise decreases equally on both sides of an edge of 1:10, which is kept."""
    q0, time = 0.15, 2.0
    truth = np.where(np.indices(shape)[-1] < shape[-1] // 2, 10.0, 100.0)
    image = truth * (1 + q0 * noise(shape))
    result = nd.diffuse(image, nd.SpeckleReducing(q0=q0), time=time, spacing=spacing)
    blurred = nd.diffuse(image, nd.Linear(), time=time, spacing=spacing)
    edge = shape[-1] // 2
    spread = lambda u, side: (u / truth)[..., side].std()  # noqa: E731
    for side in (slice(6, edge - 8), slice(edge + 8, -6)):
        # c is 1 where q is below q0, which holds in most neighbourhoods.
        assert spread(result, side) < 1.5 * spread(blurred, side)
        assert spread(result, side) < 0.35 * q0
    jump = lambda u: (u[..., edge] - u[..., edge - 1]).mean()  # noqa: E731
    assert jump(result) > 0.75 * 90
    # An edge blurred by sigma = 2 voxels rises by 1/(2 sqrt(2 pi)) of its height per voxel.
    assert jump(blurred) < 0.25 * 90


@pytest.mark.parametrize("factor", [2.0, 0.25, -1.0])
def test_speckle_reducing_commutes_with_multiplication(factor):
    image = 10 + np.abs(noise((20, 24))) * np.linspace(1, 40, 24)
    run = lambda u: nd.diffuse(u, nd.SpeckleReducing(), time=2.0)  # noqa: E731
    # Powers of two change no bit.
    np.testing.assert_array_equal(run(factor * image), factor * run(image))


def test_speckle_reducing_is_finite_where_the_mean_is_zero():
    """The coefficient of variation is unbounded there. Nothing overflows, and zeros stay zeros."""
    image = np.zeros((12, 12))
    image[4:8, 4:8] = (-1.0) ** np.indices((4, 4)).sum(0)
    result = nd.diffuse(image, nd.SpeckleReducing(), time=1.0)
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= 1
    np.testing.assert_array_equal(nd.diffuse(np.zeros((5, 6)), nd.SpeckleReducing(), time=1.0), 0)


@pytest.mark.parametrize("ratio", [2.0, 4.0, 12.0])
def test_signature_rician_result_is_unbiased(ratio):
    """The mean of the result is the amplitude, up to the residual noise.

    The mean of the magnitude, with or without Gaussian smoothing, is not.
    """
    s, shape, time = 5.0, (256, 256), 6.0
    amplitude = ratio * s
    rng = np.random.default_rng(11)
    image = np.hypot(amplitude + s * rng.normal(size=shape), s * rng.normal(size=shape))
    result = nd.diffuse(image, nd.Rician(sigma_noise=s), time=time)
    # The squares keep their mean A² + 2s² exactly; its standard error is sqrt(4 s²(A² + s²)/n).
    # With the residual variance v of the squares, the mean of the root is below A by v/8A³ (second
    # term of its series). The tolerance is four standard errors, and half the second term for
    # further terms.
    error = np.sqrt(4 * s**2 * (amplitude**2 + s**2) / image.size) / (2 * amplitude)
    second_term = np.var(result**2) / (8 * amplitude**3)
    assert abs(result.mean() + second_term - amplitude) < 4 * error + 0.5 * second_term
    assert second_term < 0.02 * amplitude
    bias = nd.diffuse(image, nd.Linear(), time=time).mean() - amplitude
    # The bias of the magnitude at high amplitude.
    assert bias == pytest.approx(s**2 / (2 * amplitude), rel=0.3)
    assert result.std() < 0.35 * image.std()


def test_rician_bias_is_reduced_in_the_background():
    """Without a signal, magnitudes have the mean s sqrt(pi/2); at most a quarter of it remains."""
    s, rng = 8.0, np.random.default_rng(12)
    image = np.hypot(*(s * rng.normal(size=(2, 200, 200))))
    assert image.mean() == pytest.approx(s * np.sqrt(np.pi / 2), rel=0.02)
    result = nd.diffuse(image, nd.Rician(sigma_noise=s), time=30.0)
    # A centred normal v has E sqrt(max(v, 0)) = 0.41 std(v)^(1/2).
    deviation = np.std(np.square(nd.diffuse(image**2, nd.Linear(), time=30.0) ** 0.5) - 2 * s**2)
    assert result.mean() < 1.3 * 0.411 * np.sqrt(deviation)
    assert result.mean() < image.mean() / 4


def test_states_of_transformed_models_keep_the_input_outside_the_mask():
    """States are intensities, not squares, and reading a state twice gives the same values."""
    image = 30 + 5 * np.abs(noise((2, 12, 14))).astype("f4")
    original, mask = image.copy(), np.zeros((12, 14), bool)
    mask[2:9, 3:11] = True
    model = nd.Rician(sigma_noise=3.0)
    options = {"time": 1.0, "mask": mask, "axes": (1, 2), "scheme": Explicit(step=0.2)}
    states = [(state.image.copy(), state.image) for state in nd.evolve(image, model, **options)]
    assert len(states) == 10
    for first, second in states:
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first[:, ~mask], original[:, ~mask])
        assert 20 < first.min() < first.max() < 60
    np.testing.assert_array_equal(states[-1][0], nd.diffuse(image, model, **options))
    for state in nd.evolve(image[0], model, time=1.0, mask=mask):
        np.testing.assert_array_equal(state.image.copy(), state.image)
    np.testing.assert_array_equal(image, original)
    integers = (10 * image).astype("u2")
    result = nd.diffuse(integers, model, preserve_dtype=True, **options)
    np.testing.assert_array_equal(result[:, ~mask], integers[:, ~mask])
    assert result.dtype == "u2"


def test_conductance_of_transformed_models_is_that_of_the_transformed_values():
    """It is the ratio of noise variance to variance of the squares, not of the magnitudes."""
    image, s = 50 + 20 * np.abs(noise((14, 17))), 6.0
    mean, variance = neighbour_moments(image**2, np.ones((14, 17), int), (1.0, 1.0))
    expected = np.clip(4 * s**2 * (mean - s**2) / np.maximum(variance, 1e-9), 0, 1)
    np.testing.assert_allclose(
        nd.conductance(image, nd.Rician(sigma_noise=s)), expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_rician_refuses_values_below_zero_which_no_magnitude_has(dtype):
    image = np.random.default_rng(0).normal(100, 20, (8, 9)).astype(dtype)
    image[2, 3] = -7
    with pytest.raises(ValueError, match="values down to -7, and a magnitude is not below 0"):
        nd.diffuse(image, nd.Rician(sigma_noise=5.0), time=1.0)
    outside = np.ones((8, 9), bool)
    outside[2, 3] = False
    result = nd.diffuse(image, nd.Rician(sigma_noise=5.0), time=1.0, mask=outside)
    assert result[2, 3] == -7
