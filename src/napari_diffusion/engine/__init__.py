"""Advances one frame after the other by the stages of a scheme: problem, plan, solver, in-memory run."""
