"""Gadgetron gadgets: thin functions between a connection and ``untrained_recon``. Only this package imports ``gadgetron``."""
