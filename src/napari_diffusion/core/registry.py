"""Open registries: the entries of this package, and those that other packages register."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from napari_diffusion.core.errors import reason_of, shown

_Entry = TypeVar("_Entry")


class Registry(Generic[_Entry]):
    """Named entries of one kind: models, schemes, backends or file formats.

    Other packages register entries under an entry point group.

    Parameters
    ----------
    kind
        What an entry is, for messages: ``"model"``.
    group
        Entry point group, such as ``"napari_diffusion.models"``.
    builtin
        The entries of this package, in menu order.
    check
        Raises TypeError for an object that cannot be an entry.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Sequence[_Entry],
        check: Callable[[Any], object],
    ) -> None:
        self.kind, self.group, self.builtin = kind, group, tuple(builtin)
        self._check = check

    def __iter__(self) -> Iterator[_Entry]:
        """Iterate over all entries; those of other packages are searched only if reached.

        The search takes milliseconds.
        """
        yield from self.builtin
        yield from self.all()[len(self.builtin) :]

    def all(self) -> tuple[_Entry, ...]:
        """Return the entries of this package, then those of other packages.

        An entry point that cannot be loaded, or is no entry of this kind, is skipped with a
        warning. So is one whose name is taken.
        """
        entries = list(self.builtin)
        for point in entry_points(group=self.group):
            try:
                entry = point.load()
                self._check(entry)
                if not isinstance(entry.name, str):
                    raise TypeError(f"its name must be text, got {entry.name!r}")
                if entry.name in [other.name for other in entries]:  # type: ignore[attr-defined]
                    raise ValueError(f"its name {entry.name!r} is taken")
            except Exception as error:  # other packages may raise anything
                warnings.warn(
                    f"The {self.kind} {point.name!r} ({point.value}) cannot be used: "
                    f"{reason_of(error)}.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            else:
                entries.append(entry)
        return tuple(entries)

    def get(self, name: Any, also: Sequence[str] = ()) -> _Entry:
        """Return the entry of a name.

        Parameters
        ----------
        name
            The name.
        also
            Further names that the message lists, such as ``"auto"``.

        Raises
        ------
        ValueError
            If no entry has this name. The message lists the names.
        """
        entries: Any = self
        for entry in entries:
            if isinstance(name, str) and entry.name == name:
                return entry  # type: ignore[no-any-return]
        names = ", ".join([*also, *(entry.name for entry in entries)])
        raise ValueError(
            f"There is no {self.kind} named {shown(name)}; the {self.kind}s are {names}."
        )
