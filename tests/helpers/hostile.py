"""Shared helpers of the tests of hostile input: models, images, and checks of the outcome."""

import numpy as np

import napari_diffusion as nd

MODELS = {
    "linear": nd.Linear(),
    "classic": nd.PeronaMalik(kappa=10.0),
    "regularised": nd.PeronaMalik(kappa=10.0, sigma=0.7),
}
#: Rounding of ten steps, as a share of the largest value; float16 is computed in float32 and
#: rounded once.
ROUNDING = {"f2": 1e-3, "f4": 3e-6, "f8": 1e-13}


def picture(shape=(6, 7, 5), dtype="f4", seed=3):
    x = np.indices(shape).sum(0)
    noise = 6 * np.random.default_rng(seed).normal(size=shape)
    return (60 * (x > sum(shape) / 3) + 20 + noise).astype(dtype)


def fingerprint(image):
    """Return the bytes of an image, including those of the base of a view."""
    if isinstance(image, (list, tuple)):
        return repr(image)
    if isinstance(image, np.ma.MaskedArray):
        return image.data.tobytes() + np.ma.getmaskarray(image).tobytes()
    owner = image
    while isinstance(getattr(owner, "base", None), np.ndarray):
        owner = owner.base
    return np.asarray(owner).tobytes() if isinstance(owner, np.ndarray) else None


def check_sentence(error, *named):
    """Assert that an error is one line of at most 300 characters that names certain values."""
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) <= 300
    assert ". " not in text
    for word in named:
        assert word in text


def scaled(model, factor):
    if isinstance(model, nd.Linear):
        return model
    return nd.PeronaMalik(kappa=model.kappa * factor, sigma=model.sigma)


def clean(image):
    if isinstance(image, np.ma.MaskedArray):
        image = image.data
    return np.array(np.asarray(image), np.float64, order="C")


def expected_dtype(image, options):
    kind = np.asarray(image).dtype.newbyteorder("=")
    return kind if options.get("preserve_dtype") or kind.kind == "f" else np.dtype("f4")


def compare(result, image, model, options):
    """Assert that a result is that of a float64 copy of the image, in the promised dtype."""
    rest = {name: value for name, value in options.items() if name != "preserve_dtype"}
    truth = nd.diffuse(clean(image), model, **{"time": 1.5} | rest)
    dtype = expected_dtype(image, options)
    assert result.dtype == dtype
    assert result.dtype.isnative
    assert result.shape == truth.shape
    largest = np.abs(truth[np.isfinite(truth)]).max(initial=0)
    if dtype.kind == "b":
        sure = np.abs(truth - 0.5) > 1e-5
        np.testing.assert_array_equal(result[sure], truth[sure] > 0.5)
    elif dtype.kind in "iu":
        # Rounding to the nearest integer, and the rounding of the computation.
        rounding = (ROUNDING["f4"] if dtype.itemsize <= 2 else ROUNDING["f8"]) * largest
        np.testing.assert_allclose(result.astype("f8"), truth, rtol=0, atol=0.5 + rounding)
    else:
        # Subnormal numbers have as little as one digit.
        tiny = float(np.finfo(dtype).smallest_subnormal)
        tolerance = ROUNDING[dtype.str[1:]] * largest + 10 * tiny
        np.testing.assert_allclose(
            result.astype("f8"), truth, rtol=0, atol=tolerance, equal_nan=True
        )
