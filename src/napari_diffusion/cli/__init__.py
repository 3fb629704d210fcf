"""The command line: ``run`` filters a file, ``models`` lists the models, ``demo`` shows what a filter does."""

from napari_diffusion.cli.app import main

__all__ = ["main"]
