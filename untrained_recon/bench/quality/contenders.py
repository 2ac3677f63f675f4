"""Who takes part: conventional methods with a grid of λ, published networks, and ours."""

from collections.abc import Sequence

from untrained_recon.config import Config, load_config
from untrained_recon.recon.conventional import bart
from untrained_recon.recon.conventional.baselines import METHODS

OURS, OURS_BEST, NETWORK = "ours", "ours-best", "network-only"
BEST, HIGHEST = "best oracle", "highest oracle"
ORACLES = ("cg-sense", "l1-wavelet", "tv")
BART_ORACLES = ("bart-l1-wavelet", "bart-tv")
FACTORS = tuple(2.0**n for n in range(-4, 6))  # of a method's default λ
DEEPINV = {
    "name": "deepinv-settings",
    "network.layers": "7",
    "network.channels": "256",
    "network.in_size": "[4, 4]",
    "network.extra_layer": "true",
    "fit.iterations": "2500",
}


def contenders(budget_s: float | None, network_only: bool = False, factors: Sequence[float] = FACTORS) -> dict[str, Config]:
    """All methods with all their settings; those with a λ are named ``method@λ``.

    Args:
        budget_s: Seconds for a fit of the published networks; 0: all their iterations; None: they do not take part.
        network_only: Our network without its refinement takes part, too.
        factors: Grid of λ, of a method's default.
    """
    found = {"zero-filled": _conventional("zero-filled")}
    for method in (*ORACLES, *(BART_ORACLES if bart.available() else ())):
        found |= lamda_grid(method, factors)
    if budget_s is not None:
        budget = {"fit.time_budget_s": f"{budget_s:g}"}
        found["paper"] = load_config("brain-4x", budget)
        found["deepinv-settings"] = load_config("brain-4x", budget | DEEPINV)
    if network_only:
        found[NETWORK] = load_config("fast", {"refine.iterations": "0"})
    found[OURS], found[OURS_BEST] = load_config("fast"), load_config("best")
    return found


def lamda_grid(method: str, factors: Sequence[float] = FACTORS) -> dict[str, Config]:
    """A conventional method with every λ of its grid, as ``method@λ``."""
    lamdas = (f"{METHODS[method].lamda * factor:.4g}" for factor in factors)
    return {f"{method}@{lamda}": _conventional(method, float(lamda)) for lamda in lamdas}


def _conventional(method: str, lamda: float = 0.0) -> Config:
    """Settings with nothing of ours but the maps: results are kept by all settings, and must outlive a change of our network's."""
    settings = {"name": method, "recon": {"method": method}, "baseline": {"lamda": lamda}}
    return Config.model_validate(settings | {"maps": load_config("fast").maps.model_dump()})
