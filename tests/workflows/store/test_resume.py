"""A run in blocks that was killed, cancelled or refused keeps its blocks and continues."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest
import zarr

import napari_diffusion as nd
from helpers.stores import noisy, result_of, run_in_memory, store_run, write_zarr
from napari_diffusion.core.errors import BlockFailed, TargetExists
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.workflows.store import executors
from napari_diffusion.workflows.store.work_folder import WorkFolder

RECIPE = Recipe(nd.PeronaMalik(kappa=9.0), 1.0)
BLOCKS = {"block": (5, 8, 8), "passes": 2}
RUN = """
import sys
from pathlib import Path
from helpers.stores import store_run
from workflows.store.test_resume import BLOCKS, RECIPE

folder = Path(sys.argv[1])
store_run(folder / "in.zarr", folder / "out.zarr", RECIPE, executor=sys.argv[2], **BLOCKS).execute()
"""


@pytest.fixture
def folder(tmp_path):
    write_zarr(tmp_path / "in.zarr", noisy((24, 25, 26)), (5, 8, 8))
    return tmp_path


def prepared(folder, **options):
    return store_run(folder / "in.zarr", folder / "out.zarr", RECIPE, **(BLOCKS | options))


def is_whole(run):
    """The result has every bit, and nothing else is left."""
    np.testing.assert_array_equal(result_of(run.target, run), run_in_memory(run))
    names = {path.name for path in run.target.parent.iterdir()}
    assert names == {"in.zarr", "out.zarr", "out.zarr.recipe.json"}
    assert not list(run.target.rglob("*.partial*"))


def kill_after(folder, markers, executor):
    """Start a run in a process of its own, and kill it when so many blocks are done."""
    tests = str(Path(__file__).parents[2])
    paths = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), executor],
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    done = WorkFolder.of(folder / "out.zarr").path / "done"
    while process.poll() is None and len(list(done.glob("*/[0-9]*"))) < markers:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    error = process.communicate()[1].decode()
    assert process.returncode in (0, -signal.SIGKILL), error
    return process.pid


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that kills")
def test_workers_end_with_a_killed_run_and_it_continues(folder):
    # `tests/reliability/stores.py` kills runs with threads and with dask.
    pid = kill_after(folder, 40, "processes")
    assert not (folder / "out.zarr").exists()
    run = prepared(folder)
    before = run.describe()
    assert before.startswith("Continues")
    limit = time.monotonic() + 20  # workers end with the process that has started them
    while _group_lives(pid) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not _group_lives(pid)
    run.execute()
    is_whole(run)


def _group_lives(pid):
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Failing(Executor):
    """Does tasks at once, and raises an error instead of one of them."""

    _max_workers = 1

    def __init__(self, error, at):
        self.error, self.left, self.calls = error, at, 0

    def submit(self, function, *arguments):
        future, self.calls = Future(), self.calls + 1
        try:
            if self.calls == self.left:
                raise self.error
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (ValueError("a chunk is damaged"), "a chunk is damaged"),
        (MemoryError("no memory"), "no memory"),
    ],
)
def test_a_failed_block_is_named_and_the_others_are_kept(folder, error, reason):
    run = prepared(folder, executor=Failing(error, 7))
    with pytest.raises(BlockFailed) as caught:
        run.execute()
    sentence = str(caught.value)
    assert all(part in sentence for part in (reason, "pass 1", "0:5", "out.zarr", "free there"))
    assert sentence.count(". ") == 0
    kept = len(WorkFolder.of(run.target).done("pass-0"))
    assert kept >= 6
    counting = Failing(None, 0)
    again = prepared(folder, executor=counting)
    again.execute()
    assert counting.calls == 2 * again.blocks.blocks - kept
    is_whole(again)


def test_an_error_that_may_pass_is_tried_again(folder):
    run = prepared(folder, executor=Failing(OSError(5, "Input/output error"), 4))
    run.execute()
    is_whole(run)


def test_the_disk_is_full(folder, monkeypatch):
    class Full:
        def __init__(self, keep):
            self.keep = keep

        def __call__(self, *arguments):
            raise OSError(28, "No space left on device")

    run = prepared(folder)
    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", Full(zarr.Array.__setitem__))
        with pytest.raises(BlockFailed, match="of pass 2 has failed: No space left on device"):
            run.execute()
    assert not run.target.exists()
    run.execute()
    is_whole(run)


def test_the_source_vanishes(folder):
    run = prepared(folder)

    def progress(share):
        (folder / "in.zarr").rename(folder / "gone.zarr")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.execute(progress)
    with pytest.raises((OSError, ValueError), match=r"in\.zarr"):
        run.execute()
    (folder / "gone.zarr").rename(folder / "in.zarr")
    prepared(folder).execute()
    is_whole(run)


def test_a_source_that_loses_chunks_is_refused_and_its_blocks_are_done_again(folder):
    # A missing chunk of zarr reads as zeros, without an error.
    run = prepared(folder)
    chunks = sorted((folder / "in.zarr" / "c").rglob("[0-9]"))
    chunk = next(path for path in reversed(chunks) if path.is_file())
    content, state = chunk.read_bytes(), chunk.stat()

    def progress(share):
        chunk.unlink(missing_ok=True)

    with pytest.raises(ValueError, match="the source has changed during the run"):
        run.execute(progress)
    chunk.write_bytes(content)
    os.utime(chunk, ns=(state.st_atime_ns, state.st_mtime_ns))
    prepared(folder).execute()
    is_whole(run)


def test_a_cancelled_run_continues(folder):
    cancel, run = threading.Event(), prepared(folder)

    def progress(share):
        if share > 0.3:
            cancel.set()

    with pytest.raises(nd.Cancelled):
        run.execute(progress, cancel)
    assert not run.target.exists()
    shares = []
    run.execute(shares.append)
    assert shares[0] > 0.3
    assert shares[-1] == 1.0
    is_whole(run)


def test_changed_settings_and_sources_are_refused(folder):
    run = prepared(folder, executor=Failing(ValueError("x"), 3))
    with pytest.raises(BlockFailed):
        run.execute()
    other = Recipe(nd.PeronaMalik(kappa=10.0), 1.0)
    changed = store_run(folder / "in.zarr", folder / "out.zarr", other, **BLOCKS)
    with pytest.raises(TargetExists, match="other settings"):
        changed.execute()
    zarr.open_array(str(folder / "in.zarr"), mode="r+")[0, 0, 0] = 7
    with pytest.raises(TargetExists, match="another source"):
        prepared(folder).execute()
    fresh = prepared(folder, resume=False)
    fresh.execute()
    is_whole(fresh)


def test_a_run_with_another_budget_continues_the_blocks_that_were_begun(folder):
    run = prepared(folder, executor=Failing(ValueError("x"), 9))
    with pytest.raises(BlockFailed):
        run.execute()
    again = prepared(folder, block=(24, 25, 26), passes=1, workers=1)
    again.execute()
    is_whole(again)


def test_a_run_that_was_killed_between_its_last_two_steps_is_complete(folder):
    run = prepared(folder)
    work = WorkFolder.of(run.target)
    run.compute()
    settings = (work.path / "run.json").read_text()
    run.finish()
    work.path.mkdir()
    (work.path / "run.json").write_text(settings)
    prepared(folder).execute()
    is_whole(run)


def test_a_run_that_was_killed_while_it_removed_its_folder_leaves_nothing(folder):
    run = prepared(folder)
    run.execute()
    (WorkFolder.of(run.target).path / "done").mkdir(parents=True)
    with pytest.raises(TargetExists):
        prepared(folder)
    is_whole(run)


def test_parts_of_an_array_job(folder):
    for _ in range(len(prepared(folder).blocks.passes)):
        for number in (2, 3, 1):
            assert prepared(folder, part=(number, 3)).execute() == ()
    work = WorkFolder.of(folder / "out.zarr")
    assert not (folder / "out.zarr").exists()
    assert len(work.done("pass-1")) == prepared(folder).blocks.blocks
    run = prepared(folder)
    run.execute()
    is_whole(run)


def test_nothing_of_the_target_is_readable_before_the_end(folder):
    run = prepared(folder)
    seen = []

    def progress(share):
        seen.append((run.target.exists(), list(WorkFolder.of(run.target).store.glob("zarr.json"))))

    run.execute(progress)
    assert seen == [(False, [])] * len(seen)


def test_existing_targets_and_other_formats_are_refused(folder):
    prepared(folder).execute()
    with pytest.raises(TargetExists, match="exists already"):
        prepared(folder)
    with pytest.raises(ValueError, match=r"write an OME-Zarr, with a name such as out\.ome\.zarr"):
        store_run(folder / "in.zarr", folder / "out.nii.gz", RECIPE)


def test_a_lost_worker_is_a_failed_block(folder, monkeypatch):
    monkeypatch.setattr(executors, "WINDOW", 1)
    run = prepared(folder, executor="processes", workers=1)
    path = str(WorkFolder.of(run.target).path)
    monkeypatch.setattr("napari_diffusion.workflows.store.run.task_of", lambda *_: _exit)
    with pytest.raises(BlockFailed, match="the block 0:5, 0:8, 0:8 of pass 1 has failed"):
        run.execute()
    monkeypatch.undo()
    assert Path(path).exists()
    prepared(folder).execute()
    is_whole(run)


def _exit(index):
    os._exit(9)
