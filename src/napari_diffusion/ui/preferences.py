"""Preferences of the user, on a page of napari's preferences that the manifest declares.

Older napari has no such page; the defaults apply then.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from napari.settings import get_settings

from napari_diffusion.engine.devices.choice import known_device

#: Name of the plugin, and of the file with its preferences.
_PLUGIN = "napari-diffusion"
#: Whether the page has been searched for in this process.
_searched = False


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
    device
        Name of the device of a filter; ``None`` for the processor.
    """

    threads: int | None = None
    memory: int | None = None
    preview: int = 512
    device: str | None = None

    @classmethod
    def read(cls) -> Preferences:
        """Return the current preferences.

        They are those of the user's file until `find_page` is called, whose first call takes
        0.05 s.
        """
        saved = None if _searched else _saved()
        if saved is not None:
            return cls._of(**saved)
        page = find_page()
        if page is None:
            return cls()
        return cls._of(page.threads, page.memory, page.preview, page.device)

    @classmethod
    def _of(
        cls, threads: int = 0, memory: int = 0, preview: int = 512, device: str = ""
    ) -> Preferences:
        """Return the preferences from the values on the page; the memory is in MiB."""
        return cls(threads or None, (memory << 20) or None, preview, known_device(device))


def find_page() -> Any:
    """Return napari's object of the page, ``None`` without one; its ``events`` report changes.

    Its first call in a process is slow: napari reads the manifests of all plugins again.
    """
    global _searched
    _searched = True
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings(_PLUGIN).filters
    except (ImportError, KeyError):
        # An older napari, or the widget of a package that is not installed as a plugin.
        return None


def _saved() -> dict[str, Any] | None:
    """Return the values that differ from the defaults, from the file in which napari saves them.

    It is ``None`` where they have to be read from the page.
    """
    try:
        import yaml  # napari's own dependency

        path = get_settings().config_path
        if path is None:
            return None
        file = Path(path).parent / f"{_PLUGIN}.yaml"
        content = yaml.safe_load(file.read_text("utf-8")) if file.exists() else None
        values = (content or {}).get("filters", {})
        kinds = {field.name: int for field in fields(Preferences)} | {"device": str}
        if all(type(value) is kinds.get(name) for name, value in values.items()):
            return dict(values)
    except Exception:  # of a napari with other settings, or a file that is no such file
        return None
    return None
