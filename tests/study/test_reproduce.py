"""Every target in a tiny setting on phantoms, and the closed forms behind them."""

import dataclasses
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas
import pytest
import torch
from click.testing import CliRunner

from untrained_recon.cli.main import cli
from untrained_recon.cli.reproduce import TARGETS as OFFERED
from untrained_recon.config import load_config
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2
from untrained_recon.recon.methods import solve
from untrained_recon.recon.networks.unet import load_unet
from untrained_recon.study.reproduce.averaging import averages
from untrained_recon.study.reproduce.context import Context, Reduction
from untrained_recon.study.reproduce.layers import best_combination, resized
from untrained_recon.study.reproduce.outcome import COLUMNS, Outcome, long_table, markdown, order
from untrained_recon.study.reproduce.targets import TARGETS, reproduce
from untrained_recon.study.reproduce.trained import unet, unet_note

CPU = torch.device("cpu")
TINY = Reduction(
    resolution=72, channels=4, iterations=2, images=2, runs=2, grid_iterations=1, acs={4: 10, 8: 8}, unet_epochs=1, kernel_width=4
)
PAPER = {"table1": 35.61, "table2": 28.40, "table3": 0.9489, "table4": 0.5233, "table5": 0.8223, "table6": 34.32, "table7": 32.71}
PAPER |= {"table8": 28.04, "table9": 368.0, "table10": 368.0, "table11": 12.0, "fig6": 33.70}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of phantoms 72 × 48: one image, and two."""
    folder = tmp_path_factory.mktemp("kspace")
    for name, slices in (("one", 1), ("two", 2)):
        imgs = np.stack([coil_maps((72, 48), 3) * head((72, 48), 0.0, n) for n in range(slices)])
        np.save(folder / f"{name}.npy", fft2(torch.from_numpy(imgs)).numpy().astype(np.complex64))
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all targets, as some use each other's results."""
    return tmp_path_factory.mktemp("paper")


@pytest.mark.parametrize("target", list(TARGETS))
def test_every_target_runs_to_the_end(target: str, data: Path, output: Path) -> None:
    text = reproduce(target, Context(data, output, CPU, TINY))
    folder = output / target
    assert (folder / f"{target}.md").read_text() == text
    table = pandas.read_csv(folder / f"{target}.csv")
    assert tuple(table.columns) == COLUMNS
    assert np.isfinite(table["ours"]).any()
    assert (folder / f"{target}.png").exists() == target.startswith("fig")
    assert "Failed" not in text
    page = (folder / f"{target}.html").read_text()
    for link in re.findall('(?:href|src)="([^#"][^"]*)"', page):
        assert link.startswith("data:") or (folder / unquote(link)).exists(), link
    assert "reduced (--quick)" in page
    assert ("Every image" in page) == (target not in {"table7", "table8", "table10", "fig6", "fig11"})
    if target in PAPER:
        assert PAPER[target] in set(table["paper"])
    if target != "table10":
        assert "Reduced (--quick)" in text


def test_the_command_offers_every_target_and_prints_the_table(data: Path, tmp_path: Path) -> None:
    assert list(TARGETS) == OFFERED
    command = ["reproduce", "table10", "--data", str(data), "-o", str(tmp_path), "--quick", "--device", "cpu"]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "# Table 10" in result.output
    assert "| DIP |" in result.output


def test_without_quick_nothing_is_reduced_and_the_u_net_waits_for_weights(data: Path, tmp_path: Path) -> None:
    context = Context(data, tmp_path, CPU)
    assert context.config("knee-4x").model_dump() == load_config("knee-4x").model_dump()
    assert context.sampling(8).acs == 0.04
    assert not list(context.reductions({"ConvDecoder": "knee-4x"}))
    assert unet(context, None, 4) == {}
    assert "no weights were given" in unet_note(context)


def test_given_weights_are_used_and_a_small_u_net_does_not_see_what_it_is_evaluated_on(data: Path, tmp_path: Path) -> None:
    given = dataclasses.replace(Context(data, tmp_path, CPU), unet_weights=tmp_path / "given.pt")
    assert unet(given, None, 4)["U-net"].unet.weights == str(tmp_path / "given.pt")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(data / "one.npy", alone)
    quick = Context(alone, tmp_path, CPU, TINY)
    assert unet(quick, alone / "one.npy", 4) == {}
    load_unet(Path(unet(quick, None, 4)["U-net"].unet.weights))


def test_table_10_counts_the_networks_of_the_paper(data: Path, output: Path) -> None:
    reproduce("table10", Context(data, output, CPU))
    table = pandas.read_csv(output / "table10" / "table10.csv").dropna()
    assert list(table["ours"]) == list(table["paper"])


def test_averages_are_what_several_runs_of_one_configuration_give(data: Path, tmp_path: Path) -> None:
    context = Context(data, tmp_path, CPU, TINY)
    _, sampled = context.middle_image(data / "two.npy", 4)
    single = [solve(sampled, context.config("knee-4x", {"seed": seed}), CPU).coil_imgs for seed in range(3)]
    runs = np.stack([run.numpy() for run in single])
    together = solve(sampled, context.config("knee-4x", {"recon.runs": 3}), CPU).coil_imgs
    (found,) = averages(runs, 3)
    torch.testing.assert_close(torch.from_numpy(found), together, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(np.stack(list(averages(runs, 1))), runs)
    np.testing.assert_allclose(list(averages(runs, 2))[2], (runs[2] + runs[0]) / 2, rtol=1e-5, atol=1e-6)


def test_the_best_combination_finds_a_known_one_and_leaves_what_is_orthogonal() -> None:
    channels = torch.randn(5, 8, 6, generator=torch.Generator().manual_seed(0))
    known = torch.einsum("c,cyx->yx", torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]), channels)
    torch.testing.assert_close(best_combination(channels, known), known, rtol=1e-5, atol=1e-5)
    far = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    residual = far - best_combination(channels, far)
    assert float((channels * residual).sum((1, 2)).abs().max()) < 1e-4


def test_images_are_averaged_over_larger_pixels() -> None:
    img = torch.arange(16.0).reshape(4, 4)
    torch.testing.assert_close(resized(img, torch.Size((2, 2))), torch.tensor([[2.5, 4.5], [10.5, 12.5]]))


def test_the_order_of_the_rows_is_compared_with_the_papers() -> None:
    table = long_table([("a", "PSNR", 30.0, 20.0, 2), ("b", "PSNR", 31.0, 19.0, 2), ("c", "PSNR", 29.0, np.nan, 0)])
    assert list(order(table, "PSNR")) == ["PSNR: paper b > a; here a > b: another."]
    lines = list(markdown(Outcome("Title", table, ["Note."], ranked=["PSNR"])))
    assert "| b | 2 | 31 | 19 |" in lines
    assert "| c | 0 | 29 | – |" in lines
