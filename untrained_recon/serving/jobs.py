"""Fits that run beside receiving and sending."""

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Protocol

import torch

from untrained_recon.config import ComputeConfig, Config
from untrained_recon.recon.demand import demand_of
from untrained_recon.recon.fit.watch import Watch
from untrained_recon.recon.lanes import Lanes
from untrained_recon.recon.outlook import Herald
from untrained_recon.recon.volume import reconstruct_image
from untrained_recon.serving.progress import fit_logger
from untrained_recon.types import KSpace, Reconstruction

ONE_BY_ONE = ComputeConfig()


class Jobs(Protocol):
    """Where a scan hands its images in to be reconstructed."""

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """Queue an image of a scan; ``seconds`` limit its fit."""

    def cancel(self, scan: str) -> None:
        """Forget what the scan has queued, and give up the fit that runs; from any thread."""


class LocalJobs:
    """Fits in threads of this process, for a gadget that serves one scan: one after the other, or ``compute.at_once``.

    Args:
        device: Where to fit.
        compute: How the images of the scan are computed.
    """

    def __init__(self, device: torch.device, compute: ComputeConfig = ONE_BY_ONE) -> None:
        self._device = device
        self._unwanted = False
        self._at_once = compute.at_once
        self._sharing, self._until, self._waiting = threading.Lock(), 0.0, 0
        self._lanes, self._herald = Lanes(device, compute), Herald(device)

    def __enter__(self) -> "LocalJobs":
        self._lanes.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lanes.__exit__(kind, error, trace)

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """See :class:`Jobs`; images side by side share their time: each of n at once has n shares."""
        self._herald.tell(data, config)
        with self._sharing:
            self._until = max(self._until, time.monotonic()) + seconds
            self._waiting += 1
        return self._lanes.submit(partial(self._reconstruct, data, config, seconds), partial(demand_of, data, config, self._device))

    def cancel(self, scan: str) -> None:
        """See :class:`Jobs`; there is but one scan, and leaving the context forgets what it has queued."""
        self._unwanted = True

    def _reconstruct(self, data: KSpace, config: Config, seconds: float) -> Reconstruction:
        with self._sharing:
            share = min(1.0, self._at_once / self._waiting)
            self._waiting -= 1
            watch = Watch.of(seconds) if self._at_once == 1 else Watch(self._until).part(share)
        watch = replace(watch, follow=fit_logger(str(data.index)), given_up=lambda: self._unwanted)
        return reconstruct_image(data, config, self._device, watch)
