"""The napari side: two widgets and sample images.

All that they compute is also available without napari and Qt.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from napari_diffusion.core.errors import MissingLibraryError
from napari_diffusion.ui.qt.collector import COLLECTOR

#: The widgets, which are imported on first use.
__all__ = ["AnisotropicDiffusion", "IsotropicDiffusion"]


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # hidden by an import hook, or by an entry of sys.modules
        return False


def _check_libraries() -> None:
    """Raise `MissingLibraryError` when the widgets cannot be imported."""
    names = ("napari", "magicgui", "qtpy", "pyqtgraph")
    if missing := [name for name in names if not _is_installed(name)]:
        raise MissingLibraryError(
            f'The widgets need {" and ".join(missing)}: pip install "napari-diffusion[napari]".'
        )
    if not any(_is_installed(name) for name in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        raise MissingLibraryError(
            'The widgets need a Qt binding, such as PyQt6: pip install "napari-diffusion[all]".'
        )


_check_libraries()


def __getattr__(name: str) -> Any:
    """Return a widget."""
    if name in __all__:
        COLLECTOR.begin()
        return getattr(import_module("napari_diffusion.ui.widget"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
