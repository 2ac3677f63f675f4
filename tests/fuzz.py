"""Random damage to samples, readouts, headers, files, streams and settings, taken through the whole gadget.

``python -m tests.fuzz --runs 1000 --seed 0`` prints how the runs ended, and each that ended as none may: with an error without a
name, without image or error, with an image that is not finite, or with another image changed or lost than the damaged one.
"""

import argparse
import copy
import random
import resource
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import ismrmrd
import numpy as np

import gadgets.connection
import tests.doubles.helpers
from gadgets import acquisitions, buckets, buffers
from gadgets.connection import GadgetConnection
from tests.doubles.damage import (
    OF_ONE_IMAGE,
    damaged_bytes,
    damaged_file,
    damaged_header,
    damaged_header_field,
    damaged_samples,
    damaged_settings,
)
from tests.doubles.helpers import Answer, play, read_raw, stream
from tests.doubles.streams import bucket_bytes, recon_data_bytes
from untrained_recon.errors import ReconError
from untrained_recon.files.inspection import inspect
from untrained_recon.files.raw import RawFile
from untrained_recon.phantom.simulation import Simulation, simulate
from untrained_recon.scan.readout import is_noise
from untrained_recon.wire import CLOSE

SLICES = 3
SCAN = Simulation(shape=(24, 20), coils=3, accel=2, acs=10, pattern="equispaced", slices=SLICES, noise=0.01, seed=0)
SETTINGS = {
    "config": "fast",
    "device": "cpu",
    "output.form": "images",
    "fit.iterations": "2",
    "refine.iterations": "1",
    "network.channels": "4",
    "network.layers": "3",
    "network.in_size": "[4, 4]",
}
MEMORY = 8 << 30
BATCH = 50
NAMED, IMAGES = "named error", "images"
Scan = tuple[bytes, list[ismrmrd.Acquisition]]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with images, a named error, or as none may; and of what damage."""

    end: str
    damage: str
    detail: str = ""

    @property
    def bad(self) -> bool:
        return self.end not in (NAMED, IMAGES, f"{IMAGES} and {NAMED}")


@cache
def base() -> tuple[bytes, bytes]:
    """The sound scan: bytes of its raw file, and its XML header."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        simulate(path, SCAN)
        return path.read_bytes(), read_raw(path)[0]


@cache
def _sound() -> list[ismrmrd.Acquisition]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        path.write_bytes(base()[0])
        return read_raw(path)[1]


def lines() -> list[ismrmrd.Acquisition]:
    """Readouts of the sound scan, to be damaged."""
    return copy.deepcopy(_sound())


@cache
def expected(kind: str) -> dict[int, Any]:
    """Pixels of the sound scan by slice."""
    return {image.slice: image.data for image in _played(stream(SETTINGS, base()[1], lines()), acquisitions).images}


def damage_samples(rng: random.Random) -> Outcome:
    """Samples of one slice, or of the noise scan."""
    scan, hit = lines(), rng.choice((*range(SLICES), None))
    chosen = [acq for acq in scan if is_noise(acq) == (hit is None) and (hit is None or acq.idx.slice == hit)]
    what = f"slice {hit}, {damaged_samples(rng, chosen)}"
    answer = _played(stream(SETTINGS, base()[1], scan), acquisitions)
    return _judged(answer, what, set(range(SLICES)) - {hit} if hit is not None else set(), SLICES)


def damage_readout(rng: random.Random) -> Outcome:
    """A field of one readout's header."""
    scan = lines()
    acq = rng.choice(scan)
    hit = acq.idx.slice
    alone = not is_noise(acq)
    name, what = damaged_header_field(rng, acq)
    others = set(range(SLICES)) - {hit} if name in OF_ONE_IMAGE and alone else set()
    return _judged(_played(stream(SETTINGS, base()[1], scan), acquisitions), f"readout of slice {hit}: {what}", others, 1)


def damage_header(rng: random.Random) -> Outcome:
    """The XML header."""
    xml, what = damaged_header(rng, base()[1])
    return _judged(_played(stream(SETTINGS, xml, lines()), acquisitions), f"header: {what}", set(), 1)


def damage_settings(rng: random.Random) -> Outcome:
    """Settings of the chain."""
    settings = damaged_settings(rng)
    answer = _played(stream({**SETTINGS, **settings}, base()[1], lines()), acquisitions)
    return _judged(answer, f"settings: {str(settings)[:200]}", set(), 1)


def damage_stream(rng: random.Random) -> Outcome:
    """Bytes of acquisitions, buckets or buffers."""
    module, message = rng.choice(_messages())
    damaged, what = damaged_bytes(rng, message)
    data = stream(SETTINGS, base()[1], [], close=False) + damaged + struct.pack("<H", CLOSE)
    return _judged(_played(data, module, ends=True), f"{module.__name__}: {what}", set(), 0)


def damage_file(rng: random.Random) -> Outcome:
    """A raw file."""
    with tempfile.TemporaryDirectory() as folder:
        source, path = Path(folder) / "sound.h5", Path(folder) / "raw.h5"
        source.write_bytes(base()[0])
        what = f"file: {damaged_file(rng, source, path)}"
        try:
            inspect(path)
            with RawFile(path) as raw:
                data = stream(SETTINGS, raw.header, list(raw.items()))
        except ReconError as error:
            return Outcome(NAMED, what, f"{type(error).__name__}: {error}")
        except Exception as error:
            return Outcome("unnamed", what, f"{type(error).__name__}: {error}")
    return _judged(_played(data, acquisitions), what, set(), 1)


KINDS: dict[str, Callable[[random.Random], Outcome]] = {
    "samples": damage_samples,
    "readout": damage_readout,
    "header": damage_header,
    "settings": damage_settings,
    "stream": damage_stream,
    "file": damage_file,
}


@cache
def _messages() -> list[tuple[Any, bytes]]:
    """The scan as each kind of gadget gets it."""
    scan = lines()
    plain = b"".join(struct.pack("<H", 1008) + acq.to_bytes() for acq in scan)
    imaging = [acq for acq in scan if not is_noise(acq)]
    n_x = SCAN.shape[1]
    data = np.zeros((n_x, SCAN.shape[0], 1, SCAN.coils, 1, 1, SLICES), np.complex64, order="F")
    headers = np.empty((SCAN.shape[0], 1, 1, 1, SLICES), object)
    for place in np.ndindex(*headers.shape):
        headers[place] = ismrmrd.AcquisitionHeader()
    for acq in imaging:
        row, slice_ = acq.idx.kspace_encode_step_1, acq.idx.slice
        data[:, row, 0, :, 0, 0, slice_] = acq.data[:, :n_x].T
        acq.resize(n_x, SCAN.coils)
        acq.center_sample = n_x // 2
        headers[row, 0, 0, 0, slice_] = acq.getHead()
    sorted_ = recon_data_bytes(data, headers, (data, headers))
    return [(acquisitions, plain), (buckets, bucket_bytes(lines()[1:], lines()[1:3])), (buffers, sorted_)]


def _played(data: bytes, module: Any, ends: bool = False) -> Answer:
    return play(data, lambda sock: module.reconstruct(GadgetConnection(sock)), ends=ends)


def _judged(answer: Answer, damage: str, untouched: set[int], due: int) -> Outcome:
    """What became of a scan.

    Args:
        answer: What came back.
        damage: What was done to it.
        untouched: Slices that must be there as without damage.
        due: Images that there are at least, if there is no error.
    """
    error = answer.errors[0] if answer.errors else ""
    if error.startswith("internal error") or (answer.failure is not None and not isinstance(answer.failure, ReconError)):
        return Outcome("unnamed", damage, error or repr(answer.failure))
    if any(not np.isfinite(image.data).all() for image in answer.images):
        return Outcome("not finite", damage)
    came = {image.slice: image.data for image in answer.images}
    lost = [n for n in untouched if n not in came or not np.array_equal(came[n], expected("")[n])]
    if lost:
        return Outcome("neighbour", damage, f"slices {lost} lost or changed; {error}")
    if not error and len(answer.images) < due:
        return Outcome("silent", damage, f"{len(answer.images)} images")
    return Outcome(f"{IMAGES} and {NAMED}" if error and came else NAMED if error else IMAGES, damage, error)


def one(kind: str, seed: int) -> Outcome:
    """One run, the same for the same seed."""
    return KINDS[kind](random.Random(f"{kind} {seed}"))


def batch(kinds: Sequence[str], seeds: range) -> Counter[str]:
    """Runs of each kind, and how they ended; bad ones are printed."""
    ends: Counter[str] = Counter()
    for seed in seeds:
        for kind in kinds:
            click.echo(f"? {kind} {seed}", err=True)  # the last one is what a crash is told by
            outcome = one(kind, seed)
            ends[f"{kind}: {outcome.end}"] += 1
            if outcome.bad:
                click.echo(f"! {kind} {seed} {outcome.end}: {outcome.damage}: {outcome.detail[:300]}")
    return ends


def main() -> int:
    """Run batches in processes of their own, which a crash does not end. Returns the exit status, 1 where any run was bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    kinds = args.kind or list(KINDS)
    last = args.seed + -(-args.runs // len(kinds))
    if args.here:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        gadgets.connection.SILENCE_S = gadgets.connection.SETTLE_S = 0.02
        tests.doubles.helpers.ERROR_S = tests.doubles.helpers.HELD_S = 0.0  # this host bears an ERROR at any time
        for end, count in batch(kinds, range(args.seed, last)).items():
            click.echo(f"= {count} {end}")
        return 0
    total, bad = Counter[str](), 0
    for start in range(args.seed, last, BATCH):
        runs = (min(start + BATCH, last) - start) * len(kinds)
        command = [sys.executable, "-m", "tests.fuzz", "--here", "--seed", str(start), "--runs", str(runs)]
        done = subprocess.run(
            [*command, *(f"--kind={kind}" for kind in kinds)], capture_output=True, text=True, check=False, errors="replace"
        )
        for line in done.stdout.splitlines():
            if line.startswith("! "):
                bad += 1
                click.echo(line)
            elif line.startswith("= "):
                number, name = line[2:].split(" ", 1)
                total[name] += int(number)
        if done.returncode:
            bad += 1
            began = [line for line in done.stderr.splitlines() if line.startswith("? ")]
            click.echo(f"! crash with status {done.returncode} in {began[-1:]}: {done.stderr[-500:]}")
    for end, count in sorted(total.items()):
        click.echo(f"{count:6d} {end}")
    click.echo(f"{sum(total.values())} runs, {bad} bad")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
