"""Runs of images larger than the memory: the plan of passes and blocks, and one block of a pass."""
