"""Files of machine code that are verified before they are used, in a folder that may fail.

A power cut, a quota or a faulty disk leaves files that are empty, cut or damaged. Damaged machine
code would crash the process or compute wrong numbers. Each file therefore starts with a hash of its
content and of its key. A folder that cannot be written costs time, but never a run.

A hash does not show intent. A folder or a file that every user can write is therefore not used.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import threading
import uuid
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)

#: First bytes of each file.
_MAGIC = b"napari-diffusion machine code 1\n"
_HASH_BYTES = hashlib.sha256().digest_size
#: End of the name of a completion mark.
_MARK_SUFFIX = ".done"
#: User number of the administrator, who can change all files anyway.
ADMINISTRATOR = 0
#: Larger files [bytes] are damaged: a kernel has 0.1 MB.
_MAX_BYTES = 1 << 28


class CodeFiles:
    """Verified files in one folder, shared by processes and by machines.

    There is no index that could contradict the files. Files get their names when they are complete.

    Parameters
    ----------
    folder
        The folder; it is made when the first file is saved.

    Attributes
    ----------
    folder
        The parameter.
    names
        Names of all files that this process has loaded or saved.
    failure
        Why a file could not be saved; ``None`` if none has failed. Later files are not saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()
        self.failure: OSError | None = None
        self._lock = threading.Lock()
        self._is_safe: bool | None = None

    @property
    def can_save(self) -> bool:
        """Whether the folder exists, or can be made, and may be written."""
        if not self.is_safe or self.failure is not None:
            return False
        with suppress(OSError):
            self._make_folder()
        return os.access(self.folder, os.W_OK)

    @property
    def is_safe(self) -> bool:
        """Whether only this user, the administrator or a group can write the folder.

        Others could put machine code there, which would run with the rights of this user. If they
        can, this is logged once, and no file is loaded or saved.
        """
        if self._is_safe is None:
            exposed = exposed_folder(self.folder)
            self._is_safe = exposed is None
            if exposed is not None:
                reason = f"other users can change {exposed}"
                self.stop_saving(PermissionError(errno.EPERM, reason))
        return self._is_safe

    def load(self, name: str, key: bytes) -> bytes | None:
        """Return the content that was saved under a name and a key; ``None`` without it.

        A damaged file is removed. So is the file of another key, such as a file that was renamed.
        """
        if not self.is_safe:
            return None
        path = self.folder / name
        try:
            # A pipe in place of a file would block, and a huge file would fill the memory.
            status = path.stat()
            is_readable = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_BYTES
            is_readable &= not _everybody_writes(status)
            data = path.read_bytes() if is_readable else b""
        except OSError:  # missing, not allowed, faulty disk, lost network
            return None
        content = data[len(_MAGIC) + _HASH_BYTES :]
        if data != _sealed(content, key):
            _log.info("%s is damaged, or every user can write it; it is removed.", path)
            self.drop(name)
            return None
        self.names.add(name)
        return content

    def save(self, name: str, key: bytes, content: bytes) -> bool:
        """Save content under a name and a key, and return whether that was possible.

        The first failure is logged, as a warning; no further file is saved then.
        """
        if not self.is_safe or self.failure is not None:
            return False
        try:
            self._write(name, _sealed(content, key))
        except OSError as error:
            if error.errno == errno.EACCES and self.load(name, key) == content:
                return True  # Windows: another process has just saved the same file and reads it
            self.stop_saving(error)
            return False
        self.names.add(name)
        return True

    def drop(self, name: str) -> None:
        """Remove a file, or an empty folder of this name, if that is possible."""
        path = self.folder / name
        self.names.discard(name)
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()

    def _write(self, name: str, data: bytes) -> None:
        """Write a file so that its name never stands for a part of it, even after a power cut."""
        self._make_folder()  # it may have been removed in the meantime
        # Processes of several machines share a folder of the network: their numbers may be equal.
        temporary = self.folder / f"{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "xb", opener=_opener) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _make_folder(self) -> None:
        """Make the folder and the one around it, which other users cannot write."""
        self.folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o755, exist_ok=True)

    def stop_saving(self, error: OSError) -> None:
        """Save no further file, and log the reason, once."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = error
        _log.warning(
            "Note: compiled kernels cannot be saved in %s (%s). Each process compiles them, "
            "which takes seconds. The variable NUMBA_CACHE_DIR chooses another folder.",
            self.folder,
            error.strerror or error,
        )


class CompletionMark:
    """A file that lists the files of a kind of run, once all of them are saved.

    Parameters
    ----------
    files
        The files.
    name, key
        Name, without a suffix, and key of the mark.
    """

    def __init__(self, files: CodeFiles, name: str, key: bytes) -> None:
        self._files, self._name, self._key = files, name + _MARK_SUFFIX, key

    def exists(self) -> bool:
        """Whether the mark and all files that it lists exist."""
        content = self._files.load(self._name, self._key)
        if content is None:
            return False
        return all((self._files.folder / name).is_file() for name in content.decode().split())

    def touch(self) -> None:
        """Save the mark; it lists all other files that this process has loaded or saved.

        Raises
        ------
        OSError
            If the mark, or one of the files before it, could not be saved.
        """
        names = sorted(name for name in self._files.names if not name.endswith(_MARK_SUFFIX))
        if not self._files.save(self._name, self._key, "\n".join(names).encode()):
            raise self._files.failure or OSError(f"{self._name} was not saved")


def exposed_folder(folder: Path) -> Path | None:
    """Return the folder of files, or the one around it, that another user can change.

    A folder is exposed if every user can write it. It is exposed, too, if it belongs to another
    user and lies in a place that every user can write, such as ``/tmp``. The result is ``None`` if
    there is none, and on Windows, whose folders have other rights.
    """
    if not hasattr(os, "geteuid"):
        return None
    place = folder.parent.parent
    is_public = place.exists() and _everybody_writes(place.stat())
    for path in (folder.parent, folder):
        try:
            status = path.stat()
        except OSError:  # it does not exist yet, or cannot be used
            continue
        is_foreign = status.st_uid not in (ADMINISTRATOR, os.geteuid())
        if _everybody_writes(status) or (is_public and is_foreign):
            return path
    return None


def _everybody_writes(status: os.stat_result) -> bool:
    """Whether every user has the right to write a file or a folder."""
    return os.name != "nt" and bool(status.st_mode & stat.S_IWOTH)


def _opener(path: str, flags: int) -> int:
    """Open a new file that other users cannot write, whatever the user's mask of rights is."""
    return os.open(path, flags, 0o644)


def _sealed(content: bytes, key: bytes) -> bytes:
    """Return the bytes of a file: what it is, a hash of key and content, the content."""
    sealed = hashlib.sha256(hashlib.sha256(key).digest() + content).digest()
    return _MAGIC + sealed + content
