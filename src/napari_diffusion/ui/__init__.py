"""The napari side: two widgets and sample images. Everything they do works without Qt, too."""
