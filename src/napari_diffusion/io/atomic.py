"""Writing that is all or nothing: a file has its final name only when it is complete and on the disk."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_diffusion.core.errors import WriteError


@contextmanager
def replacing(target: Path, suffix: str) -> Iterator[Path]:
    """Lend a temporary name beside ``target``; on success the file moves to its final name, on any error it is removed.

    Parameters
    ----------
    target
        Final name. A symbolic link is followed, not replaced.
    suffix
        Ending of the temporary name, for libraries that choose the format by it.
    """
    final = Path(os.path.realpath(target))
    temporary = final.with_name(f".{secrets.token_hex(6)}.partial{suffix}")
    try:
        yield temporary
        # Without this a power cut may leave the new name with old or no content.
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


def explain(target: Path, error: OSError) -> WriteError:
    """Turn an error of the operating system into one sentence."""
    reason = error.strerror or str(error) or type(error).__name__
    return WriteError(
        f"Cannot write {target}: {reason.rstrip('.')} ({free_bytes(target.parent):,} bytes free there)."
    )


def free_bytes(folder: Path) -> int:
    """Space that is left on the disk of ``folder``; 0 when it cannot be read."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and orders the rename itself
        return
    with suppress(OSError):  # some network disks refuse; the file itself is safe by now
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
