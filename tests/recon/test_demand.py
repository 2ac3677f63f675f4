from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from untrained_recon.bench.device import peak_memory
from untrained_recon.bench.fits import Case, phantom
from untrained_recon.config import FitConfig, NetworkConfig, load_config
from untrained_recon.errors import FitError
from untrained_recon.physics.operators import CoilFourier
from untrained_recon.recon.demand import BASE, SAMPLE_BYTES, available, demand, demand_of, image_demand, must_save
from untrained_recon.recon.fit.loop import fit
from untrained_recon.recon.networks import ImageGenerator, build_network
from untrained_recon.recon.plane import reconstruct

KINDS = [
    NetworkConfig(layers=5, channels=32),
    NetworkConfig(kind="deep-decoder", layers=5, channels=32),
    NetworkConfig(kind="dip", layers=6, channels=32),
]


def network(settings: NetworkConfig, size: int) -> ImageGenerator:
    return build_network(settings, 2, (size, size), torch.Generator().manual_seed(0))


def operator(size: int) -> CoilFourier:
    return CoilFourier(torch.ones(size, size), 1)


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.kind)
def test_memory_grows_with_the_matrix_and_holds_for_the_fit(settings: NetworkConfig) -> None:
    pytest.importorskip("psutil")
    small, large = demand(network(settings, 64), operator(64).oshape), demand(network(settings, 256), operator(256).oshape)
    assert large.usual - BASE > 8 * (small.usual - BASE)
    assert large.least <= large.usual
    ksp = torch.ones(1, 256, 256, dtype=torch.complex64)
    with peak_memory(torch.device("cpu")) as peak:
        fit(network(settings, 256), operator(256), ksp, FitConfig(iterations=1))
        assert (peak() or 0) < large.usual


def test_a_fit_is_reduced_or_refused_where_memory_does_not_suffice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    dip = network(KINDS[2], 256)
    needed = demand(dip, operator(256).oshape)
    for free, saves in ((2 * needed.usual, False), ((needed.usual + needed.least) // 2, True)):
        monkeypatch.setattr("untrained_recon.recon.demand.free_memory", lambda free=free: free)
        assert must_save(dip, operator(256).oshape) == saves
    monkeypatch.setattr("untrained_recon.recon.demand.free_memory", lambda: needed.least - 1)
    with pytest.raises(FitError, match=r"the fit needs 0\.\d\d GiB of memory, and 0\.\d\d GiB are free"):
        must_save(dip, operator(256).oshape)
    assert caplog.text.count("a fit takes about 0.") == 3


def test_looking_changes_nothing() -> None:
    looked_at, other = network(KINDS[0], 64), network(KINDS[0], 64)
    demand(looked_at, operator(64).oshape)
    assert torch.equal(looked_at(), other())


class NeedsAnImage(nn.Module):
    """A layer of somebody's own."""

    def forward(self, x: Tensor) -> Tensor:
        """Fails without any image."""
        return x - x[0].amax()


def test_a_layer_that_cannot_do_without_an_image_is_given_one() -> None:
    own = network(KINDS[0], 64)
    own.layers.insert(1, NeedsAnImage())
    assert demand(own, operator(64).oshape).usual > demand(network(KINDS[0], 64), operator(64).oshape).usual


def test_a_gpu_has_free_what_nobody_uses_and_what_pytorch_keeps_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"mem_get_info": (500, 8000), "memory_reserved": 300, "memory_allocated": 200}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert available(torch.device("cuda")) == 600
    assert available(torch.device("cpu")) > 600


@pytest.mark.parametrize("changes", [{}, {"recon.mode": "coils"}, {"recon.mode": "separate"}, {"refine.iterations": "0"}], ids=str)
def test_an_image_takes_no_more_than_was_estimated(changes: dict[str, str]) -> None:
    pytest.importorskip("psutil")
    config = load_config(
        "fast",
        {"fit.iterations": "2", "refine.iterations": "3", "network.channels": "16", "compute.precision": "float32"} | changes,
    )
    data, _ = phantom(Case((160, 128), 4, 6, 16))
    with peak_memory(torch.device("cpu")) as peak:
        assert not reconstruct(data, config, torch.device("cpu")).account.fallback_reason
        assert (peak() or 0) < demand_of(data, config, torch.device("cpu"))


def test_the_estimate_grows_with_the_image_and_counts_what_is_done() -> None:
    config, gpu = load_config("fast", {"network.channels": "16", "compute.precision": "bf16"}), torch.device("cuda")
    small, large, many = (image_demand(config, *case, gpu) for case in ((4, (64, 64)), (4, (256, 256)), (64, (256, 256))))
    assert small < large < many == image_demand(config, config.maps.max_coils, (256, 256), gpu)
    conventional = load_config("fast", {"recon.method": "cg-sense", "refine.iterations": "0", "maps.sets": "1"})
    assert image_demand(conventional, 4, (256, 256), torch.device("cpu")) < large


def test_an_estimate_takes_no_memory_of_an_image() -> None:
    pytest.importorskip("psutil")
    with peak_memory(torch.device("cpu")) as peak:
        assert image_demand(load_config("fast"), 8, (6000, 6000), torch.device("cpu")) > 8 * 6000**2 * SAMPLE_BYTES
        assert (peak() or 0) < 6000**2 * SAMPLE_BYTES


def test_of_a_volume_a_plane_counts() -> None:
    config, cpu = load_config("fast", {"network.channels": "16"}), torch.device("cpu")
    data, _ = phantom(Case((96, 64), 3, 4, 8))
    volume = replace(data, ksp=np.stack([data.ksp] * 5, axis=1), mask=np.stack([data.mask] * 5))
    assert demand_of(volume, config, cpu) == demand_of(data, config, cpu)
