"""Atomic writing: a file gets its final name only when it is complete and on the disk."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_diffusion.core.errors import WriteError, reason_of


@contextmanager
def replacing(target: Path, suffix: str) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``target``, and rename that file on success.

    The temporary file is removed after any error.

    Parameters
    ----------
    target
        Final name. A symbolic link is followed, not replaced.
    suffix
        Suffix of the temporary name, for libraries that choose the format by it.
    """
    final = Path(os.path.realpath(target))
    temporary = final.with_name(f".{secrets.token_hex(6)}.partial{suffix}")
    try:
        yield temporary
        # Without the sync, a power cut can leave the final name with old or no content.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if final.exists():
            shutil.copymode(final, temporary)
        os.replace(temporary, final)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(final.parent)


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


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; it orders the rename without a sync
        return
    with suppress(OSError):  # some network disks refuse; the file itself is already synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
