# %% [markdown]
# # A study on your own scans
#
# How well would it do on *your* scanner at fourfold acceleration? Take fully sampled k-space (fastMRI `.h5`, ISMRMRD raw, `.npy` as
# `(slices, coils, ky, kx)`, BART `.cfl`), leave lines out, reconstruct with several methods, compare with the full scan. This is
# what `untrained-recon evaluate` does, from Python. Here phantoms stand in for your files.

# %%
from pathlib import Path
from typing import Any

import numpy as np

import untrained_recon as ur
from untrained_recon.files.open import find_volumes
from untrained_recon.masks import Sampling
from untrained_recon.recon.plane import pick_device
from untrained_recon.study.evaluate import Plan, evaluate
from untrained_recon.study.origin import Origin
from untrained_recon.study.page import write_report

SHAPE = (256, 256)
SETTINGS: dict[str, Any] = {}  # changes to the preset, by section
FOLDER, RESULTS = Path("my_scans"), Path("my_study")

# %%
FOLDER.mkdir(exist_ok=True)
for number in range(2):
    np.save(FOLDER / f"head{number}.npy", ur.simulate(SHAPE, coils=8, accel=1, seed=number).ksp)

# %% [markdown]
# A plan is files × methods × masks. `prewhiten=True` takes the noise from the corners of k-space, where a full scan holds nothing
# else.

# %%
methods = {
    "un-trained": ur.load_config("fast", **SETTINGS),
    "CG-SENSE": ur.load_config("fast", recon={"method": "cg-sense"}),
    "zero-filled": ur.load_config("fast", recon={"method": "zero-filled"}),
}
plan = Plan(find_volumes(FOLDER), methods, [Sampling("random", accel=4, acs=0.08)], prewhiten=True)
rows = evaluate(plan, RESULTS, pick_device("auto"))

# %% [markdown]
# Every row is an image; what is in the results already is not computed again. The page has the pictures and the settings;
# scores of the foreground stand first, as the background of a full scan is its own noise.

# %%
for row in rows:
    print(f"{row.key.volume} {row.key.method:12} {row.error or format(row.scores['ours, foreground: psnr'], '.2f') + ' dB'}")
print(write_report(rows, RESULTS, Origin(methods=methods)))
