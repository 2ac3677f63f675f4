"""Image quality side by side with other methods."""
