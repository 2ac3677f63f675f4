"""From acquisitions to the k-space of images, and from reconstructions to MRD images."""
