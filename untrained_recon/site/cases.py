"""Cases of the integration test: what is sent, and what must come back.

A case is a folder with ``case.yaml`` and, where images are compared, ``reference.npy``: float16 ``(images, y, x)``, the magnitude
of every image in the order in which it must come.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import ismrmrd
import numpy as np
import yaml
from ismrmrd import xsd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from untrained_recon.errors import ConfigError
from untrained_recon.files.raw import RawFile
from untrained_recon.output import write_array
from untrained_recon.phantom.simulation import Simulation, simulate
from untrained_recon.scan.document import write_document
from untrained_recon.types import FloatArray

Item: TypeAlias = ismrmrd.Acquisition | ismrmrd.Waveform
Scan: TypeAlias = tuple[bytes, list[Item]]
REFERENCE = "reference.npy"
FLOAT16_MAX = 65504.0


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expectation(_Part):
    """What must come back."""

    error: str = Field("", description="part of the error's text; without it, no error")
    images: int = Field(0, ge=0, description="number of images")
    threshold: float = Field(0.01, gt=0, description="largest ‖out - ref‖ / ‖ref‖")
    scale: float = Field(0.01, gt=0, description="largest |1 - s| with the s that brings s · out closest to ref")
    header: dict[str, Any] = Field({}, description="fields of the image header: one value for all images, or one for each")
    meta: dict[str, str | list[str]] = Field({}, description="meta attributes, likewise")


class CaseFile(_Part):
    """``case.yaml``."""

    description: str
    raw: str = Field("", description="raw file in the case's folder, instead of simulate")
    simulate: Simulation | None = None
    edits: list[str] = Field([], description="what is done to the scan, in this order")
    config: dict[str, str | int | float | bool] = Field({}, description="settings of the reconstruction")
    input: Literal["acquisitions", "buckets", "buffers"] = Field("acquisitions", description="kind of input of a server's chain")
    output: Literal["float", "uint16", "complex"] = Field("float", description="pixels that leave a server's chain")
    pace_s: float = Field(0.0, ge=0, description="seconds before every readout, as from a scanner")
    precision: int = Field(0, ge=0, le=31, description="bits of compressed readouts, as by the client's -P; 0: as they are")
    repeat: int = Field(1, ge=1, description="times that the scan is played; each must end as expected")
    chain: str = Field("", description="chain in the case's folder for a server, instead of one made from input and config")
    targets: list[Literal["service", "server"]] = Field(["service", "server"], description="what the case can be played to")
    expect: Expectation


@dataclass(frozen=True)
class Case:
    """A case and its folder."""

    folder: Path
    file: CaseFile

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def reference(self) -> FloatArray | None:
        """The reference images, float32, where there are any. Raises ConfigError where they cannot be read."""
        path = self.folder / REFERENCE
        try:
            return np.load(path).astype(np.float32) if path.exists() else None
        except (OSError, ValueError, EOFError, AttributeError) as error:  # the last where it is an archive
            raise ConfigError(f"{path}: cannot be read as .npy: {error}") from error

    def update(self, images: FloatArray) -> None:
        """Write the reference anew. Raises ConfigError where its pixels do not fit, RawFileError where it cannot be written."""
        if float(images.max()) > FLOAT16_MAX:
            raise ConfigError(f"{self.folder}: pixels up to {images.max():g} do not fit a float16 reference")
        write_array(self.folder / REFERENCE, images.astype(np.float16))

    def scan(self) -> Scan:
        """Header and items to send. Raises RawFileError, or ConfigError for a recipe that cannot be made."""
        with TemporaryDirectory() as folder:
            path = self.folder / self.file.raw
            if self.file.simulate is not None:
                path = Path(folder) / "scan.h5"
                simulate(path, self.file.simulate)
            with RawFile(path) as raw:
                scan: Scan = raw.header, list(raw.items())
        for edit in self.file.edits:
            scan = EDITS[edit](*scan)
        return scan


def load_cases(folder: Path) -> list[Case]:
    """All cases of a folder, by name.

    Raises:
        ConfigError: There are none, or one is not of the form.
    """
    cases = [Case(path.parent, _load(path)) for path in sorted(folder.glob("*/case.yaml"))]
    if not cases:
        raise ConfigError(f"{folder}: no cases (folders with a case.yaml)")
    return cases


def _load(path: Path) -> CaseFile:
    try:
        file = CaseFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    unknown = sorted(set(file.edits) - set(EDITS))
    if unknown:
        raise ConfigError(f"{path}: edits: unknown {', '.join(unknown)}; there are {', '.join(EDITS)}")
    if bool(file.raw) == (file.simulate is not None):
        raise ConfigError(f"{path}: either raw or simulate")
    return file


def _noise_only(header: bytes, items: list[Item]) -> Scan:
    return header, [item for item in items if _is_noise(item)]


def _broken_header(header: bytes, items: list[Item]) -> Scan:
    return header[: len(header) // 2], items


def _not_a_number(header: bytes, items: list[Item]) -> Scan:
    items[-1].data[0, 0] = np.nan
    return header, items


def _fewer_channels(header: bytes, items: list[Item]) -> Scan:
    items[-1].resize(items[-1].number_of_samples, items[-1].active_channels - 1)
    return header, items


def _line_beyond_matrix(header: bytes, items: list[Item]) -> Scan:
    items[-1].idx.kspace_encode_step_1 = 4000
    return header, items


def _waveform(header: bytes, items: list[Item]) -> Scan:
    ecg = ismrmrd.Waveform.from_array(np.arange(24, dtype=np.uint32).reshape(2, 12))
    return header, [*items[:1], ecg, *items[1:]]


def _one_slice_promised(header: bytes, items: list[Item]) -> Scan:
    parsed = xsd.CreateFromDocument(header)
    parsed.encoding[0].encodingLimits.slice.maximum = 0
    return write_document(parsed), items


def _reversed_order(header: bytes, items: list[Item]) -> Scan:
    noise = [item for item in items if _is_noise(item)]
    rest = [item for item in items if not _is_noise(item)]
    for item in rest:
        item.clear_all_flags()
    return header, [*noise, *reversed(rest)]


def _is_noise(item: Item) -> bool:
    return isinstance(item, ismrmrd.Acquisition) and bool(item.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT))


EDITS: dict[str, Callable[[bytes, list[Item]], Scan]] = {
    "noise_only": _noise_only,
    "broken_header": _broken_header,
    "not_a_number": _not_a_number,
    "fewer_channels": _fewer_channels,
    "line_beyond_matrix": _line_beyond_matrix,
    "waveform": _waveform,
    "one_slice_promised": _one_slice_promised,
    "reversed_order": _reversed_order,
}
