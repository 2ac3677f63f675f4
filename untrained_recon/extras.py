"""Optional dependencies: whether they are there, asked before work that needs them begins."""

from collections.abc import Iterable
from importlib.util import find_spec

from untrained_recon.errors import MissingExtraError

REPORT = ("pandas", "matplotlib", "jinja2", "skimage", "torchmetrics")  # modules of the extra `report`
WEB = ("starlette", "uvicorn", "jinja2", "PIL", "prometheus_client")  # of the extra `web`


def require_modules(modules: Iterable[str], extra: str, purpose: str) -> None:
    """Raise MissingExtraError, which names the extra and what is missing of it, unless all modules are installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"{purpose} needs {', '.join(missing)}: pip install 'untrained-recon[{extra}]'")
