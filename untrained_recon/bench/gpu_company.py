"""Figures of several images, replicas or workers side by side on one device; and of a worker that is warm."""

import math
import time
from dataclasses import replace

import numpy as np
import torch

from untrained_recon.bench.device import now, peak_memory
from untrained_recon.bench.fits import phantom
from untrained_recon.bench.gpu_sizes import Figures, Sizes, computed
from untrained_recon.config import FEWEST_REPLICAS
from untrained_recon.errors import FitError
from untrained_recon.recon.fit.watch import UNWATCHED
from untrained_recon.recon.plane import reconstruct
from untrained_recon.recon.volume import reconstruct_images
from untrained_recon.serving.pool import FitPool

SLICES, REPLICAS, WORKERS, AT_ONCE = 36, 16, 4, (1, 4, 12)

SLICES_NAMES = {n: f"large: {SLICES} slices" + (f", {n} at once" if n > 1 else "") for n in AT_ONCE}
REPLICAS_NAMES = {n: f"large: {REPLICAS} replicas" + (f", {n} at once" if n > 1 else "") for n in AT_ONCE[:2]}


def slices(measured: Sizes, device: torch.device) -> Figures:
    """One after the other and side by side, from a few; and how much an image hangs on its company."""
    alone = None
    for at_once, graphs in (*((n, True) for n in AT_ONCE), (AT_ONCE[1], False)):
        count = 2 * max(2, at_once) if device.type == "cuda" else 2
        few = [phantom(replace(measured.large, slices=count), number)[0] for number in range(count)]
        config = computed(measured.config, at_once=at_once, graphs=graphs)
        with peak_memory(device) as peak:
            start = now(device)
            found = reconstruct_images(few, config, device, UNWATCHED)[0].magnitude
            each, peak_bytes = (now(device) - start) / count, peak()
        name = SLICES_NAMES[at_once] + ("" if graphs else ", not recorded")
        yield f"{name}, s", each * SLICES
        yield f"{name}, GB", None if peak_bytes is None else peak_bytes / 1e9
        alone = found if alone is None else alone
        yield f"{name}: difference from alone", float(np.linalg.norm(found - alone) / np.linalg.norm(alone))


def replicas(measured: Sizes, device: torch.device) -> Figures:
    """Replicas for the noise map of one image, one after the other and side by side: what they add to its time."""
    alone, start = None, now(device)
    reconstruct(phantom(measured.large)[0], measured.config, device)
    without = now(device) - start
    for at_once in AT_ONCE[:2]:
        evidence = measured.config.evidence.model_copy(update={"replicas": REPLICAS if device.type == "cuda" else FEWEST_REPLICAS})
        config = computed(measured.config, at_once=at_once).model_copy(update={"evidence": evidence})
        data, start = phantom(measured.large)[0], now(device)
        found = reconstruct(data, config, device).noise
        seconds_more = now(device) - start - without
        if found is None or found.pixels is None:
            raise FitError("there is no noise map" if found is None else found.note)
        yield f"{REPLICAS_NAMES[at_once]}, s", seconds_more
        alone = found.pixels if alone is None else alone
        yield (
            f"{REPLICAS_NAMES[at_once]}: difference from one by one",
            float(np.linalg.norm(found.pixels - alone) / np.linalg.norm(alone)),
        )


def workers(measured: Sizes, device: torch.device) -> Figures:
    """Slices by several workers on one card, from a few, after as many that warm the workers up."""
    if device.type == "cpu":
        return
    few = [phantom(replace(measured.large, slices=3 * WORKERS), number)[0] for number in range(3 * WORKERS)]
    pool = FitPool([str(device)] * WORKERS, threads=2)
    try:
        for _ in range(2):
            start = time.perf_counter()
            for done in [pool.submit("slices", data, measured.config, math.inf) for data in few]:
                done.result()
        yield f"large: {SLICES} slices by {WORKERS} workers, s", (time.perf_counter() - start) * SLICES / len(few)
    finally:
        pool.close(1.0)


def worker(measured: Sizes, device: torch.device) -> Figures:
    """The first image of a resident worker, once it is warm; a CPU's need no warming."""
    if device.type == "cpu":
        return
    data, _ = phantom(measured.usual)
    everything = replace(data, mask=np.ones_like(data.mask))  # transformed directly
    pool = FitPool([str(device)], threads=2)
    try:
        pool.submit("warm", everything, measured.config, math.inf).result()
        for name, case in (("", measured.usual), ("large: ", measured.large)):
            data, _ = phantom(case)
            start = time.perf_counter()
            pool.submit("first", data, measured.config, math.inf).result()
            yield f"{name}first image of a warm worker, s", time.perf_counter() - start
    finally:
        pool.close(1.0)
