"""When an image has all of its readouts, by the flags of the acquisitions."""

import logging
from collections import Counter

import ismrmrd

from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Header, ImageIndex
from untrained_recon.errors import IncompleteScanError

logger = logging.getLogger(__name__)

FIRST = (ismrmrd.ACQ_FIRST_IN_SLICE, ismrmrd.ACQ_FIRST_IN_REPETITION)


class Completion:
    """Follows the imaging readouts of one scan.

    ACQ_LAST_IN_SLICE completes its image, ACQ_LAST_IN_REPETITION its image in every slice. Where averages are averaged, an image
    waits for the last average that the header announces; a scan that ends after another one makes do with fewer. In 3-D scans
    ACQ_LAST_IN_SLICE may come with every partition: it counts together with ACQ_LAST_IN_ENCODE_STEP2, and at the end of the scan
    where it was the last readout's or the last partition's.

    At the end of the scan an image without such a flag is incomplete if it has fewer readouts than every image of its encoding
    space that has one, or, where none has, if the readouts say where images begin (ACQ_FIRST_IN_SLICE or _REPETITION). After
    ACQ_LAST_IN_MEASUREMENT, and with ``scan.flush: close``, which is for sequences whose flags cannot be trusted, every image
    counts as complete.
    """

    def __init__(self, header: Header, settings: ScanConfig) -> None:
        self._header = header
        self._settings = settings
        self._flagged: set[ImageIndex] = set()
        self._readouts: Counter[ImageIndex] = Counter()
        self._slices: dict[ImageIndex, dict[ImageIndex, None]] = {}  # images that differ in their slice alone
        self._partition: dict[ImageIndex, int] = {}  # the last one so far
        self._ended_partitions: dict[ImageIndex, set[int]] = {}
        self._paused: set[ImageIndex] = set()  # at the end of a partition
        self._averaged: set[ImageIndex] = set()  # complete in an average that is not the last
        self._begun_by_flag: set[int] = set()  # encoding spaces
        self._ended = False

    def add(self, acq: ismrmrd.Acquisition, index: ImageIndex) -> list[ImageIndex]:
        """Take notice of an imaging readout of an image; return the images that its flags complete."""
        self._readouts[index] += 1
        self._slices.setdefault(index._replace(slice=0), {})[index] = None
        self._paused.discard(index)
        self._partition[index] = max(acq.idx.kspace_encode_step_2, self._partition.get(index, 0))
        self._ended |= acq.is_flag_set(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
        if any(acq.is_flag_set(flag) for flag in FIRST):
            self._begun_by_flag.add(index.encoding)
        completed = self._completed_by(acq, index)
        self._flagged.update(completed)
        return completed

    def forget(self, index: ImageIndex) -> None:
        """What an image was taken for was a reference scan."""
        del self._readouts[index]

    def incomplete(self) -> dict[ImageIndex, int]:
        """The images that the scan ended in the middle of, with their readouts."""
        if self._ended or self._settings.flush == "close":
            return {}
        last = {index for index, ended in self._ended_partitions.items() if self._partition[index] in ended}
        complete = self._flagged | self._paused | self._averaged | last
        shortest: dict[int, int] = {}  # of the complete images, by encoding space
        for index in complete:
            shortest[index.encoding] = min(self._readouts[index], shortest.get(index.encoding, self._readouts[index]))
        return {
            index: readouts
            for index, readouts in self._readouts.items()
            if index not in complete
            and (readouts < shortest[index.encoding] if index.encoding in shortest else index.encoding in self._begun_by_flag)
        }

    def _completed_by(self, acq: ismrmrd.Acquisition, index: ImageIndex) -> list[ImageIndex]:
        completed = self._marked(acq, index)
        announced = self._header.encodings[index.encoding].counts.average
        if self._settings.average and acq.idx.average + 1 < announced:
            self._averaged.update(completed)
            return []
        return completed

    def _marked(self, acq: ismrmrd.Acquisition, index: ImageIndex) -> list[ImageIndex]:
        if acq.is_flag_set(ismrmrd.ACQ_LAST_IN_REPETITION):
            return [i for i in self._slices[index._replace(slice=0)] if i in self._readouts]
        if not acq.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE):
            return []
        if self._header.encodings[index.encoding].partitions == 1 or acq.is_flag_set(ismrmrd.ACQ_LAST_IN_ENCODE_STEP2):
            return [index]
        self._paused.add(index)
        self._ended_partitions.setdefault(index, set()).add(acq.idx.kspace_encode_step_2)
        return []

    def check(self) -> None:
        """Raise IncompleteScanError naming the incomplete images; warn of those that the header announces and that never began."""
        for number, encoding in enumerate(self._header.encodings):
            for name in ("slice", "repetition"):
                came = {getattr(index, name) for index in self._readouts if index.encoding == number}
                if came and len(came) < (announced := getattr(encoding.counts, name)):
                    logger.warning("encoding space %d: the header announces %d of %s, %d came", number, announced, name, len(came))
        for index in self._averaged - self._flagged:
            logger.warning("%s: fewer averages came than the header announces", index)
        if incomplete := self.incomplete():
            named = "; ".join(f"{index} ({readouts} readouts)" for index, readouts in list(incomplete.items())[:10])
            raise IncompleteScanError(
                f"the scan ended before {len(incomplete)} of {len(self._readouts)} images were complete: {named}; the others were "
                "reconstructed; set scan.flush to close to take every image as it is"
            )
