"""What only the readouts tell about a scan of a kind that is not reconstructed."""

import ismrmrd

from untrained_recon.encoding import Header
from untrained_recon.errors import UnsupportedScanError
from untrained_recon.readout import describe


class Scope:
    """Follows the readouts of one scan; for what the XML header tells see :func:`untrained_recon.header.parse_header`.

    Args:
        header: The scan's header.
    """

    def __init__(self, header: Header) -> None:
        self._diffusion = header.diffusion
        self._reversed = self._phase_correction = False

    def check(self, acq: ismrmrd.Acquisition) -> None:
        """Look at one readout, of whatever kind.

        Phase correction readouts alone are left out, as turbo spin echo sequences send them too; with reversed readouts they mean
        echo planar imaging, whose lines need them.

        Raises:
            UnsupportedScanError: Echo planar imaging, or diffusion weighting in several shots, whose phases differ.
        """
        self._reversed |= acq.is_flag_set(ismrmrd.ACQ_IS_REVERSE)
        self._phase_correction |= acq.is_flag_set(ismrmrd.ACQ_IS_PHASECORR_DATA)
        if self._reversed and self._phase_correction:
            raise UnsupportedScanError(
                f"{describe(acq)}: reversed readouts with phase correction data; echo planar scans are not reconstructed"
            )
        if self._diffusion and (acq.idx.segment or acq.is_flag_set(ismrmrd.ACQ_IS_NAVIGATION_DATA)):
            raise UnsupportedScanError(
                f"{describe(acq)}: diffusion weighting in several shots, whose phases differ; such scans are not reconstructed"
            )
