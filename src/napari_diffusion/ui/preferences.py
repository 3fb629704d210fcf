"""Preferences of the user, on a page of napari's preferences that the manifest declares.

Older napari has no such page; the defaults apply then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preferences:
    """Values of the preferences page.

    Attributes
    ----------
    threads
        Number of threads of a filter; ``None`` for all processors.
    memory
        Maximum memory of a run [bytes]; ``None`` for all that is free.
    preview
        Maximum side of a preview [pixel].
    """

    threads: int | None = None
    memory: int | None = None
    preview: int = 512

    @classmethod
    def read(cls) -> Preferences:
        """Return the current preferences."""
        page = find_page()
        if page is None:
            return cls()
        return cls(page.threads or None, (page.memory << 20) or None, page.preview)


def find_page() -> Any:
    """Return napari's object of the page, ``None`` without one; its ``events`` report changes."""
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings("napari-diffusion").filters
    except (ImportError, KeyError):
        # An older napari, or the widget of a package that is not installed as a plugin.
        return None
