"""Every format that is read or written."""
