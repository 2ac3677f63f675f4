"""Training the baseline U-net, as fastMRI trains its own (Zbontar et al., 2018)."""

import csv
import io
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.utils.data import DataLoader

from untrained_recon.errors import ConfigError, FitError
from untrained_recon.output import make_folder, written
from untrained_recon.recon.networks.unet import Scale, UNet, read_checkpoint
from untrained_recon.types import FloatArray

logger = logging.getLogger(__name__)

_Tensors = Iterator[tuple[Tensor, Tensor]]


class Pairs(Protocol):
    """An indexable data set: pairs of float32 ``(n_y, n_x)``, the zero-filled image and the fully sampled one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[FloatArray, FloatArray]: ...


@dataclass(frozen=True)
class Training:
    """How to train; the defaults are fastMRI's.

    Attributes:
        epochs: Passes over the training set.
        lr: Step size of RMSprop in the first ``lr_epochs`` epochs; a tenth of it in the next, and so on.
        lr_epochs: Epochs of one step size.
        chans: Channels of the U-net at full resolution.
        pools: Halvings of the U-net.
        seed: Seed of the initial weights and of the order of the images.
    """

    epochs: int = 50
    lr: float = 1e-3
    lr_epochs: int = 40
    chans: int = 32
    pools: int = 4
    seed: int = 0


@dataclass
class _State:
    unet: UNet
    optimizer: torch.optim.RMSprop
    curve: list[tuple[float, float]] = field(default_factory=list)


def train_unet(
    training: Pairs,
    validation: Pairs,
    folder: Path,
    settings: Training,
    device: torch.device,
    *,
    resume: bool = False,
    workers: int = 0,
    count: Callable[[int, int], None] = lambda *_: None,
) -> UNet:
    """Train a U-net with the L1 loss of images normalised as fastMRI does, one image a step.

    After every epoch the folder holds ``checkpoint.pt`` (what ``resume`` needs), ``unet.pt`` (the state dict of the epoch with the
    smallest validation loss) and ``curve.csv`` (both losses of every epoch). The order of the images follows from seed and epoch
    alone, so a resumed training is the uninterrupted one, on a CPU bit for bit.

    Args:
        training: Pairs to train on.
        validation: Pairs that are only looked at.
        folder: Where to write; made where it is not there.
        settings: How to train.
        device: Where to compute.
        resume: Go on after the last finished epoch in the folder.
        workers: Processes that read pairs ahead; 0: read in this one.
        count: Told how many images were looked at, of how many in all epochs.

    Returns:
        The network after the last epoch.

    Raises:
        ConfigError: One of the sets is empty, the folder holds a training and ``resume`` is not set, or it is set and there is
            none or one with other settings.
        FitError: The loss became NaN or infinite.
        WeightsError: The checkpoint to resume from cannot be read.
    """
    if not len(training) or not len(validation):
        raise ConfigError(f"{len(training)} images to train on and {len(validation)} to validate; there must be some of each")
    make_folder(folder)
    path = folder / "checkpoint.pt"
    state = _resume(path, settings, device) if resume else _start(path, settings, device)
    each = len(training) + len(validation)
    seen = itertools.count(len(state.curve) * each)

    def counted(pairs: _Tensors) -> _Tensors:
        for pair in pairs:
            count(next(seen), settings.epochs * each)
            yield pair

    for epoch in range(len(state.curve), settings.epochs):
        for group in state.optimizer.param_groups:
            group["lr"] = settings.lr * 0.1 ** (epoch // settings.lr_epochs)
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(training)).tolist()
        train_loss = _train(state, counted(_load(training, order, workers, device)))
        validation_loss = _validate(state.unet, counted(_load(validation, range(len(validation)), workers, device)))
        state.curve.append((train_loss, validation_loss))
        logger.info("epoch %d of %d: loss %.4f, validation %.4f", epoch + 1, settings.epochs, train_loss, validation_loss)
        _save(state, settings, path)
    count(settings.epochs * each, settings.epochs * each)
    return state.unet


def _start(path: Path, settings: Training, device: torch.device) -> _State:
    if path.exists():
        raise ConfigError(f"{path} is there already; resume that training, or name another folder")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        unet = UNet(settings.chans, settings.pools).to(device)
    return _State(unet, torch.optim.RMSprop(unet.parameters(), lr=settings.lr))


def _resume(path: Path, settings: Training, device: torch.device) -> _State:
    if not path.exists():
        raise ConfigError(f"{path} is not there; nothing to resume")
    checkpoint = read_checkpoint(path, device)
    for name, value in _lasting(settings).items():
        if checkpoint["settings"][name] != value:
            raise ConfigError(f"{path}: trained with {name} {checkpoint['settings'][name]}, to be resumed with {value}")
    unet = UNet(settings.chans, settings.pools).to(device)
    unet.load_state_dict(checkpoint["state_dict"])
    optimizer = torch.optim.RMSprop(unet.parameters(), lr=settings.lr)
    optimizer.load_state_dict(checkpoint["optimizer"])
    return _State(unet, optimizer, checkpoint["curve"])


def _lasting(settings: Training) -> dict[str, Any]:
    """What must be the same when a training is resumed: all but its length."""
    return {name: value for name, value in asdict(settings).items() if name != "epochs"}


def _load(pairs: Pairs, order: Sequence[int], workers: int, device: torch.device) -> _Tensors:
    """Input and target ``(1, 1, n_y, n_x)`` on the device, both normalised by the input."""
    loader: DataLoader[Any] = DataLoader(
        pairs,  # type: ignore[arg-type]  # it asks for no more than indices
        sampler=order,
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),
    )
    for zero_filled, full in loader:
        scale = Scale.of(zero_filled)
        yield scale.normalise(zero_filled)[None, None].to(device), scale.normalise(full)[None, None].to(device)


def _train(state: _State, pairs: _Tensors) -> float:
    losses = []
    for zero_filled, full in pairs:
        state.optimizer.zero_grad()
        loss = l1_loss(state.unet(zero_filled), full)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise FitError(f"the loss became {losses[-1]} in epoch {len(state.curve) + 1}; lower the step size")
    return float(np.mean(losses))


def _validate(unet: UNet, pairs: _Tensors) -> float:
    with torch.no_grad():
        return float(np.mean([float(l1_loss(unet(zero_filled), full)) for zero_filled, full in pairs]))


def _save(state: _State, settings: Training, path: Path) -> None:
    """All of a finished epoch; the checkpoint comes last, as it says that the epoch is finished."""
    weights = state.unet.state_dict()
    if state.curve[-1][1] == min(validation for _, validation in state.curve):
        _replace(path.with_name("unet.pt"), weights)
    with written(path.with_name("curve.csv")) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["epoch", "training", "validation"])
        table.writerows([epoch, *losses] for epoch, losses in enumerate(state.curve, start=1))
    optimizer = state.optimizer.state_dict()
    _replace(path, {"state_dict": weights, "optimizer": optimizer, "curve": state.curve, "settings": asdict(settings)})


def _replace(path: Path, content: Any) -> None:
    data = io.BytesIO()  # torch itself would not say that the disk is full
    torch.save(content, data)
    with written(path) as part:
        part.write_bytes(data.getbuffer())
