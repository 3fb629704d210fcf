"""Arguments of a call: equal ones are checked once, and a change of any of them has its effect."""

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.core import resources
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.inputs import arguments

PM = nd.PeronaMalik(kappa=9.0)
#: Defaults of the options of `diffuse`, after the time.
OPTIONS = ("auto", 1e-3, False, "raise", "keep", None, 1.0, False, "none", 1.0, 0.0, 0.0)
WHOLE = Domain()


def picture(*shape):
    steps = 60 + 40 * (np.indices(shape).sum(0) % 17 > 8)
    return np.abs(steps + np.random.default_rng(3).normal(0, 8, shape)).astype("f4")


@pytest.fixture
def checked(monkeypatch):
    """The images whose arguments have been checked."""
    images, make = [], arguments.make_problem

    def counted(image, *others):
        images.append(image)
        return make(image, *others)

    monkeypatch.setattr(arguments, "make_problem", counted)
    return images


def bound(image, model=PM, time=1.0, geometry=(None,) * 4, domain=WHOLE, options=OPTIONS):
    return arguments.problem_of(image, model, domain, geometry, time, *options)


def test_equal_arguments_are_checked_once(checked):
    results = []
    for seed in range(3):
        image = np.random.default_rng(seed).normal(100, 9, (8, 8))
        results.append(nd.diffuse(image, nd.PeronaMalik(kappa=9.0), time=1.0, spacing=[1.0, 2.0]))
        arguments.kept_problem.cache_clear()
        alone = nd.diffuse(image, nd.PeronaMalik(kappa=9.0), time=1.0, spacing=[1.0, 2.0])
        assert results[-1].tobytes() == alone.tobytes()
    checked.clear()
    for seed in range(3):
        image = np.random.default_rng(seed).normal(100, 9, (8, 8))
        again = nd.diffuse(image, nd.PeronaMalik(kappa=9.0), time=1.0, spacing=[1.0, 2.0])
        assert again.tobytes() == results[seed].tobytes()
    assert checked == []


@pytest.mark.parametrize(
    ("shape", "dtype", "geometry"),
    [
        ((8, 8), "f4", (None, None, None, None)),
        ((8, 8), ">f8", ((1.0, 2.0), (1, 0), None, None)),
        ((3, 8, 8), "u2", (2, [1, -1], 0, [1.0, None, 3.0])),
        ((8, 8, 8), "i8", (None, (0, 2), None, None)),
    ],
    ids=str,
)
def test_a_kept_problem_is_that_of_a_first_call(shape, dtype, geometry):
    images = [picture(*shape).astype(dtype), picture(*shape)[::-1].astype(dtype)]
    mask = np.arange(64).reshape(8, 8) % 9 > 2
    domains = (WHOLE, Domain(mask), Domain(guide=picture(8, 8)))
    for domain in domains if len(shape) == 2 else [WHOLE]:
        bound(images[0], geometry=geometry)
        kept = bound(images[1], geometry=geometry, domain=domain)
        arguments.kept_problem.cache_clear()
        first = bound(images[1], geometry=geometry, domain=domain)
        for name in ("recipe", "shape", "axes", "spacing", "channel_axis", "copied_channels"):
            assert getattr(kept, name) == getattr(first, name)
        for name in ("input_dtype", "dtype", "working", "space", "frame_axes", "key", "place"):
            assert getattr(kept, name) == getattr(first, name)
        np.testing.assert_array_equal(kept.weights, first.weights)
        assert kept.image is first.image is images[1]
        assert kept.domain.guide is first.domain.guide is domain.guide
        assert kept.regions is first.regions is domain.mask


@pytest.mark.parametrize(
    "change",
    [
        {"model": nd.PeronaMalik(kappa=9.5)},
        {"time": 2.0},
        {"time": None, "options": ("auto", 1e-2, *OPTIONS[2:5], 3.0, *OPTIONS[6:])},
        {"image": picture(8, 9)},
        {"image": picture(8, 8).astype(">f4")},
        {"image": picture(8, 8).astype("q")},
        {"geometry": (2.0, None, None, None)},
        {"geometry": (None, (0,), None, None)},
        {"geometry": (None, None, 1, None)},
        {"options": ("explicit", *OPTIONS[1:])},
        {"options": (*OPTIONS[:2], True, *OPTIONS[3:])},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_changed_argument_is_checked_again(checked, change):
    image = picture(8, 8).astype("l") if "q" in str(change.get("image", "")) else picture(8, 8)
    settings = {"image": image}
    bound(**settings)
    bound(**(settings | change))
    assert len(checked) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"time": 1}, {"time": True}),
        ({"time": np.float64(1)}, {"time": np.float64(1).view(np.int64)}),
        ({"axes": (0, 1)}, {"axes": (0, True)}),
        ({"axes": (0, 1)}, {"axes": ((0,), 1)}),
        ({"spacing": np.array([1.0, 2.0])}, {"spacing": np.array([1.0, 2.0]).view(np.int64)}),
        (
            {"spacing": [np.float64(1), np.float64(2)]},
            {"spacing": [np.float64(1).view(np.int64), np.float64(2).view(np.int64)]},
        ),
        ({"strict": False}, {"strict": 0}),
        ({"mask": None}, {"mask": np.ones((2, 2), bool)}),
        ({"labels": np.ones((8, 8), int)}, {"labels": np.ones((8, 8))}),
        ({"guide": None}, {"guide": np.ones((3, 3))}),
    ],
    ids=str,
)
def test_a_wrong_argument_after_an_equal_right_one_is_refused(first, second):
    image, texts = picture(8, 8), []
    for clears in (False, True):
        nd.diffuse(image, PM, **({"time": 1.0} | first))
        if clears:
            arguments.kept_problem.cache_clear()
        with pytest.raises((TypeError, ValueError)) as error:
            nd.diffuse(image, PM, **({"time": 1.0} | second))
        texts.append(str(error.value))
    assert texts[0] == texts[1] != ""


def test_the_first_of_two_wrong_arguments_is_named():
    """A mask is checked before the weights of channels, whether or not arguments are kept."""
    image, mask = picture(3, 8, 8), np.ones((2, 2), bool)
    for _ in range(2):
        with pytest.raises(ValueError, match="mask must have the shape"):
            nd.diffuse(image, PM, time=1.0, channel_axis=0, mask=mask, channel_weights=(1.0, -1.0))
        nd.diffuse(image, PM, time=1.0, channel_axis=0)


def test_a_model_that_is_changed_in_place_changes_its_own_runs_only():
    image, model, twin = picture(8, 8), nd.PeronaMalik(kappa=9.0), nd.PeronaMalik(kappa=9.0)
    before = nd.diffuse(image, model, time=1.0)
    object.__setattr__(model, "kappa", 30.0)
    assert nd.diffuse(image, model, time=1.0).tobytes() != before.tobytes()
    assert nd.diffuse(image, twin, time=1.0).tobytes() == before.tobytes()


def test_a_list_that_is_changed_in_place_is_read_again():
    image, spacing = picture(8, 8), [1.0, 1.0]
    before = nd.diffuse(image, PM, time=1.0, spacing=spacing)
    spacing[1] = 4.0
    assert nd.diffuse(image, PM, time=1.0, spacing=spacing).tobytes() != before.tobytes()


def test_a_mask_is_read_in_every_call():
    image, mask = picture(8, 8), np.ones((8, 8), bool)
    whole = nd.diffuse(image, PM, time=1.0, mask=mask)
    mask[:4] = False
    half = nd.diffuse(image, PM, time=1.0, mask=mask)
    assert whole.tobytes() == nd.diffuse(image, PM, time=1.0).tobytes()
    assert half[:4].tobytes() == image[:4].tobytes() != whole[:4].tobytes()


def test_the_grant_of_a_batch_system_is_read_in_every_call(monkeypatch):
    image = picture(8, 8)
    monkeypatch.setattr(resources, "bound_processors", lambda: 6)
    monkeypatch.setattr(resources, "_quota", lambda root: 6)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    for count in (3, 5, 2):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", str(count))
        assert nd.plan(image, PM, time=1.0).threads == count


def test_few_problems_are_kept():
    for k in range(arguments.KEPT_PROBLEMS + 10):
        bound(picture(8, 8), time=1.0 + k)
    assert arguments.kept_problem.cache_info().currsize == arguments.KEPT_PROBLEMS
