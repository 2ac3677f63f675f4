"""fastMRI's HDF5 files: ``kspace`` ``(slices, coils, x, y)`` or ``(slices, x, y)``, and the scan's ISMRMRD header.

The readout (640 samples in the knee data) keeps its oversampling, and images are cut to the middle ``reconSpace`` of the header
(320 × 320 in the knee data). The phase encode direction comes last in the file, and images are shown ``(x, y)``. Lines outside the
header's encoding limits were never acquired; the files hold zeros there.
"""

import logging
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from untrained_recon.encoding import Encoding
from untrained_recon.errors import HeaderError, RawFileError, UnsupportedScanError
from untrained_recon.files.support import SupportedVolume
from untrained_recon.files.volume import Volume, header_for, lines_within_limits, require
from untrained_recon.output import HDF5Output
from untrained_recon.scan.header import parse_header
from untrained_recon.types import ComplexArray

logger = logging.getLogger(__name__)

KNEE_CROP = (320, 320)


class FastMriVolume(SupportedVolume):
    """A fastMRI file. Without a header that can be used, its images are cut to 320 × 320.

    Args:
        path: The file.
        allow_undersampled: Take files of the test and challenge sets, whose ``mask`` leaves lines out. Where there are samples on
            those they are left out too.

    Raises:
        RawFileError: The file or one of its datasets is not as it should be, or is undersampled.
    """

    transposed = True

    def __init__(self, path: Path, allow_undersampled: bool) -> None:
        super().__init__(path)
        self._file = h5py.File(path, "r")
        try:
            self._open(allow_undersampled)
        except RawFileError:
            self._file.close()
            raise

    def _open(self, allow_undersampled: bool) -> None:
        ksp = self._file.get("kspace")
        require(isinstance(ksp, h5py.Dataset), self.path, "no dataset 'kspace'")
        require(
            ksp.ndim in (3, 4) and min(ksp.shape) > 0,
            self.path,
            f"'kspace' has shape {ksp.shape}; it must be (slices, coils, x, y) or (slices, x, y)",
        )
        require(ksp.dtype.kind == "c", self.path, f"'kspace' is {ksp.dtype}; it must be complex")
        self._ksp = ksp
        n_x, n_y = ksp.shape[-2:]
        self.shape = (ksp.shape[1] if ksp.ndim == 4 else 1, n_y, n_x)
        self.encoding = Encoding.of((n_y, n_x), KNEE_CROP)
        self._take_header()
        if "mask" in self._file:
            mask = np.squeeze(np.asarray(self._file["mask"]))
            require(mask.shape == (n_y,), self.path, f"'mask' has shape {mask.shape}, but 'kspace' has {n_y} lines")
            self.apply(np.broadcast_to(mask != 0, (len(self), n_y)), "it has a dataset 'mask'", allow_undersampled)

    def _take_header(self) -> None:
        """Use the file's header for what it says about this k-space."""
        try:
            xml = bytes(self._file["ismrmrd_header"][()])
            found = parse_header(xml).encodings[0]
            if found.refusal is not None:
                raise found.refusal
        except KeyError:
            logger.info("%s has no 'ismrmrd_header': its images are cut to 320 × 320", self.path)
            return
        except (HeaderError, UnsupportedScanError, TypeError) as error:
            logger.warning("%s: 'ismrmrd_header' cannot be used, its images are cut to 320 × 320: %s", self.path, error)
            return
        _, n_y, n_x = self.shape
        fov = found.encoded_fov
        voxel = fov[0], fov[1] / found.encoded_shape[0], fov[2] / found.encoded_shape[1]
        self.encoding = Encoding.of((n_y, n_x), found.recon_shape, voxel)
        if found.encoded_shape != (n_y, n_x):
            logger.warning("%s: 'ismrmrd_header' is for a matrix %s, 'kspace' is %s", self.path, found.encoded_shape, (n_y, n_x))
            return
        lines = lines_within_limits(found)
        if lines.any():
            self._lines = lines
            self.encoding = replace(self.encoding, center_y=found.center_y)
        self.header = xml

    def __len__(self) -> int:
        return int(self._ksp.shape[0])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _samples(self, item: int) -> ComplexArray:
        n_coils, n_y, n_x = self.shape
        return self._ksp[item].reshape(n_coils, n_x, n_y).swapaxes(1, 2)


def write_fastmri(volume: Volume, path: Path) -> None:
    """Write a multi-coil fastMRI file: k-space, header, ``reconstruction_rss`` and its ``max`` and ``norm``.

    Images are cut to the reconstructed field of view; the format knows no interpolation.
    """
    from untrained_recon.physics.operators import rss_image  # it loads torch, which a replay to a server does without

    n_coils, n_y, n_x = volume.shape
    encoding = replace(volume.encoding, recon_shape=volume.encoding.crop_shape)
    with HDF5Output(path) as file, h5py.File(file, "w") as f:
        ksp = f.create_dataset("kspace", (len(volume), n_coils, n_x, n_y), np.complex64)
        rss = f.create_dataset("reconstruction_rss", (len(volume), *encoding.recon_shape[::-1]), np.float32)
        for item, data in enumerate(volume):
            ksp[item] = data.swapaxes(1, 2)
            rss[item] = rss_image(data, encoding).T
        imgs = rss[:]
        f["ismrmrd_header"] = header_for(volume, encoding, volume.lines(0))
        f.attrs.update(max=imgs.max(), norm=np.linalg.norm(imgs), patient_id="", acquisition=_protocol(volume))


def _protocol(volume: Volume) -> str:
    return "" if volume.header is None else parse_header(volume.header).protocol_name
