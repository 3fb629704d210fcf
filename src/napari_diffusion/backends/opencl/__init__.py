"""Kernels for graphics cards, in a dialect of OpenCL C that is CUDA C with another prelude."""
