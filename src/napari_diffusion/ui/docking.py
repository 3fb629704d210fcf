"""Dock a widget of this plugin in a window, as its item in napari's menu does."""

from __future__ import annotations

from typing import Any

#: Name of the plugin in its manifest.
PLUGIN = "napari-diffusion"
#: Command of the denoising widget in the manifest.
DENOISING = f"{PLUGIN}.anisotropic"


def dock(viewer: Any) -> None:
    """Dock the denoising widget under the name that its item in the menu has.

    The item then shows and hides this widget. ``Window.add_plugin_dock_widget`` gives the dock
    another name, so the item would open a second widget beside it.

    Parameters
    ----------
    viewer
        Viewer with a window.
    """
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manifest = manager.get_manifest(PLUGIN)
    widgets = manifest.contributions.widgets or []
    name = next(widget.display_name for widget in widgets if widget.command == DENOISING)
    widget = manager.commands.get(DENOISING)(viewer)
    viewer.window.add_dock_widget(widget, name=f"{name} ({manifest.display_name})")
