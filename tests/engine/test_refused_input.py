"""Invalid input is refused in one sentence that names it; and a fuzz test of all arguments."""

import functools
import itertools

import dask.array
import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import strategies

import napari_diffusion as nd
from helpers.hostile import MODELS, ROUNDING, check_sentence, compare, fingerprint, picture
from helpers.oracles import DIFFUSIVITIES
from napari_diffusion.core.errors import InputError, NotEnoughMemory
from napari_diffusion.schemes import FSI, RKL2, Explicit

HUGE = 10**400


class Foreign:
    """An array whose dtype is unknown to NumPy, such as a tensor of PyTorch."""

    shape, dtype = (4, 5), "torch.float32"

    def __getitem__(self, key):
        raise AssertionError("must not be read")


def image_as(dtype):
    return lambda: np.zeros((4, 5), dtype)


GOOD = functools.partial(picture, (6, 7))
# name: (image, options or a function that makes them, exception, words of the sentence)
REFUSED = {
    "complex": (image_as("c8"), {}, TypeError, ["complex64", "real"]),
    "longdouble": (image_as("longdouble"), {}, TypeError, [str(np.dtype("longdouble")), "float"])
    if np.dtype("longdouble").itemsize > 8
    else (image_as("c16"), {}, TypeError, ["complex128"]),
    "object": (image_as(object), {}, TypeError, ["object"]),
    "text": (lambda: "image.tif", {}, TypeError, ["'image.tif'", "io.read"]),
    "bytes": (image_as("S3"), {}, TypeError, ["S3"]),
    "structured": (image_as([("a", "f4"), ("b" * 200, "i2")]), {}, TypeError, ["'a'"]),
    "datetime": (image_as("M8[s]"), {}, TypeError, ["datetime64[s]"]),
    "timedelta": (image_as("m8[s]"), {}, TypeError, ["timedelta64[s]"]),
    "None": (lambda: None, {}, TypeError, ["None"]),
    "single number": (lambda: 3.0, {}, ValueError, ["single number"]),
    "array without axes": (lambda: np.array(3.0), {}, ValueError, ["single number"]),
    "rows of different length": (lambda: [[1, 2], [3]], {}, TypeError, ["[[1, 2], [3]]"]),
    "dtype unknown to NumPy": (Foreign, {}, TypeError, ["torch.float32"]),
    "dask of unknown shape": (
        lambda: (x := dask.array.ones((6, 6)))[x[:, 0] > 0],
        {},
        TypeError,
        ["nan"],
    ),
    "spacing 0": (GOOD, {"spacing": 0}, ValueError, ["spacing", "0"]),
    "spacing negative": (GOOD, {"spacing": (1, -2.5)}, ValueError, ["-2.5"]),
    "spacing NaN": (GOOD, {"spacing": (1, np.nan)}, ValueError, ["nan"]),
    "spacing inf": (GOOD, {"spacing": np.inf}, ValueError, ["inf"]),
    "spacing of three": (GOOD, {"spacing": (1, 2, 3)}, ValueError, ["(1, 2, 3)", "2"]),
    "spacing of none": (GOOD, {"spacing": ()}, ValueError, ["()"]),
    "spacing of 500": (GOOD, {"spacing": (1,) * 500}, ValueError, ["spacing"]),
    "spacing text": (GOOD, {"spacing": "1 µm"}, ValueError, ["1 µm"]),
    "spacing digits": (GOOD, {"spacing": "12"}, ValueError, ["'12'", "one number or 2"]),
    "spacing bytes": (GOOD, {"spacing": b"12"}, ValueError, ["b'12'"]),
    "spacing texts": (GOOD, {"spacing": ("1", 2)}, ValueError, ["('1', 2)"]),
    "spacing True": (GOOD, {"spacing": (True, 2)}, ValueError, ["(True, 2)"]),
    "spacing complex": (GOOD, {"spacing": 1j}, ValueError, ["1j"]),
    "spacing 1e-200": (GOOD, {"spacing": 1e-200}, ValueError, ["1e-200"]),
    "spacing 1e200": (GOOD, {"spacing": 1e200}, ValueError, ["1e+200"]),
    "spacing 10^400": (GOOD, {"spacing": HUGE}, ValueError, ["spacing", "1000"]),
    "time NaN": (GOOD, {"time": np.nan}, ValueError, ["time", "nan"]),
    "time negative": (GOOD, {"time": -1}, ValueError, ["-1"]),
    "time inf": (GOOD, {"time": np.inf}, ValueError, ["inf"]),
    "time 10^400": (GOOD, {"time": HUGE}, ValueError, ["time", "1000"]),
    "time 1e308": (GOOD, {"time": 1e308}, InputError, ["1e+308"]),
    "time text": (GOOD, {"time": "2"}, TypeError, ["'2'"]),
    "time None": (GOOD, {"time": None}, TypeError, ["time is missing"]),
    "time bool": (GOOD, {"time": True}, TypeError, ["True"]),
    "time complex": (GOOD, {"time": 1j}, TypeError, ["1j"]),
    "time array": (GOOD, {"time": np.ones(2)}, TypeError, ["time", "1."]),
    "tolerance 0": (GOOD, {"tolerance": 0}, ValueError, ["tolerance", "0"]),
    "tolerance NaN": (GOOD, {"tolerance": np.nan}, ValueError, ["nan"]),
    "tolerance text": (GOOD, {"tolerance": "low"}, TypeError, ["'low'"]),
    "step above the bound": (GOOD, {"scheme": Explicit(step=0.3)}, ValueError, ["0.3", "0.25"]),
    "step NaN": (GOOD, lambda: {"scheme": Explicit(step=np.nan)}, ValueError, ["nan"]),
    "step 0": (GOOD, lambda: {"scheme": Explicit(step=0)}, ValueError, ["0"]),
    "step tiny": (GOOD, {"scheme": Explicit(step=1e-12)}, InputError, ["step", "1e-12"]),
    "supersteps 0": (GOOD, lambda: {"scheme": RKL2(supersteps=0)}, ValueError, ["supersteps", "0"]),
    "supersteps half": (
        GOOD,
        lambda: {"scheme": RKL2(supersteps=2.5)},
        ValueError,
        ["supersteps", "2.5"],
    ),
    "supersteps countless": (
        GOOD,
        {"scheme": RKL2(supersteps=10**12)},
        InputError,
        ["supersteps", "1000000000000"],
    ),
    "cycles text": (GOOD, lambda: {"scheme": FSI(cycles="few")}, TypeError, ["cycles", "'few'"]),
    "cycles countless": (GOOD, {"scheme": FSI(cycles=10**12)}, InputError, ["cycles"]),
    "step negative": (GOOD, lambda: {"scheme": Explicit(step=-0.1)}, ValueError, ["-0.1"]),
    "scheme unknown": (GOOD, {"scheme": "euler"}, ValueError, ["'euler'", "explicit"]),
    "scheme number": (GOOD, {"scheme": 3}, TypeError, ["int"]),
    "scheme class": (GOOD, {"scheme": Explicit}, TypeError, ["type"]),
    "backend unknown": (GOOD, {"backend": "cuda"}, ValueError, ["'cuda'", "reference"]),
    "backend list": (GOOD, {"backend": []}, ValueError, ["[]"]),
    "compiled backend for four axes": (
        lambda: picture((3, 4, 3, 4)),
        {"backend": "compiled"},
        ValueError,
        ["4"],
    ),
    "nan unknown": (GOOD, {"nan": "skip"}, ValueError, ["'skip'", "raise, mask"]),
    "nan array": (GOOD, {"nan": np.zeros(2)}, ValueError, ["nan must"]),
    "mask of the wrong shape": (
        GOOD,
        {"mask": np.ones((6, 8), bool)},
        ValueError,
        ["(6, 8)", "(6, 7)"],
    ),
    "mask of numbers": (GOOD, {"mask": np.ones((6, 7))}, TypeError, ["float64", "bool"]),
    "mask of text": (GOOD, {"mask": "cell"}, TypeError, ["'cell'"]),
    "mask with rows of different length": (
        GOOD,
        {"mask": [[True], [True, False]]},
        TypeError,
        ["mask", "[[True]"],
    ),
    "labels of floats": (GOOD, {"labels": np.ones((6, 7))}, TypeError, ["float64", "integer"]),
    "labels of the wrong shape": (GOOD, {"labels": np.ones((7, 6), int)}, ValueError, ["(7, 6)"]),
    "mask and labels of two shapes": (
        lambda: picture((3, 6, 7)),
        {"axes": (1, 2), "mask": np.ones((6, 7), bool), "labels": np.ones((3, 6, 7), int)},
        ValueError,
        ["(6, 7)", "(3, 6, 7)"],
    ),
    "masked array and mask": (
        lambda: np.ma.array(GOOD(), mask=GOOD() > 60),
        {"mask": np.ones((6, 7), bool)},
        ValueError,
        ["masked array"],
    ),
    "axis beyond the last": (GOOD, {"axes": (0, 2)}, ValueError, ["2"]),
    "axis twice": (GOOD, {"axes": (0, -2)}, ValueError, ["(0, -2)"]),
    "no axes": (GOOD, {"axes": ()}, ValueError, ["()"]),
    "axes one number": (GOOD, {"axes": 1}, TypeError, ["1"]),
    "axes floats": (GOOD, {"axes": (0.0, 1.0)}, TypeError, ["0.0"]),
    "axes bools": (GOOD, {"axes": (True, False)}, TypeError, ["True"]),
    "axes text": (GOOD, {"axes": "yx"}, TypeError, ["'y'"]),
    "channel axis beyond the last": (GOOD, {"channel_axis": -3}, ValueError, ["-3"]),
    "channel axis text": (GOOD, {"channel_axis": "c"}, TypeError, ["'c'"]),
    "channel axis array": (GOOD, {"channel_axis": np.array([0, 1])}, TypeError, ["array"]),
    "channel axis diffuses": (GOOD, {"channel_axis": 1, "axes": (0, 1)}, ValueError, ["(0, 1)"]),
    "only channels": (lambda: picture((7,)), {"channel_axis": 0}, ValueError, ["channel_axis=0"]),
    "weights text": (
        GOOD,
        {"channel_axis": 0, "channel_weights": "equal"},
        ValueError,
        ["'equal'", "6"],
    ),
    "weights all 0": (GOOD, {"channel_axis": 0, "channel_weights": [0] * 6}, ValueError, ["[0, 0"]),
    "weights too few": (
        GOOD,
        {"channel_axis": 0, "channel_weights": [1, 2]},
        ValueError,
        ["[1, 2]", "6"],
    ),
    "weights negative": (
        GOOD,
        {"channel_axis": 0, "channel_weights": [1, 1, 1, 1, 1, -9]},
        ValueError,
        ["-9"],
    ),
    "threads 0": (GOOD, {"threads": 0}, ValueError, ["threads", "0"]),
    "threads -1": (GOOD, {"threads": -1}, ValueError, ["-1"]),
    "threads 1.5": (GOOD, {"threads": 1.5}, ValueError, ["1.5"]),
    "threads True": (GOOD, {"threads": True}, ValueError, ["True"]),
    "progress is no function": (GOOD, {"progress": 5}, TypeError, ["progress", "int"]),
    "cancel is no event": (GOOD, {"cancel": True}, TypeError, ["cancel", "bool"]),
    "larger than memory": (
        lambda: np.broadcast_to(np.float32(1), (10**6, 10**6)),
        {},
        NotEnoughMemory,
        ["TiB", "smaller"],
    ),
}


@pytest.mark.parametrize("model", ["linear", "regularised"])
@pytest.mark.parametrize("case", REFUSED)
def test_invalid_input_is_refused_in_one_sentence(case, model):
    make, options, kind, words = REFUSED[case]
    image = make()
    before = None if kind is NotEnoughMemory else fingerprint(image)
    run = functools.partial(nd.diffuse, image, MODELS[model])
    with pytest.raises(kind) as caught:
        run(**{"time": 1.5} | (options() if callable(options) else options))
    assert type(caught.value) is kind
    check_sentence(caught.value, *words)
    assert before is None or fingerprint(image) == before


@pytest.mark.parametrize(
    "step", ["a", np.ones(2), int, 1j], ids=["text", "array", "class", "complex"]
)
def test_step_of_the_wrong_type_is_refused_in_one_sentence(step):
    with pytest.raises((TypeError, ValueError)) as caught:
        nd.diffuse(GOOD(), nd.Linear(), time=1.0, scheme=Explicit(step=step))
    check_sentence(caught.value, "step")


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ({"kappa": np.nan}, ValueError),
        ({"kappa": 0}, ValueError),
        ({"kappa": -1.5}, ValueError),
        ({"kappa": np.inf}, ValueError),
        ({"kappa": HUGE}, ValueError),
        ({"kappa": "high"}, TypeError),
        ({"kappa": None}, TypeError),
        ({"kappa": True}, TypeError),
        ({"kappa": 1j}, TypeError),
        ({"kappa": [1.0]}, TypeError),
        ({"kappa": np.ones(2)}, TypeError),
        ({"sigma": -0.5}, ValueError),
        ({"sigma": np.nan}, ValueError),
        ({"sigma": "1"}, TypeError),
        ({"diffusivity": "gauss"}, ValueError),
        ({"diffusivity": None}, ValueError),
        ({"diffusivity": 3}, ValueError),
        ({"diffusivity": np.array(["rational", "tukey"])}, ValueError),
        ({"diffusivity": []}, ValueError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_parameters_are_refused_in_one_sentence(parameters, kind):
    ((name, value),) = parameters.items()
    with pytest.raises(kind) as caught:
        nd.PeronaMalik(**parameters)
    shown = str(value)[:9] if isinstance(value, (int, float)) else "got"
    check_sentence(caught.value, "PeronaMalik", name, shown)


@pytest.mark.parametrize("parameters", [{"sigma": 1e200}, {"sigma": 1e9}])
def test_sigma_that_is_too_wide_is_refused(parameters):
    with pytest.raises(ValueError, match="too wide") as caught:
        nd.diffuse(GOOD(), nd.PeronaMalik(**parameters), time=1.0)
    check_sentence(caught.value, f"{parameters['sigma']:g}")


@pytest.mark.parametrize("kappa", [1e-170, 1e-20, 1e-5, 1e20, 1e200])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_extreme_thresholds_give_the_limits(kappa, sigma):
    """Far below all gradients, nothing changes; far above, the model is linear diffusion."""
    image = picture()
    model = nd.PeronaMalik(kappa=kappa, sigma=sigma, diffusivity="exponential")
    result = nd.diffuse(image, model, time=1.5, scheme="explicit")
    truth = image if kappa < 1 else nd.diffuse(image, nd.Linear(), time=1.5, scheme="explicit")
    np.testing.assert_allclose(result, truth, rtol=0, atol=ROUNDING["f4"] * 120)
    # Between equal neighbours, 0 is multiplied by 1/kappa or its square: no kernel may return NaN.
    constant = np.full((4, 5, 2), 3, "f4")
    cases = {}, {"channel_axis": 2}, {"labels": np.indices((4, 5, 2))[0]}
    for name, options in itertools.product(DIFFUSIVITIES, cases):
        model = nd.PeronaMalik(kappa=kappa, sigma=sigma, diffusivity=name)
        flat = nd.diffuse(constant, model, time=1.5, **options)
        np.testing.assert_array_equal(flat, constant)


@pytest.mark.parametrize("model", ["linear", None, nd.Linear, nd.PeronaMalik, 3], ids=str)
def test_model_of_another_type_is_refused(model):
    with pytest.raises(TypeError) as caught:
        nd.diffuse(GOOD(), model, time=1.0)
    check_sentence(caught.value, type(model).__name__)


@pytest.mark.parametrize("name", ["perona", None, [], 3], ids=str)
def test_unknown_model_names_are_refused(name):
    with pytest.raises(ValueError, match="perona-malik") as caught:
        nd.models.get(name)
    check_sentence(caught.value, repr(name))


# --- fuzz -------------------------------------------------------------------------------------

DTYPES = ["?", "i1", "u2", ">i4", "u8", "f2", "<f4", ">f8", "c8", "M8[s]", "U2", "O", "longdouble"]
NUMBERS = strategies.one_of(
    strategies.floats(0.05, 20),
    strategies.sampled_from([0.0, -1.0, float("nan"), float("inf"), 1e-300, 1e300, 1e-6, 1e6]),
)


@strategies.composite
def runs(draw):
    shapes = hypothesis.extra.numpy.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=7)
    shape = draw(shapes)
    dtype = np.dtype(draw(strategies.sampled_from(DTYPES)))
    image = picture(shape, "f8", draw(strategies.integers(0, 99))) if shape else np.array(3.0)
    whole = np.asarray(np.clip(image, 0, 120)).astype("i8")
    image = whole.astype(dtype) if dtype.kind not in "fc" else image.astype(dtype)
    if image.ndim and draw(strategies.booleans()):
        image = image[::-1].T
    axes = draw(strategies.none() | strategies.lists(strategies.integers(-3, 4), max_size=4))
    count = len(axes) if axes is not None else image.ndim
    lists = strategies.lists(NUMBERS, min_size=max(count - 1, 0), max_size=count + 1)
    spacing = draw(NUMBERS | lists)
    return image, {
        "axes": axes,
        "spacing": spacing,
        "time": draw(strategies.floats(0, 5) | NUMBERS),
        "channel_axis": draw(strategies.none() | strategies.integers(-2, 3)),
        "preserve_dtype": draw(strategies.booleans()),
        "threads": draw(strategies.sampled_from([1, 2, None])),
    }


@pytest.mark.parametrize("model", MODELS)
@hypothesis.settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(run=runs())
def test_any_arguments_give_a_right_result_or_one_sentence(model, run):
    image, options = run
    before = image.tobytes() if image.dtype.kind != "O" else repr(image)
    try:
        # Without a bound on the number of steps, a single example could take minutes.
        plan = nd.plan(image, MODELS[model], **options)
        hypothesis.assume(plan.steps < 3000)
        result = nd.diffuse(image, MODELS[model], **options)
    except (ValueError, TypeError, MemoryError) as error:
        check_sentence(error)
    else:
        compare(result, image, MODELS[model], options)
    assert (image.tobytes() if image.dtype.kind != "O" else repr(image)) == before
