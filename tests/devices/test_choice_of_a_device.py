"""A device is chosen by its name, and a device that cannot be used is said in one sentence."""

import gc
import warnings
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import napari_diffusion as nd
from helpers.emulated import MODEL, NAME, changed_sources, emulation, needs_emulation, run_on
from napari_diffusion.backends import devices
from napari_diffusion.backends.opencl import queue
from napari_diffusion.cli.app import cli
from napari_diffusion.core.errors import DeviceFailed, DeviceMemoryError
from napari_diffusion.engine.devices import records, verdicts
from napari_diffusion.engine.devices.records import Proof
from napari_diffusion.engine.devices.verdicts import Verdict
from napari_diffusion.engine.planner import kept_plan

pytestmark = pytest.mark.usefixtures("own_records")


def refused(image, device):
    with pytest.raises(ValueError, match=r"^[A-Z].*\.$") as raised:
        nd.diffuse(image, MODEL, time=2.0, device=device)
    return str(raised.value)


@pytest.mark.parametrize("name", [None, "cpu", "CPU"])
def test_the_processor_needs_no_library(image, name, monkeypatch):
    monkeypatch.setattr(devices, "_search", lambda: pytest.fail("devices were searched"))
    assert nd.plan(image, MODEL, time=2.0, device=name).device is None


@pytest.mark.parametrize("name", ["gpu", "GeForce"])
def test_a_device_without_the_library_names_the_extra(image, name, monkeypatch, fresh_search):
    monkeypatch.setattr(devices, "find_spec", lambda module: None)
    assert 'pip install "napari-diffusion[gpu]"' in refused(image, name)
    assert nd.devices() == ()


@needs_emulation
def test_a_machine_without_a_driver_is_said(image, monkeypatch, fresh_search):
    import pyopencl as cl

    def none():
        raise cl.LogicError("clGetPlatformIDs", -1001, "PLATFORM_NOT_FOUND_KHR")

    monkeypatch.setattr(cl, "get_platforms", none)
    assert "OpenCL finds no driver" in refused(image, "gpu")


@needs_emulation
def test_an_unknown_name_lists_the_names(image):
    sentence = refused(image, "Voodoo")
    assert "'Voodoo'" in sentence
    assert sentence.endswith(f"the devices are cpu, gpu, {emulation().name}.")


def test_a_device_is_a_name(image):
    with pytest.raises(TypeError, match="device must be a name"):
        nd.diffuse(image, MODEL, time=2.0, device=0)


@needs_emulation
def test_an_emulation_is_no_graphics_card(image):
    assert not emulation().is_card
    sentence = refused(image, "gpu")
    assert "no graphics card" in sentence
    assert emulation().name in sentence


@needs_emulation
def test_graphics_card_is_the_first_that_is_one(monkeypatch):
    emulated = emulation()
    card = replace(emulated, name="Card", is_card=True)
    monkeypatch.setattr(devices, "_search", lambda: ((emulated, card), ""))
    assert devices.get_device("gpu") == card
    assert devices.get_device("GPU") == card
    assert devices.get_device(NAME) == emulated


@needs_emulation
@pytest.mark.parametrize(
    ("model", "why"),
    [
        (nd.PeronaMalik(kappa=9.0, diffusivity=lambda s: 1 / (1 + s**4)), "function"),
        (nd.MinMaxCurvature(), "no kernels for Min/max curvature (min_max)"),
        (nd.Linear(), "no kernels for the scheme exact"),
    ],
)
def test_a_run_without_kernels_falls_back_and_says_so_once(image, model, why):
    time = 1e3 if model == nd.Linear() else 0.1  # a cosine transform
    with pytest.warns(RuntimeWarning, match="the processor does the work") as caught:
        result = nd.diffuse(image, model, time=time, device=NAME)
    assert [why in str(warning.message) for warning in caught] == [True]
    np.testing.assert_array_equal(result, nd.diffuse(image, model, time=time))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nd.diffuse(image, model, time=time, device=NAME)


@needs_emulation
def test_more_axes_than_a_device_has_fall_back():
    image = np.zeros((3, 3, 3, 3), np.float32)
    _, said = run_on(image, NAME)
    assert ["1 to 3 diffusing axes" in sentence for sentence in said] == [True]


@needs_emulation
def test_float64_needs_a_device_that_has_it(image, monkeypatch):
    without = replace(emulation(), has_float64=False)
    monkeypatch.setattr(devices, "_search", lambda: ((without,), ""))
    _, said = run_on(image.astype(float), NAME)
    assert ["does not compute in float64" in sentence for sentence in said] == [True]


@needs_emulation
def test_kernels_that_cannot_be_built_fall_back(image, monkeypatch):
    changed_sources(monkeypatch, "switch (code)", "switch (")
    result, said = run_on(image, NAME)
    (sentence,) = said
    assert sentence.startswith(f"{emulation().name} cannot run the kernels (")
    np.testing.assert_array_equal(result, nd.diffuse(image, MODEL, time=2.0))


@needs_emulation
def test_a_device_that_rounds_otherwise_is_used_only_by_its_name(image, monkeypatch):
    card = replace(emulation(), is_card=True)
    monkeypatch.setattr(devices, "_search", lambda: ((card,), ""))
    changed_sources(monkeypatch, "FMA(s, s, ONE)", "ONE + s * s")
    expected = nd.diffuse(image, MODEL, time=2.0)
    result, said = run_on(image, "gpu")
    assert ["rounds otherwise" in sentence for sentence in said] == [True]
    np.testing.assert_array_equal(result, expected)
    result, said = run_on(image, NAME)
    assert not said
    assert 0 < np.abs(result - expected).max() <= 1e-5 * np.abs(expected).max()


@needs_emulation
def test_a_device_with_other_results_is_never_used(image, monkeypatch):
    changed_sources(monkeypatch, "return ad / sum;", "return ad;")
    result, said = run_on(image, NAME)
    assert ["other results" in sentence for sentence in said] == [True]
    np.testing.assert_array_equal(result, nd.diffuse(image, MODEL, time=2.0))


@needs_emulation
def test_self_test_runs_once_and_is_remembered(image, monkeypatch):
    tests, original = [], verdicts.compared
    from napari_diffusion.engine import solver

    def compared(*results):
        tests.append(original(*results))
        return tests[-1]

    monkeypatch.setattr(solver, "compared", compared)
    run_on(image, NAME)
    run_on(image[::-1], NAME)
    records._records.cache_clear()  # as in another process
    run_on(image, NAME)
    assert tests == [Verdict.EXACT]
    newer = replace(emulation(), version="newer")
    monkeypatch.setattr(devices, "_search", lambda: ((newer,), ""))
    kept_plan.cache_clear()
    run_on(image, NAME)
    assert tests == [Verdict.EXACT] * 2


@pytest.mark.parametrize("text", ["[1", '{"a": "exact"}', '{"a": {"is_card": 1, "proofs": [3]}}'])
def test_a_damaged_record_is_made_again(text, tmp_path):
    path, proof = tmp_path / "devices.json", Proof(Verdict.EXACT)
    path.write_text(text)
    card = devices.Device("card", "", "", 0, True, True, None)
    assert records.proof_of(card, "a", lambda: proof) == proof
    records._records.cache_clear()
    assert records.proof_of(card, "a", lambda: pytest.fail("remembered")) == proof


def test_records_of_other_processes_are_kept():
    card = devices.Device("card", "", "", 0, True, True, None)
    records.proof_of(card, "a", lambda: Proof(Verdict.EXACT))
    own = records._records()
    records._records.cache_clear()  # another process, which has not read the file yet
    records.proof_of(card, "b", lambda: Proof(Verdict.WRONG))
    records._records.cache_clear()
    own[records._key_of(card)]["proofs"].pop("b", None)
    assert len(records._records()[records._key_of(card)]["proofs"]) == 2


def with_memory(monkeypatch, size, error=DeviceMemoryError):
    """Let a device refuse arrays above a size [bytes], and return the sizes of the others."""
    original, sizes = queue.Queue.empty, []

    def empty(self, shape, dtype):
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if count > size:
            raise error("The memory of the card is too small")
        sizes.append(count)
        return original(self, shape, dtype)

    monkeypatch.setattr(queue.Queue, "empty", empty)
    return sizes


@needs_emulation
@pytest.mark.parametrize("model", [MODEL, nd.PeronaMalik(sigma=1.0)], ids=["faces", "voxels"])
def test_a_frame_larger_than_the_device_runs_in_pieces(model, monkeypatch):
    image = np.random.default_rng(1).normal(100, 30, (48, 17, 18)).astype(np.float32)
    expected, limit = nd.diffuse(image, model, time=4.0), image.nbytes * 0.8
    sizes = with_memory(monkeypatch, limit)
    result, said = run_on(image, NAME, model)
    assert not said
    assert max(sizes) > image.nbytes / 4
    np.testing.assert_array_equal(result, nd.diffuse(image, model, time=2.0))
    states = [s.image for s in nd.evolve(image, model, time=4.0, device=NAME)]
    np.testing.assert_array_equal(states[-1], expected)


@needs_emulation
def test_a_frame_far_larger_than_the_device_is_left_to_the_processor(image, monkeypatch):
    expected = nd.diffuse(image, MODEL, time=2.0)
    run_on(image, NAME)
    with_memory(monkeypatch, 64)
    result, said = run_on(image, NAME)
    assert ["too small" in sentence for sentence in said] == [True]
    np.testing.assert_array_equal(result, expected)


def test_memory_of_a_device_sets_the_number_of_pieces():
    card = devices.Device("card", "", "", 1 << 30, True, True, None)
    assert verdicts.pieces_of(card, 0.8 * (1 << 30)) == 1
    assert verdicts.pieces_of(card, 1.5 * (1 << 30)) == 2
    assert verdicts.pieces_of(card, 1e15) == verdicts.MOST_PIECES


@needs_emulation
def test_a_device_that_fails_on_the_way_is_replaced(image, monkeypatch):
    """The states before the failure are not yielded again."""
    expected = [(s.time, s.image) for s in nd.evolve(image, MODEL, time=2.0)]
    original, launched = queue.Queue.launch, []

    def launch(self, *arguments):
        launched.append(1)
        if len(launched) > limit:
            raise DeviceFailed("The card is gone")
        return original(self, *arguments)

    limit = 10**9
    run_on(image, NAME)
    monkeypatch.setattr(queue.Queue, "launch", launch)
    launched.clear()
    limit = 3
    with pytest.warns(RuntimeWarning, match="The card is gone: the processor does the work"):
        states = [(s.time, s.image) for s in nd.evolve(image, MODEL, time=2.0, device=NAME)]
    assert [time for time, _ in states] == [time for time, _ in expected]
    for (_, own), (_, other) in zip(states, expected, strict=True):
        np.testing.assert_array_equal(own, other)


@needs_emulation
def test_a_result_that_cannot_be_copied_back_is_computed_by_the_processor(image, monkeypatch):
    run_on(image, NAME)
    expected = nd.diffuse(image, MODEL, time=2.0)

    def fetch(self, array):
        raise DeviceFailed("The card does not answer")

    monkeypatch.setattr(queue.Queue, "fetch", fetch)
    result, said = run_on(image, NAME)
    assert ["does not answer" in sentence for sentence in said] == [True]
    np.testing.assert_array_equal(result, expected)


@needs_emulation
def test_a_device_that_has_failed_is_opened_again(image, monkeypatch):
    """As after a kernel that the driver has ended because it took too long."""
    import pyopencl as cl

    run_on(image, NAME)
    programs = emulation()._programs
    broken = programs.context

    class Ended(cl.RuntimeError):
        code = cl.status_code.OUT_OF_RESOURCES

    def launch(self, *arguments):
        with queue.errors_described(self.name):
            raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(queue.Queue, "launch", launch)
        result, said = run_on(image, NAME)
    assert ["is out of resources" in sentence for sentence in said] == [True]
    assert programs.context is not broken
    again, said = run_on(image, NAME)
    assert not said
    np.testing.assert_array_equal(again, result)


@needs_emulation
def test_a_smaller_attempt_has_all_memory_of_the_one_before(image, monkeypatch):
    """The pool of the first attempt would keep what it has allocated."""
    run_on(image, NAME)
    alive, counts, original = weakref.WeakSet(), [], queue.Queue.__init__

    def init(self, programs):
        gc.collect()
        counts.append(len(alive))
        original(self, programs)
        alive.add(self)

    monkeypatch.setattr(queue.Queue, "__init__", init)
    with_memory(monkeypatch, image.nbytes * 0.8)
    _, said = run_on(image, NAME)
    assert not said
    assert len(counts) > 1
    assert not any(counts)


@needs_emulation
def test_a_forked_process_leaves_the_device_to_its_parent(image, monkeypatch):
    """The driver of the parent would wait for threads that the fork does not have."""
    run_on(image, NAME)
    monkeypatch.setattr(queue.os, "getpid", lambda: -1)
    result, said = run_on(image, NAME)
    assert ['by "spawn"' in sentence for sentence in said] == [True]
    np.testing.assert_array_equal(result, nd.diffuse(image, MODEL, time=2.0))
    with emulation().turn:
        pass


@needs_emulation
def test_groups_are_as_small_as_the_device_takes_them(image, monkeypatch):
    def kernel(size):
        return SimpleNamespace(get_work_group_info=lambda *_: size)

    programs = queue.Programs(SimpleNamespace(name="card", max_work_item_sizes=[1024, 1, 1]))
    assert programs.group(kernel(1024), (9, 9, 9)) == (32, 1, 1)  # an old driver of Apple
    assert programs.group(kernel(64), (9,)) == (64,)
    programs.handle.max_work_item_sizes = [1024, 1024, 64]
    assert programs.group(kernel(32), (9, 9, 9)) == (8, 4, 1)
    assert programs.group(kernel(1), (9, 1, 9)) == (1, 1, 1)
    monkeypatch.setattr(queue, "GROUP", (2, 1, 1))
    expected = nd.diffuse(image, MODEL, time=2.0)
    np.testing.assert_array_equal(run_on(image, NAME)[0], expected)


@needs_emulation
def test_a_device_that_does_not_state_its_accuracy_is_used_only_by_its_name(image, monkeypatch):
    """Such as one that flushes the smallest numbers to zero: the self-test has none."""
    monkeypatch.setattr(queue.Programs, "is_accurate", False)
    card = replace(emulation(), is_card=True)
    monkeypatch.setattr(devices, "_search", lambda: ((card,), ""))
    _, said = run_on(image, "gpu")
    assert ["rounds otherwise" in sentence for sentence in said] == [True]
    assert not run_on(image, NAME)[1]


@needs_emulation
def test_options_for_the_compiler_from_outside_are_tested_again(image, monkeypatch):
    run_on(image, NAME)
    monkeypatch.setenv("PYOPENCL_BUILD_OPTIONS", "-cl-fast-relaxed-math")
    records._version_of_kernels.cache_clear()
    run_on(image, NAME)
    records._version_of_kernels.cache_clear()
    assert len(records._records()) == 2


@needs_emulation
def test_cards_with_own_memory_come_first_and_have_names_of_their_own(monkeypatch, fresh_search):
    import pyopencl as cl

    def handle(name, kind, is_shared):
        facts = {"version": "3", "driver_version": "1", "global_mem_size": 9}
        facts |= {"double_fp_config": 0, "host_unified_memory": is_shared, "type": kind}
        return SimpleNamespace(name=name, **facts)

    kinds = cl.device_type
    handles = [
        handle("Processor", kinds.CPU, True),
        handle("Shared", kinds.GPU, True),
        handle("Card", kinds.GPU, False),
        handle("Card Ti", kinds.GPU, False),
        handle("Card", kinds.GPU, False),
    ]
    platform = SimpleNamespace(name="Driver", get_devices=lambda: handles)
    monkeypatch.setattr(cl, "get_platforms", lambda: [platform])
    names = [device.name for device in nd.devices()]
    assert names == ["Card", "Card Ti", "Card (2)", "Shared", "Processor"]
    for name in names:
        assert devices.get_device(name.lower()).name == name
    assert devices.get_device("gpu").name == "Card"


@needs_emulation
@pytest.mark.parametrize("image_shape", [(17, 12, 13), (5, 30, 31)], ids=["frame", "frames"])
def test_states_name_the_devices_that_have_computed_them(image_shape, monkeypatch):
    image = np.random.default_rng(0).normal(100, 30, image_shape).astype(np.float32)
    axes = (0, 1, 2) if image_shape[0] > 5 else (1, 2)

    def devices_of(device):
        states = nd.evolve(image, MODEL, time=2.0, device=device, axes=axes)
        return [state.devices for state in states]

    assert set(devices_of(None)) == {("cpu",)}
    assert set(devices_of(NAME)) == {(emulation().name,)}
    original, launched = queue.Queue.launch, []

    def launch(self, *arguments):
        launched.append(1)
        if len(launched) > 12:
            raise DeviceFailed("The card is gone")
        return original(self, *arguments)

    monkeypatch.setattr(queue.Queue, "launch", launch)
    with pytest.warns(RuntimeWarning, match="gone"):
        end = devices_of(NAME)[-1]
    assert end == (("cpu",) if len(axes) == 3 else (emulation().name, "cpu"))


@needs_emulation
def test_command_line_takes_a_device(image, tmp_path):
    np.save(tmp_path / "a.npy", image)
    options = ["--model", "perona-malik", "--kappa", "20", "--time", "2", "--axes", "z,y,x"]
    for name in (NAME, "cpu"):
        command = ["run", str(tmp_path / "a.npy"), str(tmp_path / f"{name}.npy"), *options]
        shown = CliRunner().invoke(cli, [*command, "--device", name])
        assert shown.exit_code == 0, shown.output
    own, expected = (np.load(tmp_path / f"{name}.npy") for name in (NAME, "cpu"))
    np.testing.assert_array_equal(own, expected)
    shown = CliRunner().invoke(cli, [*command, "--overwrite", "--device", "Voodoo"])
    assert "There is no device named 'Voodoo'" in str(shown.exception)
