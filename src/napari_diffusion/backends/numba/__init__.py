"""Kernels compiled by numba, for one to three axes of space. Nothing here is imported before a run."""
