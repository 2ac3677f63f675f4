"""Refinement of a fitted image by collaborative filtering."""
