"""Text from outside: read within bounds, and made safe to show."""
