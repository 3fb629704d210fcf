"""Noise of an image: level, correlations and kind, from the image alone."""
