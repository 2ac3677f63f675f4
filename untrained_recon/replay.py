"""Replay: a raw file through the gadget into an image file, complete or not at all."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import ismrmrd

from untrained_recon.assemble import image_index, is_imaging
from untrained_recon.config import Config
from untrained_recon.errors import RawFileError, ReplayError
from untrained_recon.header import parse_header
from untrained_recon.host import GadgetProcess, Item
from untrained_recon.images import SERIES_PER_ENCODING, counters_of, expected_series, series_index
from untrained_recon.rawfile import ImageFile, RawFile
from untrained_recon.stream import resolve
from untrained_recon.types import Header, ImageIndex
from untrained_recon.wire import configuration_xml

logger = logging.getLogger(__name__)


class Monitor(Protocol):
    """Follows a replay for a person."""

    def log(self, line: str) -> None:
        """Take a line of the gadget's log (JSON, or whatever a library wrote)."""

    def image_done(self, image: ismrmrd.Image, done: int, known: int) -> None:
        """Take notice of an image: how many came out, how many are known to be due by now."""


def replay(raw_path: Path, out_path: Path, properties: Mapping[str, str], monitor: Monitor) -> list[ismrmrd.Image]:
    """Play ``raw_path`` through the gadget and write what comes back to ``out_path``.

    Args:
        raw_path: ISMRMRD raw file.
        out_path: Image file to write; it appears only when every expected image is in it.
        properties: As in a Gadgetron chain, see :func:`untrained_recon.stream.resolve`.
        monitor: Told of progress.

    Returns:
        The magnitude images, in the order in which they came.

    Raises:
        ReconError: Its subclasses say what was wrong; nothing is left at ``out_path`` by this run then.
    """
    config, _ = resolve(properties)
    if not out_path.parent.is_dir():
        raise RawFileError(f"{out_path}: the folder {out_path.parent} does not exist")
    if out_path.exists() and out_path.samefile(raw_path):
        raise RawFileError(f"{out_path}: the output would replace the raw data")
    with RawFile(raw_path) as raw:
        header = parse_header(raw.header)
        watch = _Expectation(header, config)
        with (
            ImageFile(out_path, raw.header) as out,
            GadgetProcess("gadgets.acquisitions", "reconstruct", monitor.log) as gadget,
        ):
            magnitudes = []
            for item in gadget.exchange(configuration_xml(properties), raw.header, watch.sent(raw.items())):
                if isinstance(item, ismrmrd.Waveform):
                    out.append_waveform(item)
                    continue
                out.append_image(item.image_series_index - 1, item)
                watch.came(item)
                if (item.image_series_index - 1) % SERIES_PER_ENCODING == 0:
                    magnitudes.append(item)
                    monitor.image_done(item, len(magnitudes), len(watch.known))
            watch.check()
            out.commit()
    return magnitudes


class _Expectation:
    """Notes which images are due for what was sent, and which came."""

    def __init__(self, header: Header, config: Config) -> None:
        self.known: set[ImageIndex] = set()
        self._header = header
        self._kinds = expected_series(config)
        self._came: set[tuple[int, ImageIndex]] = set()

    def sent(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if isinstance(item, ismrmrd.Acquisition) and self._makes_image(item):
                self.known.add(image_index(item))
            yield item

    def came(self, image: ismrmrd.Image) -> None:
        self._came.add((image.image_series_index, counters_of(image)))

    def check(self) -> None:
        due = {(series_index(kind, index.encoding), index) for index in self.known for kind in self._kinds}
        missing = sorted(due - self._came)
        if missing:
            names = "; ".join(f"series {series}, {index}" for series, index in missing[:5])
            raise ReplayError(f"{len(missing)} of {len(due)} expected images did not come out: {names}")

    def _makes_image(self, acq: ismrmrd.Acquisition) -> bool:
        # a readout of an unknown encoding space is for the gadget to refuse
        return acq.encoding_space_ref < len(self._header.encodings) and is_imaging(acq, self._header)
