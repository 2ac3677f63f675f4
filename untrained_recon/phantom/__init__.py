"""A head that can be scanned without a scanner."""
