"""A run in blocks from store to store has every bit of the run in memory."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.stores import noisy, result_of, run_in_memory, store_run, write_zarr
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.ome_zarr import is_store
from napari_diffusion.models import BUILTIN, EdgeEnhancing, PeronaMalik, Rician
from napari_diffusion.workflows.file_run import FileOptions

MODELS = [*(kind() for kind in BUILTIN), PeronaMalik(sigma=1.0)]


def check(run, whole=None):
    pairs = zip(run.blocks.block, run.blocks.shards, run.blocks.space, strict=True)
    assert all(block % shard == 0 or block == n for block, shard, n in pairs), "one writer a shard"
    written = run.execute()
    assert is_store(run.target)
    assert written[0] == run.target
    np.testing.assert_array_equal(
        result_of(run.target, run), run_in_memory(run) if whole is None else whole
    )


@st.composite
def cases(draw):
    """Shape, chunks, shards, blocks, passes, workers, executor, model, domain, axes and type."""
    space = draw(st.lists(st.integers(2, 11), min_size=2, max_size=3))
    shape = [*draw(st.lists(st.integers(1, 2), max_size=1)), *space]
    chunks = [draw(st.integers(-(-n // 4), n)) for n in shape]
    shards = [c * draw(st.integers(1, 3)) for c in chunks] if draw(st.booleans()) else None
    block = [draw(st.integers(-(-n // (3 if i == 0 else 2)), n)) for i, n in enumerate(space)]
    block = (block[0], 1, block[1]) if len(block) == 2 else tuple(block)
    return {
        "shape": tuple(shape),
        "space": "ZYX"[-len(space) :],
        "chunks": tuple(chunks),
        "shards": shards,
        "version": 3 if shards else draw(st.sampled_from([2, 3])),
        "block": block,
        "passes": draw(st.integers(1, 3)),
        "workers": draw(st.integers(1, 3)),
        "model": draw(st.sampled_from(MODELS)),
        "domain": draw(st.sampled_from(["whole", "mask", "labels", "holes", "frames"])),
        "dtype": draw(st.sampled_from(["float32", "uint8", "uint16", "float64"])),
        "preserve": draw(st.booleans()),
    }


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(case=cases())
def test_random_runs_equal_the_run_in_memory(case):
    image, rng = noisy(case["shape"], case["dtype"]), np.random.default_rng(5)
    nan, space = "raise", case["shape"][-len(case["space"]) :]
    with tempfile.TemporaryDirectory() as folder:
        folder, files = Path(folder), FileOptions()
        if case["domain"] == "holes" and image.dtype.kind == "f":
            image[tuple(n // 2 for n in image.shape)], nan = np.nan, "mask"
        elif case["domain"] == "mask":
            np.save(folder / "mask.npy", rng.random(space) > 0.1)
            files = FileOptions(mask=folder / "mask.npy")
        elif case["domain"] in ("labels", "frames"):
            of = space if case["domain"] == "labels" else case["shape"]
            labels = (np.indices(of).sum(0) // 5 % 3).astype("u1")
            write_zarr(folder / "labels.zarr", labels, tuple(min(4, n) for n in of))
            files = FileOptions(labels=folder / "labels.zarr")
        source = write_zarr(
            folder / "in.zarr", image, case["chunks"], case["shards"], case["version"]
        )
        recipe = Recipe(case["model"], 0.3, nan=nan, preserve_dtype=case["preserve"])
        options = {name: case[name] for name in ("block", "passes", "workers")}
        run = store_run(source, folder / "out.ome.zarr", recipe, case["space"], files, **options)
        check(run)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_in_passes(model, tmp_path):
    image = noisy((14, 15, 16))
    write_zarr(tmp_path / "in.zarr", image, (5, 8, 8))
    run = store_run(
        tmp_path / "in.zarr",
        tmp_path / "out.zarr",
        Recipe(model, 1.0),
        block=(5, 8, 8),
        passes=4,
    )
    assert len(run.blocks.passes) > 1 or len(run.plan.stages) == 1
    check(run)


def test_sources_that_are_mapped_to_memory(tmp_path):
    image = noisy((12, 13, 14), "int16")
    np.save(tmp_path / "in.npy", image)
    recipe = Recipe(PeronaMalik(kappa=9.0), 1.0)
    block = {"block": (5, 7, 14), "passes": 3}
    check(store_run(tmp_path / "in.npy", tmp_path / "a.zarr", recipe, "ZYX", **block))


def test_any_executor_and_processes(tmp_path):
    distributed = pytest.importorskip("distributed")
    image = noisy((14, 15, 16))
    write_zarr(tmp_path / "in.zarr", image, (5, 8, 8))
    recipe = Recipe(PeronaMalik(kappa=9.0), 1.0)
    options = {"block": (5, 8, 8), "passes": 3}

    def run_with(name, executor):
        target = tmp_path / f"{name}.zarr"
        run = store_run(tmp_path / "in.zarr", target, recipe, executor=executor, **options)
        check(run)
        return run

    run_with("processes", "processes")
    with ThreadPoolExecutor(2) as pool:
        run_with("pool", pool)
    client = distributed.Client(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with client:
        run = run_with("distributed", client.get_executor())
        assert run.store_options.worker_count == 2


def test_a_model_of_transformed_values_keeps_what_is_outside(tmp_path):
    image = noisy((12, 13, 14))
    mask = np.indices(image.shape)[2] > 4
    np.save(tmp_path / "mask.npy", mask)
    write_zarr(tmp_path / "in.zarr", image, (5, 8, 8))
    run = store_run(
        tmp_path / "in.zarr",
        tmp_path / "out.zarr",
        Recipe(Rician(), 0.5),
        files=FileOptions(mask=tmp_path / "mask.npy"),
        block=(5, 8, 8),
        passes=3,
    )
    check(run)
    np.testing.assert_array_equal(result_of(run.target, run)[~mask], image[~mask])


@pytest.mark.parametrize(
    "options", [{"model": Rician()}, {"model": PeronaMalik(), "transform": "anscombe"}]
)
def test_transformed_values_around_a_hole(options, tmp_path):
    image = noisy((12, 13, 14))
    image[6, 6, 6] = np.nan
    write_zarr(tmp_path / "in.zarr", image, (5, 8, 8))
    recipe = Recipe(time=0.5, nan="mask", **options)
    check(store_run(tmp_path / "in.zarr", tmp_path / "out.zarr", recipe, block=(5, 8, 8), passes=3))


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("model", [PeronaMalik(kappa=9.0), EdgeEnhancing(kappa=9.0)])
def test_a_guide_and_a_fidelity_length(model, weight, tmp_path):
    write_zarr(tmp_path / "in.zarr", noisy((14, 15, 16)), (5, 8, 8))
    write_zarr(tmp_path / "guide.zarr", noisy((14, 15, 16), "uint16", seed=3), (5, 8, 8))
    run = store_run(
        tmp_path / "in.zarr",
        tmp_path / "out.zarr",
        Recipe(model, 0.6, fidelity_length=1.5, guide_weight=weight),
        files=FileOptions(guide=tmp_path / "guide.zarr"),
        block=(5, 8, 8),
        passes=3,
    )
    assert "source" in run.blocks.passes[0].carried
    check(run)


@pytest.mark.parametrize("model", [PeronaMalik(kappa=9.0), EdgeEnhancing(kappa=9.0), Rician()])
def test_a_voxel_beside_the_border_of_a_block_acts_across_it(model, tmp_path):
    """An impulse, and a change by one unit in the last place, reach the next block as in memory."""
    image = noisy((12, 14, 16))
    image[4, 6, 7], image[5, 7, 8] = 900, np.nextafter(image[5, 7, 8], np.float32(np.inf))
    results = {}
    for name, value in (("impulse", image[4, 6, 7]), ("plain", np.float32(80))):
        changed = image.copy()
        changed[4, 6, 7] = value
        write_zarr(tmp_path / f"{name}.zarr", changed, (5, 7, 8))
        run = store_run(
            tmp_path / f"{name}.zarr",
            tmp_path / f"{name}-out.zarr",
            Recipe(model, 0.6),
            block=(5, 7, 8),
            passes=2,
        )
        check(run)
        results[name] = result_of(run.target, run)
    # The block of the impulse ends at the planes 5, 7 and 8 of the axes.
    changed = results["impulse"] != results["plain"]
    assert changed[5, 6, 7]
    assert changed[4, 7, 7]
    assert changed[4, 6, 8]


@pytest.mark.parametrize("time", [0.1, 0.4])
def test_the_smallest_difference_crosses_the_border_of_a_block(time, tmp_path):
    """On a constant image, 64 units in the last place are all that there is to see.

    A step brings about an eighth of a difference to the next voxel: two steps bring one unit.
    """
    image = np.full((10, 14, 16), 100, "f4")
    for place in ((4, 6, 7), (5, 7, 8), (4, 7, 8)):  # on both sides of the borders
        image[place] += 64 * np.spacing(np.float32(100))
    write_zarr(tmp_path / "in.zarr", image, (5, 7, 8))
    recipe = Recipe(PeronaMalik(kappa=9.0), time, scheme="explicit")
    run = store_run(tmp_path / "in.zarr", tmp_path / "out.zarr", recipe, block=(5, 7, 8), passes=2)
    check(run)


def test_impulses_and_regions_without_a_border(tmp_path):
    image = noisy((14, 15, 16))
    image[::5, 3, ::4] = 4000
    np.save(tmp_path / "labels.npy", np.full(image.shape, 3, "u1"))
    write_zarr(tmp_path / "in.zarr", image, (5, 8, 8))
    run = store_run(
        tmp_path / "in.zarr",
        tmp_path / "out.zarr",
        Recipe(PeronaMalik(kappa=9.0), 1.0, impulses="mask"),
        files=FileOptions(labels=tmp_path / "labels.npy"),
        block=(5, 8, 8),
    )
    assert not run.source.regions.settings
    check(run, run_in_memory(run))
    assert result_of(run.target, run).max() < 1000


def test_impulses_beside_the_borders_of_blocks_are_found(tmp_path):
    image = noisy((14, 15, 16))
    image[4, 7, 7], image[5, 8, 8], image[9, 7, 8], image[10, 8, 7] = 4000, 4000, 4000, 4000
    write_zarr(tmp_path / "in.zarr", image, (5, 8, 8))
    recipe = Recipe(PeronaMalik(kappa=9.0), 0.4, impulses="mask")
    run = store_run(tmp_path / "in.zarr", tmp_path / "out.zarr", recipe, block=(5, 8, 8), passes=2)
    check(run)
    assert result_of(run.target, run).max() < 1000


@pytest.mark.parametrize("model", [PeronaMalik(), Rician()])
def test_a_time_of_zero_copies_the_image(model, tmp_path):
    """Intensities are not transformed, either."""
    image = noisy((9, 8, 7), "uint16")
    write_zarr(tmp_path / "in.zarr", image, (4, 4, 4))
    recipe = Recipe(model, 0.0)
    run = store_run(tmp_path / "in.zarr", tmp_path / "out.zarr", recipe)
    check(run, image)
