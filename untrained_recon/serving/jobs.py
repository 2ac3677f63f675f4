"""Fits that run beside receiving and sending."""

import contextvars
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

import torch

from untrained_recon.config import Config
from untrained_recon.errors import HostGoneError
from untrained_recon.recon.fit.watch import Callback, Progress, Watch
from untrained_recon.recon.volume import reconstruct_image
from untrained_recon.serving.progress import fit_logger
from untrained_recon.types import KSpace, Reconstruction


class Jobs(Protocol):
    """Where a scan hands its images in to be reconstructed."""

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """Queue an image of a scan; ``seconds`` limit its fit."""

    def cancel(self, scan: str) -> None:
        """Forget what the scan has queued, and give up the fit that runs; from any thread."""


class LocalJobs:
    """One fit after the other in a thread of this process, for a gadget that serves one scan.

    Args:
        device: Where to fit.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._unwanted = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fit")

    def __enter__(self) -> "LocalJobs":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown(cancel_futures=True)

    def submit(self, scan: str, data: KSpace, config: Config, seconds: float) -> "Future[Reconstruction]":
        """See :class:`Jobs`."""
        context = contextvars.copy_context()  # for the log, whose scan it is
        return self._executor.submit(context.run, self._reconstruct, data, config, seconds)

    def cancel(self, scan: str) -> None:
        """See :class:`Jobs`; there is but one scan, and leaving the context forgets what it has queued."""
        self._unwanted = True

    def _reconstruct(self, data: KSpace, config: Config, seconds: float) -> Reconstruction:
        return reconstruct_image(data, config, self._device, Watch.of(seconds, self._follow(str(data.index))))

    def _follow(self, image: str) -> Callback:
        log = fit_logger(image)

        def follow(progress: Progress) -> None:
            if self._unwanted:
                raise HostGoneError("nobody waits for the image any more")
            log(progress)

        return follow
