"""Gradients, conductance and orientation of an image, and the time error of a run."""
