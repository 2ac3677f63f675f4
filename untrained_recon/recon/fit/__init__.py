"""Fitting an un-trained network to the samples of one image."""
