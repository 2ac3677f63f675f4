from pathlib import Path

import numpy as np
from click.testing import CliRunner

from untrained_recon.cli.main import cli
from untrained_recon.recon.networks.unet import load_unet


def test_train_unet_reads_folders_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("training", "validation"):
        (tmp_path / folder).mkdir()
        ksp = rng.normal(size=(2, 3, 24, 20)) + 1j * rng.normal(size=(2, 3, 24, 20))
        np.save(tmp_path / folder / "volume.npy", ksp.astype(np.complex64))
    folders = [str(tmp_path / name) for name in ("training", "validation")]
    command = ["train-unet", *folders, "-o", str(tmp_path / "out"), "--chans", "2", "--pools", "2", "--device", "cpu"]
    for more in (["--epochs", "1"], ["--epochs", "2", "--resume"]):
        result = CliRunner().invoke(cli, [*command, *more], catch_exceptions=False)
        assert result.exit_code == 0
        assert "unet.pt" in result.output
    assert len((tmp_path / "out" / "curve.csv").read_text().splitlines()) == 3
    load_unet(tmp_path / "out" / "unet.pt")
