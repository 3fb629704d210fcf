"""Files of machine code: a damaged file is never used, and a faulty folder never stops a run."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from napari_diffusion.backends.numba import code_files
from napari_diffusion.backends.numba.code_files import CodeFiles, CompletionMark

NAME, KEY, CONTENT = "kernel.nbc", b"key", bytes(range(256)) * 20
#: Full disk, quota, disk that became read-only, faulty disk, limit of the size of a file.
DISK_ERRORS = ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EFBIG"]


@pytest.fixture
def files(tmp_path):
    return CodeFiles(tmp_path / "cache" / "sources")


def fail(code):
    def function(*arguments, **options):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    return function


def test_saved_content_is_loaded_by_another_process(files):
    assert files.load(NAME, KEY) is None
    assert files.save(NAME, KEY, CONTENT)
    assert CodeFiles(files.folder).load(NAME, KEY) == CONTENT
    assert [path.name for path in files.folder.iterdir()] == [NAME]


def test_file_of_another_key_is_not_used(files):
    files.save(NAME, KEY, CONTENT)
    assert files.load(NAME, b"other key") is None


def test_file_that_was_renamed_is_not_used(files):
    files.save(NAME, KEY, CONTENT)
    os.replace(files.folder / NAME, files.folder / "other.nbc")
    assert files.load("other.nbc", b"key of the other") is None


def test_key_and_content_have_a_border(files):
    """A hash of both, one after the other, would not see that the border has moved."""
    files.save(NAME, b"ab", b"cd")
    assert files.load(NAME, b"abc") is None
    files.save(NAME, b"ab", b"cd")
    data = (files.folder / NAME).read_bytes()
    (files.folder / NAME).write_bytes(data[:-2] + b"d")
    assert files.load(NAME, b"abc") is None


def in_place_of_a_file(kind, path):
    """Put something at a path that is no readable file."""
    if kind == "folder":
        path.mkdir()
    elif kind == "full folder":
        (path / "inside").mkdir(parents=True)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge file":
        with path.open("wb") as file:
            file.truncate(1 << 40)  # takes no space on the disk
    else:
        path.symlink_to(path if kind == "circular link" else path.parent / "missing")


@pytest.mark.parametrize(
    "kind",
    ["folder", "full folder"]
    + ["pipe", "huge file", "circular link", "dangling link"] * (sys.platform != "win32"),
)
def test_what_is_no_file_counts_as_missing_and_is_replaced(kind, files, caplog):
    files.folder.mkdir(parents=True)
    in_place_of_a_file(kind, files.folder / NAME)
    assert files.load(NAME, KEY) is None
    is_replaced = kind != "full folder"
    assert files.save(NAME, KEY, CONTENT) is is_replaced
    assert CodeFiles(files.folder).load(NAME, KEY) == (CONTENT if is_replaced else None)
    assert len(caplog.records) == (not is_replaced)
    assert not list(files.folder.glob("*.tmp"))


@pytest.mark.parametrize("code", ["EACCES", "EIO", "ESTALE"])
def test_file_that_cannot_be_read_counts_as_missing(code, files, monkeypatch):
    files.save(NAME, KEY, CONTENT)
    monkeypatch.setattr(type(files.folder), "read_bytes", fail(code))
    assert files.load(NAME, KEY) is None


@pytest.mark.parametrize("code", DISK_ERRORS)
@pytest.mark.parametrize("step", ["fsync", "replace", "mkdir"])
def test_disk_error_is_noted_once_and_leaves_nothing(step, code, files, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(os, step, fail(code))
    assert files.can_save or step == "mkdir"
    assert not any(files.save(f"{i}{NAME}", KEY, CONTENT) for i in range(3))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(files.folder) in record.getMessage()
    assert os.strerror(getattr(errno, code)) in record.getMessage()
    assert not files.can_save
    monkeypatch.undo()
    assert not files.save(NAME, KEY, CONTENT)  # it would cost time for each kernel
    assert not [path for path in files.folder.parents[1].rglob("*") if path.is_file()]


def test_files_are_on_the_disk_before_they_get_their_names(files, monkeypatch):
    """After a power cut, a name would otherwise stand for an empty file."""
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def call(*arguments, name=name, original=original):
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(os, name, call)
    files.save(NAME, KEY, CONTENT)
    assert calls == ["fsync", "replace"]


def test_interrupted_save_leaves_nothing(files, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.save(NAME, KEY, CONTENT)
    assert list(files.folder.iterdir()) == []
    assert files.failure is None


def test_file_that_another_process_holds_open_is_no_failure(files, monkeypatch, caplog):
    """Windows refuses to replace it; it has the same content."""
    files.save(NAME, KEY, CONTENT)
    monkeypatch.setattr(os, "replace", fail("EACCES"))
    assert files.save(NAME, KEY, CONTENT)
    assert not files.save(NAME, KEY, b"other")
    assert len(caplog.records) == 1


def test_folder_that_vanishes_is_made_again(files):
    files.save(NAME, KEY, CONTENT)
    shutil.rmtree(files.folder.parent)
    assert files.load(NAME, KEY) is None
    assert files.can_save
    shutil.rmtree(files.folder.parent)
    assert files.save(NAME, KEY, CONTENT)
    assert files.load(NAME, KEY) == CONTENT


def test_folder_that_cannot_be_made_is_known_before_a_kernel_is_compiled(tmp_path, caplog):
    (tmp_path / "cache").write_text("no folder")
    files = CodeFiles(tmp_path / "cache" / "sources")
    assert not files.can_save
    assert files.load(NAME, KEY) is None
    assert not files.save(NAME, KEY, CONTENT)
    assert len(caplog.records) == 1


def test_processes_that_save_the_same_file_never_show_a_part_of_it(tmp_path):
    """Eight processes replace it 50 times each; every load has the whole content of one of them."""
    code = f"""
        import sys
        from pathlib import Path
        from napari_diffusion.backends.numba.code_files import CodeFiles
        for i in range(50):
            files = CodeFiles(Path({str(tmp_path)!r}))
            assert files.save("kernel.nbc", b"key", bytes([int(sys.argv[1])]) * 100_000)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    processes = [subprocess.Popen([*command, str(i)]) for i in range(8)]
    files, contents = CodeFiles(tmp_path), set()
    while any(process.poll() is None for process in processes):
        content = files.load(NAME, KEY)
        assert content is None or (len(content) == 100_000 and len(set(content)) == 1)
        contents.add(content)
    assert [process.returncode for process in processes] == [0] * 8
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


# --- completion marks -------------------------------------------------------------------------


@pytest.fixture
def mark(files):
    return CompletionMark(files, "kind", b"kind")


def test_mark_exists_as_long_as_all_its_files_exist(files, mark):
    assert not mark.exists()
    files.save("a.nbc", b"a", CONTENT)
    files.save("b.nbc", b"b", CONTENT)
    mark.touch()
    assert CompletionMark(CodeFiles(files.folder), "kind", b"kind").exists()
    files.drop("b.nbc")
    assert not mark.exists()


def test_mark_of_a_damaged_file_is_gone_once_that_file_was_loaded(files, mark):
    files.save(NAME, KEY, CONTENT)
    mark.touch()
    (files.folder / NAME).write_bytes(b"")
    assert files.load(NAME, KEY) is None
    assert not mark.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "folder", "of another kind"])
def test_damaged_mark_does_not_exist(damage, files, mark):
    files.save(NAME, KEY, CONTENT)
    mark.touch()
    path = files.folder / "kind.done"
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "of another kind":
        CompletionMark(files, "other", b"other").touch()
        os.replace(files.folder / "other.done", path)
    else:
        path.write_bytes(b"" if damage == "empty" else data[:-1])
    assert not mark.exists()
    mark.touch()
    assert mark.exists()


def test_mark_is_not_made_if_a_kernel_before_it_was_not_saved(files, mark, monkeypatch):
    """A small file may still fit on a disk that is full for a kernel."""
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail("ENOSPC"))
        files.save(NAME, KEY, CONTENT)
    with pytest.raises(OSError, match="No space left") as caught:
        mark.touch()
    assert caught.value.errno == errno.ENOSPC
    assert not mark.exists()


needs_posix = pytest.mark.skipif(os.name == "nt", reason="folders of Windows have other rights")


@needs_posix
@pytest.mark.parametrize("which", ["folder", "parent"])
def test_folder_that_every_user_can_write_is_not_used(files, which, caplog):
    """Others could put machine code there. One note says so."""
    files.save(NAME, KEY, CONTENT)
    exposed = files.folder if which == "folder" else files.folder.parent
    exposed.chmod(0o777)
    later = CodeFiles(files.folder)
    assert later.load(NAME, KEY) is None
    assert not later.save("other.nbc", KEY, CONTENT)
    assert not later.can_save
    assert CompletionMark(later, "kind", KEY).exists() is False
    (note,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"other users can change {exposed}" in note
    assert [path.name for path in files.folder.iterdir()] == [NAME]


@needs_posix
def test_file_that_every_user_can_write_is_replaced(files):
    files.save(NAME, KEY, CONTENT)
    (files.folder / NAME).chmod(0o666)
    assert files.load(NAME, KEY) is None
    assert files.save(NAME, KEY, CONTENT)
    assert files.load(NAME, KEY) == CONTENT


@needs_posix
def test_folder_of_another_user_in_a_public_place_is_not_used(files, monkeypatch):
    """Another user may have made it first, in /tmp for example."""
    files.save(NAME, KEY, CONTENT)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    monkeypatch.setattr(code_files, "ADMINISTRATOR", -1)
    assert CodeFiles(files.folder).load(NAME, KEY) == CONTENT
    files.folder.parent.parent.chmod(0o1777)
    assert CodeFiles(files.folder).load(NAME, KEY) is None


@needs_posix
def test_other_users_cannot_write_what_is_saved(files):
    """Also without a mask of rights."""
    before = os.umask(0)
    try:
        files.save(NAME, KEY, CONTENT)
    finally:
        os.umask(before)
    for path in (files.folder.parent, files.folder, files.folder / NAME):
        assert not path.stat().st_mode & 0o022
    assert CodeFiles(files.folder).load(NAME, KEY) == CONTENT
