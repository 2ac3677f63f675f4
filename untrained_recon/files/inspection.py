"""What a raw file holds, for people: sizes, sampling, flags, and problems that would stop a reconstruction."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import ismrmrd
import numpy as np

from untrained_recon.config import ScanConfig
from untrained_recon.encoding import Header, ImageIndex
from untrained_recon.errors import ReconError, SamplingError
from untrained_recon.files.raw import RawFile
from untrained_recon.physics.maps import FEWEST_LINES
from untrained_recon.sampled import calibration_width, plane_axis, plane_shape
from untrained_recon.scan.assemble import assemble
from untrained_recon.scan.header import parse_header
from untrained_recon.scan.readout import is_noise
from untrained_recon.scan.soundness import checked

FLAGS = {getattr(ismrmrd, name): name.removeprefix("ACQ_") for name in sorted(dir(ismrmrd)) if name.startswith("ACQ_")}


@dataclass
class Summary:
    """Findings, as label and text, and problems, most severe first.

    Attributes:
        facts: What the file holds.
        problems: Why it cannot be reconstructed, if so.
        remarks: What a reader should know though it can be.
        sizes: Coils and matrix ``(n_y, n_x)`` of the images that need a fit, or of the planes of volumes.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    sizes: set[tuple[int, tuple[int, int]]] = field(default_factory=set)


def inspect(path: Path, group: str = "") -> Summary:
    """Read a raw file (its ``group``) and summarise it. Raises RawFileError when it is not an ISMRMRD raw file."""
    summary = Summary()
    with RawFile(path, group) as raw:
        _tally(raw, summary)
        try:
            header = parse_header(raw.header)
            _describe_header(header, summary)
            _describe_images(raw, header, summary)
        except ReconError as error:
            summary.problems.append(f"{type(error).__name__}: {error}")
    return summary


def _tally(raw: RawFile, summary: Summary) -> None:
    flags: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    counters: dict[str, set[int]] = {name: set() for name in (*ImageIndex._fields[1:], "segment")}
    noise = ""
    for acq in raw.acquisitions():
        flags.update(name for flag, name in FLAGS.items() if acq.is_flag_set(flag))
        if is_noise(acq):
            noise = f"{acq.number_of_samples} samples, dwell {acq.sample_time_us:g} us"
            continue
        shapes[f"{acq.active_channels} coils x {acq.number_of_samples} samples, centre {acq.center_sample}"] += 1
        for name, values in counters.items():
            values.add(getattr(acq.idx, name))
    summary.facts += [
        ("acquisitions", str(len(raw))),
        ("readouts", "; ".join(f"{n} of {shape}" for shape, n in shapes.most_common()) or "none"),
        ("noise scan", noise or "none"),
        ("dimensions", ", ".join(f"{len(v)} {name}" for name, v in counters.items() if len(v) > 1) or "one image"),
        ("flags", ", ".join(f"{name} {n}" for name, n in sorted(flags.items())) or "none"),
        ("waveforms", str(sum(1 for _ in raw.waveforms()))),
    ]
    if not noise:
        summary.remarks.append("no noise scan: the coils will not be prewhitened")


def _describe_header(header: Header, summary: Summary) -> None:
    summary.remarks += header.remarks
    for n, e in enumerate(header.encodings):
        if e.refusal is not None:
            continue
        where = "" if len(header.encodings) == 1 else f" {n}"
        (n_y, n_x), (recon_y, recon_x) = e.encoded_shape, e.recon_shape
        n_z, recon_z = ("" if n == 1 else f" x {n}" for n in (e.partitions, e.recon_partitions))
        calibration = "separate" if e.separate_calibration else f"interleaved ({e.interleaved})" if e.interleaved else "embedded"
        fov_z, fov_y, fov_x = e.recon_fov
        summary.facts += [
            (
                f"encoded matrix{where}",
                f"{n_x} x {n_y}{n_z} ({'x, y, z' if n_z else 'x, y'}), readout oversampling {e.encoded_fov[2] / fov_x:g}",
            ),
            (f"recon matrix{where}", f"{recon_x} x {recon_y}{recon_z}, field of view {fov_x:g} x {fov_y:g} x {fov_z:g} mm"),
            (f"header says{where}", f"R = {e.acceleration:g}, {calibration} calibration"),
        ]


def _describe_images(raw: RawFile, header: Header, summary: Summary) -> None:
    kinds: Counter[tuple[str, int]] = Counter()
    remarks: Counter[str] = Counter()
    useless: Counter[str] = Counter()
    try:
        for data in assemble(([acq] for acq in raw.acquisitions()), header, ScanConfig()):
            calib_mask = data.calib_mask
            if calib_mask.ndim == 3:
                calib_mask = np.any(calib_mask, axis=plane_axis(data.mask))
            acs = calibration_width(calib_mask)
            lines = data.mask.any(axis=-1)
            kinds[f"{lines.sum()} of {lines.size} lines, R = {data.acceleration:.2f} as sampled, ACS {acs}", acs] += 1
            remarks.update(data.notes)
            if not data.mask.all():
                summary.sizes.add((len(data.ksp), plane_shape(data.mask)))
            try:
                remarks.update(f"CAUTION {caution.code}: {caution}" for caution in checked(data).cautions)
            except SamplingError as error:
                useless[f"SamplingError: {error}"] += 1
    finally:
        summary.facts.append(("images", "; ".join(f"{n} with {text}" for (text, _), n in kinds.most_common()) or "none"))
        summary.remarks += [f"{n} images: {text}" for text, n in remarks.most_common()]
        summary.problems += [f"{n} images: {text}" for text, n in useless.most_common()]
    if any(acs < FEWEST_LINES for _, acs in kinds):
        summary.remarks.append(f"images with fewer than {FEWEST_LINES} ACS lines are reconstructed without sensitivity maps")
