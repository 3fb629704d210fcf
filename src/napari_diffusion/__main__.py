"""``python -m napari_diffusion`` runs the command line."""

from napari_diffusion.cli import main

raise SystemExit(main())
