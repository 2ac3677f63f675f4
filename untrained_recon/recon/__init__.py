"""From the k-space of an image to the image. Knows no acquisitions."""
