"""The U-net to compare with: the user's weights, or with ``--quick`` a small one trained on the other files of the folder."""

import json
from dataclasses import replace
from pathlib import Path

from untrained_recon.config import Config, load_config
from untrained_recon.files.open import find_volumes
from untrained_recon.study.identity import claims_of
from untrained_recon.study.pairs import SlicePairs
from untrained_recon.study.reproduce.context import SEED, Context
from untrained_recon.study.train_unet import Training, train_unet
from untrained_recon.types import FloatArray

CHANS, POOLS = 8, 3
FILES, MASKS = 16, 4


def unet(context: Context, left_out: Path | None, accel: int) -> dict[str, Config]:
    """The method ``U-net``, or none where there are no weights.

    Args:
        context: Of the run.
        left_out: The file to be evaluated, which a small U-net must not see.
        accel: Acceleration, in training the same.
    """
    weights = context.unet_weights or _train_small(context, left_out, accel)
    if weights is None:
        return {}
    return {"U-net": load_config("fast", {"recon.method": "unet", "unet.weights": json.dumps(str(weights))})}


def unet_note(context: Context) -> str:
    """Where the U-net comes from, or why there is none."""
    if context.unet_weights is not None:
        return f"U-net: weights of {context.unet_weights}."
    if context.reduction is None:
        return "U-net: left out, as no weights were given (--unet-weights); `train-unet` makes some."
    return (
        f"U-net: a small one ({CHANS} channels, {POOLS} poolings instead of 32 and 4), trained for {context.reduction.unet_epochs} "
        f"epochs on the middle images of at most {FILES} other files of the folder with {MASKS} masks each; left out where there "
        "are none. It says little about a U-net trained on a large set (--unet-weights)."
    )


def _train_small(context: Context, left_out: Path | None, accel: int) -> Path | None:
    reduction = context.reduction
    if reduction is None:
        return None
    paths = [path for path in find_volumes(context.data) if path != left_out]
    if not paths:
        return None
    name = f"without-{left_out.name}" if left_out is not None else "all"
    folder = context.output / "unet" / f"{context.sampling(accel).label}-{reduction.resolution}" / name
    pairs = [_middle_pair(path, context, accel, mask) for path in paths[:FILES] for mask in range(MASKS)]
    settings = Training(epochs=reduction.unet_epochs, lr_epochs=max(1, reduction.unet_epochs - 5), chans=CHANS, pools=POOLS)
    with claims_of(context.output / "unet").take(f"{folder.parent.name}-{name}"):  # another command may need the same
        resume = (folder / "checkpoint.pt").exists()
        train_unet(pairs, pairs, folder, settings, context.device, resume=resume, count=context.count)
    return folder / "unet.pt"


def _middle_pair(path: Path, context: Context, accel: int, mask: int) -> tuple[FloatArray, FloatArray]:
    sampling = replace(context.sampling(accel), seed=SEED + 1 + mask)  # no mask that is evaluated
    pairs = SlicePairs([path], sampling, context.resolution)
    return pairs[len(pairs) // 2]
