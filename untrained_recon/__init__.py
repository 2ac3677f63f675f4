"""Un-trained MR image reconstruction: raw k-space in, images out, no training data."""

__version__ = "0.1.0"
