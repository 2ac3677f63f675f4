"""The readouts of one image, as they come."""

import ismrmrd
import numpy as np

from untrained_recon.errors import AcquisitionError
from untrained_recon.readout import Readout, describe, is_calibration_only, stamps_of
from untrained_recon.types import Encoding


class Lines:
    """Readouts of one image.

    Attributes:
        readouts: Their samples.
        reference: Header of the one nearest to the centre of k-space, whatever it is for; of several, of the lowest partition and
            line, and of the first average, as Gadgetron chooses.
        stamps: Time stamps of those that are not for calibration alone.
    """

    def __init__(self) -> None:
        self.readouts: list[Readout] = []
        self.reference = ismrmrd.AcquisitionHeader()
        self.stamps: list[tuple[int, ...]] = []
        self._nearest = (float("inf"), 0, 0)

    def add(self, readout: Readout, acq: ismrmrd.Acquisition, encoding: Encoding) -> None:
        """Take a readout. Raises AcquisitionError when it is of another length than the ones before."""
        if self.readouts and readout.grid != self.readouts[0].grid:
            raise AcquisitionError(f"{describe(acq)} has another readout length than the lines before it")
        away_y, away_z = readout.line - encoding.encoded_shape[0] // 2, readout.partition - encoding.partitions // 2
        if (near := (float(np.hypot(away_y, away_z)), readout.partition, readout.line)) < self._nearest:
            self._nearest, self.reference = near, acq.getHead()
        if not is_calibration_only(acq):
            self.stamps.append(stamps_of(acq))
        self.readouts.append(readout)
