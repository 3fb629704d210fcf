"""Runs models by schemes: problem, plan, solver, run in memory, and recipes."""
