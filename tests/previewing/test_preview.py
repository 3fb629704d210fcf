"""A preview of a part equals that part of the whole run, and reads only its surroundings."""

import threading

import dask.array
import numpy as np
import pytest
import skimage.data

import napari_diffusion as nd
from helpers.lazy_arrays import RecordingArray
from helpers.previews import (
    DRAFT,
    MAPPED,
    MODELS,
    PLANES,
    PROMISED,
    SPACING,
    assert_agrees,
    name,
    picture,
    whole_run,
)
from napari_diffusion.io import samples
from napari_diffusion.previewing import request as request_module


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_planes_of_any_orientation_equal_the_whole_run(model):
    image = picture((40, 26, 30))
    for region in PLANES:
        part = nd.preview(image, model, region=region, time=2.5, spacing=SPACING)
        assert_agrees(part, whole_run(model)[region], image)


@pytest.mark.parametrize("kind", MAPPED, ids=lambda kind: kind.name)
def test_maps_of_thresholds_act_where_they_lie_in_the_whole_image(kind):
    """A preview reads a block, and reorders its axes."""
    image = picture((40, 26, 30))
    model = kind(kappa_map=2.0 ** np.array([[[-1, 2]], [[3, 0]], [[0, -2]]]))
    whole = nd.diffuse(image, model, time=2.5, spacing=SPACING)
    for region in (*PLANES, (slice(30, 36), slice(2, 9), slice(20, 30))):
        part = nd.preview(image, model, region=region, time=2.5, spacing=SPACING)
        assert_agrees(part, whole[region], image)
    draft = nd.preview(image, model, region=PLANES[0], time=2.5, spacing=SPACING, draft=True)
    difference = draft - whole[PLANES[0]]
    assert np.sqrt(np.mean(difference**2)) <= DRAFT * np.ptp(image)


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_boxes_in_2d_equal_the_whole_run(model):
    image = picture((90, 80))
    whole = nd.diffuse(image, model, time=6.0)
    inside, corner = (slice(40, 60), slice(30, 50)), (slice(0, 20), slice(60, 80))
    for region in (inside, corner, (45, slice(10, 12))):
        assert_agrees(nd.preview(image, model, region=region, time=6.0), whole[region], image)


@pytest.mark.parametrize("time", [2.0, 30.0])
@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=400.0), nd.PeronaMalik(kappa=400.0, sigma=1.0)],
    ids=name,
)
def test_preview_is_exact_beside_a_step_in_its_surroundings(model, time):
    """A step at any distance from a flat part is the worst case."""
    for begin in range(31, 60, 4):
        image = np.zeros((90, 24), np.float32)
        image[begin:] = 100.0
        part = nd.preview(image, model, region=(28, slice(None)), time=time)
        assert_agrees(part, nd.diffuse(image, model, time=time)[28], image)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", [nd.MeanCurvature(), nd.ModifiedCurvature(kappa=160.0)], ids=name)
def test_curvature_motion_is_exact_for_outlines_across_the_surroundings(model, seed):
    """Mirroring at the end of the surroundings makes corners, whose rounding moves inwards."""
    rng, image = np.random.default_rng(seed), np.zeros((300, 60), np.float32)
    row, column = np.indices(image.shape)
    for _ in range(30):
        (y, x), radius = rng.uniform(0, image.shape), rng.uniform(3, 30)
        image[(row - y) ** 2 + (column - x) ** 2 < radius**2] = rng.uniform(0, 150)
    part = nd.preview(image, model, region=(150, slice(None)), time=40.0)
    assert_agrees(part, nd.diffuse(image, model, time=40.0)[150], image)


@pytest.mark.parametrize(
    "model",
    [nd.Hybrid(kappa=18.0, contrast=18.0), nd.EdgeEnhancing(kappa=18.0), nd.CoherenceEnhancing()],
    ids=lambda model: model.name,
)
def test_preview_is_exact_for_thick_slices_at_a_long_time(model):
    """Models with a near-discontinuous diffusivity amplify small differences at the border."""
    image = np.asarray(samples.mri()[0], np.float32)[:, 10:74, 10:74]
    whole = nd.diffuse(image, model, time=18.0, spacing=(6, 1, 1))
    for plane in (3, 8, 13, 18):
        region = (plane, slice(None), slice(None))
        part = nd.preview(image, model, region=region, time=18.0, spacing=(6, 1, 1))
        assert_agrees(part, whole[plane], image)


@pytest.mark.parametrize(
    ("name", "corner", "time"), [("coins", (89, 160), 2.5), ("camera", (403, 264), 10.0)]
)
def test_vessels_are_exact_in_photographs(name, corner, time):
    """Whether a faint vessel is one may depend on a small difference far away."""
    image, model = getattr(skimage.data, name)(), nd.VesselEnhancing()
    region = tuple(slice(first, first + 40) for first in corner)
    part = nd.preview(image, model, region=region, time=time)
    assert_agrees(part, nd.diffuse(image, model, time=time)[region], image)


@pytest.mark.parametrize("distance", range(2, 12, 2))
def test_surroundings_include_the_reach_of_the_features(distance):
    """Diffusion reaches two voxels, but its diffusivity depends on a step up to ten voxels away."""
    image = 5.0 * (np.indices((60, 16)).sum(0) % 2).astype(np.float32)
    image[30 + distance :] += 10000.0
    model = nd.PeronaMalik(kappa=30.0, sigma=4.0)
    part = nd.preview(image, model, region=(30, slice(None)), time=0.4)
    assert_agrees(part, nd.diffuse(image, model, time=0.4)[30], image[:31])


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
    part = nd.preview(image, model, region=region, time=1.0)
    assert_agrees(part, nd.diffuse(image, model, time=1.0)[region], image)


@pytest.mark.parametrize(
    "model",
    [nd.Linear(), nd.PeronaMalik(kappa=10.0), nd.PeronaMalik(kappa=10.0, sigma=1.0)],
    ids=name,
)
def test_only_the_part_and_its_surroundings_are_read(model):
    image = RecordingArray(picture((120, 24, 20)))
    part = nd.preview(image, model, region=(60, slice(None), slice(None)), time=2.0)
    assert part.shape == (24, 20)
    assert sum(image.reads) <= 40 * 24 * 20


def test_surroundings_are_never_wider_than_the_exact_ones():
    """One explicit step reaches one voxel: three planes are read, and the result is bit-exact."""
    image, model = picture((40, 12, 12)), nd.PeronaMalik(kappa=10.0)
    region, scheme = (20, slice(None), slice(None)), nd.schemes.Explicit(step=0.15)
    watched = RecordingArray(image)
    part = nd.preview(watched, model, region=region, time=0.15, scheme=scheme)
    assert sum(watched.reads) == 3 * 12 * 12
    np.testing.assert_array_equal(part, nd.diffuse(image, model, time=0.15, scheme=scheme)[20])


def test_preview_of_one_frame_of_a_series_with_channels_equals_the_run():
    gains = (1, 0.2, 3)
    frames = [
        np.stack([picture((30, 26), seed=9 * t + c) * gains[c] for c in range(3)], -1)
        for t in range(5)
    ]
    series = np.stack(frames)
    options = {"time": 2.0, "axes": (1, 2), "channel_axis": -1, "channel_weights": (1, 2, 0.5)}
    model = nd.PeronaMalik(kappa=15.0, sigma=1.0)
    whole, watched = nd.diffuse(series, model, **options), RecordingArray(series)
    region = (3, slice(None), 12, slice(None))
    assert_agrees(nd.preview(watched, model, region=region, **options), whole[region], series)
    assert sum(watched.reads) <= series[0].size
    part = nd.preview(series, model, region=(slice(1, 4), 5, slice(None), 1), **options)
    assert_agrees(part, whole[1:4, 5, :, 1], series)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f8", "?"])
@pytest.mark.parametrize("preserve", [False, True])
def test_preview_has_the_dtype_of_the_run(dtype, preserve):
    image = picture((40, 20)) > 80 if dtype == "?" else picture((40, 20), dtype)
    options = {"time": 2.0, "preserve_dtype": preserve}
    part = nd.preview(image, nd.PeronaMalik(kappa=10.0), region=(20, slice(None)), **options)
    whole = nd.diffuse(image, nd.PeronaMalik(kappa=10.0), **options)[20]
    assert part.dtype == whole.dtype
    # A value half-way between two values of the type may be rounded to either side.
    rounding = {"f2": 0.13, "f8": 0.0}.get(dtype, 1.0 if preserve else 0.0)
    difference = np.abs(part.astype(float) - whole.astype(float)).max()
    assert difference <= PROMISED * np.ptp(image.astype(float)) + rounding


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
def test_preview_with_mask_and_labels_equals_the_whole_run(model, kind):
    image = picture((40, 26, 24))
    walls = _regions(image.shape)[kind]
    whole = nd.diffuse(image, model, time=3.0, **walls)
    for region in [(20, slice(None), slice(None)), (slice(None), slice(None), 3)]:
        part = nd.preview(image, model, region=region, time=3.0, **walls)
        assert_agrees(part, whole[region], image)


@pytest.mark.parametrize("where", ["mask", "labels", "labels of frames", "nan", "masked array"])
def test_far_walls_change_the_smoothing_of_features_as_in_the_run(where):
    """Any wall in a frame selects another sum for the smoothing, which changes the fourth digit."""
    image = np.stack([picture((44, 22, 20), seed=3)] * 2)
    model = nd.PeronaMalik(kappa=3.0, sigma=2.0, diffusivity="tukey")
    options = {"time": 4.0, "axes": (1, 2, 3)}
    inside = np.ones(image.shape, bool)
    inside[1, 0, 0, 0] = False
    if where == "mask":
        options["mask"] = inside[1]
    elif where == "labels":
        options["labels"] = inside[1] * 3
    elif where == "labels of frames":
        options["labels"] = inside * np.int16(3)
    elif where == "nan":
        options["nan"], image = "mask", np.where(inside, image, np.float32(np.nan))
    else:
        image = np.ma.array(image, mask=~inside)
    whole = nd.diffuse(image, model, **options)
    for frame in (0, 1):
        region = (frame, 26, slice(None), slice(None))
        part = nd.preview(image, model, region=region, **options)
        assert_agrees(np.ma.getdata(part), np.ma.getdata(whole)[region], np.ma.getdata(image), 3e-5)
        assert isinstance(part, np.ma.MaskedArray) is (where == "masked array")


def test_nan_in_the_part_is_kept_or_refused():
    image = picture((40, 20, 20))
    image[20, 4:7, 4:7] = np.nan
    region, model = (20, slice(None), slice(None)), nd.PeronaMalik(kappa=10.0, sigma=1.0)
    whole = nd.diffuse(image, model, time=2.0, nan="mask")
    part = nd.preview(image, model, region=region, time=2.0, nan="mask")
    assert_agrees(part, whole[region], image)
    message = r"^The previewed part of the image .* NaN or infinite, one at index \[\d+, \d+, \d+\]"
    with pytest.raises(ValueError, match=message) as caught:
        nd.preview(image, model, region=region, time=2.0)
    assert np.isnan(image[caught.value.index])


def test_lazy_arrays_are_read_in_part():
    image, model = picture((60, 20, 20)), nd.PeronaMalik(kappa=10.0)
    read = []

    def lazy(array):
        """Return a dask array that records the sizes of the chunks that are read."""
        return dask.array.from_array(array, chunks=(10, 20, 20)).map_blocks(
            lambda part: (read.append(part.size), part)[1], dtype=array.dtype, meta=array[:0]
        )

    labels = lazy(np.ones(image.shape, int))
    region = (5, slice(None), slice(None))
    part = nd.preview(lazy(image), model, region=region, time=1.0, labels=labels)
    assert_agrees(part, nd.diffuse(image, model, time=1.0)[region], image)
    assert sum(read) <= 2 * 2 * 10 * 20 * 20


def test_surroundings_at_a_long_time_are_the_whole_axis():
    """At a sigma far beyond the width of the image, no kernel of that width is made."""
    image = picture((30, 20))
    for model, time in [(nd.Linear(), 1e7), (nd.PeronaMalik(kappa=10.0), 400.0)]:
        part = nd.preview(image, model, region=(3, slice(None)), time=time)
        assert_agrees(part, nd.diffuse(image, model, time=time)[3], image)


def test_preview_takes_axes_of_one_voxel_and_lists():
    image = picture((30, 1, 20))
    model = nd.PeronaMalik(kappa=10.0, sigma=1.0)
    whole = nd.diffuse(image, model, time=1.0)
    part = nd.preview(image.tolist(), model, region=(12, 0, slice(None)), time=1.0)
    assert_agrees(part.astype("f4"), whole[12, 0], image)


def test_preview_reports_progress_and_can_be_cancelled():
    cancel, shares = threading.Event(), []
    image, options = picture((30, 20)), {"region": (3, slice(None)), "time": 4.0}
    nd.preview(image, nd.PeronaMalik(), progress=shares.append, **options)
    assert shares[-1] == 1
    cancel.set()
    with pytest.raises(nd.Cancelled):
        nd.preview(image, nd.PeronaMalik(), cancel=cancel, **options)


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        ((3,), ValueError, "each of the 2 axes"),
        (3, ValueError, "each of the 2 axes"),
        ((3, 20), IndexError, "axis 1 has 20 voxels, so there is no voxel 20"),
        ((3, 2.5), TypeError, "integers and slices, got 2.5 for axis 1"),
        ((3, None), TypeError, "integers and slices, got None for axis 1"),
        ((3, True), TypeError, "integers and slices, got True for axis 1"),
    ],
)
def test_invalid_regions_are_refused(region, error, message):
    with pytest.raises(error, match=message):
        nd.preview(picture((30, 20)), nd.Linear(), region=region, time=1.0)


@pytest.mark.parametrize("region", PLANES)
def test_axes_of_thin_slices_are_reordered(region, monkeypatch):
    """The longest axis is last and the shortest in the middle, for spacing and mask too.

    Rows are then long, and slabs read a small share beyond themselves.
    """
    seen = []

    def spy(problem, execution, progress, cancel):
        seen.append((problem.shape, problem.domain.mask.shape, problem.spacing))
        return problem.image

    monkeypatch.setattr(request_module, "run", spy)
    image, lengths = picture((40, 26, 30)), (1.0, 2.0, 3.0)
    mask = np.ones(image.shape, bool)
    part = nd.preview(image, nd.PeronaMalik(), region=region, time=0.1, spacing=lengths, mask=mask)
    np.testing.assert_array_equal(part, image[region])
    [(shape, mask_shape, spacing)] = seen
    assert shape == mask_shape
    assert shape[1] < shape[0] <= shape[2]
    whole_axes = [i for i, index in enumerate(region) if isinstance(index, slice)]
    assert sorted(image.shape[i] for i in whole_axes) == [shape[0], shape[2]]
    (thin,) = set(range(3)) - set(whole_axes)
    axes = [image.shape.index(n) if n in image.shape else thin for n in shape]
    assert spacing == tuple(lengths[i] for i in axes)


@pytest.mark.parametrize(
    ("model", "strict"),
    [(m, strict) for m in MODELS for strict in (False, True)[: 1 + m.keeps_extrema]],
    ids=lambda value: str(value) if isinstance(value, bool) else name(value),
)
def test_previews_between_walls_equal_the_whole_run(model, strict):
    """The stencil of strict runs depends on the order of the axes, which must be kept."""
    image, labels = picture((40, 26, 30)), np.indices((40, 26, 30)).sum(0) // 14 % 4
    time = 1.5 if model.keeps_extrema else 0.1  # steps of fourth order are far smaller
    options = {"time": time, "spacing": SPACING, "strict": strict, "labels": labels}
    whole = nd.diffuse(image, model, **options)
    for region in PLANES:
        assert_agrees(nd.preview(image, model, region=region, **options), whole[region], image)
