import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from untrained_recon.errors import ConfigError, FitError, WeightsError
from untrained_recon.recon.networks.unet import UNet, load_unet, unet_reconstruct
from untrained_recon.study.train_unet import Training, train_unet
from untrained_recon.types import FloatArray

CPU = torch.device("cpu")
SMALL = Training(epochs=4, chans=2, pools=2, lr_epochs=3, seed=3)

Images = Sequence[tuple[FloatArray, FloatArray]]


def blobs(n: int, seed: int) -> Images:
    """Pairs of an image of soft discs and the same with a shifted ghost, of two sizes."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(n):
        n_y, n_x = (24, 20) if i % 2 else (20, 17)
        y, x = np.mgrid[:n_y, :n_x]
        img = sum(np.exp(-((y - rng.uniform(0, n_y)) ** 2 + (x - rng.uniform(0, n_x)) ** 2) / 10) for _ in range(3))
        full = img.astype(np.float32)
        pairs.append((full + np.float32(0.5) * np.roll(full, n_y // 2, axis=0), full))
    return pairs


def train(folder: Path, settings: Training = SMALL, *, resume: bool = False, workers: int = 0) -> UNet:
    return train_unet(blobs(5, 0), blobs(2, 1), folder, settings, CPU, resume=resume, workers=workers)


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same(one: UNet, other: UNet) -> None:
    for (name, p), q in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(p, q), name


def test_a_small_set_is_learnt_by_heart(tmp_path: Path) -> None:
    pairs = blobs(4, 0)
    unet = train_unet(pairs, pairs, tmp_path, Training(epochs=60, chans=8, pools=2), CPU)
    rows = curve(tmp_path)
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 61)]
    assert float(rows[-1]["training"]) < 0.3 * float(rows[0]["training"])
    for zero_filled, full in pairs:
        after = np.linalg.norm(unet_reconstruct(unet, zero_filled) - full)
        assert after < 0.3 * np.linalg.norm(zero_filled - full)


def test_a_resumed_training_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", Training(**{**vars(SMALL), "epochs": 2}))
    resumed = train(tmp_path / "parts", resume=True)
    assert_same(whole, resumed)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    assert_same(load_unet(tmp_path / "whole" / "unet.pt"), load_unet(tmp_path / "parts" / "unet.pt"))


def test_seed_decides_all_and_workers_nothing(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    one = train(tmp_path / "one")
    assert torch.equal(state, torch.random.get_rng_state())
    assert_same(one, train(tmp_path / "two", workers=2))
    other = train(tmp_path / "three", Training(**{**vars(SMALL), "seed": 4}))
    assert not torch.equal(one.conv.layers[0].weight, other.conv.layers[0].weight)  # type: ignore[arg-type]


def test_the_folder_holds_the_last_epoch_and_the_best(tmp_path: Path) -> None:
    last = train(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "curve.csv", "unet.pt"]
    assert_same(load_unet(tmp_path / "checkpoint.pt"), last)
    losses = [float(row["validation"]) for row in curve(tmp_path)]
    best = train(tmp_path / "best", Training(**{**vars(SMALL), "epochs": 1 + int(np.argmin(losses))}))
    assert_same(load_unet(tmp_path / "unet.pt"), best)


def test_step_size_falls_tenfold(tmp_path: Path) -> None:
    rates = []
    for epochs in (3, 4):
        train(tmp_path / str(epochs), Training(**{**vars(SMALL), "epochs": epochs}))
        rates.append(torch.load(tmp_path / str(epochs) / "checkpoint.pt", weights_only=True)["optimizer"]["param_groups"][0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-4])


def test_what_cannot_be_trained_or_resumed_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 images to train on and 2 to validate"):
        train_unet([], blobs(2, 1), tmp_path, SMALL, CPU)
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(tmp_path, resume=True)
    train(tmp_path, Training(**{**vars(SMALL), "epochs": 1}))
    with pytest.raises(ConfigError, match="there already; resume that training"):
        train(tmp_path)
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: trained with chans 2, to be resumed with 4"):
        train(tmp_path, Training(**{**vars(SMALL), "chans": 4}), resume=True)
    (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: cannot be read"):
        train(tmp_path, resume=True)
    hopeless = [(np.full((20, 20), np.nan, np.float32),) * 2]
    with pytest.raises(FitError, match="the loss became nan in epoch 1"):
        train_unet(hopeless, hopeless, tmp_path / "nan", SMALL, CPU)
