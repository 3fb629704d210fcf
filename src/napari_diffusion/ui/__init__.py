"""The napari side: two widgets and the sample images. Everything they do can be done without Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_diffusion.ui.widget import AnisotropicDiffusion, IsotropicDiffusion

__all__ = ["AnisotropicDiffusion", "IsotropicDiffusion"]


def __getattr__(name: str) -> Any:
    # The sample images live here too, and need no Qt.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_diffusion.ui import widget

    return getattr(widget, name)
