"""Controls that define a run: layer, axes, model, parameters, amount of smoothing, options."""
