"""Gadgetron gadgets: thin functions between a connection and ``untrained_recon``. Only this package imports ``gadgetron``."""

import os

# Before PyTorch is loaded: threads that wait by spinning make a fit many times slower where anything else runs on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
