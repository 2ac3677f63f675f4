"""Files of figures: JSON that says which version measured it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from untrained_recon import __version__

STAMP = "untrained_recon"


def stamped(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with the version that measured them."""
    return {STAMP: __version__, **figures}


def is_figures(path: Path) -> bool:
    """Whether a file holds figures that were measured here."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and STAMP in found
