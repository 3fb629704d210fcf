"""Many files: names of results, the journal, other processes."""

import json
import os
import sys
import threading
import tracemalloc

import pytest

from helpers.batch_work import copy
from napari_diffusion.core.errors import InputError
from napari_diffusion.workflows.batch import JOURNAL, Batch, Journal, Status, jobs_of


@pytest.fixture
def folders(tmp_path):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    return tmp_path / "in", tmp_path / "out"


def write(folder, **contents):
    paths = [folder / f"{name}.npy" for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_text(content)
    return paths


def batch(sources, out, settings="a", **options):
    jobs = jobs_of(sources, out, "{stem}{suffix}")
    return Batch(jobs, copy, Journal.read(out, settings), **options)


def statuses(outcomes):
    return {outcome.job.source.stem: outcome.status for outcome in outcomes}


def test_file_that_is_given_twice_counts_once(folders):
    (path,) = write(folders[0], a="1")
    jobs = jobs_of([path, path.parent / ".." / "in" / "a.npy"], folders[1], "{stem}{suffix}")
    assert [job.source for job in jobs] == [path]


def test_two_files_with_the_same_result_are_refused(folders):
    paths = write(folders[0], a="1", b="2")
    with pytest.raises(InputError, match=r"a\.npy and .*b\.npy would both be"):
        jobs_of(paths, folders[1], "same.npy")


def test_result_that_would_replace_an_image_is_refused(folders):
    paths = write(folders[0], a="1", b="2")
    with pytest.raises(InputError, match="would replace the image"):
        jobs_of(paths, folders[0], "{stem}{suffix}")
    assert len(jobs_of(paths, folders[0], "{stem}_smooth{suffix}")) == 2


@pytest.mark.parametrize("pattern", ["{other}.npy", "../{stem}.npy", "{stem", "", "{0}.npy"])
def test_pattern_with_other_fields_or_folders_is_refused(pattern, folders):
    with pytest.raises(InputError, match="a pattern of names has the fields"):
        jobs_of(write(folders[0], a="1"), folders[1], pattern)


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("a.nii.gz", "a_in.nii.gz"),
        ("a.tif", "a_in.tif"),
        ("a.ome.tif", "a_in.ome.tif"),
        ("a.mgz", "a_in.mgz"),
        ("a.nhdr", "a_in.nrrd"),
        ("a.mhd", "a_in.mha"),
        ("a.img", "a_in.nii"),
        ("a.map.gz", "a_in.map"),
    ],
)
def test_suffix_of_a_result_is_that_of_a_format_that_is_written(name, result, folders):
    path = folders[0] / name
    path.write_bytes(b"")
    (job,) = jobs_of([path], folders[1], "{stem}_{folder}{suffix}")
    assert job.target == folders[1] / result


@pytest.mark.parametrize("processes", [1, 2])
def test_complete_results_are_kept(processes, folders):
    sources, out = write(folders[0], a="1", b="2", c="3"), folders[1]
    first = statuses(batch(sources, out, processes=processes).outcomes())
    assert first == dict.fromkeys("abc", Status.DONE)
    (out / "b.npy").unlink()
    sources[2].write_text("changed")
    again = batch(sources, out, processes=processes, resume=True)
    assert statuses(again.outcomes()) == {"a": Status.KEPT, "b": Status.DONE, "c": Status.DONE}
    assert (out / "c.npy").read_text() == "changed"


@pytest.mark.parametrize("change", ["settings", "result", "recipe", "journal"])
def test_result_of_other_settings_or_content_is_made_again(change, folders):
    sources, out = write(folders[0], a="1"), folders[1]
    list(batch(sources, out).outcomes())
    if change == "result":
        (out / "a.npy").write_text("12")
    if change == "recipe":
        (out / "a.npy.recipe.json").unlink()
    if change == "journal":  # the last line of a killed run is incomplete
        content = (out / JOURNAL).read_bytes()
        (out / JOURNAL).write_bytes(content[:-5])
    settings = "b" if change == "settings" else "a"
    (outcome,) = batch(sources, out, settings, resume=True).outcomes()
    assert outcome.status is Status.DONE
    assert outcome.job.overwrite
    (kept,) = batch(sources, out, settings, resume=True).outcomes()
    assert kept.status is Status.KEPT


def test_file_of_another_program_is_not_taken_for_a_result(folders):
    sources, out = write(folders[0], a="1"), folders[1]
    (out / "a.npy").write_text("precious")
    for _ in range(2):  # the first try must not make it a result of ours
        (outcome,) = batch(sources, out, resume=True).outcomes()
        assert not outcome.job.overwrite
        (out / "a.npy").write_text("precious")
        (out / JOURNAL).unlink(missing_ok=True)
    batch(sources, out).journal.begin([outcome.job])
    assert not (out / JOURNAL).exists()


def test_process_that_ends_is_one_failed_file(folders):
    contents = {f"f{i}": str(i) for i in range(8)} | {"bad": "end the process"}
    sources, out = write(folders[0], **contents), folders[1]
    states = statuses(batch(sources, out, processes=2).outcomes())
    expected = dict.fromkeys(contents, Status.DONE) | {"bad": Status.FAILED}
    assert states == expected


def test_file_that_needs_the_memory_of_all_is_done_alone(folders):
    sources = write(folders[0], a="1", big="needs memory", c="3")
    outcomes = list(batch(sources, folders[1], processes=2).outcomes())
    assert [outcome.job.source.stem for outcome in outcomes][-1] == "big"
    assert statuses(outcomes) == dict.fromkeys(["a", "big", "c"], Status.DONE)


@pytest.mark.parametrize("processes", [2, 3])
def test_request_to_stop_ends_all_processes(processes, folders):
    cancel = threading.Event()
    sources = write(folders[0], **{f"f{i}": "wait for the end" for i in range(7)})
    timer = threading.Timer(1.0, cancel.set)
    timer.start()
    outcomes = list(batch(sources, folders[1], processes=processes).outcomes(cancel))
    timer.join()
    assert {outcome.status for outcome in outcomes} == {Status.CANCELLED}


def test_journal_is_one_object_a_line(folders):
    list(batch(write(folders[0], a="1", b="2"), folders[1]).outcomes())
    text = (folders[1] / JOURNAL).read_text()
    lines = [json.loads(line) for line in text.splitlines() if line]
    assert [line["result"] for line in lines] == ["a.npy", "b.npy", "a.npy", "b.npy"]


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights of files")


@posix
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder", "open file"])
def test_journal_that_somebody_else_can_write_is_refused(kind, folders):
    """It says which results are replaced, and a link would lead to a file of the user."""
    path, other = folders[1] / JOURNAL, folders[0] / "other"
    if kind == "link":
        other.write_text("mine")
    if "link" in kind:
        path.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)  # to open it would wait for ever
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("")
        path.chmod(0o666)
    with pytest.raises(InputError, match="it decides which results are replaced"):
        Journal.read(folders[1], "a")


@posix
@pytest.mark.parametrize(("mode", "is_refused"), [(0o755, True), (0o1777, True), (0o777, False)])
def test_journal_of_another_user_counts_where_he_may_replace_all_files(
    mode, is_refused, folders, monkeypatch
):
    (folders[1] / JOURNAL).write_text("")
    folders[1].chmod(mode)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    Journal.read(folders[1], "a")  # it belongs to the owner of the folder
    stat = type(folders[1]).stat

    def of_somebody(path, **options):
        state = list(stat(path, **options))
        return os.stat_result([*state[:4], owner + (path == folders[1]), *state[5:]])

    monkeypatch.setattr(type(folders[1]), "stat", of_somebody)
    if is_refused:
        with pytest.raises(InputError, match="belongs to another user"):
            Journal.read(folders[1], "a")
    else:
        Journal.read(folders[1], "a")


@posix
def test_record_is_not_written_to_a_file_to_which_a_link_leads(folders):
    """The link may come after the journal was checked."""
    run = batch(write(folders[0], a="1"), folders[1])
    (folders[0] / "profile").write_text("mine")
    (folders[1] / JOURNAL).symlink_to(folders[0] / "profile")
    assert statuses(run.outcomes()) == {"a": Status.DONE}
    assert (folders[0] / "profile").read_text() == "mine"


@posix
def test_own_journal_is_not_open_to_others(folders):
    before = os.umask(0)
    try:
        list(batch(write(folders[0], a="1"), folders[1]).outcomes())
    finally:
        os.umask(before)
    assert (folders[1] / JOURNAL).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("line", ["[" * 100_000, '{"result": []}', "[1]", "1", '"result"', "{}"])
def test_line_of_a_stranger_is_left_out(line, folders):
    (folders[1] / JOURNAL).write_text(f'{line}\n{{"result": "a.npy"}}')
    assert list(Journal.read(folders[1], "a").records) == ["a.npy"]


def test_line_without_an_end_is_read_in_parts(folders):
    (folders[1] / JOURNAL).write_bytes(b" " * (1 << 20) + b'\n{"result": "a.npy"}\n')
    with (folders[1] / JOURNAL).open("ab") as file:
        file.truncate(1 << 28)  # a hole of the disk
    tracemalloc.start()
    try:
        journal = Journal.read(folders[1], "a")
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()
    assert list(journal.records) == ["a.npy"]
