"""Images that cannot be made cost no others: they are noted as they fail, and named in one error after the rest."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from untrained_recon.errors import PartialScanError, ReconError

logger = logging.getLogger(__name__)

MOST_NAMED = 10


class Failures:
    """The images of a scan that failed so far, and why."""

    def __init__(self) -> None:
        self._errors: dict[object, Exception] = {}

    def __contains__(self, image: object) -> bool:
        return image in self._errors

    def __bool__(self) -> bool:
        return bool(self._errors)

    def add(self, image: object, error: Exception) -> None:
        """Note a failure; of an image the first one counts."""
        if image not in self._errors:
            self._errors[image] = error
            logger.error("%s: no image is made", image, exc_info=error)

    def take(self, error: ReconError) -> bool:
        """Note the images that an error names; whether there are any."""
        for image, cause in error.images:
            self._errors.setdefault(image, cause)
        return bool(error.images)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Go on to the end of what is inside, then raise one error for all images that failed there or were noted.

        Raises:
            ReconError: Of the class of the images' errors, or a PartialScanError where they differ. An error that is about the
                scan as a whole passes, and names the images too.
        """
        try:
            yield
        except ReconError as error:
            if not self.take(error):
                if self._errors:
                    raise type(error)(f"{error}; besides, {self._text()}") from error
                raise
        if self._errors:
            raise self._error()

    def _error(self) -> ReconError:
        kinds = {type(error) for error in self._errors.values()}
        kind = kinds.pop()
        error = kind(self._text()) if not kinds and issubclass(kind, ReconError) else PartialScanError(self._text())
        error.images = tuple(self._errors.items())
        return error

    def _text(self) -> str:
        """How many images failed; which, with their reasons, those with the same reason together."""
        alike = len({type(error) for error in self._errors.values()}) == 1
        reasons: dict[str, list[str]] = {}
        for image, error in self._errors.items():
            reasons.setdefault(_reason(error, alike), []).append(str(image))
        named = [f"{' and '.join(_some(images))}: {reason}" for reason, images in reasons.items()]
        count = len(self._errors)
        return f"{count} image{'s' * (count > 1)} could not be made: {'; '.join(_some(named))}"


def _some(texts: list[str]) -> list[str]:
    more = len(texts) - MOST_NAMED
    return texts[:MOST_NAMED] + ([f"{more} more"] if more > 0 else [])


def _reason(error: Exception, alike: bool) -> str:
    if isinstance(error, ReconError):
        return str(error) if alike else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error})"
    return f"internal error, see the log ({type(error).__name__}: {error})"
