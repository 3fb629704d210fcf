"""Atomic writing: a file or folder gets its final name only when it is complete."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from napari_diffusion.core.errors import WriteError, reason_of

#: Names of temporary files.
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.partial(\.\w+)*")
#: A temporary file that nobody has written to for this long [s] is left from a run that was killed.
ABANDONED_S = 24 * 3600.0
#: Longest name of a file [byte] where the system does not say.
_LONGEST_NAME = 255


@contextmanager
def replacing(target: Path, suffix: str) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``target``, and rename that file on success.

    The temporary file is removed after any error. Temporary files that killed runs of this user
    have left in the folder are removed as well.

    Parameters
    ----------
    target
        Final name. A symbolic link is followed, not replaced.
    suffix
        Suffix of the temporary name, for libraries that choose the format by it.
    """
    with replacing_all([(target, suffix)]) as (temporary,):
        yield temporary


@contextmanager
def replacing_all(
    targets: Sequence[tuple[Path, str]],
    commit: AbstractContextManager[object] | None = None,
    *,
    overwrite: bool = True,
) -> Iterator[list[Path]]:
    """Yield temporary paths of several files, which get their final names together.

    After any error, no file has a new name, and the old files are unchanged.

    Parameters
    ----------
    targets
        Final name and suffix of each file, as for `replacing`.
    commit
        Context in which the files are renamed. It may defer signals, because a signal between two
        renamings would leave one file without the other.
    overwrite
        Whether a file that has the final name at that moment is replaced.

    Raises
    ------
    FileExistsError
        When a file has the final name and is not replaced.
    """
    finals = [_final(target, overwrite=overwrite) for target, _ in targets]
    for folder in {final.parent for final in finals}:
        remove_abandoned(folder)
    temporaries = [
        _temporary_path(final.parent, suffix)
        for final, (_, suffix) in zip(finals, targets, strict=True)
    ]
    pairs = list(zip(temporaries, finals, strict=True))
    try:
        yield temporaries
        for temporary, final in pairs:
            # Without the sync, a power cut can leave the final name with old or no content.
            if temporary.is_dir():
                continue
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            if final.exists():
                shutil.copymode(final, temporary)
        with commit or nullcontext():
            rename_all(pairs, overwrite=overwrite)
    except BaseException:
        for temporary in temporaries:
            remove(temporary)
        raise
    for final in finals:
        _sync_folder(final.parent)


def _final(target: Path, *, overwrite: bool) -> Path:
    """Return the path of a result; a link is followed only where it may be replaced."""
    if overwrite:
        return Path(os.path.realpath(target))
    return Path(os.path.realpath(target.parent)) / target.name


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def rename_all(pairs: Sequence[tuple[Path, Path]], *, overwrite: bool) -> None:
    """Give temporary files and folders their final names.

    After an error, all old files are there again.
    """
    *others, last = pairs
    renamed: list[tuple[Path | None, Path]] = []
    try:
        for temporary, final in others:
            old = _set_aside(final) if overwrite else None
            if old is not None:
                renamed.append((old, final))
            _rename(temporary, final, overwrite=overwrite)
            if old is None:
                renamed.append((None, final))
        _rename(*last, overwrite=overwrite)
    except BaseException:
        for old, final in renamed:
            with suppress(OSError):
                if old is None:
                    remove(final)
                elif final.is_dir():
                    remove(final)
                    os.replace(old, final)
                elif final.exists() and final.samefile(old):
                    old.unlink()
                else:
                    os.replace(old, final)
        raise
    for old, _ in renamed:
        if old is not None:  # a reader may hold it open
            remove(old)


def _rename(temporary: Path, final: Path, *, overwrite: bool) -> None:
    """Rename a file; without ``overwrite``, one that has the final name is left as it is."""
    if overwrite:
        aside = _set_aside(final) if final.is_dir() else None
        os.replace(temporary, final)
        if aside is not None:
            remove(aside)
        return
    try:
        # A link is refused if the name exists. A question before the renaming would be too early.
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError:  # a disk without second names
        if os.path.lexists(final):
            raise FileExistsError(f"{final} exists already") from None
        os.replace(temporary, final)
        return
    temporary.unlink(missing_ok=True)


def _set_aside(final: Path) -> Path | None:
    """Give an old file a second, temporary name, and return it; ``None`` without an old file.

    Where the disk has no second names, the old file is renamed.
    """
    if not final.exists():
        return None
    aside = _temporary_path(final.parent, "")
    if final.is_dir():
        os.replace(final, aside)
        return aside
    try:
        os.link(final, aside)
    except OSError:
        os.replace(final, aside)
    return aside


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed runs of this user have left in a folder."""
    own = getattr(os, "getuid", lambda: None)()
    with suppress(OSError):
        for entry in os.scandir(folder):
            if not _TEMPORARY.fullmatch(entry.name):
                continue
            with suppress(OSError):  # another process may remove it at the same moment
                state = entry.stat(follow_symlinks=False)
                is_old = time.time() - state.st_mtime > ABANDONED_S
                if is_old and not entry.is_symlink() and own in (None, state.st_uid):
                    remove(Path(entry.path))


def check_folder(target: Path, *, probe: bool = True) -> None:
    """Raise `WriteError` if no file of this name can be made in its folder.

    A temporary file is made there and removed, because permissions alone say little about network
    disks, quotas and read-only systems.

    Parameters
    ----------
    target
        Path of the file.
    probe
        Whether to make the temporary file; it is not needed twice in one folder.
    """
    final = Path(os.path.realpath(target))
    folder = final.parent
    if not folder.is_dir():
        raise WriteError(f"cannot be written: the folder {folder} does not exist", path=target)
    longest = _LONGEST_NAME
    with suppress(OSError, ValueError, AttributeError):  # Windows has no such question
        longest = os.pathconf(folder, "PC_NAME_MAX")
    length = len(os.fsencode(final.name))
    if length > longest:
        raise WriteError(
            f"cannot be written: its name has {length} bytes, and names there have at most "
            f"{longest}",
            path=target,
        )
    if not probe:
        return
    trial = _temporary_path(folder, "")
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except PermissionError:
        raise WriteError(
            f"cannot be written: no permission to make files in {folder} "
            f"({free_bytes(folder):,} bytes free there)",
            path=target,
        ) from None
    except OSError as error:
        raise write_error(target, error) from error


def write_error(target: Path, error: OSError) -> WriteError:
    """Convert an error of the operating system to a `WriteError`."""
    free = f"{free_bytes(target.parent):,} bytes free there"
    return WriteError(f"cannot be written: {reason_of(error)} ({free})", path=target)


def free_bytes(folder: Path) -> int:
    """Return the free space on the disk of ``folder`` [bytes]; 0 when it is unknown."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _temporary_path(folder: Path, suffix: str) -> Path:
    return folder / f".{secrets.token_hex(6)}.partial{suffix}"


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; it orders the rename without a sync
        return
    with suppress(OSError):  # some network disks refuse; the file itself is already synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
