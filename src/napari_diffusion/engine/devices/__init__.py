"""Runs on a device: whether it has their kernels, and whether it has their bits."""
