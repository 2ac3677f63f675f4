"""The tools of BART where its command is installed: arrays go in and come out through files in a temporary folder.

Written against BART 0.8.00 (https://mrirecon.github.io/bart). Its images and ours agree pixel for pixel, phase included.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from untrained_recon.errors import BartError
from untrained_recon.files.cfl import read_cfl, write_cfl
from untrained_recon.types import BoolArray, ComplexArray

TIMEOUT_S = 600.0


def available() -> bool:
    """Whether the command ``bart`` is on the search path."""
    return shutil.which("bart") is not None


def run(arguments: Sequence[str], arrays: Mapping[str, ComplexArray], output: str, timeout_s: float = TIMEOUT_S) -> ComplexArray:
    """Run ``bart`` on arrays.

    Args:
        arguments: Tool, options and the names of the arrays: ``["fft", "-u", "3", "img", "ksp"]``.
        arrays: What each input name stands for, axes as in :func:`untrained_recon.files.cfl.write_cfl`.
        output: Name of the array to read back.
        timeout_s: Seconds after which the tool is ended.

    Returns:
        The output without leading axes of length 1, see :func:`untrained_recon.files.cfl.read_cfl`.

    Raises:
        BartError: The command is not installed, fails (with what it said), or takes too long.
        RawFileError: It left no readable output.
    """
    tool = f"bart {' '.join(arguments)}"
    with tempfile.TemporaryDirectory(prefix="bart-") as folder:
        for name, array in arrays.items():
            write_cfl(Path(folder, name), array)
        try:
            subprocess.run(["bart", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=timeout_s)
        except FileNotFoundError as error:
            raise BartError("the command bart is not installed; Debian has it in the package bart") from error
        except subprocess.TimeoutExpired as error:
            raise BartError(f"{tool}: no result within {timeout_s:g} s") from error
        except subprocess.CalledProcessError as error:
            raise BartError(f"{tool}: exit status {error.returncode}: {' '.join(error.stderr.split())}") from error
        return read_cfl(Path(folder, output))


def ecalib(ksp: ComplexArray) -> ComplexArray:
    """One set of ESPIRiT maps as for the paper's TV baseline: ``ecalib -d0 -m1``, its calibration block found by BART.

    Args:
        ksp: complex64 ``(n_coils, n_y, n_x)``, zero where not sampled, as BART looks for the calibration block itself.

    Returns:
        complex64, of the same shape.

    Raises:
        BartError: See :func:`run`.
    """
    return run(["ecalib", "-d0", "-m1", "ksp", "mps"], {"ksp": ksp[:, None]}, "mps").reshape(ksp.shape)


def pics(options: Sequence[str], ksp: ComplexArray, mps: ComplexArray, mask: BoolArray) -> ComplexArray:
    """Parallel imaging and compressed sensing, ``½ ‖M F S x - y‖² + λ R(x)``; the samples are those of ``mask``.

    Args:
        options: Regularisation, iterations, scaling. BART scales the data before it applies λ unless ``-w 1`` is among them, and
            leaves the image scaled unless ``-S`` or ``-w 1`` is.
        ksp: complex64 ``(n_coils, n_y, n_x)``.
        mps: complex64 ``(n_coils, n_y, n_x)``, of unit norm over the coils.
        mask: bool ``(n_y, n_x)``, True where sampled.

    Returns:
        complex64 ``(n_y, n_x)``.

    Raises:
        BartError: See :func:`run`.
    """
    arrays = {
        "ksp": (ksp * mask * _centre_phase(mask.shape)).astype(np.complex64)[:, None],
        "mps": mps[:, None],
        "pattern": mask.astype(np.complex64),
    }
    return run(["pics", "-d0", *options, "-p", "pattern", "ksp", "mps", "img"], arrays, "img").reshape(mask.shape)


def _centre_phase(shape: tuple[int, ...]) -> ComplexArray:
    """What k-space must be multiplied by for ``pics`` to see our Fourier transform, found by comparison with it.

    With the centre ``c = n // 2`` it is ``exp(2πi c (c - 2k) / n)`` at index k of every axis: a sign where n is even (-1 where n/2
    is odd), and a shift of the image by about one pixel where n is odd.
    """
    phase = np.ones(shape)
    for axis, n in enumerate(shape):
        k = np.arange(n).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        phase = phase * np.exp(2j * np.pi * ((n // 2) * (n // 2 - 2 * k) % n) / n)
    return phase.astype(np.complex64)
