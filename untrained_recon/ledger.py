"""The memory of one scan's readouts and images, in its account."""

from collections import Counter
from collections.abc import Iterable, Iterator

import ismrmrd

from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Header, ImageIndex
from untrained_recon.membership import image_index, is_imaging
from untrained_recon.memory import Account, describe_image, image_bytes
from untrained_recon.readout import is_noise
from untrained_recon.types import KSpace

OBJECT_BYTES = 2048
"""Of a readout besides its samples."""


class Ledger:
    """Takes memory for what a scan holds, before it is held.

    Args:
        header: The scan's header.
        settings: Which readouts belong to an image.
        account: Where the memory is noted.

    Raises:
        ScanTooLargeError: Even with one coil an image would be too large.
    """

    def __init__(self, header: Header, settings: ScanConfig, account: Account) -> None:
        self._header, self._settings, self._account = header, settings, account
        self._image_bytes = 0
        self._held: Counter[ImageIndex] = Counter()
        for number in range(len(header.encodings)):
            self.expect(number, 1)

    def expect(self, encoding: int, n_coils: int) -> None:
        """Take memory for making one image at a time of an encoding space and so many coils, if there is not enough yet."""
        if encoding >= len(self._header.encodings):  # whoever places its readouts complains
            return
        space = self._header.encodings[encoding]
        if (needed := image_bytes(space, n_coils)) > self._image_bytes:
            self._account.take(needed - self._image_bytes, describe_image(space, n_coils))
            self._image_bytes = needed

    def entering(self, batches: Iterable[Iterable[ismrmrd.Acquisition]]) -> Iterator[list[ismrmrd.Acquisition]]:
        """Pass readouts on, each noted before."""
        for batch in batches:
            readouts = list(batch)
            for acq in readouts:
                self._note(acq)
            yield readouts

    def leaving(self, images: Iterable[KSpace]) -> Iterator[KSpace]:
        """Pass images on, whose readouts are held no longer."""
        for image in images:
            self._account.give(self._held.pop(image.index, 0))
            yield image

    def _note(self, acq: ismrmrd.Acquisition) -> None:
        self.expect(acq.encoding_space_ref, acq.active_channels)
        size = acq.data.nbytes + OBJECT_BYTES
        self._account.take(size, f"readout {acq.scan_counter}")
        known = acq.encoding_space_ref < len(self._header.encodings) and not is_noise(acq)
        if known and is_imaging(acq, self._header) and not self._header.encodings[acq.encoding_space_ref].interleaved:
            self._held[image_index(acq, self._settings)] += size
