"""NumPy kernels for any number of axes: the specification of every other backend."""
