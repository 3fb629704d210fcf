"""What a run reads besides its image."""
