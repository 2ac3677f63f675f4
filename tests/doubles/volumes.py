"""Small files of fully sampled k-space in the formats that the study reads."""

from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import numpy.typing as npt

from untrained_recon.encoding import Encoding, ImageIndex
from untrained_recon.scan.document import write_document
from untrained_recon.scan.elements import encoding_element
from untrained_recon.types import ComplexArray


def random_ksp(shape: tuple[int, ...], seed: int = 0) -> ComplexArray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def fastmri_header(n_y: int, n_x: int, crop: int, acquired: int, oversampling: float = 2.0) -> bytes:
    """``acquired`` lines of ``n_y``, in the middle; voxels of 2 mm after removal of the oversampling."""
    encoding = Encoding(
        encoded_shape=(n_y, n_x),
        recon_shape=(crop, crop),
        encoded_fov=(4.5, 2.0 * n_y, 2.0 * crop * oversampling),
        recon_fov=(4.5, 2.0 * crop, 2.0 * crop),
        center_y=acquired // 2,
        counts=ImageIndex(1, 1, 1, 1, 1, 1, 1),
        separate_calibration=False,
        acceleration=1,
    )
    document = ismrmrd.xsd.ismrmrdHeader(
        experimentalConditions=ismrmrd.xsd.experimentalConditionsType(H1resonanceFrequency_Hz=63_000_000),
        measurementInformation=ismrmrd.xsd.measurementInformationType(
            patientPosition=ismrmrd.xsd.patientPositionType.HFS, protocolName="AXT2"
        ),
        encoding=[encoding_element(encoding, 0, acquired - 1)],
    )
    return write_document(document)


def write_fastmri_file(path: Path, ksp: npt.NDArray[Any], header: bytes | None = None) -> Path:
    """``ksp`` as in the file: ``(slices, coils, x, y)`` or ``(slices, x, y)``."""
    with h5py.File(path, "w") as f:
        f["kspace"] = ksp
        if header is not None:
            f["ismrmrd_header"] = header
    return path


def knee(path: Path) -> tuple[Path, ComplexArray]:
    """A knee in small: 2 slices, 3 coils, readout 64 with twofold oversampling, 30 of 36 lines acquired, images of 32 × 32.

    The k-space in the file's order ``(slices, coils, x, y)``.
    """
    ksp = random_ksp((2, 3, 64, 36))
    ksp[..., :3] = ksp[..., 33:] = 0
    return write_fastmri_file(path, ksp, fastmri_header(36, 64, 32, 30)), ksp
