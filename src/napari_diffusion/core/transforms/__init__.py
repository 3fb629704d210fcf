"""Transforms of intensities."""
