"""Runs on files and in blocks take a device, and their results say which one computed them."""

import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import zarr

import napari_diffusion as nd
from helpers.emulated import NAME, emulation, needs_emulation
from helpers.stores import noisy, store_run, write_zarr
from napari_diffusion import io
from napari_diffusion.backends import devices
from napari_diffusion.backends.opencl import queue
from napari_diffusion.cli import main
from napari_diffusion.core.errors import DeviceFailed
from napari_diffusion.engine.devices import choice
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.planner import kept_plan
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.store import tasks

pytestmark = needs_emulation

RECIPE = nd.Recipe(nd.PeronaMalik(kappa=9.0), 1.0)
OPTIONS = ["--model", "perona-malik", "--kappa", "9", "--time", "1", "--device", NAME]
ON_DEVICE = FileOptions(execution=Execution(device=NAME))
BLOCKS = {"block": (8, 8, 8), "passes": 2, "workers": 2}


@pytest.fixture(autouse=True)
def _says_again():
    choice.say_fallback.cache_clear()


@pytest.fixture
def image():
    return noisy((12, 13, 14))


@pytest.fixture
def source(tmp_path, image):
    return write_zarr(tmp_path / "in.zarr", image, (4, 8, 8))


def recorded(path):
    """Devices in the sidecar of a result."""
    return nd.Recipe.load(io.sidecar_of(path)).computed_on


def failing_after(monkeypatch, launches):
    """Let the device fail after so many kernels."""
    original, launched = queue.Queue.launch, []

    def launch(self, *arguments):
        launched.append(1)
        if len(launched) > launches:
            raise DeviceFailed("The card is gone")
        return original(self, *arguments)

    monkeypatch.setattr(queue.Queue, "launch", launch)


def test_sidecars_of_the_command_line_name_the_device(tmp_path, image):
    np.save(tmp_path / "a.npy", image)
    axes = ["--axes", "z,y,x"]
    assert main(["run", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), *OPTIONS, *axes]) == 0
    words = ["batch", str(tmp_path / "a.npy"), "--output", str(tmp_path / "out"), *OPTIONS, *axes]
    assert main(words) == 0
    for path in (tmp_path / "b.npy", tmp_path / "out" / "a.npy"):
        assert recorded(path) == (emulation().name,)
        np.testing.assert_array_equal(np.load(path), RECIPE.diffuse(image))
    # The record is no setting: it does not bring the device back.
    recipe = ["--recipe", str(io.sidecar_of(tmp_path / "b.npy")), *axes]
    assert main(["run", str(tmp_path / "a.npy"), str(tmp_path / "c.npy"), *recipe]) == 0
    assert recorded(tmp_path / "c.npy") == ()
    assert "computed_on" not in io.sidecar_of(tmp_path / "c.npy").read_text()


def test_a_run_that_was_left_to_the_processor_names_no_device(tmp_path, image, monkeypatch):
    np.save(tmp_path / "a.npy", image)
    failing_after(monkeypatch, 3)
    words = ["run", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), *OPTIONS, "--axes", "z,y,x"]
    with pytest.warns(RuntimeWarning, match="gone: the processor does the work"):
        assert main(words) == 0
    assert recorded(tmp_path / "b.npy") == ()


def test_blocks_on_a_device_have_the_bits_and_name_it(source, tmp_path, image):
    target = tmp_path / "out.ome.zarr"
    plan = nd.plan_store(source, target, RECIPE, device=NAME)
    assert plan.seconds is None
    run = store_run(source, target, RECIPE, files=ON_DEVICE, **BLOCKS)
    assert run.blocks.blocks > 4
    assert f"One block at a time is on {emulation().name}." in run.describe()
    run.execute()
    np.testing.assert_array_equal(zarr.open_array(target / "0")[...], RECIPE.diffuse(image))
    assert recorded(target) == (emulation().name,)
    attributes = json.loads((target / "zarr.json").read_text())["attributes"]
    assert emulation().name in json.dumps(attributes)


def test_an_unfinished_run_continues_on_another_device(source, tmp_path, image):
    """The work folder belongs to no device: the record names both."""
    target = tmp_path / "out.ome.zarr"
    run = store_run(source, target, RECIPE, files=ON_DEVICE, part=(1, 2), **BLOCKS)
    assert not run.compute()
    nd.diffuse_store(source, target, RECIPE, device="cpu")
    np.testing.assert_array_equal(zarr.open_array(target / "0")[...], RECIPE.diffuse(image))
    assert recorded(target) == ("cpu", emulation().name)


def test_a_worker_without_the_device_leaves_its_blocks_to_the_processor(
    source, tmp_path, image, monkeypatch
):
    target = tmp_path / "out.ome.zarr"
    run = store_run(source, target, RECIPE, files=ON_DEVICE, part=(1, 2), **BLOCKS)
    assert not run.compute()
    path = str(tmp_path / ".out.ome.zarr.partial")
    task = pickle.loads(pickle.dumps(tasks.task_of(path, "pass-0", NAME)))
    monkeypatch.setattr(devices, "_search", lambda: ((), "this machine has no driver"))
    with pytest.warns(RuntimeWarning, match="no driver: the processor does the work"):
        task(1)
    monkeypatch.undo()
    nd.diffuse_store(source, target, RECIPE, device=NAME)
    np.testing.assert_array_equal(zarr.open_array(target / "0")[...], RECIPE.diffuse(image))
    assert recorded(target) == ("cpu", emulation().name)


def test_blocks_fit_into_the_memory_of_the_device(tmp_path, monkeypatch):
    image = np.broadcast_to(np.float32(0), (64, 64, 64))
    source = write_zarr(tmp_path / "in.zarr", image, (16, 16, 16))
    small = replace(emulation(), memory=4 << 20)
    sizes = {}
    for device in (emulation(), small):
        monkeypatch.setattr(devices, "_search", lambda device=device: ((device,), ""))
        kept_plan.cache_clear()
        run = store_run(source, tmp_path / "out.ome.zarr", RECIPE, files=ON_DEVICE)
        outer = [min(n + 2 * h, 64) for n, h in zip(run.blocks.block, run.blocks.halo, strict=True)]
        sizes[device.memory] = np.prod(outer) * run.plan.device_bytes
        assert sizes[device.memory] <= 0.8 * device.memory
    assert len(set(sizes.values())) == 2
    processes = store_run(
        source, tmp_path / "out.ome.zarr", RECIPE, files=ON_DEVICE, executor="processes", workers=4
    )
    assert np.prod(processes.blocks.block) < np.prod(run.blocks.block)


def test_threads_take_turns_on_a_device(source, tmp_path, monkeypatch):
    from napari_diffusion.engine.solver import Solver

    inside, counts, original = [], [], Solver.advance

    def advance(self, *arguments):
        inside.append(1)
        counts.append(len(inside))
        yield from original(self, *arguments)
        inside.pop()

    run = store_run(source, tmp_path / "out.ome.zarr", RECIPE, files=ON_DEVICE, **BLOCKS)
    monkeypatch.setattr(Solver, "advance", advance)
    run.execute()
    assert max(counts) == 1


def test_a_plate_names_the_devices_of_its_images(tmp_path):
    from workflows.store.test_collection import RECIPE as OWN
    from workflows.store.test_collection import write_plate

    target = tmp_path / "out.ome.zarr"
    nd.diffuse_store(write_plate(tmp_path / "in.ome.zarr"), target, OWN, device=NAME)
    assert recorded(target) == (emulation().name,)


def test_the_record_of_devices_survives_its_file():
    recipe = RECIPE.on_devices(("Card", "cpu"))
    assert nd.Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.on_devices(("cpu",)) == RECIPE
    assert RECIPE.on_devices(()) is RECIPE
    with pytest.raises(ValueError, match="computed_on must be a list of names of devices"):
        replace(RECIPE, computed_on=(3,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nd.plan(np.zeros((4, 4)), recipe)
