"""Reading of napari layers (axes, units, style) and creation of result layers."""
