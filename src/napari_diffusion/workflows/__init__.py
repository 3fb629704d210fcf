"""Workflows: a recipe on files, the outputs of a run, the compilation of kernels in advance."""
