"""How an image came about, in numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """How an image came about; what each value means is said at :class:`~untrained_recon.types.Reconstruction`."""

    method: str
    fallback_reason: str
    iterations: int
    stop_reason: str
    loss: float
    refinements: int
    refinement_stop: str
    held_out_chi2: float
    chi2: float
    map_sets: int
    seconds: float
    device: str
