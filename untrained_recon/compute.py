"""How a network is computed (config section ``compute``): the arithmetic of its convolutions on a device."""

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

import torch

from untrained_recon.config import ComputeConfig

Precision = Literal["float32", "tf32", "bf16"]


def precision(compute: ComputeConfig, device: torch.device) -> Precision:
    """What convolutions calculate with; ``auto`` is bfloat16 where the device multiplies matrices of it, else float32.

    That is on GPUs since NVIDIA's Ampere and on CPUs with AMX. On CPUs without, bfloat16 was measured to be slower than float32,
    also where AVX-512 has instructions for it. Optimiser ``gd-a`` diverged in bfloat16: its steps are as long as the smallest
    gradients are small.
    """
    if compute.path == "plain":
        return "float32"
    if compute.precision != "auto":
        return compute.precision
    return "bf16" if _multiplies_bfloat16(device) else "float32"


@contextlib.contextmanager
def arithmetic(compute: ComputeConfig, device: torch.device) -> Iterator[None]:
    """PyTorch's settings for GPUs, forward and backward: TF32 in convolutions or not, sums in a fixed order or in any.

    They hold for the whole process while the context lasts. bfloat16 is not among them: the network itself sees to that. cuDNN
    chooses its algorithms by rule: trying them out took 2 to 7 s for every new matrix and was no faster after (H200).
    """
    tf32 = precision(compute, device) != "float32"
    cudnn, before = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    fixed, only_warned = compute.deterministic or before, torch.is_deterministic_algorithms_warn_only_enabled()
    if fixed and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # PyTorch insists, though one stream alone needs none
    with cudnn.flags(enabled=True, benchmark=False, deterministic=cudnn.deterministic or fixed, allow_tf32=tf32):
        torch.use_deterministic_algorithms(fixed, warn_only=only_warned)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=only_warned)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())  # PyTorch 2.4 cannot tell
