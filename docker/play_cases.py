"""What a site runs against an installation: ``untrained-recon integration-test`` with the cases beside this file.

For example ``python docker/play_cases.py --service localhost:9100 --junit results.xml``; ``--cases`` takes other cases.
"""

import sys
from pathlib import Path

from untrained_recon.cli.site import integration_test

if __name__ == "__main__":
    integration_test(["--cases", str(Path(__file__).parent / "cases"), *sys.argv[1:]])
