"""Measurement of the noise on the patches of an image: its place, its patterns, all of it."""
