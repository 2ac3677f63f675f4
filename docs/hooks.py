"""What MkDocs is told beyond mkdocs.yml: references in docstrings are written for Sphinx, and shown here as code."""

import re
from typing import Any

ROLE = re.compile(r":(?:class|func|data|mod|meth|attr):<code>~?(?:[\w.]+\.)?(\w+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Roles as the last part of the name that they point at."""
    return ROLE.sub(r"<code>\1</code>", html)
