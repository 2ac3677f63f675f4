"""What may be wrong with a scan, drawn at random. Every function takes a generator and says what it did."""

import random
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import h5py
import ismrmrd
import numpy as np
from pydantic import BaseModel

from tests.doubles.layouts import aligned, big_endian, rewritten, wide, without
from untrained_recon.config import Config

COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase", "repetition", "set", "segment")
FIELDS = (
    *("version", "flags", "scan_counter", "acquisition_time_stamp", "number_of_samples", "available_channels", "active_channels"),
    *("discard_pre", "discard_post", "center_sample", "encoding_space_ref", "trajectory_dimensions", "sample_time_us"),
)
OF_ONE_IMAGE = ("center_sample", "discard_pre", "discard_post", "kspace_encode_step_1", "kspace_encode_step_2", "sample_time_us")
"""Fields of a readout that concern no other image than its own."""

EXTREMES = (0, 1, 2, 3, 7, 19, 31, 32, 39, 40, 255, 256, 1000, 32767, 32768, 65534, 65535)
NUMBERS = ("0", "1", "-1", "2", "3", "7", "0.5", "1e-300", "1e300", "1e999", "NaN", "", "x", "65535", "65536", "9" * 20)
TEXTS = (
    "null",
    "true",
    "[1, 2]",
    "[",
    "[" * 3000,
    "{a: b}",
    "&a [*a]",
    "1e400",
    ".nan",
    "2020-13-45",
    "!!float x",
    "a: b: c",
    "\x00",
    "ü",
    "cuda",
    "-0",
    "'",
    "auto",
)


def damaged_samples(rng: random.Random, lines: Sequence[ismrmrd.Acquisition]) -> str:
    """Change samples of readouts, all or some, in place."""
    chosen = [line for line in lines if rng.random() < rng.choice((0.1, 0.5, 1.1))] or [rng.choice(lines)]
    how = rng.choice(("scale", "spike", "not finite", "constant", "zero", "alternating", "noise", "coil"))
    power = 10.0 ** rng.choice((-45, -38, -30, -19, -10, 10, 19, 25, 30, 37, 38))
    noise = np.random.default_rng(rng.randrange(1 << 30))
    for acq in chosen:
        data = acq.data
        at = rng.randrange(data.shape[0]), rng.randrange(data.shape[1])
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if how == "scale":
                data *= power
            elif how == "spike":
                data[at] = power * rng.choice((1, -1, 1j))
            elif how == "not finite":
                data[at] = rng.choice((np.nan, np.inf, -np.inf, complex(0, np.nan)))
            elif how == "constant":
                data[:] = power
            elif how == "zero":
                data[:] = 0
            elif how == "alternating":
                data[:] = power * (-1.0) ** np.arange(data.shape[1])
            elif how == "noise":
                data[:] = power * (noise.standard_normal(data.shape) + 1j * noise.standard_normal(data.shape))
            else:
                data[at[0]] = data[at[0] - 1] if rng.random() < 0.5 else power
        if how == "spike" and rng.random() < 0.7:
            break
    return f"samples of {len(chosen)} readouts: {how} {power:g}"


def damaged_header_field(rng: random.Random, acq: ismrmrd.Acquisition) -> tuple[str, str]:
    """Change a field of a readout's header in place; returns its name and what it became."""
    name = rng.choice((*FIELDS, *COUNTERS, *OF_ONE_IMAGE, "flags"))
    head = acq.getHead()
    target = head.idx if name in COUNTERS else head
    if name == "flags":
        head.flags ^= 1 << rng.choice((*range(32), 63))
    elif name == "sample_time_us":
        head.sample_time_us = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e-40, 1e38, 1.0))
    else:
        setattr(target, name, rng.choice(EXTREMES))
    shape, old = (head.active_channels, head.number_of_samples), acq.data
    if shape != old.shape or head.trajectory_dimensions:
        if shape[0] * shape[1] > 1 << 22 or head.trajectory_dimensions * shape[1] > 1 << 22:
            head.active_channels, head.number_of_samples, head.trajectory_dimensions = old.shape[0], old.shape[1], 0
        acq.resize(head.number_of_samples, head.active_channels, head.trajectory_dimensions)
        acq.data[:] = 1
    acq.setHead(head)
    return name, f"{name} = {getattr(target, name)}"


def damaged_header(rng: random.Random, xml: bytes) -> tuple[bytes, str]:
    """The header with some of its elements changed, and what was done."""
    text, done = xml.decode(), []
    for _ in range(rng.randrange(1, 4)):
        how = rng.choice(("value", "value", "value", "remove", "twice", "rename", "nest", "cut", "encoding", "bytes"))
        leaves = list(re.finditer(r"<(\w+)>([^<]*)</\1>", text))
        elements = list(re.finditer(r"<(\w+)>.*?</\1>", text, re.DOTALL))
        if not leaves:
            break
        leaf, element = rng.choice(leaves), rng.choice(elements)
        if how == "value":
            value = rng.choice(NUMBERS)
            text = text[: leaf.start(2)] + value + text[leaf.end(2) :]
            done.append(f"{leaf[1]} = {value!r}")
            continue
        if how == "remove":
            text = text[: element.start()] + text[element.end() :]
        elif how == "twice":
            text = text[: element.end()] + element[0] + text[element.end() :]
        elif how == "rename":
            text = text.replace(element[1], element[1].upper() if rng.random() < 0.5 else f"x{element[1]}")
        elif how == "nest":
            text = text.replace(element[0], f"<{element[1]}>{element[0]}</{element[1]}>", 1)
        elif how == "cut":
            text = text[: rng.randrange(len(text))]
        elif how == "encoding":
            text = re.sub(r'encoding="[^"]*"', f'encoding="{rng.choice(("UTF-16", "utf-7", "x", "hex", "idna"))}"', text)
        else:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice("\x00<>&\x0bü\ud7ff") + text[at + 1 :]
        done.append(f"{how} {element[1]}")
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "utf-8-sig")), errors="replace"), ", ".join(done)


def damaged_settings(rng: random.Random) -> dict[str, str]:
    """Some settings, with values of theirs that nobody tries together, or with any other."""
    settings = {}
    for _ in range(rng.randrange(1, 4)):
        key, values = rng.choice(SETTINGS)
        settings[key] = rng.choice(values if rng.random() < 0.7 else (*NUMBERS, *TEXTS))
    return settings


def _settings(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """All settings with a few values that are allowed and cost little time; images, no arrays, and nothing compiled."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel):
            yield from _settings(kind, f"{prefix}{name}.")
        elif get_origin(kind) is Literal and name not in ("form", "compile"):
            yield prefix + name, tuple(map(str, get_args(kind)))
        elif kind is bool:
            yield prefix + name, ("true", "false")
        elif kind in (int, float):
            yield prefix + name, ("1", "2", "3", "4") if kind is int else ("0", "0.1", "0.5", "1")
        elif get_origin(kind) is not Literal:
            yield prefix + name, ("auto", "cpu", "[3, 5]", "fast", "1")


SETTINGS = (*_settings(), ("config", ("fast", "brain-4x", "nothing")), ("fit", ("{}",)), (".", ("1",)), ("network.kind.x", ("1",)))


def damaged_file(rng: random.Random, source: Path, target: Path) -> str:
    """A copy of a raw file with other types, or with bytes that are wrong or missing."""
    how = rng.choice(("layout", "bytes", "cut", "objects"))
    if how == "layout":
        head, samples = rng.choice((aligned, big_endian, wide, without(*rng.sample(FIELDS, 3)))), rng.choice(SAMPLES)
        rewritten(source, target, head, samples)
        return f"layout {head} {samples}"
    data = bytearray(source.read_bytes())
    if how == "bytes":
        for _ in range(rng.randrange(1, 30)):
            at = rng.randrange(min(len(data), rng.choice((800, 8000, len(data)))))
            data[at] = rng.choice((0, 255, data[at] ^ (1 << rng.randrange(8))))
    elif how == "cut":
        del data[rng.randrange(len(data)) :]
    target.write_bytes(data)
    if how == "objects":
        with h5py.File(target, "r+") as f:
            _change_objects(rng, f)
    return how


def _change_objects(rng: random.Random, f: Any) -> None:
    name = rng.choice(("dataset/xml", "dataset/data"))
    value = rng.choice((np.zeros(0), np.zeros((2, 2)), "text", np.void(b"\0" * 9), [b"a", b"b"], 3.0, f[name][:1], f[name][:0]))
    del f[name]
    if rng.random() < 0.8:
        f[name] = value
    if rng.random() < 0.3:
        f.move("dataset", rng.choice(("a", "a/b", "Dataset", "image_0")))


def damaged_bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A message with bits, lengths or parts of it changed."""
    damaged, done = bytearray(data), []
    for _ in range(rng.randrange(1, 4)):
        how = rng.choice(("flip", "length", "cut", "end", "float"))
        at = rng.randrange(max(1, len(damaged) - 8))
        if how == "flip":
            damaged[at] ^= 1 << rng.randrange(8)
        elif how == "length":
            damaged[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**16 - 1, 2**31, 2**63, 2**64 - 1)))
        elif how == "float":
            damaged[at : at + 4] = struct.pack("<f", rng.choice((np.inf, np.nan, 1e38, 1e-45)))
        elif how == "cut":
            del damaged[at : at + rng.randrange(1, 400)]
        else:
            del damaged[at:]
        done.append(f"{how} at {at}")
    return bytes(damaged), ", ".join(done)


SAMPLES = (
    lambda d: d.astype(np.float64),
    lambda d: d.astype(">f4"),
    lambda d: d.view(np.complex64),
    lambda d: d.astype(np.float16),
    lambda d: np.clip(1000 * d, -30000, 30000).astype(np.int16),
    lambda d: d[:-1],
    lambda d: d[:0],
    lambda d: d.astype("S4"),
)
