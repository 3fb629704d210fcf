"""Kernels compiled by numba, for one to three axes of space; imported by the first run only."""
