"""A part of the filtered image without the rest: exact, as a draft, or before kernels are compiled."""
