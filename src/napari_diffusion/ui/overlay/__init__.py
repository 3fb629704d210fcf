"""Layers over the chosen image, computed in the background and kept up to date."""
