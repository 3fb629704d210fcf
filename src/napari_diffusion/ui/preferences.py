"""Preferences of the user, on a page of napari's own that the manifest declares; older napari has none, and the defaults hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preferences:
    """What is set on the preferences page.

    Attributes
    ----------
    threads
        Threads of a filter; ``None`` for all processors.
    memory
        Most memory that a run may need [bytes]; ``None`` for all that is free.
    preview
        Most pixels along each side of a preview.
    """

    threads: int | None = None
    memory: int | None = None
    preview: int = 512

    @classmethod
    def read(cls) -> Preferences:
        """Return the preferences as they are now."""
        page = find_page()
        return (
            cls()
            if page is None
            else cls(page.threads or None, (page.memory << 20) or None, page.preview)
        )


def find_page() -> Any:
    """Return napari's own object of the page, ``None`` where there is none; its ``events`` tell of changes."""
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings("napari-diffusion").filters
    except (
        ImportError,
        KeyError,
    ):  # an older napari, or the widget of a package that is not installed as a plugin
        return None
