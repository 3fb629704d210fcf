"""Pictures over the image on screen, computed beside it and kept up to date."""
