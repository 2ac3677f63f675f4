"""``python -m untrained_recon.cli``."""

from untrained_recon.cli.main import main

main()
