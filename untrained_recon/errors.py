"""Named errors. Each message says what was wrong, where, and what to do; at the host each ends as an ERROR."""

NOT_FINITE = (
    "check the receive chain and repeat the scan; where the client compresses the data (-P or -T), lossy decompression leaves NaN "
    "of readouts that are zero or out of range: send them as they are"
)


class ReconError(Exception):
    """Base of every error that a person at the scanner or at the command line is meant to read.

    Attributes:
        images: The images that it is about, each with its own error; empty where it is about the scan as a whole.
    """

    images: tuple[tuple[object, Exception], ...] = ()


class ConfigError(ReconError):
    """The configuration holds an unknown key, a wrong type or a value out of range; names the dotted path."""


class RawFileError(ReconError):
    """A file of raw or k-space data cannot be read or written, or does not hold what it should; names file and field."""


class KSpaceError(ReconError):
    """An array of k-space is not what can be reconstructed: its type, its shape, the order of its axes, its centre."""


class MaskError(ReconError):
    """A sampling mask is missing, is not of zeros and ones, or does not fit its k-space."""


class MapsError(ReconError):
    """Sensitivity maps that were given are not of the k-space that they are for."""


class HeaderError(ReconError):
    """The ISMRMRD XML header is broken or lacks what reconstruction needs."""


class UnsupportedScanError(ReconError):
    """The scan is valid but of a kind that is not reconstructed (non-Cartesian, EPI, multi-band, multi-shot diffusion)."""


class AcquisitionError(ReconError):
    """A readout does not fit the scan it arrived in."""


class ChannelCountError(AcquisitionError):
    """The number of receive channels changed during the scan."""


class NonFiniteError(AcquisitionError):
    """A readout holds NaN or Inf samples."""


class SpikeError(AcquisitionError):
    """A sample is so much larger than all others that nothing else would be seen of the image."""


class EncodingError(AcquisitionError):
    """An encoding counter points outside the encoded matrix."""


class LateAcquisitionError(AcquisitionError):
    """A readout arrived for an image that had been sent already."""


class NoImagingDataError(ReconError):
    """The scan ended without a single imaging readout."""


class SamplingError(ReconError):
    """So little of an image's k-space was sampled, or so far from its centre, that no image can be made."""


class PartialScanError(ReconError):
    """Some images could not be made, for different reasons; the others were."""


class IncompleteScanError(ReconError):
    """The scan ended before all of its images were complete; the complete ones were reconstructed."""


class NoiseError(ReconError):
    """The noise scan gives no usable coil covariance."""


class CalibrationError(ReconError):
    """The calibration region does not allow coil sensitivities to be estimated."""


class FitError(ReconError):
    """The network could not be fitted (the loss is no longer finite)."""


class WeightsError(ReconError):
    """A file of trained weights cannot be read, or belongs to another network; names the file and the tensor."""


class BartError(ReconError):
    """The ``bart`` command is missing, failed or took too long."""


class ProtocolError(ReconError):
    """The byte stream between host and gadget broke its format or ended early."""


class ReplayError(ReconError):
    """A replay ended without every expected image: the gadget reported an error, died or left images out."""


class UnreachableError(ReplayError):
    """Nothing answers where a server or the resident service should listen."""


class GadgetMissingError(ReplayError):
    """A server answers, but our gadget is not behind it."""


class ServiceBusyError(ReconError):
    """The resident service has as many scans as it takes."""


class ServiceStoppedError(ReconError):
    """The resident service was shut down before an image was finished."""


class HostSilentError(ReconError):
    """The host sent, or took, nothing for too long."""


class HostGoneError(ReconError):
    """The host left before its images were made."""


class ScanTooLargeError(ReconError):
    """A scan needs more memory than one scan may take."""


class WorkerError(ReconError):
    """The processes that were to reconstruct an image died."""


class PackageError(ReconError):
    """A container image cannot be packed for Open Recon."""


class EvaluationError(ReconError):
    """An evaluation ended, but some of its images failed."""


class MissingExtraError(ReconError):
    """An optional dependency is needed for what was asked."""
