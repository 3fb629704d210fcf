"""The result card: what a run has removed, and what can be done with its result."""
