"""A preview of a part is the run on the whole, cut to the part, and reads no more than it needs."""

import threading

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from helpers.previews import (
    MODELS,
    PLANES,
    PROMISED,
    SPACING,
    Watched,
    agrees,
    name,
    picture,
    whole_run,
)
from napari_diffusion.engine.request import Request
from napari_diffusion.io import samples


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_planes_of_any_orientation_equal_the_whole_run(model):
    image = picture((40, 26, 30))
    for region in PLANES:
        agrees(
            nd.preview(image, model, region=region, time=2.5, spacing=SPACING),
            whole_run(model)[region],
            image,
        )


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_boxes_in_2d_equal_the_whole_run(model):
    image = picture((90, 80))
    whole = nd.diffuse(image, model, time=6.0)
    for region in [
        (slice(40, 60), slice(30, 50)),
        (slice(0, 20), slice(60, 80)),
        (45, slice(10, 12)),
    ]:
        agrees(nd.preview(image, model, region=region, time=6.0), whole[region], image)


@pytest.mark.parametrize("time", [2.0, 30.0])
@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=400.0), nd.PeronaMalik(kappa=400.0, sigma=1.0)],
    ids=name,
)
def test_the_worst_case_is_a_step_beyond_the_surroundings(model, time):
    """Beside a flat part, everything that can be reached from outside is of the other extreme, wherever it begins."""
    for begin in range(31, 60, 4):
        image = np.zeros((90, 24), np.float32)
        image[begin:] = 100.0
        agrees(
            nd.preview(image, model, region=(28, slice(None)), time=time),
            nd.diffuse(image, model, time=time)[28],
            image,
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", [nd.MeanCurvature(), nd.ModifiedCurvature(kappa=160.0)], ids=name)
def test_outlines_that_are_cut_by_the_end_of_the_surroundings(model, seed):
    """There the mirror image gives each outline a corner, which rounds itself, and that travels along the outline."""
    rng, image = np.random.default_rng(seed), np.zeros((300, 60), np.float32)
    row, column = np.indices(image.shape)
    for _ in range(30):
        (y, x), radius = rng.uniform(0, image.shape), rng.uniform(3, 30)
        image[(row - y) ** 2 + (column - x) ** 2 < radius**2] = rng.uniform(0, 150)
    agrees(
        nd.preview(image, model, region=(150, slice(None)), time=40.0),
        nd.diffuse(image, model, time=40.0)[150],
        image,
    )


@pytest.mark.parametrize(
    "model",
    [nd.Hybrid(kappa=18.0, contrast=18.0), nd.EdgeEnhancing(kappa=18.0), nd.CoherenceEnhancing()],
    ids=lambda model: model.name,
)
def test_thick_slices_of_a_brain_smoothed_far(model):
    """Where a formula nearly jumps between two ways of smoothing, what little comes from far away may decide."""
    image = np.asarray(samples.mri()[0], np.float32)[:, 10:74, 10:74]
    whole = nd.diffuse(image, model, time=18.0, spacing=(6, 1, 1))
    for plane in (3, 8, 13, 18):
        agrees(
            nd.preview(
                image, model, region=(plane, slice(None), slice(None)), time=18.0, spacing=(6, 1, 1)
            ),
            whole[plane],
            image,
        )


@pytest.mark.parametrize("distance", range(2, 12, 2))
def test_models_that_look_far_get_what_they_look_at(distance):
    """The diffusion itself goes two voxels far; but whether it goes at all is decided by a wall ten voxels away."""
    image = 5.0 * (np.indices((60, 16)).sum(0) % 2).astype(np.float32)
    image[30 + distance :] += 10000.0
    model = nd.PeronaMalik(kappa=30.0, sigma=4.0)
    agrees(
        nd.preview(image, model, region=(30, slice(None)), time=0.4),
        nd.diffuse(image, model, time=0.4)[30],
        image[:31],
    )


@pytest.mark.parametrize(
    "region",
    [
        (5, 3, 7),
        (-1, slice(None), slice(-4, None)),
        (slice(2, 15, 3), slice(None, None, -1), np.int64(4)),
        (slice(9, 2, -2), slice(1, 2), slice(0, 0)),
        (slice(None),) * 3,
    ],
)
def test_regions_are_numpy_indices(region):
    image = picture((18, 12, 10))
    model = nd.PeronaMalik(kappa=10.0)
    agrees(
        nd.preview(image, model, region=region, time=1.0),
        nd.diffuse(image, model, time=1.0)[region],
        image,
    )


@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=10.0), nd.PeronaMalik(kappa=10.0, sigma=1.0)],
    ids=name,
)
def test_only_the_part_and_its_surroundings_are_read(model):
    image = Watched(picture((120, 24, 20)))
    part = nd.preview(image, model, region=(60, slice(None), slice(None)), time=2.0)
    assert part.shape == (24, 20)
    assert sum(image.reads) <= 40 * 24 * 20


def test_surroundings_are_never_wider_than_the_exact_ones():
    """One explicit step looks one voxel far, however long the step: what is read is three planes, and the bits are those of the run."""
    image, scheme, model = (
        picture((40, 12, 12)),
        nd.schemes.Explicit(step=0.15),
        nd.PeronaMalik(kappa=10.0),
    )
    watched = Watched(image)
    part = nd.preview(
        watched, model, region=(20, slice(None), slice(None)), time=0.15, scheme=scheme
    )
    assert sum(watched.reads) == 3 * 12 * 12
    np.testing.assert_array_equal(part, nd.diffuse(image, model, time=0.15, scheme=scheme)[20])


def test_one_frame_of_a_series_with_channels():
    series = np.stack(
        [
            np.stack([picture((30, 26), seed=9 * t + c) * (1, 0.2, 3)[c] for c in range(3)], -1)
            for t in range(5)
        ]
    )
    options = {"time": 2.0, "axes": (1, 2), "channel_axis": -1, "channel_weights": (1, 2, 0.5)}
    model = nd.PeronaMalik(kappa=15.0, sigma=1.0)
    whole, watched = nd.diffuse(series, model, **options), Watched(series)
    region = (3, slice(None), 12, slice(None))
    agrees(nd.preview(watched, model, region=region, **options), whole[region], series)
    assert sum(watched.reads) <= series[0].size
    agrees(
        nd.preview(series, model, region=(slice(1, 4), 5, slice(None), 1), **options),
        whole[1:4, 5, :, 1],
        series,
    )


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f8", "?"])
@pytest.mark.parametrize("preserve", [False, True])
def test_every_dtype_comes_back_as_from_a_run(dtype, preserve):
    image = picture((40, 20)) > 80 if dtype == "?" else picture((40, 20), dtype)
    options = {"time": 2.0, "preserve_dtype": preserve}
    part = nd.preview(image, nd.PeronaMalik(kappa=10.0), region=(20, slice(None)), **options)
    whole = nd.diffuse(image, nd.PeronaMalik(kappa=10.0), **options)[20]
    assert part.dtype == whole.dtype
    # Rounded to the type: what lies half-way between two of its values may fall to either side.
    grain = {"f2": 0.13, "f8": 0.0}.get(dtype, 1.0 if preserve else 0.0)
    assert (
        np.abs(part.astype(float) - whole.astype(float)).max()
        <= PROMISED * np.ptp(image.astype(float)) + grain
    )


def _regions(shape):
    bands = np.indices(shape).sum(0) // 14 % 4
    return {
        "mask": {"mask": bands > 0},
        "labels": {"labels": bands},
        "both": {"mask": bands > 1, "labels": bands},
    }


@pytest.mark.parametrize("kind", ["mask", "labels", "both"])
@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=10.0), nd.PeronaMalik(kappa=10.0, sigma=1.5)],
    ids=name,
)
def test_walls(model, kind):
    image = picture((40, 26, 24))
    walls = _regions(image.shape)[kind]
    whole = nd.diffuse(image, model, time=3.0, **walls)
    for region in [(20, slice(None), slice(None)), (slice(None), slice(None), 3)]:
        agrees(nd.preview(image, model, region=region, time=3.0, **walls), whole[region], image)


@pytest.mark.parametrize("where", ["mask", "labels", "labels of frames", "nan", "masked array"])
def test_far_walls_count_for_models_that_smooth_first(where):
    """With a wall anywhere in the frame, the smoothing is summed up in another way, which changes the fourth digit; here that is kept."""
    image = np.stack([picture((44, 22, 20), seed=3)] * 2)
    model, options = (
        nd.PeronaMalik(kappa=3.0, sigma=2.0, diffusivity="tukey"),
        {"time": 4.0, "axes": (1, 2, 3)},
    )
    here = np.ones(image.shape, bool)
    here[1, 0, 0, 0] = False
    if where == "mask":
        options["mask"] = here[1]
    elif where == "labels":
        options["labels"] = here[1] * 3
    elif where == "labels of frames":
        options["labels"] = here * np.int16(3)
    elif where == "nan":
        options["nan"], image = "mask", np.where(here, image, np.float32(np.nan))
    else:
        image = np.ma.array(image, mask=~here)
    whole = nd.diffuse(image, model, **options)
    for frame in (0, 1):
        region = (frame, 26, slice(None), slice(None))
        part = nd.preview(image, model, region=region, **options)
        agrees(np.ma.getdata(part), np.ma.getdata(whole)[region], np.ma.getdata(image), 3e-5)
        assert isinstance(part, np.ma.MaskedArray) is (where == "masked array")


def test_nan_in_the_part():
    image = picture((40, 20, 20))
    image[20, 4:7, 4:7] = np.nan
    region, model = (20, slice(None), slice(None)), nd.PeronaMalik(kappa=10.0, sigma=1.0)
    whole = nd.diffuse(image, model, time=2.0, nan="mask")
    agrees(nd.preview(image, model, region=region, time=2.0, nan="mask"), whole[region], image)
    with pytest.raises(
        ValueError, match=r"^The part .* NaN or infinite, one at index \[\d+, \d+, \d+\]"
    ) as caught:
        nd.preview(image, model, region=region, time=2.0)
    assert np.isnan(image[caught.value.index])


def test_lazy_arrays_are_read_in_part():
    image, model = picture((60, 20, 20)), nd.PeronaMalik(kappa=10.0)
    read = []
    lazy = dask.array.from_array(image, chunks=(10, 20, 20)).map_blocks(
        lambda part: (read.append(part.size), part)[1], dtype=image.dtype, meta=image[:0]
    )
    labels = dask.array.from_array(np.ones(image.shape, int), chunks=(10, 20, 20)).map_blocks(
        lambda part: (read.append(part.size), part)[1], dtype=int, meta=np.zeros((0, 0, 0), int)
    )
    region = (5, slice(None), slice(None))
    agrees(
        nd.preview(lazy, model, region=region, time=1.0, labels=labels),
        nd.diffuse(image, model, time=1.0)[region],
        image,
    )
    assert sum(read) <= 2 * 2 * 10 * 20 * 20


def test_a_long_diffusion_takes_the_whole_axis():
    """Far beyond the width of the image, the surroundings are the image, and no kernel of a thousand voxels is made."""
    image = picture((30, 20))
    for model, time in [(nd.Linear(), 1e7), (nd.PeronaMalik(kappa=10.0), 400.0)]:
        agrees(
            nd.preview(image, model, region=(3, slice(None)), time=time),
            nd.diffuse(image, model, time=time)[3],
            image,
        )


def test_axes_of_one_voxel_and_lists():
    image = picture((30, 1, 20))
    model = nd.PeronaMalik(kappa=10.0, sigma=1.0)
    whole = nd.diffuse(image, model, time=1.0)
    agrees(
        nd.preview(image.tolist(), model, region=(12, 0, slice(None)), time=1.0).astype("f4"),
        whole[12, 0],
        image,
    )


def test_cancel_and_progress():
    cancel = threading.Event()
    shares = []
    nd.preview(
        picture((30, 20)),
        nd.PeronaMalik(),
        region=(3, slice(None)),
        time=4.0,
        progress=shares.append,
    )
    assert shares[-1] == 1
    cancel.set()
    with pytest.raises(nd.Cancelled):
        nd.preview(
            picture((30, 20)), nd.PeronaMalik(), region=(3, slice(None)), time=4.0, cancel=cancel
        )


@pytest.mark.parametrize(
    ("region", "error", "said"),
    [
        ((3,), ValueError, "each of the 2 axes"),
        (3, ValueError, "each of the 2 axes"),
        ((3, 20), IndexError, "axis 1 has 20 voxels, so there is no voxel 20"),
        ((3, 2.5), TypeError, "integers and slices, got 2.5 for axis 1"),
        ((3, None), TypeError, "integers and slices, got None for axis 1"),
    ],
)
def test_regions_that_are_none(region, error, said):
    with pytest.raises(error, match=said):
        nd.preview(picture((30, 20)), nd.Linear(), region=region, time=1.0)


@pytest.mark.parametrize("region", PLANES)
def test_thin_slices_lie_within_the_planes_that_slabs_are_made_of(region, monkeypatch):
    """Longest axis last, shortest in the middle, each with its spacing and mask: rows are long, and slabs look at little twice."""
    seen = []

    def spy(request, progress, cancel):
        shapes = request.image.shape, request.domain.mask.shape
        seen.append((*shapes, tuple(request.geometry.spacing)))
        return request.image

    monkeypatch.setattr(Request, "result", spy)
    image, lengths = picture((40, 26, 30)), (1.0, 2.0, 3.0)
    mask = np.ones(image.shape, bool)
    part = nd.preview(image, nd.PeronaMalik(), region=region, time=0.1, spacing=lengths, mask=mask)
    np.testing.assert_array_equal(part, image[region])
    [(shape, of_mask, spacing)] = seen
    assert shape == of_mask
    assert shape[1] < shape[0] <= shape[2]
    wide = [n for n, index in zip(image.shape, region, strict=True) if isinstance(index, slice)]
    assert sorted(wide) == [shape[0], shape[2]]
    assert spacing == tuple(
        lengths[image.shape.index(n)]
        if n in image.shape
        else lengths[region.index(part_of(region))]
        for n in shape
    )


def part_of(region):
    return next(index for index in region if not isinstance(index, slice))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("model", MODELS, ids=name)
def test_previews_between_walls_equal_the_whole_run(model, strict):
    """Strict ones look for ways around a wall along the axes in their order and back: another order would be another stencil."""
    image, labels = picture((40, 26, 30)), np.indices((40, 26, 30)).sum(0) // 14 % 4
    options = {"time": 1.5, "spacing": SPACING, "strict": strict, "labels": labels}
    whole = nd.diffuse(image, model, **options)
    for region in PLANES:
        agrees(nd.preview(image, model, region=region, **options), whole[region], image)
