"""The option impulses: hot and dead voxels are replaced before the first stage."""

import threading

import numpy as np
import pytest
from scipy import ndimage as ndi

import napari_diffusion as nd
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.halo_block import HaloBlock
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.models import BUILTIN
from napari_diffusion.operators.impulses.fill import SWEEPS, fill_impulses

SPACING = (1.2, 1.0, 1.0)


def noisy(shape=(24, 30, 28), seed=0):
    return np.random.default_rng(seed).normal(100, 8, shape).astype(np.float32)


def dotted(shape=(24, 30, 28), seed=0, share=0.01):
    """Noise of 8 around 100, with hot voxels of 400 and dead ones of 0."""
    draw = np.random.default_rng(seed + 1).random(shape)
    image = noisy(shape, seed)
    image[draw < share / 2] = 0
    image[draw > 1 - share / 2] = 400
    return image


def repaired(image, **options):
    return nd.diffuse(image, nd.Linear(), time=0.0, impulses="mask", **options)


def ramp(shape=(31, 32, 33)):
    """A linear scene of small whole numbers."""
    z, y, x = np.indices(shape, dtype=np.float32)
    return 2 * z + 3 * y + x


def test_impulses_on_a_ramp_vanish_without_a_trace():
    """Harmonic values on a ramp are those of the ramp: the result has every bit of its filter."""
    clean = ramp()
    image = clean.copy()
    image[5::7, 5::7, 5::7] = 900
    image[8::7, 8::7, 9::7] = -900
    image[9, 12, 12:14] = 900  # a pair
    assert np.count_nonzero(image != clean) > 100
    single = image.copy()
    single[9, 12, 12:14] = clean[9, 12, 12:14]
    for time in (0.0, 1.5):
        expected = nd.diffuse(clean, nd.Linear(), time=time)
        result = nd.diffuse(single, nd.Linear(), time=time, impulses="mask")
        np.testing.assert_array_equal(result, expected)
        result = nd.diffuse(image, nd.Linear(), time=time, impulses="mask")
        # Four sweeps solve the equation of a pair to 6 ** -4 of the first difference.
        np.testing.assert_allclose(result, expected, rtol=0, atol=6 * 6.0**-SWEEPS)


@pytest.mark.parametrize("value", [37.3, 0.1, -1e-3])
def test_every_cluster_in_a_constant_image_is_filled_with_the_constant(value):
    """Whatever the weights of the axes are, and however their sum is rounded."""
    random = np.random.default_rng(3)
    impulses = random.random((2, 12, 13, 14)) < 0.3
    field = np.full(impulses.shape, value, np.float32)
    field[impulses] = 1e4
    count = fill_impulses(field, impulses, None, (0, 1, 2), (1.3, 0.9, 1.1))
    assert count == impulses.sum()
    assert (field == np.float32(value)).all()


def test_a_cluster_is_filled_as_far_as_the_sweeps_reach():
    impulses = np.zeros((1, 15, 15, 15), bool)
    impulses[:, 1:14, 1:14, 1:14] = True
    field = np.where(impulses, 50.0, 7.0).astype(np.float32)
    assert fill_impulses(field, impulses, None, (0, 1, 2), (1.0, 1.0, 1.0)) == 13**3 - 5**3
    deep = 1 + SWEEPS
    assert (field[:, deep:-deep, deep:-deep, deep:-deep] == 50).all()
    assert (field == 7).sum() == field.size - 5**3


@pytest.mark.parametrize("place", [(7, 7, 7), (0, 7, 7), (7, 14, 0), (0, 0, 14)], ids=str)
def test_an_impulse_gets_the_mean_of_its_face_neighbours_with_the_weights_of_their_distance(place):
    """Also at faces, edges and corners of the image, where neighbours are missing."""
    spacing = (1.4, 1.0, 0.8)
    field = noisy((15, 15, 15))[None]
    impulses = np.zeros(field.shape, bool)
    impulses[(0, *place)] = True
    total = weight = 0.0
    for axis, h in enumerate(spacing):
        for step in (-1, 1):
            neighbour = [index + step * (i == axis) for i, index in enumerate(place)]
            if all(0 <= index < 15 for index in neighbour):
                total += float(field[(0, *neighbour)]) / h**2
                weight += 1 / h**2
    field[(0, *place)] = 1e4
    assert fill_impulses(field, impulses, None, (0, 1, 2), spacing) == 1
    assert field[(0, *place)] == pytest.approx(total / weight, rel=1e-6)


def test_an_impulse_is_filled_from_its_own_region():
    regions = np.ones((9, 9, 9), np.uint8)
    regions[5:] = 2
    field = np.where(regions == 1, 10.0, 90.0).astype(np.float32)[None]
    impulses = np.zeros(field.shape, bool)
    impulses[0, 4:6, 4, 4] = True
    field[impulses] = 1e4
    fill_impulses(field, impulses, regions, (0, 1, 2), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(field[0, 4:6, 4, 4], [10, 90])


def test_case_of_one_percent_gains_as_if_there_were_no_impulses():
    """Linear diffusion of noise with and without impulses, against the truth."""
    random = np.random.default_rng(101)
    field = ndi.gaussian_filter(np.random.default_rng(3).normal(size=(28, 88, 88)), 6.0)
    levels = np.digitize(field / field.std(), [-0.4, 0.5]).astype(float)
    clean = 60 + 90 * ndi.gaussian_filter(levels, 0.8)
    noise, draw = 10 * random.normal(size=clean.shape), random.random(clean.shape)
    image = np.where(draw < 0.005, 0, np.where(draw > 0.995, 400, clean + noise))

    def error(values, **options):
        result = nd.diffuse(values.astype(np.float32), nd.Linear(), time=0.3, **options)
        return 10 * np.log10(np.mean((result - clean) ** 2))

    without, kept, masked = error(clean + noise), error(image), error(image, impulses="mask")
    assert masked < kept - 3
    assert masked < without + 0.5


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.__name__)
def test_every_model_runs_on_the_repaired_image(kind):
    image = dotted()
    options = {"time": 0.2, "spacing": SPACING}
    result = nd.diffuse(image, kind(), impulses="mask", **options)
    expected = nd.diffuse(repaired(image, spacing=SPACING), kind(), **options)
    np.testing.assert_array_equal(result, expected)


def test_an_image_without_impulses_is_filtered_as_usual():
    image = noisy()
    for time in (0.0, 1.0):
        expected = nd.diffuse(image, nd.Linear(), time=time)
        result = nd.diffuse(image, nd.Linear(), time=time, impulses="mask")
        np.testing.assert_array_equal(result, expected)


def test_other_voxels_keep_their_values_and_their_share_of_the_mean():
    image = dotted()
    before = repaired(image)
    changed = before != image
    assert changed.sum() > 0.95 * np.isin(image, (0, 400)).sum()
    assert np.isin(image[changed], (0, 400)).all()
    result = nd.diffuse(image, nd.PeronaMalik(kappa=20), time=2.0, impulses="mask")
    assert result.mean(dtype=float) == pytest.approx(before.mean(dtype=float), abs=1e-4)


def test_a_strict_run_stays_in_the_range_of_the_other_voxels():
    image = dotted()
    others = image[repaired(image) == image]
    image[0, 0, 0] = others.max()
    result = nd.diffuse(image, nd.Linear(), time=0.1, strict=True, impulses="mask")
    kept = image[repaired(image) == image]
    slack = 4 * np.finfo(np.float32).eps * kept.max()
    assert kept.min() - slack <= result.min()
    assert result.max() <= kept.max() + slack


DOMAINS = {
    "whole": Domain(),
    "labels": Domain(labels=np.indices((24, 30, 28)).sum(0) // 12 % 3),
    "mask": Domain(mask=np.indices((24, 30, 28))[2] > 9),
}


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    "model", [nd.Linear(), nd.PeronaMalik(), nd.Hybrid(), nd.Rician()], ids=str
)
def test_passes_and_blocks_equal_the_whole_run(model, domain):
    recipe = Recipe(model, 0.3, impulses="mask")
    problem = make_problem(dotted(), recipe, Geometry(SPACING), DOMAINS[domain])
    whole = run(problem)
    for cuts in ((1,), (1, 2, 3)):
        np.testing.assert_array_equal(run_in_blocks(problem, cuts, (9, 17, 10)), whole)


@pytest.mark.parametrize("shape", [(6, 7, 90), (5, 120, 130), (1, 110, 120)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0)])
def test_a_block_that_is_read_with_the_planned_halo_is_exact(shape, spacing):
    """A block knows nothing but its own voxels."""
    image = dotted(shape, share=0.03)
    recipe = Recipe(nd.PeronaMalik(), 0.2, impulses="mask", scheme="explicit")
    problem = make_problem(image, recipe, Geometry(spacing))
    halo, whole = make_plan(problem).halo, run(problem)
    for start in range(20, 70, 5):
        region = [slice(None), slice(None), slice(start, start + 5)]
        block = HaloBlock.around(problem, region, halo)
        assert block.outer[2].stop - block.outer[2].start < shape[2]
        part = run(block.problem_of_block())
        np.testing.assert_array_equal(part[block.inner], whole[tuple(region)])


def test_the_halo_grows_by_the_reach_of_search_and_fill():
    image = noisy((60, 60, 60))
    options = {"time": 0.1, "scheme": "explicit"}
    kept = nd.plan(image, nd.Linear(), **options).halo
    masked = nd.plan(image, nd.Linear(), impulses="mask", **options).halo
    assert [b - a for a, b in zip(kept, masked, strict=True)] == [10, 10, 10]
    coarse = nd.plan(image, nd.Linear(), impulses="mask", spacing=(3, 1, 1), **options).halo
    kept = nd.plan(image, nd.Linear(), spacing=(3, 1, 1), **options).halo
    assert [b - a for a, b in zip(kept, coarse, strict=True)] == [0, 21, 21]


def test_a_preview_shows_the_result():
    image = dotted((40, 60, 50), share=0.03)
    model = nd.PeronaMalik(kappa=20)
    whole = nd.diffuse(image, model, time=0.5, impulses="mask")
    for region in ((20, slice(10, 40), slice(5, 45)), (slice(30, 40), 30, slice(None))):
        part = nd.preview(image, model, time=0.5, impulses="mask", region=region)
        np.testing.assert_allclose(part, whole[region], rtol=0, atol=1e-3 * np.ptp(whole))
        draft = nd.preview(image, model, time=0.5, impulses="mask", region=region, draft=True)
        assert np.abs(draft - whole[region]).max() < 30  # an impulse differs by 100 to 300


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_backends_agree(threads):
    image = dotted((70, 20, 20))
    expected = nd.diffuse(image, nd.Linear(), time=0.0, impulses="mask", threads=1)
    options = {"time": 0.0, "impulses": "mask", "threads": threads}
    np.testing.assert_array_equal(nd.diffuse(image, nd.Linear(), **options), expected)


def test_frames_and_channels_are_repaired_by_themselves():
    stack = np.stack([dotted(seed=seed) for seed in (0, 5)])
    frames = repaired(stack, axes=(1, 2, 3))
    channels = repaired(np.moveaxis(stack, 0, -1), channel_axis=-1)
    for k, image in enumerate(stack):
        np.testing.assert_array_equal(frames[k], repaired(image))
        np.testing.assert_array_equal(channels[..., k], repaired(image))


def test_opacity_is_copied():
    colours = np.stack([dotted(seed=seed) for seed in range(4)], -1)
    options = {"channel_axis": -1, "channel_weights": (1, 1, 1, None)}
    result = nd.diffuse(colours, nd.Linear(), time=0.5, impulses="mask", **options)
    np.testing.assert_array_equal(result[..., 3], colours[..., 3])
    (state,) = nd.evolve(colours, nd.Linear(), time=0.0, impulses="mask", **options)
    changed = [int((repaired(colours[..., k]) != colours[..., k]).sum()) for k in range(3)]
    assert state.replaced == sum(changed)


def test_nothing_changes_outside_a_mask_and_at_missing_values():
    image, mask = dotted(), DOMAINS["mask"].mask
    result = nd.diffuse(image, nd.Linear(), time=0.5, mask=mask, impulses="mask")
    np.testing.assert_array_equal(result[~mask], image[~mask])
    image[10, 10, 10], image[11, 3, 4] = np.nan, -np.inf
    result = nd.diffuse(image, nd.Linear(), time=0.5, nan="mask", impulses="mask")
    np.testing.assert_array_equal(np.isfinite(result), np.isfinite(image))
    with pytest.raises(ValueError, match="NaN"):
        nd.diffuse(image, nd.Linear(), time=0.5, impulses="mask")


def test_missing_values_are_no_neighbours_of_an_impulse():
    """Two of its six face neighbours are missing; the mean is that of the others."""
    image = noisy()
    image[12, 15, 14] = 900
    faces = [(12, 14, 14), (12, 16, 14), (12, 15, 13), (12, 15, 15)]
    expected = np.mean([image[face] for face in faces], dtype=float)
    image[11, 15, 14] = image[13, 15, 14] = np.nan
    assert repaired(image, nan="mask")[12, 15, 14] == pytest.approx(expected, rel=1e-6)


def test_integers_keep_their_type_and_input_is_untouched():
    image = np.round(dotted()).astype(np.uint16)
    copy = image.copy()
    result = nd.diffuse(image, nd.Linear(), time=0.0, impulses="mask", preserve_dtype=True)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(image, copy)
    np.testing.assert_array_equal(result, np.round(repaired(image)))


def test_dead_voxels_below_zero_are_no_magnitudes_and_are_replaced():
    image = noisy()
    image[10, 10, 10] = -500
    with pytest.raises(ValueError, match="not below 0"):
        nd.diffuse(image, nd.Rician(), time=0.3)
    result = nd.diffuse(image, nd.Rician(), time=0.3, impulses="mask")
    assert 50 < result[10, 10, 10] < 150


def test_states_count_the_replaced_voxels_of_the_frames_so_far():
    stack = np.stack([dotted(seed=seed) for seed in (0, 5)])
    changed = [int((repaired(image) != image).sum()) for image in stack]
    states = list(nd.evolve(stack, nd.Linear(), time=0.5, axes=(1, 2, 3), impulses="mask"))
    assert [state.replaced for state in states] == [changed[0], sum(changed)]
    (state,) = nd.evolve(stack, nd.Linear(), time=0.0, axes=(1, 2, 3), impulses="mask")
    assert state.replaced == sum(changed)
    assert all(state.replaced == 0 for state in nd.evolve(stack, nd.Linear(), time=0.5))


def test_the_search_can_be_cancelled():
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(nd.Cancelled):
        nd.diffuse(dotted(), nd.Linear(), time=0.0, impulses="mask", cancel=cancel)


def test_recipes_hold_the_option_and_old_ones_keep_impulses():
    recipe = Recipe(nd.Linear(), 1.0, impulses="mask")
    assert Recipe.from_json(recipe.to_json()) == recipe
    plain = recipe.to_dict()
    del plain["impulses"]
    assert Recipe.from_dict(plain).impulses == "keep"
    assert "--impulses mask" in recipe.to_command()
    assert "impulses='mask'" in recipe.to_python()
    with pytest.raises(ValueError, match="impulses must be one of"):
        Recipe(nd.Linear(), 1.0, impulses="replace")


def test_maps_and_gradients_are_those_of_the_repaired_image():
    image = dotted((20, 60, 64))
    before = repaired(image)
    model, region = nd.Hybrid(), (10, slice(20, 40), slice(20, 44))
    for part in (None, region):
        for measure in (nd.conductance, nd.coherence):
            own = measure(image, model, region=part, impulses="mask")
            np.testing.assert_array_equal(own, measure(before, model, region=part))
    arrows = nd.directions(image, model, impulses="mask")
    np.testing.assert_array_equal(arrows.vectors, nd.directions(before, model).vectors)
    own = nd.gradients(image, sigma=1.0, impulses="mask").magnitudes
    np.testing.assert_array_equal(own, nd.gradients(before, sigma=1.0).magnitudes)
    error = nd.integration_error(image, nd.PeronaMalik(), time=1.0, impulses="mask")
    assert error < 1.1 * nd.integration_error(before, nd.PeronaMalik(), time=1.0)
