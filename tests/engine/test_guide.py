"""Guided runs: edges and directions come from another image on the same grid."""

import dataclasses

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.hostile import check_sentence
from napari_diffusion.testing.cases import CASES, RANGE

VOLUME = CASES[-1]  # three axes, spacing (4, 1, 0.8), float64
SMOOTHED = nd.PeronaMalik(kappa=8.0, sigma=1.0)
GUIDED = [
    nd.PeronaMalik(kappa=8.0),
    SMOOTHED,
    nd.TotalVariation(kappa=8.0),
    nd.EdgeEnhancing(kappa=8.0),
    nd.CoherenceEnhancing(kappa=8.0),
    nd.FourthOrder(kappa=8.0),
    nd.SpeckleReducing(),
    nd.Rician(sigma_noise=4.0),
]


def ball(shape, centre=0.0):
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return np.sum([(c - centre) ** 2 for c in x], axis=0) < 0.4


def guide_of(image, centre=0.3):
    noise = np.random.default_rng(8).normal(size=image.shape)
    return np.abs(40 + 60 * ball(image.shape, centre) + 2 * noise).astype(image.dtype)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


@pytest.mark.parametrize("model", [nd.PeronaMalik(kappa=6.0), nd.EdgeEnhancing(kappa=6.0)], ids=str)
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (4.0, 1.0)], ids=str)
def test_an_edge_of_the_guide_stays_and_one_of_noise_goes(model, spacing):
    # A step of 6 at the edge of the guide and one of 40 elsewhere, both in noise of 10.
    shape = (96, 96)
    noise = np.random.default_rng(3).normal(0, 10, shape)
    left = np.zeros(shape)
    left[:, :48] = 1.0
    image = 6.0 * left + noise
    image[42:54, 68:80] += 80.0  # only the image has this edge
    guide = 100.0 * left
    options = {"time": 30.0, "spacing": spacing}
    guided = nd.diffuse(image, model, guide=guide, **options)
    far = np.s_[:32]  # away from the bright spot
    step = guided[far, 44:48].mean() - guided[far, 48:52].mean()
    clean = image[far, :48].mean() - image[far, 48:60].mean()
    assert step > 0.6 * clean > 3
    assert np.diff(guided[far].mean(0))[44:51].argmin() == 3  # one voxel wide, at its place
    # Elsewhere, it is linear diffusion: the edges of the square are gone.
    gone, alone = (nd.diffuse(image, each, **options) for each in (nd.Linear(), model))
    inside = np.s_[20:76, 60:90]
    np.testing.assert_allclose(guided[inside], gone[inside], rtol=0, atol=1.0)
    edges = [np.abs(np.diff(each[46:50].mean(0)))[60:90].max() for each in (guided, alone)]
    assert edges[0] < 8 < 25 < edges[1]


def test_diffusivity_is_that_of_the_guide_in_every_step():
    image = VOLUME.picture()
    guide, step = guide_of(image), 0.05
    g = nd.conductance(guide, SMOOTHED, spacing=VOLUME.spacing)
    expected = image.copy()
    for _ in range(7):
        change = np.zeros_like(expected)
        for axis, h in enumerate(VOLUME.spacing):
            mean = (g + np.roll(g, -1, axis)) / 2
            flux = mean * (np.roll(expected, -1, axis) - expected) / h
            flux[(slice(None),) * axis + (-1,)] = 0
            change += (flux - np.roll(flux, 1, axis)) / h
        expected += step * change
    explicit = nd.schemes.Explicit(step=step)
    options = {"time": 7 * step, "guide": guide, "spacing": VOLUME.spacing}
    result = nd.diffuse(image, SMOOTHED, scheme=explicit, **options)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 * RANGE)


@pytest.mark.parametrize("model", GUIDED, ids=lambda model: model.name)
def test_all_schemes_agree_and_the_operator_is_made_once(model):
    image = np.abs(VOLUME.picture())
    options = {"guide": guide_of(image), "spacing": VOLUME.spacing}
    limit = nd.plan(image, model, time=1.0, **options).max_step
    fine = nd.schemes.Explicit(step=limit / 20)
    for steps in (10, 150):
        options["time"] = steps * limit
        plan = nd.plan(image, model, **options)
        assert plan.operators_made == 1
        # Of the 150 steps, an explicit run takes 177 at least.
        assert plan.steps < min(100, 1.5 * steps)
        exact = nd.diffuse(image, model, scheme=fine, **options)
        result = nd.diffuse(image, model, **options)
        # The reference is of first order, with an error of about 1e-3 of its own.
        assert rms(result - exact) <= 2e-3 * RANGE
        rkl2 = nd.diffuse(image, model, scheme="rkl2", tolerance=1e-4, **options)
        assert rms(result - rkl2) <= 1e-3 * RANGE


def test_weight_mixes_the_gradients_as_those_of_channels():
    image = VOLUME.picture()
    guide, share = guide_of(image), 0.3
    step = nd.schemes.Explicit(step=0.09)
    options = {"time": 0.09, "scheme": step, "spacing": VOLUME.spacing}
    for model in (nd.PeronaMalik(kappa=8.0, sigma=1.0), nd.TotalVariation(kappa=8.0, epsilon=0.5)):
        mixed = nd.diffuse(image, model, guide=guide, guide_weight=share, **options)
        channels = nd.diffuse(
            np.stack([image, guide], -1),
            model,
            channel_axis=-1,
            channel_weights=(1 - share, share),
            **options,
        )
        # Diffusivities at faces are stored in float32.
        np.testing.assert_allclose(mixed, channels[..., 0], rtol=0, atol=1e-6 * RANGE)
        alone = nd.diffuse(image, model, **options)
        near = nd.diffuse(image, model, guide=guide, guide_weight=1e-14, **options)
        np.testing.assert_allclose(near, alone, rtol=0, atol=1e-6 * RANGE)
        assert np.abs(mixed - alone).max() > 1e-3 * RANGE


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_shapes_with_frames_and_channels(weight):
    plane = CASES[0].picture()
    image = np.stack([plane, 0.5 * plane[::-1], plane[:, ::-1]])
    guides = np.stack([guide_of(plane, centre) for centre in (-0.3, 0.0, 0.3)])
    options = {"time": 4.0, "guide_weight": weight}
    apart = nd.diffuse(image, SMOOTHED, axes=(1, 2), guide=guides, **options)
    shared = nd.diffuse(image, SMOOTHED, axes=(1, 2), guide=guides[0], **options)
    for number, frame in enumerate(image):
        own = nd.diffuse(frame, SMOOTHED, guide=guides[number], **options)
        np.testing.assert_array_equal(apart[number], own)
        first = nd.diffuse(frame, SMOOTHED, guide=guides[0], **options)
        np.testing.assert_array_equal(shared[number], first)
    colours = np.stack([plane] * 2, 0)
    grey_guide = nd.diffuse(colours, SMOOTHED, channel_axis=0, guide=guides[0], **options)
    same_guide = np.stack([guides[0]] * 2, 0)
    colour_guide = nd.diffuse(colours, SMOOTHED, channel_axis=0, guide=same_guide, **options)
    grey = nd.diffuse(plane, SMOOTHED, guide=guides[0], **options)
    for result in (*grey_guide, *colour_guide):
        np.testing.assert_allclose(result, grey, rtol=0, atol=1e-5 * RANGE)


def test_guide_is_read_lazily_in_any_type_and_is_not_written_to():
    image = CASES[0].picture()
    guide = np.rint(guide_of(image)).astype(np.uint8)
    guide.flags.writeable = False
    before = guide.copy()

    class Lazy:
        shape, dtype, ndim = guide.shape, guide.dtype, 2

        def __getitem__(self, index):
            return guide[index]

    options = {"time": 3.0}
    for weight in (1.0, 0.5):
        options["guide_weight"] = weight
        result = nd.diffuse(image, SMOOTHED, guide=Lazy(), **options)
        floats = before.astype(np.float32)
        floats.flags.writeable = False
        as_float = nd.diffuse(image, SMOOTHED, guide=floats, **options)
        np.testing.assert_array_equal(result, as_float)
    np.testing.assert_array_equal(guide, before)
    assert result.dtype == image.dtype


@pytest.mark.parametrize(
    ("model", "change", "kind", "words"),
    [
        (SMOOTHED, lambda g: g[1:], ValueError, "guide must be on the grid of the image"),
        (SMOOTHED, lambda g: g.astype(complex), TypeError, "guide must hold real numbers"),
        (SMOOTHED, lambda g: "mri.nii", TypeError, "guide must be an array"),
        (SMOOTHED, lambda g: np.ma.masked_less(g, 50), TypeError, "guide has masked values"),
        (SMOOTHED, lambda g: np.where(g > 90, np.nan, g), ValueError, "values that are NaN"),
        (SMOOTHED, lambda g: g * 1e30, ValueError, "The guide has values beyond"),
        (nd.Rician(), lambda g: g - 100, ValueError, "the guide has values below 0"),
        (nd.Linear(), lambda g: g, ValueError, "Linear takes no edges from a guide"),
        (nd.MeanCurvature(), lambda g: g, ValueError, "takes no edges from a guide"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_guide_that_cannot_be_used_is_refused(model, change, kind, words):
    image = CASES[0].picture()
    with pytest.raises(kind) as caught:
        nd.diffuse(image, model, time=2.0, guide=change(guide_of(image)))
    check_sentence(caught.value, words)


def test_guide_may_be_anything_outside_the_mask():
    image = CASES[0].picture()
    guide = guide_of(image)
    mask = np.ones(image.shape, bool)
    mask[:5] = False
    holes = np.where(mask, guide, np.nan)
    result = nd.diffuse(image, SMOOTHED, time=3.0, mask=mask, guide=holes)
    np.testing.assert_array_equal(
        result, nd.diffuse(image, SMOOTHED, time=3.0, mask=mask, guide=guide)
    )
    np.testing.assert_array_equal(result[~mask], image[~mask])
    assert np.isnan(holes[~mask]).all(), "the guide was written to"


@pytest.mark.parametrize("model", [SMOOTHED, nd.TotalVariation(kappa=8.0)], ids=str)
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_preview_equals_the_run(model, weight):
    image = np.tile(CASES[0].picture(), (3, 4))
    options = {"time": 2.0, "guide": guide_of(image), "guide_weight": weight}
    region = (slice(30, 40), slice(35, 50))
    part = nd.preview(image, model, region=region, **options)
    whole = nd.diffuse(image, model, **options)[region]
    np.testing.assert_allclose(part, whole, rtol=0, atol=1e-3 * RANGE)


def test_fidelity_and_guide_go_together():
    image = VOLUME.picture()
    options = {"fidelity_length": 2.0, "guide": guide_of(image), "spacing": VOLUME.spacing}
    steady = nd.diffuse(image, SMOOTHED, **options)
    step = 1e-3 * nd.plan(image, SMOOTHED, time=1.0).max_step
    del options["fidelity_length"]
    flow = nd.diffuse(steady, SMOOTHED, time=step, scheme="explicit", **options) - steady
    assert rms(4 * flow / step + image - steady) <= 1e-3 * RANGE


@pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("kind", [nd.TotalVariation, nd.PeronaMalik], ids=lambda kind: kind.name)
def test_steady_state_is_the_solution_of_a_linear_system(kind, kappa):
    """(1 - l² A) u = f, for weak and strong thresholds, on a grid that is no square."""
    shape, length = (11, 17), 3.0
    guide = guide_of(np.zeros(shape))
    image = 50.0 * ball(shape) + np.random.default_rng(2).normal(0, 5, shape)
    model = kind(kappa=kappa)
    units = np.eye(image.size).reshape(-1, *shape)
    step = 1e-3 * nd.plan(image, model, time=1.0, guide=guide).max_step
    moved = nd.diffuse(units, model, time=step, scheme="explicit", axes=(1, 2), guide=guide)
    matrix = ((moved - units) / step).reshape(image.size, image.size)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9 * np.abs(matrix).max())
    expected = np.linalg.solve(np.eye(image.size) - length**2 * matrix, image.ravel())
    result = nd.diffuse(image, model, fidelity_length=length, guide=guide)
    np.testing.assert_allclose(result.ravel(), expected, rtol=0, atol=1e-4 * np.ptp(image))


def test_recipe_records_the_guide_and_asks_for_it():
    image = CASES[0].picture()
    guide = guide_of(image)
    recipe = nd.Recipe(SMOOTHED, 3.0, guide="MRI", guide_weight=0.5)
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    expected = nd.diffuse(image, SMOOTHED, time=3.0, guide=guide, guide_weight=0.5)
    np.testing.assert_array_equal(recipe.diffuse(image, guide=guide), expected)
    np.testing.assert_array_equal(nd.diffuse(image, recipe, guide=guide), expected)
    for call in (recipe.diffuse, lambda image: nd.diffuse(image, recipe)):
        with pytest.raises(ValueError, match="takes its edges from 'MRI': give a guide"):
            call(image)
    alone = nd.diffuse(image, SMOOTHED, time=3.0)
    np.testing.assert_array_equal(recipe.diffuse(image, guide=None), alone)
    namespace = {"image": image, "guide": guide}
    exec(dataclasses.replace(recipe, spacing=(1.0, 1.0)).to_python(), namespace)
    np.testing.assert_array_equal(namespace["result"], expected)
    assert recipe.to_command().endswith("--guide GUIDE --guide-weight 0.5")
    assert "with edges of MRI, by 0.5" in recipe.describe()


def test_two_schemes_of_two_guides_do_not_share_a_plan():
    """Plans of equal settings are kept, and a guide is one."""
    image = CASES[0].picture()
    alone, guided = (
        nd.plan(image, SMOOTHED, time=9.0, guide=guide) for guide in (None, guide_of(image))
    )
    assert (alone.operators_made > 1, guided.operators_made) == (True, 1)
