"""When an image is doubtful: the rules of the cautions that come of its samples and of its reconstruction.

==========================  ==========================================================================================
caution                     raised where
==========================  ==========================================================================================
model-misfit                the squared residual of the samples exceeds :data:`MISFIT` times the noise's, or that of a line
                            :data:`LINE` times, :data:`LINE_OVER_MEDIAN` times the median line's and :data:`LINE_SHARE` of
                            the line's energy; and all of it is more than :data:`INVISIBLE` of the samples' energy; or fewer
                            sets of maps were asked for than the calibration data need
acceleration-beyond-coils   the acceleration exceeds the number of independent coils: that between the calibration lines where
                            lines are regular (:data:`REGULAR`), else that of all lines; or they are regular and the coils
                            were reconstructed without maps; or they are regular and the coils leave more than
                            :data:`LEFT_OPEN` of the image open
maps-missing                maps were asked for, could not be had, and lines are missing
time-budget                 time ended the reconstruction before :data:`FEWEST_STEPS` steps of its refinement; or before
                            its end, where nothing refines; or before its beginning
==========================  ==========================================================================================

The noise is the larger of that of the noise scan and that of the corners of k-space: a noise scan at other settings of the receiver
must not raise a false alarm. Where more than :data:`VISIBLE` of the samples' energy is left, it is no more than :data:`TRUSTED`
the noise scan's: the corners of small matrices hold signal. The residual is that before the samples are put back.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from untrained_recon.account import Account
from untrained_recon.cautions import Caution
from untrained_recon.physics.alias_groups import left_open
from untrained_recon.physics.maps import FEWEST_LINES
from untrained_recon.physics.operators import CoilFourier, Sense, fft2, ifft2
from untrained_recon.physics.uncertainty import noise_level, noise_sd
from untrained_recon.recon.fit.loop import OUT_OF_TIME
from untrained_recon.sampled import calibration_region
from untrained_recon.types import BoolArray, KSpace

MISFIT = 2.0  # 0.2 to 1.6 on healthy scans, 1.5 to 20 where one set of maps had to explain a folded field of view
CONVENTIONAL_MISFIT = 4.0  # where regularisation leaves a residual of its own
LINE, LINE_OVER_MEDIAN, LINE_SHARE = 3.0, 3.5, 0.05  # maps of few lines fail at bright lines, by less than a hundredth of these
INVISIBLE = 1e-4  # of the energy: a hundredth in amplitude
VISIBLE = 2e-3  # of the energy; well explained samples leave 1e-4 to 3e-4, badly folded ones 5e-3
TRUSTED = 3.0  # times the noise scan's level: what is above it in the corners of k-space is signal
UNEXPLAINED = 0.1  # of the energy, where the noise is not known
ACCELERATED = 1.05  # partial Fourier and a few lost lines do not alias
FINE = 2  # times the matrix: where aliases are looked for
REGULAR = 0.8  # of the aliases' height relative to the image; random lines have 0.2 to 0.65, regular ones 0.85 to 1
UNLIKE = 1.5  # times as many samples, or as few, as regular ones with these aliases: a few random lines may have high ones too
NEAREST_ALIAS = 16  # part of the field of view
LEFT_OPEN = 0.25  # root of the share of the energy; up to 0.24 where 8 % of the lines calibrate, at up to 8-fold acceleration
INDEPENDENT = 1e-5  # of the strongest coil combination's energy
FEWEST_STEPS = 15


def misfit(residual: Tensor, data: KSpace, ksp: Tensor, bound: float = MISFIT) -> list[Caution]:
    """What samples that do not agree with the image raise.

    Args:
        residual: complex ``(n_coils, n_y, n_x)``, with the samples' weights; zero where not sampled.
        data: Whose samples they are.
        ksp: complex, of the same shape, the samples without weights.
        bound: Of the squared residual, in units of the noise's.
    """
    sampling = torch.from_numpy(data.sampling).to(ksp.device)
    weighted, sampled = ksp * sampling, sampling > 0
    share = _energy(residual) / max(_energy(weighted), math.ulp(0.0))
    noise = max(math.sqrt(2) * noise_sd(data, ksp), noise_level(weighted, sampled))
    if noise == 0:
        return [Caution("model-misfit", f"{share:.2g} of the samples' energy is left, bound {UNEXPLAINED:g}")] * (
            share > UNEXPLAINED
        )
    if share < INVISIBLE:
        return []
    rows = sampled.any(dim=1).nonzero()[:, 0]
    samples = len(ksp) * sampled[rows].sum(dim=1)
    left, energy = (torch.view_as_real(x[:, rows]).square().sum(dim=(0, 2, 3)) for x in (residual, weighted))
    lines = left / samples / noise**2
    chi2 = float(left.sum() / samples.sum()) / noise**2
    if data.prewhitened and share > VISIBLE:
        chi2 *= max(1.0, noise / (TRUSTED * math.sqrt(2) * noise_sd(data, ksp))) ** 2
    if chi2 > bound:
        return [Caution("model-misfit", f"squared residual {chi2:.2g} times the noise's, bound {bound:g}")]
    least = max(LINE * bound / MISFIT, LINE_OVER_MEDIAN * float(lines.median()))
    for number in ((lines > least) & (left > LINE_SHARE * energy)).nonzero()[:1, 0]:
        detail = f"squared residual of line {int(rows[number])} {float(lines[number]):.2g} times the noise's, bound {least:.2g}"
        return [Caution("model-misfit", detail)]
    return []


def too_few_sets(used: int, needed: int) -> list[Caution]:
    """What fewer sets of maps than the calibration data need raise."""
    return [Caution("model-misfit", f"{used} set of maps, the calibration data need {needed}: see maps.sets")] * (used < needed)


def out_of_time(run: Account) -> list[Caution]:
    """What a run that time ended raises."""
    if run.refinement_stop == OUT_OF_TIME and run.refinements < FEWEST_STEPS:
        return [Caution("time-budget", f"{run.refinements} steps of the refinement, bound {FEWEST_STEPS}")]
    if run.stop_reason == OUT_OF_TIME and not run.refinement_stop:
        return [Caution("time-budget", "nothing refined what the time left of the fit")]
    return []


def aliasing(data: KSpace, with_maps: bool, maps_failed: bool) -> list[Caution]:
    """What the sampling raises, by itself.

    Args:
        data: Mask, calibration samples and coils.
        with_maps: Whether the image was made with maps.
        maps_failed: Whether maps were asked for and could not be had.
    """
    between, height = acceleration(data.mask), alias(data.mask)
    if between <= ACCELERATED:
        return []
    if maps_failed:
        return [Caution("maps-missing", f"acceleration {between:.2g}")]
    coils = independent_coils(data)
    factor = between if height > REGULAR else data.acceleration
    if with_maps and factor > coils:
        return [Caution("acceleration-beyond-coils", f"acceleration {factor:.2g}, {coils} independent coils")]
    if not with_maps and height > REGULAR:
        return [Caution("acceleration-beyond-coils", f"acceleration {between:.2g} by regular lines, coil by coil")]
    return []


def coils_alike(data: KSpace, operator: CoilFourier | Sense, img: Tensor, error: float) -> list[Caution]:
    """What coils raise that cannot tell the places apart that alias onto each other.

    What the calibration lines hold of the image is not open. Irregular lines, which have no such places, raise nothing.

    Args:
        data: The mask.
        operator: Maps; without any, nothing is raised here.
        img: complex ``operator.ishape``.
        error: See :func:`~untrained_recon.physics.uncertainty.uncertainty`.
    """
    if isinstance(operator, CoilFourier) or error == 0:
        return []
    shifts, energy = alias_shifts(data.mask), _energy(operator.coil_images(img))
    if not shifts or energy == 0 or not 1 / UNLIKE < acceleration(data.mask) / (1 + len(shifts)) < UNLIKE:
        return []
    calibrated = torch.from_numpy(_block(data.mask, FEWEST_LINES)).to(img.device)
    left = left_open(operator, ifft2(fft2(img) * ~calibrated), shifts, error)
    share = math.sqrt(max(0.0, left) / energy)
    return [Caution("acceleration-beyond-coils", f"coils leave {share:.2g} of the image open, bound {LEFT_OPEN:g}")] * (
        share > LEFT_OPEN
    )


def acceleration(mask: BoolArray) -> float:
    """Grid points per sample within the extent that was sampled, the calibration block left out: 1 for partial Fourier alone."""
    region = _between(mask)
    samples = int((mask & region).sum())
    return float(region.sum() / samples) if samples else 1.0


def alias(mask: BoolArray) -> float:
    """Height of the largest alias by the samples outside the calibration block, relative to the image's own: 1 if regular."""
    return _aliases(mask.tobytes(), mask.shape)[0]


def alias_shifts(mask: BoolArray) -> list[tuple[int, int]]:
    """By how many pixels ``(y, x)`` the samples outside the calibration block shift the image to its aliases; none if irregular."""
    return list(_aliases(mask.tobytes(), mask.shape)[1])


@lru_cache(maxsize=8)  # images of a scan mostly have the same mask
def _aliases(samples: bytes, shape: tuple[int, ...]) -> tuple[float, tuple[tuple[int, int], ...]]:
    """What :func:`alias` and :func:`alias_shifts` say of a mask."""
    mask = np.frombuffer(samples, bool).reshape(shape)
    outer = torch.from_numpy(mask & _between(mask)).float()
    fine = [FINE * n for n in shape]  # an acceleration that does not divide the matrix puts aliases between pixels
    near_y, near_x = (np.minimum(np.arange(n), n - np.arange(n)) < n / NEAREST_ALIAS for n in fine)
    near, energy = torch.from_numpy(np.logical_and.outer(near_y, near_x)), max(1, int(outer.sum()))
    half = torch.fft.rfft2(outer, fine).abs() / energy  # the other half is alike
    half[near[:, : half.shape[1]]] = 0
    height, shifts = float(half.max()), []
    if height > REGULAR:
        response = torch.fft.fft2(outer, fine).abs() / energy
        response[near] = 0
        while response.max() > REGULAR:
            y, x = divmod(int(response.argmax()), response.shape[1])
            shifts.append((round(y / FINE), round(x / FINE)))
            response[near.roll((y, x), (0, 1))] = 0
    return height, tuple(shifts)


def independent_coils(data: KSpace) -> int:
    """How many combinations of coils hold more than :data:`INDEPENDENT` of the strongest one's energy."""
    samples = torch.from_numpy(data.ksp[:, data.mask])
    power = torch.linalg.eigvalsh(samples @ samples.mH)
    return max(1, int((power > INDEPENDENT * power[-1]).sum()))


def _between(mask: BoolArray) -> BoolArray:
    """From the first to the last sample of every row (or of the row before, where it has none), without the calibration block."""
    rows, columns = np.arange(mask.shape[0]), np.arange(mask.shape[1])
    sampled = mask.any(axis=1)
    source = np.maximum.accumulate(np.where(sampled, rows, -1))
    first, last = mask.argmax(axis=1)[source], (mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1))[source]
    last_row = rows[sampled].max(initial=-1)
    region: BoolArray = (columns >= first[:, None]) & (columns <= last[:, None]) & ((source >= 0) & (rows <= last_row))[:, None]
    return region & ~_block(mask)


def _block(mask: BoolArray, fewest: int = 1) -> BoolArray:
    """The calibration block, True within; nowhere if it is of fewer lines."""
    block, region = np.zeros_like(mask), calibration_region(mask)
    if min(side.stop - side.start for side in region) >= fewest:
        block[region] = True
    return block


def _energy(x: Tensor) -> float:
    return float(torch.view_as_real(x).square().sum())
