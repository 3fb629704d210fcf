"""Total variation has a bounded flux, so that its previews take narrower surroundings."""

import math

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from helpers.previews import PROMISED, assert_agrees, preview_of
from helpers.problems import problem_of
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.operators.diffusivity import Diffusivity

#: Intensity range of the images, and the previewed row.
RANGE, ROW = 100.0, 200


def row_and_ramp(request=None):
    """Return an image with two halves in each row, and a steep ramp beyond the surroundings.

    The ramp keeps the largest flux through the end of the surroundings all the time. The flat
    halves carry it to the row with the largest diffusivity.
    """
    image = np.zeros((2 * ROW + 1, 12))
    image[:, 6:] = RANGE
    if request is not None:
        end = request.block.outer[0].stop
        image[end:] += RANGE * np.arange(1, len(image) - end + 1)[:, None]
    return image


@pytest.mark.parametrize(
    ("kappa", "epsilon", "time"),
    [
        (0.025, 0.01, 60.0),
        (0.05, 0.01, 2.5),
        (1.0, 0.01, 0.5),
        (1.0, 0.01, 20.0),
        (8.0, 0.01, 2.5),
        (8.0, 0.1, 20.0),
    ],
)
def test_preview_is_exact_beside_the_largest_flux(kappa, epsilon, time):
    model, region = nd.TotalVariation(kappa=kappa, epsilon=epsilon), (ROW, slice(None))
    options = {"time": time, "tolerance": 1e-4}
    image = row_and_ramp(preview_of(row_and_ramp(), model, region, **options))
    part = nd.preview(image, model, region=region, **options)
    assert_agrees(part, nd.diffuse(image, model, **options)[ROW], image[: ROW + 1])


def test_a_small_flux_narrows_the_surroundings():
    """A flux of 1/1000 of the range per voxel takes less than half of the usual surroundings."""
    rows = {}
    for kappa in (0.1, 1000.0):
        request = preview_of(
            row_and_ramp(), nd.TotalVariation(kappa=kappa), (ROW, slice(None)), time=2.5
        )
        rows[kappa] = request.block.shape_of()[0]
    assert rows[1000.0] == 159
    assert rows[0.1] < rows[1000.0] / 2


@pytest.mark.parametrize("factor", [1.0, 4.0])
@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
def test_flux_of_a_steep_edge_is_the_bound(factor, weights):
    """Two voxels approach one another at the rate of the largest flux, in one channel."""
    model = nd.TotalVariation(kappa=10.0, kappa_map=np.full((1, 1), factor))
    image, options = np.array([[0.0, 1e6]]), {}
    if weights:
        image = np.stack([image, 0 * image], axis=-1)
        options = {"channel_axis": -1, "channel_weights": weights}
    change = nd.diffuse(image, model, time=2.0, **options) - image
    problem, _ = problem_of(image, model, time=2.0, **options)
    flux = dry_run(model, problem.grid()).operator.largest_flux / math.sqrt(problem.weights[0])
    assert flux == 10.0 * factor * (2.0 if weights else 1.0)
    np.testing.assert_allclose(change.ravel()[0], 2.0 * flux, rtol=1e-6)


@pytest.mark.parametrize("name", ["rational", "exponential", "tukey", "weickert"])
def test_a_flux_that_falls_at_steep_edges_has_no_bound(name):
    """Differences can grow, so that the bound says nothing about the change of a voxel."""
    assert Diffusivity(name).largest_flux == math.inf
    image, options = row_and_ramp(), {"time": 2.5, "guide": row_and_ramp()}
    request = preview_of(image, nd.PeronaMalik(diffusivity=name), (ROW, slice(None)), **options)
    assert_agrees(
        request.run(), nd.diffuse(image, request.problem.recipe.model, **options)[ROW], image
    )


def planes(image, region=(ROW, slice(None)), model=None, **options):
    """Number of planes of a preview with a small threshold."""
    model = model or nd.TotalVariation(kappa=0.1)
    return preview_of(image, model, region, time=2.5, **options).block.shape_of()[0]


def test_outliers_and_hidden_voxels_do_not_count_for_the_range():
    image = row_and_ramp() + np.random.default_rng(0).normal(0, 1, (2 * ROW + 1, 12))
    wide = np.repeat(image, 20, axis=1)
    hot = wide.copy()
    hot[ROW, 7] = 1e9
    assert planes(hot) == planes(wide) > 9
    mask = np.ones(wide.shape, bool)
    mask[:, :120] = False
    hidden = wide.copy()
    hidden[:, :120] = -1e6
    expected = planes(wide[:, 120:])
    assert planes(hidden, mask=mask) >= expected > planes(wide)
    assert planes(np.ma.array(hidden, mask=~mask)) >= expected
    assert planes(np.where(mask, wide, np.nan), nan="mask") >= expected


@pytest.mark.parametrize(
    "change",
    [
        {"image": dask.array.from_array(row_and_ramp())},
        {"transform": "anscombe"},
        {"guide": row_and_ramp()},
        {"image": np.zeros((2 * ROW + 1, 12))},
        {"model": nd.TotalVariation(kappa=1000.0)},
    ],
    ids=["lazy", "transform", "guide", "flat", "large threshold"],
)
def test_without_a_small_bound_the_surroundings_are_those_of_the_heat_kernel(change):
    assert planes(**{"image": row_and_ramp(), **change}) == 159


def test_channels_of_small_weight_have_a_larger_flux():
    """The channel with the weight w has the flux kappa / sqrt(w)."""
    image = np.stack(3 * [row_and_ramp()], axis=-1)
    region, common = (ROW, slice(None), slice(None)), {"channel_axis": -1}
    widths = [
        planes(image, region, **common, channel_weights=weights)
        for weights in [(1, 1, 1), (1, 1, 0.01), (1, 1, 0), (1, 1, None)]
    ]
    assert widths[0] < widths[1] < widths[2] == 159
    assert widths[3] <= widths[0]
    model = nd.TotalVariation(kappa=0.5)
    part = nd.preview(image, model, region=region, time=2.5, **common)
    whole = nd.diffuse(image, model, time=2.5, **common)
    assert_agrees(part, whole[ROW], image, PROMISED)
