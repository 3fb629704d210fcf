"""What every run promises: laws of a case of the fuzzer and its result.

A law raises an AssertionError. One with a tolerance returns the share of it that was used. A law
that runs the filter once more on a changed case returns without a check where that run is refused,
for example because its values overflow.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

import napari_diffusion as nd
from helpers.hostile import fingerprint
from helpers.stores import result_of, write_zarr
from napari_diffusion import backends, io
from napari_diffusion.core.dtypes import result_dtype, working_dtype
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.parameters import rescaled
from napari_diffusion.engine.out_of_core.blocks import run_in_blocks
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.engine.recipe_fields import RecipeFields, run_options
from napari_diffusion.io.axes import AxisAssignment
from napari_diffusion.models import parameters
from napari_diffusion.testing.cases import ROUNDING, decoded, encoded
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.store.options import StoreOptions
from napari_diffusion.workflows.store.run import StoreRun

#: Rounding errors of the input, in units in the last place of its largest value, and the multiple
#: of the response of the result that is allowed.
ROUNDED, AMPLIFIED = 4, 10
#: Options that are regions; a guide is an image.
REGIONS = ("mask", "labels")
DEFAULTS = {option.name: option.default for option in run_options()}
RECIPE_OPTIONS = [option.name for option in run_options()]


def is_transformed(case):
    """Whether intensities are transformed: then means and units of intensity are others."""
    return case.options.get("transform") != DEFAULTS.get("transform")


def same(left, right, words="another result"):
    assert np.array_equal(left, right, equal_nan=True), (
        f"{words}: {np.count_nonzero(left != right)} voxels differ, at most by "
        f"{np.nanmax(np.abs(left.astype(float) - right.astype(float)), initial=0):.3g}"
    )


def finite_part(array):
    return array[np.isfinite(array)].astype(float)


def magnitude(case):
    """Return the largest magnitude of a value."""
    return float(np.abs(finite_part(case.array)).max(initial=0))


def span(case):
    values = finite_part(case.array)
    return float(np.ptp(values)) if values.size else 0.0


def rounding(case):
    """Return the absolute tolerance of two runs that differ by rounding only.

    It is that of the laws of `napari_diffusion.testing`, for as many stages, plus the rounding of
    the stored result.
    """
    steps = case.run(nd.plan).steps
    own = ROUNDING[working_dtype(case.array.dtype).name] * max(1.0, steps / 24)
    own *= case.model.rounding_gain * magnitude(case)
    stored = {2: 2.0**-10, 4: 2.0**-23}.get(promised_dtype(case).itemsize, 2.0**-52)
    if promised_dtype(case).kind != "f":
        return own + 1.0 + magnitude(case) * 2.0**-52
    return own + stored * magnitude(case)


def promised_dtype(case):
    """Return the promised data type of the result."""
    return result_dtype(case.array.dtype, case.options["preserve_dtype"])


def close(case, left, right, words):
    """Compare two runs that differ by rounding only.

    A model may amplify rounding, for example where it compares nearly equal numbers. Where the
    tolerance is exceeded, the response of the result to rounding errors of the input is measured.
    """
    tolerance, difference = rounding(case), distance(case, left, right)
    if difference > tolerance:
        tolerance = max(tolerance, AMPLIFIED * response_to_rounding(case, right))
    assert difference <= tolerance, f"{words}: differs by {difference:.3g}, at most {tolerance:.3g}"
    return float(difference / (tolerance or 1))


def distance(case, left, right):
    """Return the largest difference of two results; both are infinite at the same voxels."""
    same(np.isfinite(left), np.isfinite(right), "values that are not finite")
    left, right = finite_part(left), finite_part(right)
    if case.model.has_transform:  # roots near zero amplify rounding
        left, right = encoded(case.model, left), encoded(case.model, right)
        return np.abs(left - right).max(initial=0) / (2 * magnitude(case) or 1)
    return np.abs(left - right).max(initial=0)


def response_to_rounding(case, result):
    """Return by how much rounding errors of a few units in the last place change a result."""
    rng, largest, dtype = np.random.default_rng(case.seed), 0.0, working_dtype(case.array.dtype)
    for _ in range(3):
        noise = ROUNDED * np.finfo(dtype).eps * rng.uniform(-1, 1, case.array.shape)
        changed = (case.array + magnitude(case) * noise).astype(dtype)
        other = again(dataclasses.replace(case, array=changed))
        if other is not None:
            largest = max(largest, distance(case, other, result))
    return largest


def again(case, **changes):
    """Run a changed case; None where it is refused."""
    try:
        return case.run(**changes)
    except (ValueError, MemoryError):
        return None


def shape_and_dtype_are_promised(case, result):
    assert result.shape == case.array.shape
    assert result.dtype == promised_dtype(case), f"the dtype is {result.dtype}"


def values_are_finite(case, result):
    same(np.isfinite(result), np.isfinite(case.array), "values that are not finite")


def regions_of(case):
    """Return the region of each voxel in the shape of the image, and whether it is an input."""
    regions = np.ones(case.array.shape, np.int64)
    for name, values in case.arrays.items():
        if name not in REGIONS:
            continue
        wide = values
        if values.ndim == len(case.axes):
            others = [i for i in range(case.array.ndim) if i not in case.axes]
            wide = np.expand_dims(values, others)
        elif case.channel_axis is not None:
            wide = np.expand_dims(values, case.channel_axis)
        regions = np.where(np.broadcast_to(wide, regions.shape) != 0, regions * wide, 0)
    invalid = ~np.isfinite(case.array)
    if case.channel_axis is not None:
        invalid = invalid.any(case.channel_axis, keepdims=True)
    return np.where(invalid, 0, regions)


def outside_is_unchanged(case, result):
    outside = regions_of(case) == 0
    same(result[outside], case.array[outside].astype(result.dtype), "voxels outside have changed")


def parts(case, result):
    """Yield values before and after of each region of each frame and channel."""
    regions = regions_of(case)
    others = [i for i in range(case.array.ndim) if i not in case.axes]
    shape = [case.array.shape[i] for i in others]
    for index in np.ndindex(*shape):
        place = [slice(None)] * case.array.ndim
        for axis, i in zip(others, index, strict=True):
            place[axis] = i
        before, after, own = (a[tuple(place)] for a in (case.array, result, regions))
        for label in np.unique(own):
            if label:
                yield before[own == label].astype(float), after[own == label].astype(float)


def extrema_are_kept(case, result):
    """No value leaves the range of its region, with ``strict``."""
    plan = case.run(nd.plan)
    if is_transformed(case):
        return
    if not plan.strict:  # tensors and fourth order have new extrema by nature
        return
    eps = np.finfo(working_dtype(case.array.dtype)).eps
    for before, after in parts(case, result):
        if np.array_equal(before, after):  # also a channel that is copied
            continue
        if case.time != 0 and case.model.has_transform:
            before = decoded(case.model, encoded(case.model, before))
            before = before if result.dtype.kind == "f" else np.rint(before)
        slack = 8 * eps * np.abs(before).max() + stored_slack(result, before)
        low, high = before.min() - after.min(), after.max() - before.max()
        assert max(low, high) <= slack, f"values leave the range by {max(low, high):.3g}"


def stored_slack(result, values):
    """Return the rounding of the stored result."""
    largest = np.abs(values).max(initial=0)
    return largest * (float(np.finfo(result.dtype).eps) if result.dtype.kind == "f" else 2.0**-52)


def mean_is_kept(case, result):
    """Conservative models keep the mean of each region, to 1e-6 of the range and rounding."""
    if not case.model.conservative or case.options["impulses"] != "keep" or is_transformed(case):
        return None
    if result.dtype.kind != "f":
        return None
    steps = case.run(nd.plan).steps
    working, used = np.finfo(working_dtype(case.array.dtype)).eps, 0.0
    for before, after in parts(case, result):
        slack = 1e-6 * np.ptp(before) + stored_slack(result, before)
        slack += working * (steps + 1) ** 0.5 * 2 * np.abs(before).max()
        drift = abs(after.mean() - before.mean())
        assert drift <= slack, f"the mean moved by {drift:.3g}, at most {slack:.3g}"
        used = max(used, float(drift / (slack or 1)))
    return used


def layout_changes_nothing(case, result):
    image = case.image()
    before = fingerprint(image)
    same(case.run(image=image), result, "the layout changes bits")
    assert fingerprint(image) == before, "the input was changed"


def threads_change_nothing(case, result):
    for threads in (1, 3, 7):
        same(case.run(threads=threads), result, f"{threads} threads change bits")


def backends_agree(case, result):
    kinds = [kind for kind in backends.REGISTRY.all() if len(case.axes) <= kind.max_axes]
    return max(
        close(case, case.run(backend=kind.name), result, f"the {kind.name} backend")
        for kind in kinds
    )


def problem_of(case):
    """Return the problem of a case."""
    recipe = RecipeFields(
        case.model, case.time, **{name: case.options[name] for name in RECIPE_OPTIONS}
    )
    geometry = Geometry(
        case.spacing, case.axes, case.channel_axis, case.options.get("channel_weights")
    )
    return make_problem(case.array, recipe, geometry, Domain(**case.arrays))


def blocks_change_nothing(case, result):
    """Passes and blocks of random sizes have the bits of the whole run."""
    rng, problem = np.random.default_rng(case.seed), problem_of(case)
    count = case.run(nd.plan).steps
    cuts = sorted(int(n) for n in rng.integers(0, count + 1, 3))
    sizes = [int(rng.integers(1, max(2, case.array.shape[axis]))) for axis in case.axes]
    same(run_in_blocks(problem, cuts, sizes), result, f"blocks {sizes}, passes {cuts}")


def store_changes_nothing(case, result):
    """A run in blocks from a file to an OME-Zarr has the bits of the whole run."""
    if not 2 <= len(case.axes) <= 3 or 0 in case.array.shape:  # OME-Zarr does not hold it
        return
    with tempfile.TemporaryDirectory() as folder:
        run = store_run(case, Path(folder))
        run.execute()
        same(result_of(run.target, run), result, "a run from file to file")


def store_run(case, folder):
    """Return the case as a run in blocks, with random chunks, blocks, passes and workers.

    Each block of each pass takes some milliseconds of the disk, so there are few of them.
    """
    rng, shape = np.random.default_rng(case.seed), case.array.shape
    if rng.random() < 0.5 or case.array.dtype == np.float16:  # zarr 2 has no such numbers
        np.save(folder / "in.npy", case.array)
        source = folder / "in.npy"
    else:
        chunks = tuple(int(rng.integers(-(-n // 3), n + 1)) for n in shape)
        source = write_zarr(folder / "in.zarr", case.array, chunks)
    letters = ["T"] * len(shape)
    for axis, letter in zip(case.axes, "ZYX"[-len(case.axes) :], strict=True):
        letters[axis] = letter
    if case.channel_axis is not None:
        letters[case.channel_axis] = "C"
    weights = case.options.get("channel_weights")
    assignment = AxisAssignment(
        "".join(letters),
        case.axes,
        case.channel_axis,
        case.spacing,
        "pixel",
        None if weights is None else tuple(weights),
    )
    for name, values in case.arrays.items():
        np.save(folder / f"{name}.npy", values)
    files = FileOptions(**{name: folder / f"{name}.npy" for name in case.arrays})
    recipe = Recipe(case.model, case.time, **{name: case.options[name] for name in RECIPE_OPTIONS})
    options = StoreOptions(
        memory=1 << 28,
        workers=int(rng.integers(1, 3)),
        block=tuple(int(rng.integers(-(-n // 2), n + 1)) for n in problem_of(case).space),
        stages_per_pass=1 + case.run(nd.plan).steps // int(rng.integers(1, 4)),
    )
    target = folder / "out.ome.zarr"
    volume = dataclasses.replace(io.read(source), axes=assignment.letters)
    return StoreRun.make(volume, assignment, recipe, target, files, options)


def recipe_changes_nothing(case, result):
    """A saved recipe gives the same bits."""
    options = {name: case.options[name] for name in RECIPE_OPTIONS}
    recipe = Recipe.from_json(Recipe(case.model, case.time, **options).to_json())
    rest = {
        name: value
        for name, value in case.keywords().items()
        if name not in RECIPE_OPTIONS and name != "time"
    }
    same(nd.diffuse(case.array, recipe, **rest), result, "a saved recipe changes bits")


def steps_end_at_the_result(case, result):
    """The last state of each frame is the result."""
    last = None
    for state in case.run(nd.evolve):
        last = state
    frames = [n for i, n in enumerate(case.array.shape) if i not in (*case.axes, case.channel_axis)]
    if last is not None and all(n == 1 for n in frames):
        same(np.reshape(last.image, result.shape), result, "the last state is another result")


def times(case, factor):
    """Return the case in another unit of intensity; ValueError where a threshold overflows.

    The thresholds of transformed intensities are in units of the noise, those of other intensities
    in the same unit as the image and its guide.
    """
    model, options, arrays = case.model, case.options, case.arrays
    if is_transformed(case):
        changed = {p.name: p.dimension.factor(intensity=factor) for p in run_options()}
        options = options | {
            name: options[name] * own for name, own in changed.items() if own != 1.0
        }
    else:
        scaled = {
            p.name: getattr(model, p.name) * p.dimension.factor(intensity=factor)
            for p in parameters(model)
            if p.type is float
        }
        model = dataclasses.replace(model, **scaled)
        arrays = {
            name: values if name in REGIONS else values.astype(float) * factor
            for name, values in arrays.items()
        }
    array = case.array * factor
    return dataclasses.replace(case, array=array, model=model, options=options, arrays=arrays)


def scale_is_carried(case, result):
    """Intensities times a power of two, with their thresholds, give the result times it."""
    if case.array.dtype.kind != "f" or case.array.dtype.itemsize == 2:
        return None
    used = 0.0
    for factor in (2.0**-6, 2.0**9):
        try:
            changed = times(case, factor)
        except ValueError:
            continue
        other = again(changed)
        if other is not None:
            used = max(used, close(case, other / factor, result, f"intensities times {factor}"))
    return used


def length_is_carried(case, result):
    """Another unit of length, a power of two, gives the same result."""
    used = 0.0
    for factor in (0.25, 8.0):
        recipe = RecipeFields(
            case.model, case.time, **{name: case.options[name] for name in RECIPE_OPTIONS}
        )
        try:
            recipe = dataclasses.replace(
                rescaled(recipe, factor), model=rescaled(case.model, factor)
            )
        except ValueError:
            continue
        options = case.options | {name: getattr(recipe, name) for name in RECIPE_OPTIONS}
        spacing = tuple(h * factor for h in case.spacing)
        changed = dataclasses.replace(
            case, model=recipe.model, time=recipe.time, spacing=spacing, options=options
        )
        other = again(changed)
        if other is not None:
            used = max(used, close(case, other, result, f"lengths times {factor}"))
    return used


def axes_are_alike(case, result):
    """The filter commutes with the order of all axes, and with reversals of those of space."""
    rng = np.random.default_rng(case.seed)
    order = [int(i) for i in rng.permutation(case.array.ndim)]
    flips = [axis for axis in case.axes if rng.random() < 0.5]
    expected = np.flip(result.transpose(order), [order.index(axis) for axis in flips])
    turned = case.turned(order, flips)
    return close(turned, turned.run(), expected, f"axes {order}, reversed {flips}")


def frames_are_apart(case, result):
    """Each frame is filtered as if it were alone."""
    frames = [i for i in range(case.array.ndim) if i not in (*case.axes, case.channel_axis)]
    if not frames or not case.array.shape[frames[0]]:
        return
    axis, last = frames[0], case.array.shape[frames[0]] - 1
    arrays = {}
    for name, values in case.arrays.items():
        has_frames = values.ndim > len(case.axes)
        at = axis - (case.channel_axis is not None and case.channel_axis < axis)
        arrays[name] = values.take([last], at) if has_frames else values
    alone = dataclasses.replace(case, array=case.array.take([last], axis), arrays=arrays)
    same(alone.run(), result.take([last], axis), "a frame by itself")


def part_is_previewed(case, result):
    """The preview of a part is this part of the result, to 1e-3 of the range."""
    rng = np.random.default_rng(case.seed)
    if 0 in case.array.shape:
        return None
    region = []
    for n in case.array.shape:
        start = int(rng.integers(0, n))
        region.append(slice(start, int(rng.integers(start, n)) + 1))
    part = nd.preview(case.array, case.model, region=region, **case.keywords())
    expected = result[tuple(region)].astype(float)
    finite = np.isfinite(expected)
    difference = np.abs(part[finite].astype(float) - expected[finite]).max(initial=0)
    tolerance = 1e-3 * span(case) * case.model.truncation_gain + rounding(case)
    assert difference <= tolerance, f"the preview differs by {difference / (span(case) or 1):.3g}"
    return float(difference / (tolerance or 1))


#: Checked for every result.
ALWAYS = (
    shape_and_dtype_are_promised,
    values_are_finite,
    outside_is_unchanged,
    extrema_are_kept,
    mean_is_kept,
    layout_changes_nothing,
)
#: They run the filter once more; some of them are drawn for each case.
DRAWN = (
    threads_change_nothing,
    backends_agree,
    blocks_change_nothing,
    store_changes_nothing,
    recipe_changes_nothing,
    steps_end_at_the_result,
    scale_is_carried,
    length_is_carried,
    axes_are_alike,
    frames_are_apart,
    part_is_previewed,
)
