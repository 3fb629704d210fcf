"""The folder of an unfinished run in blocks, beside its target.

It holds the settings of the run, the unfinished result, what is kept between two passes, and a
marker for every block that is done. A marker is a file that gets its name when it is complete, so
that a process may be killed at any moment. Many processes may share the folder.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import io
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import Remedy, TargetExists
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.atomic import rename_all
from napari_diffusion.io.flat_file import FlatFile
from napari_diffusion.io.npy import mapped

#: Name of the file of the settings; the end of the name of the folder; end of temporary names.
_SETTINGS, _END, _TEMPORARY = "run.json", ".partial", ".partial"


class WorkFolder:
    """The work folder of a target.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, target: Path) -> Self:
        """Return the work folder of a target, in the same folder."""
        final = Path(os.path.realpath(target.parent)) / target.name
        return cls(final.with_name(f".{final.name}{_END}"))

    @property
    def store(self) -> Path:
        """Folder of the unfinished result."""
        return self.path / "store"

    @property
    def file(self) -> Path:
        """The unfinished result, if it is a file."""
        settings = self.settings() or {}
        return self.store / str(settings["file"])

    def flat_file(self) -> FlatFile | None:
        """Return where the values of the result are in a file; ``None`` for a store."""
        try:
            text = (self.path / "file.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return FlatFile.from_plain(json.loads(text))

    @property
    def regions(self) -> Path:
        """Folder of mask and labels on the grid of the image."""
        return self.path / "regions"

    def settings(self) -> dict[str, Any] | None:
        """Return the settings of the run; ``None`` if there is none."""
        try:
            text = (self.path / _SETTINGS).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        plain: dict[str, Any] = json.loads(text)
        return plain

    def begin(self, settings: dict[str, Any], fill: Callable[[WorkFolder], None]) -> None:
        """Make the folder with its settings, unless another process has just made it.

        Parameters
        ----------
        settings
            The settings.
        fill
            Makes the files that all blocks need; it is called with a temporary folder.
        """
        temporary = WorkFolder(self.path.with_name(f"{self.path.name}.{secrets.token_hex(6)}"))
        try:
            temporary.path.mkdir()
            fill(temporary)
            write_text(temporary.path / _SETTINGS, json.dumps(settings, ensure_ascii=False))
            os.rename(temporary.path, self.path)
        except OSError as error:
            temporary.remove()
            is_taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES)
            if not (is_taken and self.settings() is not None):
                raise
        except BaseException:
            temporary.remove()
            raise

    def remove(self) -> None:
        """Remove the folder; the settings go first, so that no run continues a part of it."""
        with suppress(OSError):
            (self.path / _SETTINGS).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_rest(self) -> None:
        """Remove what a process has left that was killed while it removed the folder."""
        if self.path.exists() and self.settings() is None:
            self.remove()

    def mark(self, stage: str, index: int, facts: dict[str, Any] | None = None) -> None:
        """Mark a block of a stage as done, with facts about it."""
        folder = self.path / "done" / stage
        folder.parent.mkdir(exist_ok=True)  # not the work folder itself, which may be gone
        folder.mkdir(exist_ok=True)
        write_text(folder / str(index), json.dumps(facts or {}))

    def is_done(self, stage: str, index: int) -> bool:
        """Whether a block of a stage is done."""
        return (self.path / "done" / stage / str(index)).is_file()

    def done(self, stage: str) -> set[int]:
        """Return the blocks of a stage that are done."""
        try:
            names = os.listdir(self.path / "done" / stage)
        except FileNotFoundError:
            return set()
        return {int(name) for name in names if name.isdecimal()}

    def facts(self, stage: str, count: int) -> list[dict[str, Any]]:
        """Return the facts about all blocks of a stage, in their order."""
        folder = self.path / "done" / stage
        texts = [(folder / str(index)).read_text(encoding="utf-8") for index in range(count)]
        return [json.loads(text) for text in texts]

    def add_device(self, name: str) -> None:
        """Record the name of a device that has computed a block."""
        file = self.path / "devices" / sha256(name.encode()).hexdigest()[:16]
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            write_text(file, name)

    def devices(self) -> tuple[str, ...]:
        """Return the names of the devices that have computed blocks, sorted."""
        files = (self.path / "devices").glob("[0-9a-f]*")
        return tuple(sorted(file.read_text(encoding="utf-8") for file in files))

    def keep(self, stage: str, index: int, name: str, values: Array) -> None:
        """Keep an array of a block for the next pass."""
        folder = self.path / stage
        folder.mkdir(exist_ok=True)
        final = folder / f"{index}-{name}.npy"
        temporary = folder / f"{final.name}.{secrets.token_hex(6)}{_TEMPORARY}"
        try:
            with temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, final)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def kept(self, stage: str, index: int, name: str) -> NDArray[Any]:
        """Return an array that was kept for a block, as a memory map."""
        array: NDArray[Any] = mapped(self.path / stage / f"{index}-{name}.npy")
        return array

    def forget(self, stage: str) -> None:
        """Remove what was kept of a pass."""
        shutil.rmtree(self.path / stage, ignore_errors=True)

    def undo(self, stage: str) -> None:
        """Remove the markers of a stage, whose blocks are then done again."""
        shutil.rmtree(self.path / "done" / stage, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed writers have left in the unfinished result."""
        for folder, _, names in os.walk(self.store):
            for name in names:
                if name.endswith(_TEMPORARY):
                    with suppress(OSError):
                        os.unlink(os.path.join(folder, name))


def write_text(path: Path, text: str) -> None:
    """Write a file that gets its name when it is complete."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a power cut leaves no name with old or no content
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def begin_or_continue(
    target: Path,
    settings: dict[str, Any],
    fill: Callable[[WorkFolder], None],
    resume: bool,
) -> WorkFolder | None:
    """Return the work folder of a run, made or continued; ``None`` if the run is complete.

    Parameters
    ----------
    target
        The target.
    settings, fill
        As in `WorkFolder.begin`. The settings have a ``fingerprint``.
    resume
        Whether an unfinished run goes on.

    Raises
    ------
    TargetExists
        If the unfinished run has another fingerprint.
    WriteError
        If the folder cannot be made.
    """
    folder = WorkFolder.of(target)
    sweep_beside(target)
    begun = folder.settings()
    if begun is not None and resume:
        if begun.get("fingerprint") != settings["fingerprint"]:
            raise TargetExists(
                "an unfinished run with other settings, another version or another source "
                f"is in {folder.path.name}",
                Remedy.START_AGAIN,
                target,
            )
        if not folder.store.exists() and target.exists():  # killed at the very end
            folder.remove()
            return None
        return folder
    folder.remove()
    try:
        folder.begin(settings, fill)
    except OSError as error:
        raise io.write_error(target, error) from error
    return folder


def sweep_beside(target: Path, keep: Sequence[Path] = ()) -> None:
    """Remove temporary work folders of a target whose process was killed while it made them."""
    work = WorkFolder.of(target).path
    for path in work.parent.glob(f"{work.name}.*"):
        is_temporary = len(path.name) == len(work.name) + 13
        if is_temporary and path not in keep and not (path / _SETTINGS).exists():
            shutil.rmtree(path, ignore_errors=True)


def publish(
    result: Path,
    target: Path,
    recipe: Recipe,
    overwrite: bool,
    commit: AbstractContextManager[object] | None,
) -> None:
    """Give the result in a work folder its name, and write its recipe beside it.

    Parameters
    ----------
    result
        The result: a store, or a file.
    target, recipe, overwrite
        Path and recipe of the result, and whether it replaces another one.
    commit
        Context in which it gets its name; it may defer signals.
    """
    sidecar = WorkFolder.of(target).path / "recipe.json"
    write_text(sidecar, recipe.to_json() + "\n")
    final = Path(os.path.realpath(target.parent)) / target.name
    pairs = [(sidecar, io.sidecar_of(final)), (result, final)]
    with commit or nullcontext():
        if not overwrite and not final.exists():
            io.sidecar_of(final).unlink(missing_ok=True)  # of this run, when it was killed
        rename_all(pairs, overwrite=overwrite)
