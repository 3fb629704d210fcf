"""Build hook: puts the top-level napari.yaml where napari looks for it, inside the package."""

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "napari_diffusion"


class ManifestHook(BuildHookInterface):
    """Ship the one real manifest: a copy in a wheel, a link in an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the manifest to the wheel, or place a link to it in the source package."""
        root = Path(self.root)
        manifest = root / "napari.yaml"
        if version != "editable":
            build_data["force_include"][str(manifest)] = f"{PACKAGE}/napari.yaml"
            return
        # An editable install imports from src/, where a file of the wheel alone is not found.
        inside = root / "src" / PACKAGE / "napari.yaml"
        if inside.is_symlink() and inside.resolve() == manifest.resolve():
            return  # of another environment, which may be in use
        # Another environment may be installed at the same time: replaced in one step.
        new = inside.with_name(f".napari-{os.getpid()}.yaml")
        try:
            new.symlink_to(Path("..", "..", "napari.yaml"))
        except OSError:
            # Windows needs a privilege for links; a copy works until the manifest is edited.
            shutil.copyfile(manifest, new)
        new.replace(inside)
