"""Replay: a raw file through the gadget into an image file, complete or not at all."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import ismrmrd

from untrained_recon.config import ScanConfig
from untrained_recon.config.callers import of_host
from untrained_recon.encoding import Header, ImageIndex
from untrained_recon.errors import ReplayError
from untrained_recon.files.images import ImageFile, image_file
from untrained_recon.files.raw import RawFile
from untrained_recon.host.exchange import RECEIVE_TIMEOUT_S, Item, exchange, server_connection
from untrained_recon.host.gadget_process import GadgetProcess
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.membership import begins_image, image_index
from untrained_recon.scan.series import counters_of, expected_series, series_index, series_of
from untrained_recon.wire import configuration_xml


class Monitor(Protocol):
    """Follows a replay for a person."""

    def log(self, line: str) -> None:
        """Take a line of the gadget's log (JSON, or whatever a library wrote)."""

    def image_done(self, image: ismrmrd.Image, done: int, known: int) -> None:
        """Take notice of an image: how many came out, how many are known to be due by now."""


def replay(raw_path: Path, out_path: Path, properties: Mapping[str, str], monitor: Monitor, group: str = "") -> list[ismrmrd.Image]:
    """Play ``raw_path`` through the gadget and write what comes back to ``out_path``.

    Args:
        raw_path: ISMRMRD raw file.
        out_path: Image file to write; it appears in the end, with every image that could be made.
        properties: As in a Gadgetron chain, see :func:`untrained_recon.config.callers.of_host`.
        monitor: Told of progress.
        group: Group of ``raw_path``, see :class:`~untrained_recon.files.raw.RawFile`.

    Returns:
        The magnitude images, in the order in which they came.

    Raises:
        ReplayError: Images could not be made; the others are in ``out_path``, if there are any.
        ReconError: Its subclasses say what was wrong; nothing is left at ``out_path`` by this run then.
    """
    config = of_host(properties)
    failure: ReplayError | None = None
    with _files(raw_path, out_path, group) as (raw, out):
        watch = _Expectation(parse_header(raw.header), config.scan)
        magnitudes = []
        try:
            with GadgetProcess("gadgets.acquisitions", "reconstruct", monitor.log) as gadget:
                for item in gadget.exchange(configuration_xml(properties), raw.header, watch.sent(raw.items())):
                    if isinstance(item, ismrmrd.Waveform):
                        out.append_waveform(item)
                        continue
                    out.append_image(item.image_series_index - 1, item)
                    watch.came(item.image_series_index, counters_of(item))
                    if series_of(item).number == 0:
                        magnitudes.append(item)
                        monitor.image_done(item, len(magnitudes), len(watch.known))
            watch.check({(series_index(kind, index.encoding), index) for index in watch.known for kind in expected_series(config)})
        except ReplayError as error:
            if not magnitudes:
                raise
            failure = error
    if failure is not None:
        raise ReplayError(f"{failure}; {len(magnitudes)} of {len(watch.known)} images are in {out_path}") from failure
    return magnitudes


def replay_through_server(
    raw_path: Path,
    out_path: Path,
    address: tuple[str, int],
    chain: bytes,
    monitor: Monitor,
    group: str = "",
    seconds: float = RECEIVE_TIMEOUT_S,
) -> list[ismrmrd.Image]:
    """Play ``raw_path`` through a chain of a running Gadgetron, as its own client does.

    Args:
        raw_path: ISMRMRD raw file.
        out_path: Image file to write; it appears only when the first series holds every expected image. The group ``image_N`` is
            the N-th series that came, from 0.
        address: Host and port of the server.
        chain: The chain's XML.
        monitor: Told of progress.
        group: As for :func:`replay`.
        seconds: How long the server may be silent.

    Returns:
        The images of the first series, in the order in which they came.

    Raises:
        ReconError: As :func:`replay`; what the server complains about is a ReplayError.
    """
    with _files(raw_path, out_path, group) as (raw, out):
        watch = _Expectation(parse_header(raw.header), ScanConfig())
        series: dict[int, list[ismrmrd.Image]] = {}
        with server_connection(*address) as server:
            for item in exchange(server, chain, raw.header, watch.sent(raw.items()), seconds):
                if isinstance(item, ismrmrd.Waveform):
                    out.append_waveform(item)
                    continue
                series.setdefault(item.image_series_index, []).append(item)
                number = list(series).index(item.image_series_index)
                out.append_image(number, item)
                watch.came(
                    number, counters_of(item)._replace(encoding=0, average=0)
                )  # a chain may average, and not say which encoding it was
                if number == 0:
                    monitor.image_done(item, len(series[item.image_series_index]), len(watch.known))
        watch.check({(0, index._replace(encoding=0)) for index in watch.known})
    return next(iter(series.values()), [])


@contextmanager
def _files(raw_path: Path, out_path: Path, group: str) -> Iterator[tuple[RawFile, ImageFile]]:
    """The raw file and the image file in the making."""
    with RawFile(raw_path, group) as raw, image_file(out_path, raw.header, {"the raw data": raw_path}) as out:
        yield raw, out


class _Expectation:
    """Notes which images are due for what was sent, and which came."""

    def __init__(self, header: Header, settings: ScanConfig) -> None:
        self.known: set[ImageIndex] = set()
        self._header = header
        self._settings = settings
        self._came: set[tuple[int, ImageIndex]] = set()

    def sent(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if isinstance(item, ismrmrd.Acquisition) and self._makes_image(item):
                self.known.add(image_index(item, self._settings))
            yield item

    def came(self, series: int, index: ImageIndex) -> None:
        self._came.add((series, index))

    def check(self, due: set[tuple[int, ImageIndex]]) -> None:
        missing = sorted(due - self._came)
        if missing:
            names = "; ".join(f"series {series}, {index}" for series, index in missing[:5])
            raise ReplayError(f"{len(missing)} of {len(due)} expected images did not come out: {names}")

    def _makes_image(self, acq: ismrmrd.Acquisition) -> bool:
        # a readout of an unknown encoding space is for the gadget to refuse
        return acq.encoding_space_ref < len(self._header.encodings) and begins_image(acq, self._header)
