"""Is an installation sound: cases played to it, labels, reports."""
