"""What an image shows, in words and pictures, and the model for it."""
