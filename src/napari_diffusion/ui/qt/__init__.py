"""General widgets and layout helpers; nothing here knows about diffusion."""
