"""Command line: ``run`` filters a file, ``models`` lists the models, ``demo`` shows an example."""

from napari_diffusion.cli.app import main

__all__ = ["main"]
