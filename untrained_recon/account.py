"""How an image came about, in words and numbers: one record from the fit to the delivered image."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "nothing to fit"


@dataclass(frozen=True)
class Account:
    """How an image, or a part of it, came about.

    Attributes:
        method: ``maps`` (Step 1-B), ``coils`` or ``separate`` (Step 1-A), the name of another method (``recon.method``), ``direct``
            (fully sampled) or ``empty`` (no signal at all); the fallbacks are ``cg-sense`` and ``zero-filled``.
        fallback_reason: Why the method that was asked for was not used; empty where it was, or where nothing was to be done.
        iterations: Iterations of all fits, 0 where none was needed.
        stop_reason: Why the fit ended, or most of the fits.
        loss: Weighted squared residual relative to the data, mean of the fits; NaN where nothing was fitted.
        refinements: Steps of the refinement after the fits.
        refinement_stop: Why it ended; empty where there was none.
        held_out_chi2: Squared error on the measured lines that were held out, before they entered the image, relative to the
            noise's: 1 where only their noise was not predicted. NaN where none were, or the noise is not known.
        chi2: Squared residual of the samples, before they were put back, relative to the noise's; NaN where nothing was fitted.
        map_sets: Sets of sensitivity maps; 0 where there were none.
        seconds: Wall time of the reconstruction.
        device: Where it ran.
    """

    method: str = ""
    fallback_reason: str = ""
    iterations: int = 0
    stop_reason: str = NOTHING
    loss: float = math.nan
    refinements: int = 0
    refinement_stop: str = ""
    held_out_chi2: float = math.nan
    chi2: float = math.nan
    map_sets: int = 0
    seconds: float = 0.0
    device: str = ""

    @staticmethod
    def merged(parts: Sequence["Account"], name: str = "parts") -> "Account":
        """One account of several parts.

        Counts and seconds are summed; numbers are the mean of those that are not NaN; words are those of most parts, but no
        fallback stays unsaid.

        Args:
            parts: One or more.
            name: What the parts are, for the reason of a fallback.
        """
        failed = [part for part in parts if part.fallback_reason]
        reason = f"{len(failed)} of {len(parts)} {name}: {failed[0].fallback_reason}" if failed else ""
        return Account(
            method=failed[0].method if failed else _most(part.method for part in parts),
            fallback_reason=reason,
            iterations=sum(part.iterations for part in parts),
            stop_reason=_most(part.stop_reason for part in parts),
            loss=mean_of_numbers(part.loss for part in parts),
            refinements=sum(part.refinements for part in parts),
            refinement_stop=_most(part.refinement_stop for part in parts),
            held_out_chi2=mean_of_numbers(part.held_out_chi2 for part in parts),
            chi2=mean_of_numbers(part.chi2 for part in parts),
            map_sets=max(part.map_sets for part in parts),
            seconds=sum(part.seconds for part in parts),
            device=_most(part.device for part in parts),
        )


def _most(words: Iterable[str]) -> str:
    return Counter(words).most_common(1)[0][0]


def mean_of_numbers(values: Iterable[float]) -> float:
    """Mean of the numbers; NaN where there are none."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
