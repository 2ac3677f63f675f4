"""Un-trained MR image reconstruction: raw k-space in, images out, no training data.

    import untrained_recon as ur

    scan = ur.simulate(accel=4)                                  # or your own arrays
    recon = ur.reconstruct(scan.ksp, scan.mask, noise=scan.noise)
    recon.magnitude, recon.account.chi2, recon.cautions

The names in ``__all__`` are public and are loaded when they are first used: importing this package takes no time.
"""

import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.5.0"

if TYPE_CHECKING:
    from untrained_recon.api.arrays import espirit_maps, reconstruct, simulate
    from untrained_recon.api.files import read_raw, reconstruct_file
    from untrained_recon.config import Config
    from untrained_recon.config.callers import load_config, presets
    from untrained_recon.encoding import ImageIndex
    from untrained_recon.errors import ReconError
    from untrained_recon.phantom.simulation import SimulatedScan
    from untrained_recon.types import KSpace, Reconstruction

__all__ = [
    "Config",
    "ImageIndex",
    "KSpace",
    "ReconError",
    "Reconstruction",
    "SimulatedScan",
    "espirit_maps",
    "load_config",
    "presets",
    "read_raw",
    "reconstruct",
    "reconstruct_file",
    "simulate",
]

_MODULES = {
    "Config": "config",
    "ImageIndex": "encoding",
    "KSpace": "types",
    "ReconError": "errors",
    "Reconstruction": "types",
    "SimulatedScan": "phantom.simulation",
    "espirit_maps": "api.arrays",
    "load_config": "config.callers",
    "presets": "config.callers",
    "read_raw": "api.files",
    "reconstruct": "api.arrays",
    "reconstruct_file": "api.files",
    "simulate": "api.arrays",
}

if "OMP_WAIT_POLICY" not in os.environ:
    # before PyTorch is loaded: threads that wait by spinning make a fit many times slower where anything else runs on the machine
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if "torch" in sys.modules:
        logging.getLogger(__name__).warning(
            "PyTorch was loaded before untrained_recon: where other programs run, its threads wait by spinning and fits take many "
            "times longer; import untrained_recon first, or set OMP_WAIT_POLICY=PASSIVE"
        )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
