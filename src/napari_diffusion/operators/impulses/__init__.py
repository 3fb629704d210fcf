"""Hot and dead voxels: the search for them, and their replacement by diffusion."""
