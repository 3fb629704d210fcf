"""General Qt widgets and layout helpers, independent of diffusion."""
