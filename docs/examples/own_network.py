# %% [markdown]
# # Add your own network
#
# A network is a function that builds an `ImageGenerator` (layers that turn a fixed input into an image) and a row in the table of
# kinds. Here: random Fourier features of the coordinates, mixed pixel by pixel. To keep a network, move `build` into a module of
# `untrained_recon/networks` and its row into `untrained_recon/kinds.py`.

# %%
from typing import Any

import torch
from torch import nn

import untrained_recon as ur
from untrained_recon.kinds import KINDS, Kind, NetworkConfig
from untrained_recon.networks import ImageGenerator

SHAPE = (256, 256)
SETTINGS: dict[str, Any] = {}  # changes to the preset, by section
CYCLES = 8.0  # standard deviation of the features' frequencies, in cycles per field of view


# %%
def build(
    settings: NetworkConfig, out_channels: int, out_size: tuple[int, int], generator: torch.Generator, fused: bool
) -> ImageGenerator:
    """Fourier features, then 1×1 convolutions."""
    channels = settings.channels
    y, x = torch.meshgrid(*(torch.arange(n) / n for n in out_size), indexing="ij")
    frequencies = CYCLES * torch.randn(channels // 2, 2, generator=generator)
    phase = 2 * torch.pi * torch.einsum("fa,ayx->fyx", frequencies, torch.stack([y, x]))
    z = torch.cat([phase.sin(), phase.cos()])[None]

    def mix(n_in: int, n_out: int) -> nn.Conv2d:
        conv = nn.Conv2d(n_in, n_out, 1, bias=False)
        nn.init.kaiming_uniform_(conv.weight, generator=generator)  # all randomness from the generator: the seed tells the image
        return conv

    hidden = [nn.Sequential(mix(len(z[0]), channels), nn.ReLU(), nn.BatchNorm2d(channels, track_running_stats=False))]
    hidden += [
        nn.Sequential(mix(channels, channels), nn.ReLU(), nn.BatchNorm2d(channels, track_running_stats=False))
        for _ in range(settings.layers - 2)
    ]
    return ImageGenerator([*hidden, mix(channels, out_channels)], z)


KINDS["fourier"] = Kind(build, check=lambda settings: "fourier takes no skips" if settings.skips else "")

# %% [markdown]
# From here on it is a setting like any other. (The refinement after the fit brings both images close together; with
# `refine={"iterations": 0}` the networks stand alone.)

# %%
scan = ur.simulate(SHAPE, coils=8, accel=4)
for kind in ("convdecoder", "fourier"):
    recon = ur.reconstruct(scan.ksp, scan.mask, noise=scan.noise, network={"kind": kind}, **SETTINGS)
    error = float(abs(recon.magnitude - scan.truth).sum() / scan.truth.sum())
    print(f"{kind:12} error {error:.3f}, {recon.account.iterations} iterations, {recon.account.seconds:.1f} s")
