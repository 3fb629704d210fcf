"""The engine: jobs, plans, threads, recipes. It alone knows both models and schemes."""
