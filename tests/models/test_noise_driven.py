"""What the noise-driven models must do by statistics: speckle goes and edges stay, magnitudes lose their bias."""

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.oracles import bound, noise
from napari_diffusion.schemes import Explicit

GRIDS = [((23,), (0.5,)), ((14, 17), (2.0, 0.7)), ((6, 8, 7), (3.0, 1.0, 0.5))]


def neighbour_moments(image, labels, spacing):
    """Mean and variance of the 2N neighbours, voxel by voxel and in words: a neighbour in another region is the voxel itself."""
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
    """One explicit step with c at the voxels and walls between labels."""
    change = np.zeros_like(image)
    for axis, h in enumerate(spacing):
        n = image.shape[axis]
        near, far = (
            np.moveaxis(np.indices(image.shape), 1 + axis, 1)[:, part]
            for part in (slice(0, n - 1), slice(1, n))
        )
        near, far = tuple(near), tuple(far)
        flux = (
            (c[near] + c[far])
            / 2
            * (image[far] - image[near])
            / h**2
            * ((labels[near] == labels[far]) & (labels[near] != 0))
        )
        np.add.at(change, near, flux)
        np.add.at(change, far, -flux)
    return image + tau * change


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("walls", [False, True])
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_one_step_is_the_equations_of_the_papers(shape, spacing, walls, backend):
    image = 50 + 20 * np.abs(noise(shape))
    labels = np.random.default_rng(4).integers(0, 3, shape) if walls else np.ones(shape, int)
    tau = 0.9 * bound(spacing)
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
    np.testing.assert_allclose(
        result, step_with(image, c, labels, spacing, tau), rtol=0, atol=1e-11
    )  # rounding
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
def test_signature_speckle_goes_and_edges_stay_whatever_the_brightness(shape, spacing):
    """Noise in proportion to the mean falls alike on both sides of an edge of 1:10, which linear diffusion blurs."""
    q0, time = 0.15, 2.0
    truth = np.where(np.indices(shape)[-1] < shape[-1] // 2, 10.0, 100.0)
    image = truth * (1 + q0 * noise(shape))
    result = nd.diffuse(image, nd.SpeckleReducing(q0=q0), time=time, spacing=spacing)
    blurred = nd.diffuse(image, nd.Linear(), time=time, spacing=spacing)
    edge = shape[-1] // 2
    spread = lambda u, side: (u / truth)[..., side].std()  # noqa: E731
    for side in (slice(6, edge - 8), slice(edge + 8, -6)):
        # Where q is below q0, c is 1, and the mean over a few neighbours is below it more often than not.
        assert spread(result, side) < 1.5 * spread(blurred, side)
        assert spread(result, side) < 0.35 * q0
    jump = lambda u: (u[..., edge] - u[..., edge - 1]).mean()  # noqa: E731
    assert jump(result) > 0.75 * 90
    assert (
        jump(blurred) < 0.25 * 90
    )  # an edge blurred by sigma = 2 voxels rises by 1/(2 sqrt(2 pi)) of its height per voxel


@pytest.mark.parametrize("factor", [2.0, 0.25, -1.0])
def test_speckle_reducing_commutes_with_multiplication(factor):
    image = 10 + np.abs(noise((20, 24))) * np.linspace(1, 40, 24)
    run = lambda u: nd.diffuse(u, nd.SpeckleReducing(), time=2.0)  # noqa: E731
    np.testing.assert_array_equal(
        run(factor * image), factor * run(image)
    )  # powers of two change no bit


def test_speckle_reducing_leaves_what_has_no_mean():
    """Around zero the coefficient of variation has no bound: nothing overflows, and zeros stay zeros."""
    image = np.zeros((12, 12))
    image[4:8, 4:8] = (-1.0) ** np.indices((4, 4)).sum(0)
    result = nd.diffuse(image, nd.SpeckleReducing(), time=1.0)
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= 1
    np.testing.assert_array_equal(nd.diffuse(np.zeros((5, 6)), nd.SpeckleReducing(), time=1.0), 0)


@pytest.mark.parametrize("ratio", [2.0, 4.0, 12.0])
def test_signature_rician_magnitudes_come_out_unbiased(ratio):
    """The mean of the result is the amplitude within the noise that is left; the magnitude's own mean is not, nor a Gaussian's of it."""
    s, shape, time = 5.0, (256, 256), 6.0
    amplitude = ratio * s
    rng = np.random.default_rng(11)
    image = np.hypot(amplitude + s * rng.normal(size=shape), s * rng.normal(size=shape))
    result = nd.diffuse(image, nd.Rician(sigma_noise=s), time=time)
    # The squares keep their mean, A² + 2s², exactly; it scatters by sqrt(4 s²(A² + s²)/n). The root of what is left of their variance v
    # has a mean below A by v/8A³ (second term of its series); four standard errors, and as much again for further terms.
    error = np.sqrt(4 * s**2 * (amplitude**2 + s**2) / image.size) / (2 * amplitude)
    left = np.var(result**2) / (8 * amplitude**3)
    assert abs(result.mean() + left - amplitude) < 4 * error + 0.5 * left
    assert left < 0.02 * amplitude
    biased = nd.diffuse(image, nd.Linear(), time=time).mean() - amplitude
    assert biased == pytest.approx(
        s**2 / (2 * amplitude), rel=0.3
    )  # the magnitude's bias at high amplitude
    assert result.std() < 0.35 * image.std()


def test_rician_bias_goes_where_there_is_no_signal():
    """Background: magnitudes have the mean s sqrt(pi/2); what is left is a quarter of that at most."""
    s, rng = 8.0, np.random.default_rng(12)
    image = np.hypot(*(s * rng.normal(size=(2, 200, 200))))
    assert image.mean() == pytest.approx(s * np.sqrt(np.pi / 2), rel=0.02)
    result = nd.diffuse(image, nd.Rician(sigma_noise=s), time=30.0)
    # Mean of the root of the positive part of a centred v: E sqrt(v+) = 0.41 std(v)^(1/2) for a normal v.
    left = np.std(np.square(nd.diffuse(image**2, nd.Linear(), time=30.0) ** 0.5) - 2 * s**2)
    assert result.mean() < 1.3 * 0.411 * np.sqrt(left)
    assert result.mean() < image.mean() / 4


def test_transformed_models_leave_the_input_and_its_outside_alone_at_every_state():
    """States show intensities, not squares; outside the mask they show the input; asking twice gives the same."""
    image = 30 + 5 * np.abs(noise((2, 12, 14))).astype("f4")
    kept, mask = image.copy(), np.zeros((12, 14), bool)
    mask[2:9, 3:11] = True
    model = nd.Rician(sigma_noise=3.0)
    options = {"time": 1.0, "mask": mask, "axes": (1, 2), "scheme": Explicit(step=0.2)}
    states = [(state.image.copy(), state.image) for state in nd.evolve(image, model, **options)]
    assert len(states) == 10
    for first, second in states:
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first[:, ~mask], kept[:, ~mask])
        assert 20 < first.min() < first.max() < 60
    np.testing.assert_array_equal(states[-1][0], nd.diffuse(image, model, **options))
    for state in nd.evolve(image[0], model, time=1.0, mask=mask):
        np.testing.assert_array_equal(state.image.copy(), state.image)
    np.testing.assert_array_equal(image, kept)
    whole = nd.diffuse((10 * image).astype("u2"), model, preserve_dtype=True, **options)
    np.testing.assert_array_equal(whole[:, ~mask], (10 * image).astype("u2")[:, ~mask])
    assert whole.dtype == "u2"


def test_conductance_is_that_of_what_diffuses():
    """The share of the variance of the squares that noise explains, not of the magnitudes."""
    image, s = 50 + 20 * np.abs(noise((14, 17))), 6.0
    mean, variance = neighbour_moments(image**2, np.ones((14, 17), int), (1.0, 1.0))
    expected = np.clip(4 * s**2 * (mean - s**2) / np.maximum(variance, 1e-9), 0, 1)
    np.testing.assert_allclose(
        nd.conductance(image, nd.Rician(sigma_noise=s)), expected, rtol=0, atol=1e-12
    )
