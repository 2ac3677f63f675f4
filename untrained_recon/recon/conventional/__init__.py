"""Conventional reconstructions: fallbacks, and what to compare with."""
