"""Runs in blocks from a file to an OME-Zarr: work folder, tasks, executors, and the whole run."""
