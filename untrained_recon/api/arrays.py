"""The public functions, see the package. What they need is loaded when they are called."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from untrained_recon.types import ComplexArray, KSpace, Reconstruction

if TYPE_CHECKING:
    import torch

    from untrained_recon.config import Config
    from untrained_recon.phantom.simulation import SimulatedScan
    from untrained_recon.recon.fit.watch import Callback

Number = TypeVar("Number", bound=np.generic)


def reconstruct(
    ksp: npt.ArrayLike | KSpace,
    mask: npt.ArrayLike | None = None,
    *,
    maps: npt.ArrayLike | Mapping[str, Any] | None = None,
    noise: npt.ArrayLike | None = None,
    config: "str | Path | Config" = "fast",
    device: "str | torch.device | None" = None,
    follow: "Callback | None" = None,
    seed: int | None = None,
    **settings: Any,
) -> Reconstruction:
    """Reconstruct images from Cartesian k-space, without training data.

    Centre of k-space and image is index ``n // 2`` of every axis; y is the phase encode direction, x the readout.

    Args:
        ksp: complex ``(…, n_coils, n_y, n_x)``, a NumPy array or a PyTorch tensor on any device. Leading axes are separate images
            (slices, frames). Or a :class:`KSpace`, which may be 3-D, for instance of :func:`read_raw`.
        mask: True or 1 where a sample was acquired: ``(n_y, n_x)``, with leading axes or without, or lines ``(n_y,)``. Samples
            outside do not count. None: everything was acquired; k-space that is zero in whole lines or in many places then needs a
            mask. A ``KSpace`` has its own.
        maps: complex coil sensitivities of the shape of ``ksp``, or ``(…, n_sets, n_coils, n_y, n_x)``, about unit norm over the
            coils and zero where there is nothing. None: ESPIRiT's, from the fully sampled centre of ``ksp``; a dictionary: the same
            with these settings of the section ``maps``.
        noise: Samples of noise, complex ``(n_coils, n)``, acquired with the bandwidth of ``ksp``; or their covariance
            ``E[n n^H]``, ``(n_coils, n_coils)``. The coils are then whitened, and the image is in units in which the noise of each
            has a standard deviation of 1 in its real part (``2 * np.eye(n_coils)`` for data that are whitened already). None:
            the noise level is estimated.
        config: A preset (:func:`presets`), a YAML file, or a :class:`Config`.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``. None: that of the configuration.
        follow: Called with the progress after every iteration, on a GPU after every few (``stage``, ``iteration``, ``iterations``,
            ``loss``, ``img``); returning False ends the image with what there is.
        seed: Of the network. None: that of the configuration. On one CPU, the same seed gives the same image bit for bit.
        **settings: Changes to the configuration, a section each: ``fit={"iterations": 100}, recon={"method": "tv"}``.

    Returns:
        The image or images, ``(…, n_y, n_x)``, and how they came about. Of several, ``parts`` are the single ones.

    Raises:
        ReconError: Subclasses say what is wrong with which argument (KSpaceError, MaskError, MapsError, NoiseError, NonFiniteError,
            ConfigError). What goes wrong in the fit itself ends in a conventional image that says so (``fallback_reason``).
    """
    from untrained_recon.api.inputs import to_kspaces, with_known
    from untrained_recon.config.callers import given, load_config
    from untrained_recon.errors import MapsError, MaskError
    from untrained_recon.recon.fit.watch import Watch
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.recon.volume import reconstruct_images

    if isinstance(maps, Mapping):
        maps, settings = None, {**settings, "maps": maps}
    chosen = load_config(config, **given(device, seed), **settings)
    if maps is not None and chosen.recon.mode != "maps":
        raise MapsError(f"recon.mode is {chosen.recon.mode}, which takes no maps")
    if isinstance(ksp, KSpace):
        if mask is not None:
            raise MaskError("a KSpace has its own mask; give none beside it")
        lead: tuple[int, ...] = ()
        images = [with_known(ksp, maps, noise)]
    else:
        images, lead = to_kspaces(ksp, mask, maps, noise)
    where, start = pick_device(chosen.device), time.monotonic()
    parts = reconstruct_images(images, chosen, where, Watch.of(chosen.scan.time_budget_s or None, follow))
    return _together(parts, lead, time.monotonic() - start) if lead else parts[0]


def espirit_maps(
    ksp: npt.ArrayLike, mask: npt.ArrayLike | None = None, *, sets: int = 1, device: "str | torch.device" = "auto", **maps: Any
) -> ComplexArray:
    """Coil sensitivities by ESPIRiT, from the fully sampled centre of k-space.

    Args:
        ksp: complex ``(…, n_coils, n_y, n_x)``, see :func:`reconstruct`.
        mask: See :func:`reconstruct`.
        sets: Sets of maps; 2 where the object reaches beyond the field of view.
        device: Where to compute.
        **maps: Settings of the section ``maps``: ``calib_width``, ``kernel_width``, ``thresh``, ``crop``.

    Returns:
        complex64 of the shape of ``ksp``; with an axis of sets before that of the coils where ``sets`` is 2 or more. Of unit norm
        over the coils, zero where there is no signal.

    Raises:
        ReconError: CalibrationError where the centre does not suffice; other subclasses name the argument that is wrong.
    """
    from untrained_recon.api.inputs import to_kspaces
    from untrained_recon.config.callers import load_config
    from untrained_recon.physics.maps import estimate_map_sets
    from untrained_recon.recon.plane import pick_device

    settings = load_config(maps={**maps, "sets": sets}).maps
    images, lead = to_kspaces(ksp, mask, None, None)
    where = pick_device(str(device))
    found = np.stack([estimate_map_sets(image.calib, image.calib_mask, settings, where) for image in images])
    found = found.reshape(*lead, *found.shape[1:])
    return found[..., 0, :, :, :] if sets == 1 else found


def simulate(
    shape: tuple[int, int] = (256, 256),
    *,
    coils: int = 8,
    accel: int = 4,
    acs: int | None = None,
    pattern: str = "random",
    slices: int = 1,
    noise: float = 0.01,
    seed: int = 0,
) -> "SimulatedScan":
    """A scan of a head phantom, with correlated noise and the image that should come out.

    Args:
        shape: ``(n_y, n_x)``.
        coils: Receive channels.
        accel: Acceleration along y.
        acs: Fully sampled lines in the centre. None: 24, or half of the lines acquired where these are few.
        pattern: Placement of the other lines: ``random``, ``equispaced`` or ``equispaced-fraction``.
        slices: How many; more have a leading axis.
        noise: Standard deviation of the noise in the real part of a sample; the phantom is about 1.
        seed: Of anatomy, pattern and noise.

    Raises:
        ConfigError: The pattern cannot be made as asked.
    """
    from untrained_recon.errors import ConfigError
    from untrained_recon.masks import Pattern
    from untrained_recon.phantom.simulation import Simulation, scan

    if pattern not in get_args(Pattern):
        raise ConfigError(f"pattern: expected {', '.join(get_args(Pattern))}, got {pattern!r}")
    lines = min(24, shape[0] // (2 * accel)) if acs is None else acs
    return scan(Simulation(shape, coils, accel, lines, pattern, slices, noise, seed))  # type: ignore[arg-type]  # checked above


def _together(parts: list[Reconstruction], lead: tuple[int, ...], seconds: float) -> Reconstruction:
    """The images of a stack as one, with its leading axes."""
    from untrained_recon.recon.volume import stacked

    def shaped(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
        return array.reshape(*lead, *array.shape[1:])

    whole, maps = stacked(parts, 0, seconds), [part.maps for part in parts if part.maps is not None]
    return replace(
        whole.with_evidence(shaped),
        magnitude=shaped(whole.magnitude),
        complex_img=shaped(whole.complex_img),
        maps=shaped(np.stack(maps)) if len(maps) == len(parts) else None,
        parts=tuple(parts),
    )
