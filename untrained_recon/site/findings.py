"""What came back from an installation, compared with what must."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ismrmrd
import numpy as np

from untrained_recon.host.exchange import EARLY
from untrained_recon.scan.images import WINDOW
from untrained_recon.site.cases import Case
from untrained_recon.types import FloatArray

BRIGHT = 99.5  # per cent; windows end there


@dataclass
class Outcome:
    """What came back."""

    images: list[ismrmrd.Image] = field(default_factory=list)
    others: int = 0
    error: str = ""
    stray: str = ""
    first_image_s: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be."""

    kind: str
    text: str


def check(case: Case, outcome: Outcome, waveforms: int) -> Iterator[Finding]:
    """Compare what came back with what must.

    Args:
        case: What must.
        outcome: What came.
        waveforms: Number of waveforms that were sent and must come back.
    """
    expect = case.file.expect
    if expect.error and expect.error not in outcome.error:
        yield Finding("missing error", f"expected {expect.error!r}, got {outcome.error or 'no error'}")
    if outcome.error and not expect.error:
        yield Finding("unexpected error", outcome.error)
    if len(outcome.images) < expect.images:
        yield Finding("missing image", f"{len(outcome.images)} of {expect.images} images came")
    if len(outcome.images) > expect.images:
        yield Finding("stray output", f"{len(outcome.images)} images came, {expect.images} were due")
    if outcome.others != waveforms:
        yield Finding("stray output", f"{outcome.others} waveforms came back, {waveforms} were sent")
    if outcome.stray:
        yield Finding("stray output", outcome.stray)
    if EARLY in outcome.error:
        yield Finding("early error", f"an ERROR {EARLY}")
    for image in outcome.images:
        yield from _check_window(image)
    reference = case.reference
    if reference is not None and len(outcome.images) == len(reference):
        yield from _check_pixels(magnitudes(outcome), reference, expect.threshold, expect.scale)
    for name, wanted in expect.header.items():
        found = [_plain(getattr(image.getHead(), name)) for image in outcome.images]  # ismrmrd 1.14 turns matrix_size around
        if found and not _agree(found, wanted):
            yield Finding("wrong header", f"{name} is {found}, expected {wanted}")
    for name, text in expect.meta.items():
        values = [str(image.meta.get(name)) for image in outcome.images]
        if values != (text if isinstance(text, list) else [text] * len(values)):
            yield Finding("wrong meta", f"{name} is {values}, expected {text}")


def _check_window(image: ismrmrd.Image) -> Iterator[Finding]:
    """The window, where the image states one, must be that of the pixels as they came."""
    meta = image.meta
    if not {*WINDOW} <= {*meta}:
        return
    centre, width = (float(meta[name]) for name in WINDOW)
    bright = float(np.percentile(np.abs(image.data), BRIGHT))
    if not bright / 2 <= centre + width / 2 <= 2 * bright:
        yield Finding("wrong window", f"it ends at {centre + width / 2:g}, {BRIGHT} % of the pixels lie below {bright:g}")


def magnitudes(outcome: Outcome) -> list[FloatArray]:
    """The pixels ``(y, x)`` of every image, of complex ones the magnitude."""
    pixels = (np.abs(image.data) if np.iscomplexobj(image.data) else image.data for image in outcome.images)
    return [found.astype(np.float32).reshape(found.shape[-2:]) for found in pixels]


def _check_pixels(found: list[FloatArray], reference: FloatArray, threshold: float, scale_threshold: float) -> Iterator[Finding]:
    if any(img.shape != reference.shape[1:] for img in found):
        yield Finding("wrong image", f"shape {found[0].shape}, expected {reference.shape[1:]}")
        return
    out = np.stack(found)
    error = float(np.linalg.norm(out - reference) / np.linalg.norm(reference))
    energy = float(np.vdot(out, out))
    scale = float(np.vdot(out, reference)) / energy if energy > 0 else 0.0
    if not (error <= threshold and abs(1 - scale) <= scale_threshold):
        yield Finding(
            "wrong image",
            f"‖out - ref‖/‖ref‖ is {error:.4f} (at most {threshold}), "
            f"|1 - scale| is {abs(1 - scale):.4f} (at most {scale_threshold})",
        )


def _plain(value: Any) -> Any:
    return list(value) if hasattr(value, "__len__") else value


def _agree(found: list[Any], wanted: Any) -> bool:
    one, each = np.asarray(wanted), np.asarray(found)
    return one.shape in (each.shape, each.shape[1:]) and bool(np.allclose(each, one, rtol=1e-4, atol=1e-4))
