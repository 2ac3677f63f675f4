"""k-space → image: solve, combine the coils, and always deliver."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from untrained_recon.cautions import Caution, distinct
from untrained_recon.config import Config
from untrained_recon.errors import CalibrationError, ConfigError, FitError, HostGoneError, ReconError
from untrained_recon.physics.maps import low_resolution_maps
from untrained_recon.physics.operators import rss, to_recon_matrix
from untrained_recon.recon.evidence import noise_map, spread, undetermined_map
from untrained_recon.recon.fit.watch import UNWATCHED, Watch
from untrained_recon.recon.methods import CPU, solve, solve_without_network
from untrained_recon.recon.untrained import Solution
from untrained_recon.types import EvidenceMap, KSpace, Reconstruction

logger = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes the GPU where there is one.

    Raises:
        ConfigError: It is no such name, or a CUDA device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is none of auto, cpu, cuda and cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: {name!r} is none of auto, cpu, cuda and cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device: {name!r} is not available; this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def reconstruct(data: KSpace, config: Config, device: torch.device, watch: Watch = UNWATCHED) -> Reconstruction:
    """Reconstruct one image; an image always comes out.

    A fully sampled image needs no fit (Step 2 would put every sample back) and is transformed directly. Where maps are asked for
    but the calibration region does not allow them, the coils are reconstructed without (Step 1-A). Where the network cannot be
    fitted (it diverges or runs away, memory does not suffice even when used sparingly, the device fails, time ends before it has a
    better image), a conventional image comes instead, and says so: CG-SENSE, or zero-filled without maps.

    Args:
        data: Prewhitened k-space.
        config: Method and settings.
        device: Where to compute.
        watch: Of maps and fit, and of evidence in what time they leave; nothing is fitted where none is left.
    """
    start, late = time.monotonic(), watch.passed()
    try:
        solution = solve(data, config, device, watch)
        recon = _finish(data, solution, device)
    except (FitError, CalibrationError, RuntimeError, MemoryError) as error:  # RuntimeError: whatever a failing device raises
        logger.warning("%s: conventional reconstruction instead of %s", data.index, config.recon.method, exc_info=error)
        solution = solve_without_network(data, config, f"{type(error).__name__}: {error}", device)
        if late:
            solution = replace(solution, cautions=(Caution("time-budget", "no time was left"), *solution.cautions))
        recon = _finish(data, solution, CPU)
    recon = _with_evidence(recon, data, solution, config, watch)
    return replace(recon, account=replace(recon.account, seconds=time.monotonic() - start))


def _with_evidence(recon: Reconstruction, data: KSpace, solution: Solution, config: Config, watch: Watch) -> Reconstruction:
    """The maps that are asked for, or why they are missing; the image stays as it is."""

    def attempt(make: Callable[[], EvidenceMap]) -> EvidenceMap:
        try:
            return make()
        except HostGoneError:
            raise
        except (ReconError, RuntimeError, MemoryError) as error:  # RuntimeError: whatever a failing device raises
            logger.warning("%s: a map is missing", data.index, exc_info=error)
            return EvidenceMap(None, f"{type(error).__name__}: {error}")

    def noise() -> EvidenceMap:
        ksp = torch.from_numpy(data.ksp).to(solution.coil_imgs.device)
        return noise_map(solution.again, data, ksp, config, watch)

    if config.evidence.spread:
        recon = replace(recon, spread=attempt(lambda: spread(solution.alone())))
    if config.evidence.undetermined:
        recon = replace(recon, undetermined=attempt(lambda: undetermined_map(solution.undetermined)))
    return replace(recon, noise=attempt(noise)) if config.evidence.replicas else recon


def _finish(data: KSpace, solution: Solution, device: torch.device) -> Reconstruction:
    mps, coil_imgs = solution.mps, solution.coil_imgs
    if mps is None:
        mps = low_resolution_maps(torch.from_numpy(data.calib).to(device), torch.from_numpy(data.calib_mask).to(device))
    mps = to_recon_matrix(mps.to(coil_imgs.device), data.encoding)
    magnitude = rss(coil_imgs)
    complex_img = torch.polar(magnitude, (mps.conj() * coil_imgs).sum(dim=0).angle())
    if not torch.isfinite(torch.view_as_real(complex_img)).all():
        raise FitError("the image holds pixels that are not finite")
    return Reconstruction(
        magnitude=magnitude.cpu().numpy(),
        complex_img=complex_img.cpu().numpy(),
        account=replace(solution.account, device=str(device)),
        cautions=distinct((*data.cautions, *solution.cautions)),
        maps=None if solution.mps is None else mps.cpu().numpy(),
    )
