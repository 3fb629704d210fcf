"""The napari plugin: two widgets and the sample images. The library works without it and Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_diffusion.ui.widget import AnisotropicDiffusion, IsotropicDiffusion

__all__ = ["AnisotropicDiffusion", "IsotropicDiffusion"]


def __getattr__(name: str) -> Any:
    # The widgets are imported on demand: the sample images in this package need no Qt.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_diffusion.ui import widget

    return getattr(widget, name)
