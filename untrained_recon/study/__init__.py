"""Comparing methods on fully sampled data: the paper's evaluation, runnable by anyone with k-space files."""
