import pytest
import torch

from untrained_recon.bench.device import peak_memory
from untrained_recon.config import FitConfig, NetworkConfig
from untrained_recon.errors import FitError
from untrained_recon.physics.operators import CoilFourier
from untrained_recon.recon.demand import BASE, demand, must_save
from untrained_recon.recon.fit.loop import fit
from untrained_recon.recon.networks import ImageGenerator, build_network

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
    small, large = demand(network(settings, 64), operator(64)), demand(network(settings, 256), operator(256))
    assert large.usual - BASE > 8 * (small.usual - BASE)
    assert large.least <= large.usual
    ksp = torch.ones(1, 256, 256, dtype=torch.complex64)
    with peak_memory(torch.device("cpu")) as peak:
        fit(network(settings, 256), operator(256), ksp, FitConfig(iterations=1))
        assert (peak() or 0) < large.usual


def test_a_fit_is_reduced_or_refused_where_memory_does_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    dip = network(KINDS[2], 256)
    needed = demand(dip, operator(256))
    for free, saves in ((2 * needed.usual, False), ((needed.usual + needed.least) // 2, True)):
        monkeypatch.setattr("untrained_recon.recon.demand.free_memory", lambda free=free: free)
        assert must_save(dip, operator(256)) == saves
    monkeypatch.setattr("untrained_recon.recon.demand.free_memory", lambda: needed.least - 1)
    with pytest.raises(FitError, match=r"the fit needs 0\.\d\d GiB of memory, and 0\.\d\d GiB are free"):
        must_save(dip, operator(256))


def test_looking_changes_nothing() -> None:
    looked_at, other = network(KINDS[0], 64), network(KINDS[0], 64)
    demand(looked_at, operator(64))
    assert torch.equal(looked_at(), other())
