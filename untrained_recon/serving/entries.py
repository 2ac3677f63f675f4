"""A scan and its images as notes that never change: whoever reads them sees one moment. Changes make new ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from untrained_recon.account import Account
from untrained_recon.config import Config
from untrained_recon.encoding import ImageIndex
from untrained_recon.serving.glimpse import Glimpse, Picture
from untrained_recon.types import FloatArray, Reconstruction

MOST_IMAGES = 128  # of a scan; of those that come later only the number is kept
MOST_POINTS = 200  # of a curve
IMAGE_BYTES, POINT_BYTES = 4096, 160  # measured, of the Python objects
RUNNING = "running"

Point = tuple[float, str, float]
"""Seconds since the image was begun, stage, and squared residual relative to the data."""


@dataclass(frozen=True)
class ImageEntry:
    """An image of a scan.

    Attributes:
        index: Which one.
        coils: Number of coils.
        acceleration: As sampled.
        limit: Seconds for its fit; infinite for no limit.
        state: ``waiting``, ``fitted``, ``done`` or ``failed``.
        glimpse: The last of its fit.
        curve: How the residual fell.
        account: How it came about, once it is done.
        cautions: Code and sentence of each.
        pictures: Of the magnitude, and of the evidence that there is, by kind.
        pixels: The same at full size; empty where they are not kept.
        notes: What the evidence was made of, or why there is none, by kind.
        error: Why there is no image.
    """

    index: ImageIndex
    coils: int
    acceleration: float
    limit: float
    state: str = "waiting"
    glimpse: Glimpse | None = None
    curve: tuple[Point, ...] = ()
    account: Account | None = None
    cautions: tuple[tuple[str, str], ...] = ()
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    pixels: Mapping[str, FloatArray] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def detail_bytes(self) -> int:
        """About its memory, but for the pixels."""
        return IMAGE_BYTES + POINT_BYTES * len(self.curve) + sum(picture.pixels.nbytes for picture in self.pictures.values())

    @property
    def fallback(self) -> str:
        """Why it is a conventional one; empty where it is not."""
        return self.account.fallback_reason if self.account is not None else ""


@dataclass(frozen=True)
class ScanEntry:
    """A scan.

    Attributes:
        name: Its id, as in the log.
        peer: Where it came from.
        started: When, in seconds since the epoch.
        outcome: ``running``, ``ok``, or its error.
        seconds: From connection to CLOSE, once it has ended.
        config: Its settings, once they are known.
        person: What the header says of patient and study; empty where that is not kept.
        images: The first :data:`MOST_IMAGES`.
        submitted: Images so far, with those that are not kept.
        done: Images that are ready.
        failed: Images that could not be made.
        fallbacks: Conventional images among those that are ready.
        cautions: Sentence of every caution by its code, and on how many images it stands.
    """

    name: str
    peer: str
    started: float
    outcome: str = RUNNING
    seconds: float = 0.0
    config: Config | None = None
    person: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[ImageIndex, ImageEntry] = field(default_factory=dict)
    submitted: int = 0
    done: int = 0
    failed: int = 0
    fallbacks: int = 0
    cautions: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.outcome == RUNNING

    @property
    def detail_bytes(self) -> int:
        """About the memory of what is known of single images, but for their pixels."""
        return sum(image.detail_bytes for image in self.images.values())

    @property
    def pixel_bytes(self) -> int:
        """Memory of the images at full size."""
        return sum(img.nbytes for image in self.images.values() for img in image.pixels.values())

    def without_pixels(self) -> "ScanEntry":
        """The same without images at full size."""
        return replace(self, images={index: replace(image, pixels={}) for index, image in self.images.items()})

    def without_details(self) -> "ScanEntry":
        """The same without what is known of single images."""
        return replace(self, images={})

    @property
    def waiting(self) -> int:
        """Images that are neither ready nor failed."""
        return self.submitted - self.done - self.failed


def with_image(scan: ScanEntry, image: ImageEntry) -> ScanEntry:
    """The scan with an image, in its place among the others."""
    return replace(scan, images={**scan.images, image.index: image})


def submitted(scan: ScanEntry, image: ImageEntry) -> ScanEntry:
    """The scan with one more image that waits."""
    scan = replace(scan, submitted=scan.submitted + 1)
    return scan if len(scan.images) >= MOST_IMAGES else with_image(scan, image)


def glimpsed(scan: ScanEntry, index: ImageIndex, glimpse: Glimpse) -> ScanEntry:
    """The scan with an image that is being fitted."""
    image = scan.images.get(index)
    if image is None or image.state not in ("waiting", "fitted"):
        return scan
    curve = (*image.curve, (glimpse.seconds, glimpse.stage, glimpse.loss))
    if len(curve) > MOST_POINTS:
        curve = (*curve[:-1:2], curve[-1])
    return with_image(scan, replace(image, state="fitted", glimpse=glimpse, curve=curve))


def done(
    scan: ScanEntry, index: ImageIndex, recon: Reconstruction, pictures: Mapping[str, Picture], pixels: Mapping[str, FloatArray]
) -> ScanEntry:
    """The scan with an image that is ready."""
    cautions = dict(scan.cautions)
    for caution in recon.cautions:
        cautions[caution.code] = (str(caution), cautions.get(caution.code, ("", 0))[1] + 1)
    fallbacks = scan.fallbacks + bool(recon.account.fallback_reason)
    scan = replace(scan, done=scan.done + 1, fallbacks=fallbacks, cautions=cautions)
    if index not in scan.images:
        return scan
    image = replace(
        scan.images[index],
        state="done",
        glimpse=None,
        account=recon.account,
        cautions=tuple((caution.code, str(caution)) for caution in recon.cautions),
        pictures=pictures,
        pixels=pixels,
        notes={kind: found.note for kind, found in recon.evidence.items()},
    )
    return with_image(scan, image)


def failed(scan: ScanEntry, index: ImageIndex, error: str) -> ScanEntry:
    """The scan with an image that cannot be made."""
    scan = replace(scan, failed=scan.failed + 1)
    if index not in scan.images:
        return scan
    return with_image(scan, replace(scan.images[index], state="failed", glimpse=None, error=error))


def ended(scan: ScanEntry, outcome: str, seconds: float) -> ScanEntry:
    """The scan after its end: nothing waits any more."""
    images = {
        index: image if image.state in ("done", "failed") else replace(image, state="failed", glimpse=None, error="given up")
        for index, image in scan.images.items()
    }
    return replace(scan, outcome=outcome, seconds=seconds, images=images)
