"""The sections of a widget: those of a drawer are made when it is first opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

from napari_diffusion.ui.context import Context
from napari_diffusion.ui.qt.foldable import Foldable
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.sections.base import Section


class Sections:
    """The sections of a widget by class. One that is asked for is made with all of its drawer.

    Parameters
    ----------
    context
        Context of the sections.
    drawers
        The names of the sections of each drawer, from top to bottom, as ``module:class``.
    completed
        Called with a drawer after its sections were made.

    Attributes
    ----------
    made
        The sections that exist, by class.
    """

    def __init__(
        self,
        context: Context,
        drawers: Mapping[Foldable, tuple[str, ...]],
        completed: Callable[[Foldable], object],
    ) -> None:
        self.made: dict[type[Section], Section] = {}
        self._context, self._drawers, self._completed = context, dict(drawers), completed
        for drawer in drawers:
            drawer.first_opened.connect(self._make)

    def fail(self, error: Exception) -> None:
        """Show an error above Run."""
        self._context.fail(error)

    def add(self, section: Section) -> None:
        """Add a section that is in no drawer."""
        self.made[type(section)] = section

    def __getitem__(self, kind: type[Section]) -> Any:
        """Return a section; it is made if it does not exist yet."""
        if kind not in self.made:
            name = f"{kind.__module__}:{kind.__qualname__}"
            self._make(next(drawer for drawer, names in self._drawers.items() if name in names))
        return self.made[kind]

    @slot
    def _make(self, drawer: Foldable) -> None:
        """Make the sections of a drawer, once."""
        names = self._drawers.pop(drawer, ())
        for name in names:
            kind = resolve_name(name)
            self.made[kind] = kind(self._context, drawer)
        if names:
            self._completed(drawer)
