"""A recipe on a file or a folder, the outputs of a run, and the compilation of kernels beforehand."""
