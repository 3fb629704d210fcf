"""Axes of images: their names, and their transform to coordinates in space."""
