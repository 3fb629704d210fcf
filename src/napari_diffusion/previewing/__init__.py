"""Previews: a part of the filtered image, exact, as a draft, or before kernels are compiled."""
