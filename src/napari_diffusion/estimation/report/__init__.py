"""What a suggestion states: gain with its limits, amounts of smoothing, reasons and warnings."""
