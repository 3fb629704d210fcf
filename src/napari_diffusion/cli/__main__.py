"""``python -m napari_diffusion.cli`` is ``napari-diffusion``."""

from napari_diffusion.cli import main

raise SystemExit(main())
