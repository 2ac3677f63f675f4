"""The time of a scan, shared by its images."""

import math

LEAST_S = 2.0
FEW = 16


class Shares:
    """Gives each image a share of the seconds that are left.

    By the header's limits all images get the same. Where the header announces so many that none would get ``LEAST_S`` seconds, its
    limits count for little: an image gets what it would among ``FEW``, and what it does not use goes to the others. All shares
    together keep the budget in either case.

    Args:
        seconds: For all images; infinite for no limit.
        announced: Images by the header's limits, which may promise too few or far too many.
    """

    def __init__(self, seconds: float, announced: int) -> None:
        self._left, self._announced = seconds, announced
        self._even = seconds >= LEAST_S * announced or announced <= FEW

    def next(self) -> float:
        """Seconds for the next image."""
        if math.isinf(self._left):
            return math.inf
        share = self._left / max(1, self._announced if self._even else min(self._announced, FEW))
        self._left -= share
        self._announced -= 1
        return share

    def done(self, share: float, used: float) -> None:
        """Take back what an image has left of its share."""
        if not self._even:
            self._left += max(0.0, share - used)
