"""What napari layers say about axes, units and style, and how results become layers."""
