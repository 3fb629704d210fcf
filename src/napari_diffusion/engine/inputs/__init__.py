"""Arguments of a run, and what it reads besides its image."""
