# %% [markdown]
# # Reconstruct arrays
#
# k-space as an array `(n_coils, n_y, n_x)`, a mask of what was acquired, and samples of noise where there are any: that is all that
# `ur.reconstruct` needs. Here a head phantom stands in for your scan.

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import untrained_recon as ur

SHAPE = (256, 256)
SETTINGS: dict[str, Any] = {}  # changes to the preset, by section: {"fit": {"iterations": 40}}

# %%
scan = ur.simulate(SHAPE, coils=8, accel=4)
print(f"k-space {scan.ksp.shape}, {scan.mask.mean():.0%} of the lines acquired")

# %% [markdown]
# With `noise`, the coils are whitened and the fit knows how close to the samples it may come. `recon` shows itself in a notebook.

# %%
recon = ur.reconstruct(scan.ksp, scan.mask, noise=scan.noise, **SETTINGS)
print(f"{recon.account.method}, chi2 {recon.account.chi2:.2f}, {recon.account.seconds:.1f} s on {recon.account.device}")
for caution in recon.cautions:
    print("CAUTION", caution)
recon  # noqa: B018  # the last line of a cell is shown

# %% [markdown]
# The same call with another method, and with maps of your own.

# %%
zero_filled = ur.reconstruct(scan.ksp, scan.mask, noise=scan.noise, recon={"method": "zero-filled"})
maps = ur.espirit_maps(scan.ksp, scan.mask)
sense = ur.reconstruct(scan.ksp, scan.mask, noise=scan.noise, maps=maps, recon={"method": "cg-sense"})


# %%
def nrmse(img: np.ndarray) -> float:
    """Relative error to the phantom."""
    return float(np.linalg.norm(img - scan.truth) / np.linalg.norm(scan.truth))


pictures = {"truth": scan.truth, "zero-filled": zero_filled.magnitude, "CG-SENSE": sense.magnitude, "un-trained": recon.magnitude}
figure, axes = plt.subplots(1, len(pictures), figsize=(4 * len(pictures), 4))
for axis, (name, img) in zip(axes, pictures.items(), strict=True):
    axis.imshow(img, cmap="gray", vmin=0, vmax=np.percentile(scan.truth, 99.5))
    axis.set_title(f"{name}, error {nrmse(img):.3f}")
    axis.set_axis_off()
figure.savefig("reconstruct_arrays.png")

# %% [markdown]
# Several slices, frames or volumes at once: leading axes are separate images, and `recon.parts` are the single ones.

# %%
slices = ur.simulate(SHAPE, coils=8, accel=4, slices=2)
both = ur.reconstruct(slices.ksp, slices.mask, noise=slices.noise, **SETTINGS)
print(both.magnitude.shape, [f"{part.account.chi2:.2f}" for part in both.parts])
