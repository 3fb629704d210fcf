"""Noise level and suggested parameters: accuracy, invariances, invalid input."""

import numpy as np
import pytest
import scipy.ndimage

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion.estimation.noise.evidence import gather
from napari_diffusion.estimation.noise.kinds import estimate_noise
from napari_diffusion.estimation.noise.values import carries_noise


def noise_sigma(field, spacing):
    count = len(field)
    evidence = gather(list(field), [carries_noise(field)] * count, [spacing] * count)
    return estimate_noise(evidence, "gaussian").sigma


def smooth(shape, seed=9):
    """Structures of six voxels and more, with a range of 200."""
    field = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 6)
    return 200 * (field - field.min()) / np.ptp(field)


def noisy(shape, sigma, seed=10):
    return smooth(shape) + sigma * np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("sigma", [2.0, 8.0, 30.0])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((256, 250), (1.0, 1.0)),
        ((48, 50, 52), (1.0, 1.0, 1.0)),
        ((48, 50, 52), (0.3, 0.3, 0.3)),
        ((20000,), (1.0,)),
    ],
)
def test_noise_level_is_accurate(shape, spacing, sigma):
    """The median of n correlated residuals scatters by about 2.5/sqrt(n), which is 1 %.

    The tolerance of 5 % includes the contribution of the picture.
    """
    assert noise_sigma(noisy(shape, sigma)[None], spacing) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_coarse_axis_is_left_out(axis):
    """Slices of unrelated anatomy: the noise is measured along the other two axes alone."""
    rng = np.random.default_rng(11)
    anatomy = np.stack([smooth((64, 60), seed=k) + 20 * rng.normal() for k in range(14)])
    slices = anatomy + 4 * rng.normal(size=(14, 64, 60))
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    volume = np.moveaxis(slices, 0, axis)
    assert noise_sigma(volume[None], spacing) == pytest.approx(4, rel=0.05)


def test_noise_of_channels_is_their_root_mean_square():
    channels = np.stack([noisy((200, 210), sigma, seed=k) for k, sigma in enumerate((3.0, 6.0))])
    sigma = nd.suggest(channels, nd.Linear(), channel_axis=0).noise.sigma
    assert sigma == pytest.approx(np.sqrt((9 + 36) / 2), rel=0.05)


def test_background_set_to_zero_does_not_count():
    """As in MRI, where air may be set to 0: the noise is that of the rest, not half of it or 0."""
    image = noisy((200, 200), 5.0)
    image[:, :120] = 0
    assert noise_sigma(image[None], (1.0, 1.0)) == pytest.approx(5, rel=0.05)


def test_edges_do_not_count():
    """Edges of fifty noise levels, beside 6 % of the voxels.

    The median moves to the quantile 0.5/0.94, which is 8 % more. A mean would double.
    """
    steps = np.indices((240, 240)).sum(0) // 80 % 2
    image = 4 * np.random.default_rng(12).normal(size=(240, 240)) + 200 * steps
    assert noise_sigma(image[None], (1.0, 1.0)) == pytest.approx(4, rel=0.1)


MODELS = [nd.PeronaMalik(), nd.PeronaMalik(diffusivity="exponential"), nd.PeronaMalik(sigma=0.5)]


@pytest.mark.parametrize("model", MODELS[:2], ids=lambda model: model.diffusivity)
@pytest.mark.parametrize(
    ("shape", "spacing"), [((120, 110), (1.0, 1.0)), ((10, 40, 36), (2.0, 0.5, 0.5))]
)
def test_suggestion_is_independent_of_units(model, shape, spacing):
    """Intensities times 1000, then micrometres: the results agree to 1e-5 of the range."""
    image = noisy(shape, 8.0).astype("f4")
    chosen, time = nd.suggest(image, model, spacing=spacing)
    picture = nd.diffuse(image, chosen, time=time, spacing=spacing)
    assert picture.std() < image.std()
    brighter, same = nd.suggest(image * 1000, model, spacing=spacing)
    # The time is the vertex of a parabola through errors that are rounded in single precision.
    assert same == pytest.approx(time, rel=1e-4)
    assert brighter.kappa == pytest.approx(1000 * chosen.kappa, rel=1e-5)
    np.testing.assert_allclose(
        nd.diffuse(image * 1000, brighter, time=same, spacing=spacing) / 1000,
        picture,
        rtol=0,
        atol=1e-5 * np.ptp(image),
    )
    micrometres = [1000 * h for h in spacing]
    finer, longer = nd.suggest(image, model, spacing=micrometres)
    assert longer == pytest.approx(1e6 * time, rel=1e-4)
    assert finer.kappa == pytest.approx(chosen.kappa / 1000, rel=1e-5)
    np.testing.assert_allclose(
        nd.diffuse(image, finer, time=longer, spacing=micrometres),
        picture,
        rtol=0,
        atol=1e-5 * np.ptp(image),
    )


def test_suggestion_ignores_an_offset():
    """Float64 rounds differences at 1e4 to 1e-12, for noise of 8.

    The search may run in single precision, with a rounding error of a thousandth of the noise.
    """
    image = noisy((120, 110), 8.0)
    (first, time), (second, same) = (nd.suggest(u, nd.PeronaMalik()) for u in (image, image + 1e4))
    assert second.kappa == pytest.approx(first.kappa, rel=1e-9)
    assert same == pytest.approx(time, rel=1e-3)


def test_suggestion_keeps_other_parameters():
    model = nd.PeronaMalik(diffusivity="tukey", kappa=40.0, sigma=0.7)
    chosen, _ = nd.suggest(noisy((60, 50), 8.0), model, fixed=["sigma"])
    assert (chosen.diffusivity, chosen.sigma) == ("tukey", 0.7)
    assert chosen.kappa != 40


@pytest.mark.parametrize("sigma", [5.0, 20.0])
def test_suggestion_removes_noise_and_keeps_edges(sigma):
    """The error against the clean image falls by 3 dB, and a step keeps 0.9 of its height."""
    clean = np.zeros((100, 100))
    clean[:, 50:] = 250
    image = clean + sigma * np.random.default_rng(13).normal(size=clean.shape)
    model, time = nd.suggest(image, nd.PeronaMalik())
    result = nd.diffuse(image, model, time=time)
    assert np.sqrt(np.mean((result - clean) ** 2)) < 0.7 * sigma
    assert (result[:, 50] - result[:, 49]).mean() > 0.9 * 250


def test_frames_without_noise_do_not_count():
    """A constant frame before, and a frame of NaN after the only frame with noise."""
    frames = np.stack([np.zeros((90, 80)), noisy((90, 80), 8.0), np.full((90, 80), np.nan)])
    single = nd.suggest(frames[1], nd.PeronaMalik())
    assert nd.suggest(frames, nd.PeronaMalik(), axes=(1, 2)) == single


def test_holes_do_not_count():
    image = noisy((120, 110), 8.0)
    whole = nd.suggest(image, nd.PeronaMalik(), thorough=False)
    image[40:50, 30:60] = np.nan
    image[5, 5] = np.inf
    holed = nd.suggest(image, nd.PeronaMalik(), thorough=False)
    assert holed.noise.sigma == pytest.approx(whole.noise.sigma, rel=0.05)  # 3 % fewer residuals
    assert holed.time == pytest.approx(whole.time, rel=0.2)  # the risk is flat at its minimum


@pytest.mark.parametrize(
    "image",
    [
        np.full((30, 30), 7.0),
        np.zeros((30, 30), np.uint8),
        np.full((30, 30), np.nan),
        np.full((30, 30), np.inf),
        np.zeros((2, 2)),
        np.ones((1, 1, 1)),
        np.zeros((0, 5)),
        np.zeros((5, 0), "u2"),
        np.arange(12.0).reshape(3, 4),  # a ramp: no noise at all
    ],
    ids=["constant", "zeros", "NaN", "inf", "2x2", "one voxel", "empty", "empty integers", "ramp"],
)
def test_error_without_noise_is_one_sentence(image):
    with pytest.raises(ValueError, match="no measurable noise") as caught:
        nd.suggest(image, nd.PeronaMalik())
    check_sentence(caught.value, "kappa")


def test_binary_image_gives_usable_parameters_or_one_sentence():
    binary = np.indices((40, 40)).sum(0) // 10 % 2 > 0
    try:
        model, time = nd.suggest(binary, nd.PeronaMalik())
    except ValueError as error:
        check_sentence(error)
    else:
        assert np.isfinite(nd.diffuse(binary, model, time=time)).all()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (np.zeros((4, 4), "c8"), {}),
        ("text", {}),
        (np.zeros((4, 4)), {"spacing": 0}),
        (np.zeros((4, 4)), {"axes": (7,)}),
    ],
)
def test_error_of_invalid_arguments_is_one_sentence(image, options):
    with pytest.raises((TypeError, ValueError)) as caught:
        nd.suggest(image, nd.PeronaMalik(), **options)
    check_sentence(caught.value)


@pytest.mark.parametrize("model", ["perona-malik", None, nd.PeronaMalik], ids=str)
def test_error_of_invalid_model_is_one_sentence(model):
    with pytest.raises(TypeError) as caught:
        nd.suggest(noisy((30, 30), 5.0), model)
    check_sentence(caught.value, model if isinstance(model, str) else type(model).__name__)


def test_image_is_not_modified():
    image = noisy((60, 60), 8.0).astype("f4")
    before = image.tobytes()
    nd.suggest(image, nd.PeronaMalik())
    assert image.tobytes() == before
