"""What a model does to an image, without running it: gradients, conductance, orientation; and the time error of a run."""
